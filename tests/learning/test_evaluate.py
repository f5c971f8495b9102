"""Forecasters and their evaluation: what is rolled, from where, counted once, in physical space."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax import metrics
from ups_jax.data import fit_normalizer
from ups_jax.emulator import Emulator, add_residual, fit_statistics, identity_stats, init, step
from ups_jax.evaluate import batches, validator
from ups_jax.forecast import (
    FORECASTERS,
    Forecast,
    Forecaster,
    calls_per_step,
    nudged_analysis,
)
from ups_jax.models import OPERATORS
from ups_jax.pde import PDES
from ups_jax.pde.symmetries import images
from ups_jax.report.fields import nrmse
from ups_jax.types import Interrupted, Trajectories

MODES = ("persistence", "mean", "solver", "operator")
FEW = {"nrmse": metrics.METRICS["nrmse"]}


class Counting(np.ndarray):
    """An array that counts the trajectories taken from it whole."""

    taken = 0

    def __getitem__(self, index):
        if isinstance(index, np.ndarray):
            Counting.taken += len(np.unique(index))
        return np.asarray(super().__getitem__(index))


def shifted(tree, value):
    return jax.tree.map(lambda x: np.asarray(x) + np.float32(value), tree)


@pytest.fixture(scope="module")
def task():
    """Burgers whose solver runs on the very grid of the data: its forecast is the truth."""
    pde = PDES["burgers"](nu=0.05, points=32, cells=32)
    net = OPERATORS["resnet"](ndim=1, channels=1, params=1, width=4, blocks=1, dilations=(1,))
    emulator = Emulator(pde, net)
    data = ups.simulate(pde, jax.random.key(0), n=7, steps=14, cache=False)
    params = init(emulator, jax.random.key(1), fit_normalizer(data, pde.features))
    return emulator, params, data


@pytest.fixture(scope="module")
def report(task):
    return ups.evaluate(*task, jax.random.key(0), forecasters=MODES, horizons=(0.1, 0.5), batch=4)


def test_the_scheme_that_made_the_data_is_exact_and_the_untrained_operator_persists(report):
    s = report.scalars
    assert s["eval/solver/nrmse"] < 1e-4 and s["eval/solver/p10/nrmse"] < 1e-4
    assert s["eval/operator/nrmse"] == pytest.approx(s["eval/persistence/nrmse"], rel=0.05)
    assert s["eval/mean/nrmse"] > 0.1


def test_persistence_and_mean_by_hand(task, report):
    _, _, data = task
    u = np.asarray(data.u, np.float64)[..., 0]
    for protocol, start in (("", 0), ("p10/", 9)):
        given, true = u[:, start : start + 1], u[:, start + 1 :]
        for mode, pred in (("persistence", given), ("mean", given.mean(-1, keepdims=True))):
            size = np.sqrt((true**2).mean(-1))
            each = np.sqrt(((pred - true) ** 2).mean(-1)) / size
            got = report.scalars[f"eval/{mode}/{protocol}nrmse"]
            assert got == pytest.approx(each.mean(), rel=1e-4)
            if not protocol:
                at = report.scalars[f"eval/{mode}/nrmse@0.5"]
                assert at == pytest.approx(each[:, 9].mean(), rel=1e-4)
                median = report.scalars[f"eval/{mode}/nrmse_median"]
                assert median == pytest.approx(np.median(each.mean(1)), rel=1e-4)


def test_scalars_do_not_depend_on_the_batch(task, report):
    few = ("nrmse", "crmse", "frmse_mid", "max_error", "correlation_time")
    other = ups.evaluate(
        *task,
        jax.random.key(0),
        forecasters=("mean", "operator"),
        metrics={name: metrics.METRICS[name] for name in few},
        batch=7,
    )
    for key, value in other.scalars.items():
        if not key.endswith("ms"):
            assert value == pytest.approx(report.scalars[key], rel=1e-4, abs=1e-6), key


def test_a_trajectory_of_zeros_is_floored_counted_and_printed(task, report):
    emulator, params, data = task
    u = np.array(data.u)
    u[2] = 0
    rest = replace(data, u=u)
    result = ups.evaluate(emulator, params, rest, forecasters=("mean", "operator"), batch=4)
    for key, value in result.scalars.items():
        assert np.isfinite(value) or "frmse_high" in key, key
        if key.endswith("/floored"):
            assert value == pytest.approx(1 / 7), key
    assert "14 % of the trajectories" in result.table()
    assert validator(emulator, rest, batch=4)(params) < 1e4
    assert report.scalars["eval/operator/floored"] == 0 and "%" not in report.table()


def test_one_pass_over_the_test_split(task):
    emulator, params, data = task
    counted = Trajectories(np.asarray(data.u).view(Counting), data.cond, data.dt)
    Counting.taken = 0
    ups.evaluate(
        emulator,
        params,
        counted,
        jax.random.key(0),
        forecasters=MODES,
        metrics=FEW,
        batch=4,
        num_figures=0,
    )
    assert Counting.taken == len(data)


def test_the_selected_forecaster_and_protocol_name_the_plain_keys(task):
    made = ups.evaluate(
        *task,
        jax.random.key(0),
        forecasters=("mean", "solver"),
        metrics=FEW,
        selected="mean",
        protocol="p10",
        batch=7,
    )
    s = made.scalars
    assert s["eval/nrmse"] == s["eval/mean/p10/nrmse"]
    assert s["eval/physics/conservation_gap"] == s["eval/mean/physics/conservation_gap"]


def test_the_truth_is_measured_by_the_same_physics(report):
    s = report.scalars
    assert s["eval/truth/physics/conservation_gap"] < 1e-5
    solver, truth = (s[f"eval/{m}/physics/pde_residual"] for m in ("solver", "truth"))
    assert solver == pytest.approx(truth, rel=1e-3) and truth > 0
    assert s["eval/persistence/physics/pde_residual"] != pytest.approx(truth, rel=0.05)


def test_tables_name_what_they_show(report):
    assert len(report.rows) == 2 * len(MODES) and report.physics_rows[0][0] == "truth"
    row = dict(zip(report.columns, report.rows[3], strict=True))
    assert row["forecaster"] == "operator" and row["calls"] == 14 and row["parameters"] > 0
    assert row["nrmse"] == report.scalars["eval/operator/nrmse"] and "ms" not in row


def test_curves_and_examples_are_those_of_the_forecasts(task, report):
    emulator, params, data = task
    assert report.curves["operator/nrmse"].shape == (7, 14)
    assert report.curves["operator/p10/nrmse"].shape == (7, 5)
    assert report.curves["operator/nrmse"].mean() == pytest.approx(
        report.scalars["eval/operator/nrmse"], rel=1e-5
    )
    out = ups.forecast(
        emulator, params, data.u[:, 0], data.cond, jax.random.key(0), steps=14, forecaster="mean"
    )
    np.testing.assert_allclose(report.examples["mean"], out.u[report.chosen], atol=1e-6)
    worst = int(report.labels[2].split("(")[1].rstrip(")"))
    assert report.curves["operator/nrmse"].mean(1).argmax() == worst
    np.testing.assert_array_equal(report.examples["truth"][2], data.u[worst])


def test_examples_are_those_of_the_protocol(task):
    report = ups.evaluate(
        *task, jax.random.key(0), forecasters=("persistence", "operator"), metrics=FEW,
        protocol="p10",
    )  # fmt: skip
    given, after = np.asarray(task[2].u)[report.chosen, 9], report.examples["truth"][:, 1:]
    np.testing.assert_array_equal(report.examples["truth"][:, 0], given)
    np.testing.assert_allclose(report.example_times, report.times[10:])
    for name in ("persistence", "operator"):
        shown = [nrmse(*pair) for pair in zip(after, report.examples[name], strict=True)]
        errors = report.curves[f"{name}/p10/nrmse"].mean(1)
        np.testing.assert_allclose(shown, errors[report.chosen], rtol=1e-4)
    assert errors.argmax() == report.chosen[2] and report.labels[2].startswith("worst")


def test_only_the_examples_are_kept_unless_all_predictions_are_asked_for(task, report):
    assert report.predictions == {} and len(report.examples["operator"]) == 3
    more = dict(forecasters=("mean", "operator"), metrics=FEW, batch=3, examples=(6, 0, 6))
    kept = ups.evaluate(*task, jax.random.key(0), keep_predictions=True, **more)
    few = ups.evaluate(*task, jax.random.key(0), **more)
    assert kept.predictions["operator"].shape == (7, 14, 32, 1) and few.predictions == {}
    for name in ("mean", "operator"):
        np.testing.assert_array_equal(few.examples[name], kept.predictions[name][[6, 0, 6]])
    np.testing.assert_array_equal(few.examples["truth"], task[2].u[np.array([6, 0, 6])])
    assert few.labels == ["sample 6", "sample 0", "sample 6"]


def test_metrics_of_the_caller_are_in_the_table_and_compiled_once(task):
    traced = []  # once for P1 and once for P10

    def mine(pred, true, ndim):
        traced.append(1)
        return metrics.nrmse(pred, true, ndim) + 1

    more = dict(forecasters=("mean", "solver"), batch=7)
    more["metrics"] = {"mine": metrics.Metric(mine, jnp.mean, label="My error")}
    made = [ups.evaluate(*task, jax.random.key(i), **more) for i in range(2)]
    assert len(traced) == 2
    table, row = made[0].table(), dict(zip(made[0].columns, made[0].rows[1], strict=True))
    assert "My error" in table and "nRMSE" not in table and "ms" not in table
    assert row["mine"] == made[0].scalars["eval/solver/mine"] >= 1
    assert made[0].scalars.keys().isdisjoint({"eval/solver/nrmse", "eval/solver/ms"})
    timed = ups.evaluate(*task, jax.random.key(0), timing=True, **more)
    assert len(traced) == 2 and timed.scalars["eval/mean/ms"] > 0 and "ms/rollout" in timed.table()


def test_validation_and_evaluation_start_by_one_program(task, monkeypatch):
    traced = []

    def counted(*args, **options):
        traced.append(options["gain"])
        return nudged_analysis(*args, **options)

    monkeypatch.setattr(batches, "nudged_analysis", counted)
    batches._initial_states.clear_cache()
    emulator, params, data = task
    data = data.take(slice(3))
    validator(emulator, data, batch=3)(params)
    # Validation may know more networks than evaluation.
    validator(emulator, data, batch=3)(params | {"control": params["operator"]})
    ups.evaluate(emulator, params, data, batch=3, forecasters=("mean",), context_frames=15)
    assert traced == [1.0]


def test_a_symmetrized_forecast_is_that_of_the_mirror_image_mirrored(task):
    emulator, params, data = task
    rng = np.random.default_rng(0)
    moved = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), params)
    params = {**moved, "stats": params["stats"]}
    reflect, given = emulator.pde.reflection, (data.cond, jax.random.key(0))

    def run(name, u0):
        return ups.forecast(emulator, params, u0, *given, steps=5, forecaster=name).u

    u0, reflect = data.u[:, 0], jax.jit(reflect)
    image = np.asarray(reflect(u0))
    made, mirrored = (run("symmetrized", u) for u in (u0, image))
    np.testing.assert_allclose(reflect(mirrored), made, rtol=1e-5, atol=1e-6)
    plain, other = (np.asarray(x) for x in (run("operator", u0), reflect(run("operator", image))))
    assert np.abs(plain - other).max() > 0.1
    # The first step is the mean of both.
    np.testing.assert_allclose(made[:, 0], 0.5 * (plain + other)[:, 0], rtol=1e-5, atol=1e-6)
    assert calls_per_step(emulator, "symmetrized") == 2
    with pytest.raises(ValueError, match="pde 'advection' has none"):
        pde = PDES["advection"](points=32, cells=32)
        other = Emulator(pde, emulator.operator)
        ups.forecast(other, params, u0, *given, steps=1, forecaster="symmetrized")


def test_a_symmetrized_forecast_in_a_square_commutes_with_its_eight_images():
    pde = PDES["reaction_diffusion"](points=(8, 8), cells=(16, 16))
    emulator = Emulator(pde, OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32),
        init(emulator, jax.random.key(0), identity_stats(emulator)),
    )
    u0, cond = rng.normal(size=(2, 8, 8, 2)).astype(np.float32), np.zeros((2, 0), np.float32)

    def run(name, u0):
        key = jax.random.key(0)
        u0 = np.asarray(u0)
        return ups.forecast(emulator, params, u0, cond, key, steps=2, forecaster=name).u

    made = np.asarray(run("symmetrized", u0))
    turns = [(jax.jit(to_image), jax.jit(back)) for to_image, back in images(pde.mirrors)]
    found, plain = (
        [np.asarray(back(run(name, to_image(u0)))) for to_image, back in turns]
        for name in ("symmetrized", "operator")
    )
    assert len(found) == 8 == calls_per_step(emulator, "symmetrized")
    for one in found:
        np.testing.assert_allclose(one, made, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made[:, 0], sum(plain)[:, 0] / 8, rtol=1e-4, atol=1e-5)
    assert min(np.abs(one - plain[0]).max() for one in plain[1:]) > 0.1


def test_a_diverging_forecaster_spoils_only_its_own_row(task, monkeypatch):
    def wild(emulator, params, u0, cond, key, *, steps):
        return Forecast(jnp.full((u0.shape[0], steps, *u0.shape[1:]), jnp.nan))

    monkeypatch.setitem(FORECASTERS, "mean", Forecaster(wild))
    made = ups.evaluate(
        *task,
        jax.random.key(0),
        forecasters=("mean", "solver"),
        metrics=FEW,
        selected="solver",
        batch=7,
    )
    s = made.scalars
    assert np.isnan(s["eval/mean/nrmse"]) and s["eval/solver/nrmse"] < 1e-4
    emulator, params, data = task
    given = (emulator, params, data.u[:, 0], data.cond, jax.random.key(0))
    # A forecaster that replaces one of the same name takes part at once.
    assert np.isnan(ups.forecast(*given, steps=14, forecaster="mean").u).all()


def test_a_forecast_holds_the_steps_after_the_given_frame(task):
    emulator, params, data = task
    u, cond, advance = data.u[:, 0], data.cond, jax.jit(partial(step, emulator))
    key = jax.random.key(0)
    out = np.asarray(ups.forecast(emulator, params, u, cond, key, steps=3, forecaster="operator").u)
    for i in range(3):
        u = advance(params, u, cond)
        np.testing.assert_allclose(out[:, i], u, rtol=1e-4, atol=1e-5)


def test_after_several_frames_a_forecast_starts_where_nudging_left_it(task):
    """Gain 1 is the last frame, gain 0 the forecast of it from the first, halves go half-way."""
    emulator, params, data = task
    shaken = params | {"operator": shifted(params["operator"], 0.1)}
    frames, cond = np.asarray(data.u[:, :3]), np.asarray(data.cond)
    compiled = jax.jit(partial(step, emulator, shaken))
    at = jax.jit(partial(nudged_analysis, emulator, shaken, frames, cond), static_argnames="gain")

    def advance(u):
        return np.asarray(compiled(u, cond))

    free = advance(advance(frames[:, 0]))
    half = advance(0.5 * (advance(frames[:, 0]) + frames[:, 1]))
    assert np.abs(free - half).max() > 1e-2
    np.testing.assert_array_equal(at(gain=1.0), frames[:, 2])
    np.testing.assert_allclose(at(gain=0.0), free, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(at(gain=0.5), 0.5 * (half + frames[:, 2]), rtol=1e-4, atol=1e-5)


def test_without_looking_at_the_frames_p10_is_the_later_part_of_p1(task):
    emulator, params, data = task
    shaken = params | {"operator": shifted(params["operator"], 0.01)}
    made = [
        ups.evaluate(
            emulator,
            shaken,
            data,
            jax.random.key(0),
            forecasters=("mean", "operator"),
            metrics=FEW,
            **more,
        )
        for more in (dict(batch=7, nudging_gain=0.0), dict(batch=7))
    ]
    free, from_last = (m.curves["operator/p10/nrmse"] for m in made)
    np.testing.assert_allclose(free, made[0].curves["operator/nrmse"][:, 9:], rtol=1e-3)
    assert np.abs(free - from_last).max() > 1e-3
    means = [m.curves["mean/p10/nrmse"] for m in made]
    np.testing.assert_array_equal(*means)


def test_zero_mean_increments_keep_the_mean(task):
    emulator, params, data = task
    shaken = params | {"operator": shifted(params["operator"], 0.1)}
    bound = Emulator(emulator.pde, emulator.operator, zero_mean=True)
    u, cond = data.u[:, 0], data.cond
    ahead = [np.asarray(jax.jit(partial(step, s))(shaken, u, cond)) for s in (emulator, bound)]
    drift = [np.abs(np.mean(x - u, (1, 2))).max() for x in ahead]
    assert drift[0] > 1e-3 and drift[1] < 1e-6


def test_the_mean_is_kept_where_the_coefficients_conserve_it():
    pde = ups.PDES["mixture"](equations=("ks", "fisher", "adv"), points=32, cells=32)
    network = OPERATORS["resnet"](ndim=1, channels=1, params=8, width=4, blocks=1)
    emulator = Emulator(pde, network, zero_mean=True, networks={"diffusion": network})
    params = shifted(ups.init(emulator, jax.random.key(0)), 0.1)
    cond = np.stack([part.sample_cond(jax.random.key(0)) for part in pde.parts])
    u = np.random.default_rng(1).normal(size=(3, 32, 1)).astype(np.float32)
    drift = np.abs(np.mean(jax.jit(partial(step, emulator))(params, u, cond) - u, (1, 2)))
    assert drift[1] > 1e-3 and max(drift[0], drift[2]) < 1e-6
    # A residual of two members.
    params["stats"]["residual_std"] = np.ones(1, np.float32)
    both, at = np.stack([u, u]), np.stack([cond, cond])
    add = partial(add_residual, draw=lambda _, shape: jnp.ones(shape), model="diffusion")
    made = jax.jit(partial(add, emulator))(params, both, both, at)
    moved = np.abs(made - both).max((0, 2, 3))
    np.testing.assert_allclose(moved, [0, 1, 0], atol=1e-5)


def test_a_galilean_operator_commutes_with_a_change_of_frame(task):
    """Boosted by c = k points an interval, a field moves k points further and stays c higher."""
    emulator, params, data = task
    shaken = params | {"operator": shifted(params["operator"], 0.1)}
    u, cond = np.asarray(data.u[:, 0]), np.asarray(data.cond)
    speed = 3 * emulator.pde.extent[0] / emulator.pde.points[0] / emulator.pde.dt
    apart = []
    for galilean in (True, False):
        advance = jax.jit(partial(step, replace(emulator, galilean=galilean), shaken))
        boosted = np.roll(advance(u, cond), 3, 1) + speed
        apart.append(np.abs(advance(u + np.float32(speed), cond) - boosted).max())
    assert apart[0] < 1e-4 and apart[1] > 0.1


def test_in_the_galilean_frame_an_increment_is_the_change_of_shape(task):
    """Of a wave that drifts by whole points an interval and grows, only the growth is left."""
    emulator, _, data = task
    n = emulator.pde.points[0]
    speed = 2 / n / 0.05
    wave = np.sin(2 * np.pi * np.arange(n) / n)
    path = np.stack([speed + (0.1 + 0.01 * t) * np.roll(wave, 2 * t) for t in range(4)])
    path = path[None, ..., None].astype(np.float32)
    drifting = ups.Trajectories(path, np.ones((1, 1), np.float32), dt=0.05)
    still = fit_statistics(replace(emulator, galilean=True), drifting)
    np.testing.assert_allclose(still["increment_std"], 0.01 / 2**0.5, rtol=1e-3)
    assert fit_statistics(emulator, drifting)["increment_std"] > 0.02
    np.testing.assert_allclose(still["mean"], 0, atol=1e-6)
    np.testing.assert_allclose(still["std"], 0.11554 / 2**0.5, rtol=1e-3)


def test_a_pde_without_a_galilean_frame_takes_no_galilean_operator():
    with pytest.raises(ValueError, match="pde 'advection' has no Galilean frame"):
        ups.build(ups.load_config("configs/advection.py:smoke", {"operator.galilean": True}))


def test_a_hybrid_corrects_the_solver(task):
    _, _, data = task
    small = {"operator.base": "solver", "operator.width": 4, "operator.dilations": (1,)}
    small["operator.galilean"] = False
    emulator = ups.build(ups.load_config("configs/burgers.py:smoke", small))
    cond = np.full((3, 1), 1e-3, np.float32)

    @jax.jit
    def solve(key):
        keys, one = jax.random.split(key, 3), jnp.ones(1)
        u0 = jax.vmap(lambda k: emulator.pde.initial(k, one, emulator.pde.points))(keys)
        return jnp.stack([u0, emulator.pde.step(u0, cond)], 1)

    u = np.asarray(solve(jax.random.key(0)))
    u0, pair = u[:, 0], ups.Trajectories(u, cond, emulator.pde.dt)
    stats = [fit_normalizer(pair, emulator.pde.features), fit_statistics(emulator, pair)]
    assert stats[1]["increment_std"] < 0.5 * stats[0]["increment_std"]
    params = ups.init(emulator, jax.random.key(0), stats[1])
    start = jax.jit(emulator.base)(u0, cond)
    moved = jax.jit(partial(step, emulator))(params, u0, cond)
    np.testing.assert_allclose(moved, start, atol=1e-2)
    want = np.std(np.asarray(u[:, 1] - start))
    assert stats[1]["increment_std"] == pytest.approx(want, rel=1e-4)
    for changes, words in (
        ({"operator.coarsen": 5}, "operator.coarsen is 5"),
        ({"operator.base": "sover"}, "did you mean 'solver'"),
    ):
        with pytest.raises(ValueError, match=words):
            ups.build(
                ups.load_config("configs/burgers.py:smoke", {"operator.base": "solver"} | changes)
            )


def test_the_validator_is_the_evaluation_of_the_operator(task, report):
    emulator, params, data = task
    value = validator(emulator, data, batch=3)(params)
    assert value == pytest.approx(report.scalars["eval/operator/nrmse"], rel=1e-5)
    later = validator(emulator, data, batch=3, metric="rel_l2", start=9)(params)
    assert later == pytest.approx(report.scalars["eval/operator/p10/rel_l2"], rel=1e-5)
    given = dict(forecasters=("operator",), nudging_gain=0.5, num_figures=0)
    analysed = ups.evaluate(emulator, params, data, **given).scalars["eval/operator/p10/nrmse"]
    value = validator(emulator, data, batch=3, start=9, nudging_gain=0.5)(params)
    assert value == pytest.approx(analysed, rel=1e-5)
    with pytest.raises(Interrupted):
        validator(emulator, data, batch=3, stop=lambda: True)(params)


def test_one_diverging_forecast_does_not_decide_a_geometric_mean(task):
    emulator, params, data = task
    rows, u = [], np.array(data.u)
    options: dict = dict(batch=3, record=rows.append, average="gmean")
    value = validator(emulator, data, **options)(params)
    assert value == pytest.approx(np.exp(np.log(np.minimum(rows[0], 1)).mean()), rel=1e-6)
    u[2] = np.nan
    broken = replace(data, u=u)
    assert validator(emulator, broken, batch=3)(params) == np.inf
    rest = np.minimum(np.delete(rows[0], 2), 1)
    expected = np.prod(rest) ** (1 / len(data))
    assert validator(emulator, broken, **options)(params) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="unknown average 'median'"):
        validator(emulator, data, batch=3, average="median")


def test_a_stopped_evaluation_raises(task):
    with pytest.raises(Interrupted):
        ups.evaluate(*task, jax.random.key(0), forecasters=("mean",), batch=4, stop=lambda: True)


def test_bad_arguments_are_refused_before_anything_runs(task):
    emulator, params, data = task
    u0, cond, key = data.u[:, 0], data.cond, jax.random.key(0)
    with pytest.raises(ValueError, match="unknown forecaster 'operatr'; did you mean 'operator'"):
        ups.forecast(emulator, params, u0, cond, key, steps=1, forecaster="operatr")
    with pytest.raises(ValueError, match="u0 has shape"):
        ups.forecast(emulator, params, u0[..., 0], cond, key, steps=1, forecaster="mean")
    with pytest.raises(ValueError, match="cond has shape"):
        ups.forecast(emulator, params, u0, cond[:3], key, steps=1, forecaster="mean")
    with pytest.raises(ValueError, match="steps is 0"):
        ups.forecast(emulator, params, u0, cond, key, steps=0, forecaster="mean")
    with pytest.raises(ValueError, match="nudging_gain is 2; it must be from 0 to 1"):
        ups.evaluate(emulator, params, data, key, forecasters=("mean",), nudging_gain=2)
    with pytest.raises(ValueError, match="unknown protocol"):
        ups.evaluate(emulator, params, data, key, forecasters=("mean",), protocol="p2")


def test_every_metric_of_the_table_is_reported(report):
    for name in metrics.METRICS:
        assert f"eval/operator/{name}" in report.scalars
        assert f"eval/operator/p10/{name}" in report.scalars


def test_two_space_dimensions_go_the_same_way():
    pde = PDES["advection"](points=(8, 8), cells=(16, 16))
    net = OPERATORS["resnet"](ndim=2, channels=1, params=2, width=4, blocks=1, dilations=(1,))
    emulator = Emulator(pde, net)
    data = ups.simulate(pde, jax.random.key(0), n=3, steps=4, cache=False)
    params = init(emulator, jax.random.key(1), fit_normalizer(data, pde.features))
    made = ups.evaluate(
        emulator,
        params,
        data,
        jax.random.key(0),
        forecasters=MODES,
        metrics=FEW | {name: metrics.METRICS[name] for name in ("brmse", "frmse_low")},
        batch=2,
        context_frames=3,
        horizons=(0.1,),
    )
    assert made.scalars["eval/solver/nrmse"] < made.scalars["eval/persistence/nrmse"]
    assert made.examples["truth"].shape == (3, 5, 8, 8, 1)
    assert made.scalars["eval/truth/physics/conservation_gap"] < 0.05
