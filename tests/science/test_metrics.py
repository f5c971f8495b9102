from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ups_jax import metrics
from ups_jax.metrics import METRICS, pdebench_compat

TRUE = np.array([1.0, -1, 2, -2], np.float32).reshape(1, 1, 4, 1)
ERROR = np.array([1.0, 1, -1, 3], np.float32).reshape(1, 1, 4, 1)
BY_HAND = {
    "nrmse": np.sqrt(3 / 2.5),
    "nrmse_gmean100": np.sqrt(3 / 2.5),
    "rmse": np.sqrt(3),
    "mse": 3.0,
    "mae": 1.5,
    "rel_l2": np.sqrt(3 / 2.5),
    "crmse": 1.0,
    "max_error": 3.0,
    "brmse": np.sqrt(5),
    "frmse_low": (1 + np.sqrt(0.5) + 1) / 3,  # |fft| = 4, |2 + 2i|, 4 over 4 points
    "frmse_mid": np.nan,
    "frmse_high": np.nan,
    "correlation_time": 1.0,  # Pearson = .5 / sqrt(.5 * 2.5) = .447
    "correlation_censored": 0.0,
    "floored": 0.0,
}


def fields(key, shape):
    true, noise = np.random.default_rng(key).normal(size=(2, *shape)).astype(np.float32)
    return true + np.float32(0.4) * noise, true


@partial(jax.jit, static_argnums=(0, 3))
def samples_of(name, pred, true, ndim):
    return METRICS[name].per_sample(pred, true, ndim)


def score(name, pred, true, ndim=1):
    return METRICS[name].reduce(np.asarray(samples_of(name, pred, true, ndim)))


@partial(jax.jit, static_argnums=2)
def statistics(pred, true, ndim):
    values = {name: metric.per_sample(pred, true, ndim) for name, metric in METRICS.items()}
    others = (metrics.per_sample_nrmse, metrics.correlation)
    return values | {f.__name__: f(pred, true, ndim) for f in others}


def wave(n, *k):
    axes = np.meshgrid(*[np.arange(n) / n] * len(k), indexing="ij")
    phase = sum(a * b for a, b in zip(axes, k, strict=True))
    return np.cos(2 * np.pi * phase).astype(np.float32)[None, None, ..., None]


@pytest.mark.parametrize("name", METRICS)
def test_by_hand(name):
    assert set(BY_HAND) == set(METRICS)
    np.testing.assert_allclose(score(name, TRUE + ERROR, TRUE), BY_HAND[name], rtol=1e-6)


def test_root_comes_last_only_where_it_should():
    true = np.concatenate([TRUE, TRUE])
    shift = np.array([1.0, 3.0], np.float32).reshape(2, 1, 1, 1)
    pred = true + shift
    np.testing.assert_allclose(score("crmse", pred, true), np.sqrt(5), rtol=1e-6)
    np.testing.assert_allclose(score("rmse", pred, true), 2, rtol=1e-6)
    np.testing.assert_allclose(score("nrmse", pred, true), 2 / np.sqrt(2.5), rtol=1e-6)
    np.testing.assert_allclose(score("frmse_low", pred, true), np.sqrt(5) / 3, rtol=1e-6)


def test_channels_are_scored_apart_then_averaged():
    true = np.concatenate([TRUE, 100 * TRUE], -1)
    pred = true + np.concatenate([ERROR, 0 * ERROR], -1)
    for name in ("nrmse", "rel_l2", "rmse", "crmse", "brmse"):
        np.testing.assert_allclose(score(name, pred, true), BY_HAND[name] / 2, rtol=1e-6)


def test_rel_l2_weighs_times_by_their_norm_and_nrmse_does_not():
    true = np.concatenate([TRUE, 3 * TRUE], 1)
    pred = np.concatenate([2 * TRUE, 3 * TRUE], 1)
    np.testing.assert_allclose(score("rel_l2", pred, true), np.sqrt(1 / 10), rtol=1e-6)
    np.testing.assert_allclose(score("nrmse", pred, true), 0.5, rtol=1e-6)


def test_max_error_is_the_largest_of_all():
    pred, true = fields(0, (3, 2, 8, 2))
    assert score("max_error", pred, true) == np.abs(pred - true).max()


