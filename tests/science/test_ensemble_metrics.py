"""Ensemble metrics: calibrated draws have the theoretical values, others values known by hand."""

from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ups_jax import metrics, physics
from ups_jax.metrics import ENSEMBLE_METRICS, METRICS, NOMINAL_LEVELS

PAIRED = ("spread_skill", "coverage_50", "coverage_90", "inside")
STATISTICS = {name: metric.per_sample for name, metric in ENSEMBLE_METRICS.items()} | {
    "spread_squared": metrics.spread_squared,
    "skill_squared": metrics.skill_squared,
    "rank_histogram": metrics.rank_histogram,
    "reliability": metrics.reliability,
}


@partial(jax.jit, static_argnums=(2, 3))
def statistics(members, true, ndim, names=tuple(STATISTICS)):
    return {name: STATISTICS[name](members, true, ndim) for name in names}


def one(name, members, true, ndim=1):
    return statistics(members, true, ndim, (name,))[name]


def scores(samples):
    return {name: float(metric.reduce(samples[name])) for name, metric in ENSEMBLE_METRICS.items()}


def draws(m, *, b=40, t=2, points=64, seed=0, spread=1.0):
    """Truth and members that are independent standard Gaussians about one unknown field."""
    rng = np.random.default_rng(seed)
    shared = 3 * rng.normal(size=(b, 1, t, points, 2))
    members = shared + spread * rng.normal(size=(b, m, t, points, 2))
    true = shared[:, 0] + rng.normal(size=(b, t, points, 2))
    return members.astype("f4"), true.astype("f4")


def at(*values):
    """Members of one point each, (1, m, 1, 1, 1), for a truth made by `at(y)[:, 0]`."""
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1, 1)


@pytest.mark.parametrize("m", [2, 8, 19])
def test_exchangeable_draws_are_calibrated_for_every_size(m):
    members, true = draws(m)
    samples = statistics(members, true, 1)
    values = scores(samples)
    error = 4 / np.sqrt(true.size)  # four deviations of a share of one half are half of that
    assert values["coverage_50"] == pytest.approx(0.5, abs=error / 2)
    assert values["coverage_90"] == pytest.approx(0.9, abs=error / 2)
    assert values["inside"] == pytest.approx((m - 1) / (m + 1), abs=error / 2)
    assert values["spread_skill"] == pytest.approx(1, abs=error)
    assert values["crps"] == pytest.approx(1 / np.sqrt(np.pi), abs=error)
    ranks = metrics.mean_over_samples(samples["rank_histogram"])
    np.testing.assert_allclose(ranks, 1 / (m + 1), atol=error / 2)
    np.testing.assert_allclose(
        metrics.mean_over_samples(samples["reliability"]), NOMINAL_LEVELS, atol=error / 2
    )


def test_uniform_ranks_give_every_level_exactly():
    for m in (2, 8):
        members = np.broadcast_to(
            np.arange(m, dtype="f4")[None, :, None, None, None], (1, m, 1, m + 1, 1)
        )
        true = np.arange(-0.5, m)[None, None, :, None].astype("f4")
        np.testing.assert_allclose(
            one("reliability", members, true)[0, 0], NOMINAL_LEVELS, rtol=1e-6
        )
        np.testing.assert_allclose(one("inside", members, true), (m - 1) / (m + 1), rtol=1e-6)


def test_collapsed_ensembles_are_overconfident_down_to_the_documented_floor():
    values = scores(statistics(*draws(8, spread=0.3), 1))
    assert values["spread_skill"] < 0.5 and values["inside"] < 0.5 and values["coverage_90"] < 0.8
    far = at(1, 2, 3, 4, 5, 6, 7, 8), at(100)[:, 0]
    floors = np.maximum(0, 1 - 9 * (1 - np.asarray(NOMINAL_LEVELS)) / 2)
    np.testing.assert_allclose(one("reliability", *far)[0, 0], floors, rtol=1e-5)
    np.testing.assert_array_equal(one("rank_histogram", *far)[0, 0], [0] * 8 + [1])
    assert one("inside", *far) == 0


def test_overdispersed_ensembles_are_underconfident():
    values = scores(statistics(*draws(8, spread=4.0), 1))
    assert values["spread_skill"] > 2 and values["inside"] > 0.9 and values["coverage_50"] > 0.6
    assert values["crps"] > scores(statistics(*draws(8), 1))["crps"]


def test_spread_and_skill_by_hand():
    members, true = at(0, 2, 4), at(5)[:, 0]
    np.testing.assert_allclose(one("spread_squared", members, true), [[4]])
    np.testing.assert_allclose(one("skill_squared", members, true), [[9]])
    pairs = one("spread_skill", members, true)
    np.testing.assert_allclose(pairs, [[[16 / 3, 9]]], rtol=1e-6)
    squares = jnp.asarray([[[1.0, 2.0]], [[7.0, 30.0]]])  # means before roots: sqrt(4 / 16)
    np.testing.assert_allclose(metrics.spread_skill_ratio(squares), 0.5)


def test_crps_equals_the_sum_over_pairs():
    for m in (2, 5):
        members, true = draws(m, b=3, points=8)
        error = np.abs(members - true[:, None]).mean(1)
        apart = sum(np.abs(members[:, i] - members[:, j]) for i, j in combinations(range(m), 2))
        want = (error - apart / (m * (m - 1))).mean((-2, -1))
        np.testing.assert_allclose(one("crps", members, true), want, rtol=1e-5, atol=1e-6)
    members, true = at(0, 1, 5), at(2)[:, 0]
    np.testing.assert_allclose(one("crps", members, true), [[2 - 10 / 6]], rtol=1e-5)


def test_crps_keeps_its_digits_far_from_zero():
    members, true = at(4096, 4097, 4101), at(4098)[:, 0]
    np.testing.assert_allclose(one("crps", members, true), [[2 - 10 / 6]], rtol=1e-5)


def test_an_ensemble_of_the_truth_is_perfect():
    true = draws(1, b=2)[1]
    values = scores(statistics(np.repeat(true[:, None], 4, 1), true, 1))
    for name in ("crps", "member_nrmse", "spectrum_log_error_low", "spectrum_log_error_high"):
        assert values[name] == pytest.approx(0, abs=1e-6)
    assert values["coverage_50"] == pytest.approx(0.5) and values["inside"] == pytest.approx(0.6)


def test_one_member_is_scored_as_a_single_forecast():
    members, true = draws(1)
    for name, single in (("crps", "mae"), ("member_nrmse", "nrmse")):
        want = METRICS[single].per_sample(members[:, 0], true, 1)
        np.testing.assert_allclose(one(name, members, true), want, rtol=1e-5)
    np.testing.assert_allclose(
        one("skill_squared", members, true), metrics.mse(members[:, 0], true, 1), rtol=1e-5
    )
    ranks = one("rank_histogram", members, true)
    np.testing.assert_allclose(ranks[..., 1], (members[:, 0] < true).mean((-2, -1)), rtol=1e-5)


def test_member_nrmse_is_the_mean_over_members():
    members, true = draws(3, b=4)
    want = np.mean([metrics.nrmse(members[:, i], true, 1) for i in range(3)], 0)
    np.testing.assert_allclose(one("member_nrmse", members, true), want, rtol=1e-5)