@pytest.mark.parametrize("k, band", [(2, "low"), (3, "low"), (4, "mid"), (11, "mid"), (12, "high")])
def test_bands_in_one_dimension(k, band):
    size = {"low": 4, "mid": 8, "high": 21}
    for name, count in size.items():
        want = 0.5 / count if name == band else 0.0
        value = score(f"frmse_{name}", wave(64, k), 0 * wave(64, k))
        np.testing.assert_allclose(value, want, atol=1e-7)


def test_bands_equal_the_half_spectrum_in_one_dimension():
    pred, true = fields(3, (5, 2, 32, 1))
    power = np.abs(np.fft.rfft(np.asarray(pred - true, float), axis=2) / 32) ** 2
    root = np.sqrt(power.mean(0))
    for name, (low, high) in metrics.BANDS.items():
        want = root[:, low:high].mean()
        np.testing.assert_allclose(score(f"frmse_{name}", pred, true), want, rtol=1e-5)


@pytest.mark.parametrize("k", [(3, 4), (5, 0), (0, 5), (-4, 3)])
def test_bands_in_two_dimensions_are_rings(k):
    zero = 0 * wave(32, *k)
    np.testing.assert_allclose(score("frmse_mid", wave(32, *k), zero, 2), 0.5 / 8, rtol=1e-5)
    np.testing.assert_allclose(score("frmse_low", wave(32, *k), zero, 2), 0, atol=1e-7)
    assert metrics.spectral_error_squared(zero, zero, 2, band=(0, None)).shape == (1, 1, 23, 1)


def test_boundary_in_two_dimensions():
    error = np.zeros((1, 1, 3, 4, 1), np.float32)
    error[0, 0, 1, 1] = 9.0  # the interior does not count
    error[0, 0, 0, 1] = 2.0  # on one edge
    error[0, 0, 2, 3] = 1.0  # a corner: on two
    value = score("brmse", error, 0 * error, 2)
    np.testing.assert_allclose(value, np.sqrt((4 + 1 + 1) / 14), rtol=1e-6)


def test_zero_truth_is_guarded():
    zero = np.zeros_like(TRUE)
    assert score("nrmse", zero, zero) == 0 and score("rel_l2", zero, zero) == 0
    for name in ("nrmse", "rel_l2"):
        value = score(name, zero + np.float32(1e-3), zero)
        assert np.isfinite(value) and value > 1e30


def test_a_floor_bounds_the_errors_of_small_fields_and_changes_no_bit_of_others():
    pred, true = fields(3, (4, 3, 16, 2))
    true[1, 2, :, 0] = 0.0
    floor = np.array([1e-3, 5.0], np.float32)
    bounded, free = (
        jax.jit(partial(metrics.nrmse, ndim=1, floor=f))(pred, true) for f in (floor, 0)
    )
    by_hand = [np.sqrt(np.mean((pred - true) ** 2, 2)), np.sqrt(np.mean(true**2, 2))]
    np.testing.assert_allclose(
        bounded, (by_hand[0] / np.maximum(by_hand[1], floor)).mean(-1), rtol=1e-5
    )
    few = np.array([1e-3, 1e-3], np.float32)
    same = jax.jit(partial(metrics.nrmse, ndim=1, floor=few))(pred, true)
    rest = np.arange(12).reshape(4, 3) != 5
    np.testing.assert_array_equal(same[rest], free[rest])
    assert free[1, 2] > 1e30 and same[1, 2] < 1e3
    counted = jax.jit(partial(metrics.floored, ndim=1))
    np.testing.assert_array_equal(counted(pred, true, floor=few), [0, 1, 0, 0])
    np.testing.assert_array_equal(counted(pred, true, floor=floor), [1, 1, 1, 1])

    @jax.jit
    def all_statistics(pred, true):
        return {name: m.statistic(pred, true, 1, floor=few) for name, m in METRICS.items()}

    alone = [all_statistics(p[None], y[None]) for p, y in zip(pred, true, strict=True)]
    for name, stacked in all_statistics(pred, true).items():
        one_by_one = np.concatenate([values[name] for values in alone])
        np.testing.assert_allclose(stacked, one_by_one, rtol=1e-5)


def test_a_diverged_forecast_does_not_score_well():
    true = np.concatenate([TRUE, TRUE], 1)
    pred = true.copy()
    pred[:, 1] = np.nan
    assert np.isnan(score("nrmse", pred, true))
    assert score("correlation_time", pred, true) == 2
    assert score("correlation_censored", pred, true) == 0