def test_ties_are_shared_by_the_ranks_they_could_take():
    ranks = one("rank_histogram", at(0, 2, 2, 3), at(2)[:, 0])
    np.testing.assert_allclose(ranks[0, 0], [0, 1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(one("inside", at(0, 2), at(2)[:, 0]), [[0.5]])


@pytest.mark.parametrize("shape", [(4, 3, 2, 16, 2), (4, 3, 2, 12, 10, 2)])
def test_leading_axes_and_batches_change_nothing(shape):
    ndim = len(shape) - 4
    members, other = np.random.default_rng(2).normal(size=(2, *shape)).astype("f4")
    true = other[:, 0]
    samples = [statistics(members[i], true[i], ndim) for i in range(4)]
    free = statistics(*(u.reshape(2, 2, *u.shape[1:]) for u in (members, true)), ndim)
    for name in STATISTICS:
        apart = np.stack([one[name] for one in samples])
        whole = free[name].reshape(apart.shape)
        np.testing.assert_allclose(apart, whole, rtol=1e-5, atol=1e-6, err_msg=name)
        assert apart.shape[:2] == (4, 2), name


def test_a_floor_below_the_fields_changes_no_bit_and_bounds_the_errors_of_a_zero_truth():
    members, true = draws(3, b=2, points=32)
    floor = np.array([1e-3], np.float32)

    @jax.jit
    def floored(true, floor):
        every = ENSEMBLE_METRICS.items()
        return {name: m.statistic(members, true, 1, floor=floor) for name, m in every}

    bounded, still = floored(true, floor), floored(0 * true, floor)
    for name, value in floored(true, 0 * floor).items():
        np.testing.assert_array_equal(bounded[name], value, name)
        if ENSEMBLE_METRICS[name].relative:
            assert still[name].shape == value.shape and np.all(still[name] < 1e5), name


def test_the_order_of_the_members_changes_nothing():
    members, true = draws(4, b=2)
    other = statistics(members[:, ::-1], true, 1)
    for name, value in statistics(members, true, 1).items():
        np.testing.assert_allclose(value, other[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_bands_hold_the_energy_of_the_spectrum():
    members, other = np.random.default_rng(3).normal(size=(2, 2, 3, 1, 32, 30, 1)).astype("f4")
    true = other[:, 0]
    spectrum = jax.jit(physics.energy_spectrum, static_argnums=1)
    theirs, ours = (np.asarray(spectrum(u, 2)) for u in (true, members))
    values = statistics(members, true, 2)
    for name, (low, high) in metrics.BANDS.items():
        want = np.log10(ours[..., low:high].sum(-1).mean(1) / theirs[..., low:high].sum(-1))
        got = values[f"spectrum_log_error_{name}"]
        np.testing.assert_allclose(got, np.abs(want), rtol=1e-4, atol=1e-5)


def test_spectrum_error_counts_decades_and_stops_at_rounding():
    true = np.cos(2 * np.pi * 6 * np.arange(64) / 64).astype("f4").reshape(1, 1, 64, 1)
    tenfold = 10 * true[:, None]
    single = partial(metrics.spectrum_log_error, ndim=1)
    np.testing.assert_allclose(single(tenfold, true, band=(4, 12)), [[2]], rtol=1e-5)
    assert single(0 * tenfold, true, band=(12, None)) < 0.5
    assert np.isnan(single(tenfold, true, band=(40, None)))
    assert np.isfinite(single(tenfold, 0 * true, band=(4, 12)))


def test_a_diverged_member_does_not_score_well():
    members, true = draws(4, b=2)
    members[1, 2, 1] = np.nan
    for name, value in statistics(members, true, 1).items():
        assert np.isnan(value[1, 1]).all(), name
        assert np.isfinite(value[0]).all() and np.isfinite(value[1, 0]).all(), name


def test_errors_say_what_is_missing():
    members, true = draws(1, b=2)
    for name in (*PAIRED, "reliability", "spread_squared"):
        with pytest.raises(ValueError, match="of 1 members: expected at least 2"):
            STATISTICS[name](members, true, 1)
    for name in STATISTICS:
        for wrong in (members[:1], members[:, 0], members[..., :1], members[0, 0]):
            with pytest.raises(ValueError, match="expected .b, m, t, .s, c. and"):
                STATISTICS[name](wrong, true, 1)