def test_correlation_time_is_known_by_construction():
    angle = np.arccos([[0.99, 0.9, 0.81, 0.79, 0.95], [0.99, 0.9, 0.9, 0.9, 0.9]])
    x = 2 * np.pi * np.arange(32) / 32
    true = np.broadcast_to(np.sin(x), (2, 5, 32))[..., None].astype(np.float32)
    pred = (5 + 3 * np.sin(x + angle[..., None]))[..., None].astype(np.float32)
    np.testing.assert_allclose(metrics.correlation(pred, true, 1), np.cos(angle), atol=1e-5)
    np.testing.assert_array_equal(metrics.correlation_time(pred, true, 1), [4, 5])
    np.testing.assert_array_equal(metrics.correlation_censored(pred, true, 1), [0, 1])
    assert METRICS["correlation_time"].unit == "frames"


def test_correlation_of_constants():
    correlation = jax.jit(metrics.correlation, static_argnums=2)
    constant = np.full_like(TRUE, 0.1)
    nearly = np.float32(1000) + np.float32(1e-4) * TRUE  # one rounding of float32
    assert correlation(constant, nearly, 1) == 1
    assert correlation(constant, TRUE, 1) == 0
    assert correlation(TRUE, constant, 1) == 0
    np.testing.assert_allclose(correlation(TRUE, np.float32(1e-18) * TRUE, 1), 1, rtol=1e-6)


def test_per_sample_nrmse_has_the_mean_of_nrmse():
    pred, true = fields(1, (6, 3, 8, 2))
    values = metrics.per_sample_nrmse(pred, true, 1)
    assert values.shape == (6,)
    np.testing.assert_allclose(jnp.mean(values), score("nrmse", pred, true), rtol=1e-6)


@pytest.mark.parametrize("shape", [(6, 3, 32, 2), (6, 3, 24, 30, 2)])
def test_leading_axes_and_batches_change_nothing(shape):
    ndim = len(shape) - 3
    pred, true = fields(2, shape)
    samples = [statistics(pred[i], true[i], ndim) for i in range(6)]
    batched = statistics(*(u.reshape(2, 3, *shape[1:]) for u in (pred, true)), ndim)
    for name in batched:
        apart = np.stack([sample[name] for sample in samples])
        whole = batched[name].reshape(apart.shape)
        np.testing.assert_allclose(apart, whole, rtol=1e-5, atol=1e-6, err_msg=name)
        if metric := METRICS.get(name):
            values = metric.reduce(apart), metric.reduce(whole)
            np.testing.assert_allclose(*values, rtol=1e-6, err_msg=name)


def test_gmean_is_over_time_after_the_mean_over_samples():
    frames = np.full((2, 150), 7.0)
    frames[:, :50], frames[:, 50:100] = [[1.0], [3.0]], [[8.0], [8.0]]
    assert np.isclose(METRICS["nrmse_gmean100"].reduce(jnp.asarray(frames)), 4.0)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"prediction has shape \(1, 1, 4, 1\), truth \(1, 2, 4"):
        metrics.nrmse(TRUE, np.concatenate([TRUE, TRUE], 1), 1)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.int32])
def test_types_of_few_digits_are_refused(dtype):
    with pytest.raises(ValueError, match=f"prediction holds {jnp.dtype(dtype)}.*astype"):
        metrics.nrmse(jnp.asarray(TRUE, dtype), TRUE, 1)


def test_pdebench_factor():
    np.testing.assert_allclose(pdebench_compat(1.0, batches=20), 0.796, atol=1e-3)
    with pytest.raises(ValueError, match="batches is 1"):
        pdebench_compat(1.0, batches=1)


def test_pdebench_quirks_simulated():
    batches, size, frames, context = 5, 4, 41, 10
    pred, true = fields(4, (batches * size, frames, 16, 1))
    pred[:, :context] = true[:, :context]  # copied context, scored all the same
    nrmse = np.asarray(metrics.nrmse(pred, true, 1)).reshape(batches, size, frames)
    printed = nrmse.mean((1, 2)).sum() / (batches - 1)
    honest = nrmse[..., context:].mean()
    np.testing.assert_allclose(pdebench_compat(honest, batches=batches), printed, rtol=1e-5)
