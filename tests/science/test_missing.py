"""Missing values: masked ones change no statistic, loss, gradient or metric; others are refused."""

from dataclasses import replace
from functools import partial

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax import config
from ups_jax.data import draw_windows, field_std, fit_normalizer, sample_windows
from ups_jax.data.missing import fill, fill_windows, missing_share
from ups_jax.emulator import fill_state
from ups_jax.evaluate.statistics import metrics_of
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import load_splits
from ups_jax.experiment.export import array_name
from ups_jax.forecast import nudged_analysis
from ups_jax.metrics import METRICS, OBSERVED_METRICS
from ups_jax.metrics.losses import LOSSES, OBSERVED_LOSSES
from ups_jax.stages import STAGES, bind

RNG = np.random.default_rng(0)
N, T, X, C = 6, 5, 8, 2
U = RNG.normal(size=(N, T, X, C)).astype(np.float32)
SEEN = RNG.uniform(size=U.shape) > 0.3
GAPS = np.where(SEEN, U, np.nan)
KEY = jax.random.key(0)
SMALL = dict(width=4, blocks=1, dilations=(1,))
NONE = np.zeros((N, 0), np.float32)
filled = jax.jit(fill, static_argnums=1)


def trajectories(u, **stated):
    return ups.Trajectories(u, dt=0.5, channels=("a", "b"), **stated)


def emulator_of(data, missing="mask", **options):
    pde = ups.pde_of(data, symmetries=("translation", "reflection"), vector=("b",))
    return ups.Emulator(pde, ups.OPERATORS["resnet"], missing=missing, **SMALL, **options)


# Filling


def test_gaps_take_the_last_value_of_their_point_else_the_mean_of_the_frame():
    nan = np.nan
    u = np.array([[1, nan, 3, nan], [nan, 5, nan, nan], [nan, nan, nan, nan]], np.float32)
    found, back, none = (
        np.asarray(filled(x[..., None], 1))[..., 0] for x in (u, u[::-1], np.full_like(u, nan))
    )
    np.testing.assert_array_equal(found, [[1, 2, 3, 2], [1, 5, 3, 5], [1, 5, 3, 5]])
    # Frames before the first observed one are copies of it; without any, nothing is known.
    np.testing.assert_array_equal(back[0], [5] * 4)
    assert np.isnan(none).all()


def test_the_fill_keeps_observed_values_has_free_axes_and_sees_no_later_frame():
    found = np.asarray(filled(GAPS, 1))
    np.testing.assert_array_equal(found[SEEN], U[SEEN])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[3], filled(GAPS[3], 1))
    np.testing.assert_allclose(found[:, :3], filled(GAPS[:, :3], 1))
    plane = np.asarray(filled(GAPS.reshape(N, T, 2, 4, C), 2))
    np.testing.assert_allclose(plane.reshape(GAPS.shape), found, rtol=1e-6)
    np.testing.assert_array_equal(filled(U, 1), U)


@pytest.mark.parametrize("history", [1, 3])
def test_a_state_is_filled_as_the_frames_that_it_holds(history):
    data = ups.with_static(trajectories(GAPS), mask=np.ones(X, np.float32))
    emulator = emulator_of(data, history=history)
    state = np.asarray(jax.jit(partial(ups.states, emulator))(data.u))[:, 4]
    frames = np.asarray(filled(data.u[:, 5 - history :, ..., :C], 1))
    found = np.asarray(jax.jit(partial(fill_state, emulator))(state))
    for j in range(history):
        np.testing.assert_allclose(found[..., j * C : (j + 1) * C], frames[:, -1 - j], rtol=1e-6)
    np.testing.assert_array_equal(found[..., -1], 1)


# Statistics


def test_statistics_are_those_of_observed_values():
    stats, data = fit_normalizer(trajectories(GAPS), lambda cond: cond), trajectories(GAPS)
    rows, both = GAPS.astype(np.float64).reshape(-1, C), np.diff(GAPS.astype(np.float64), axis=1)
    np.testing.assert_allclose(stats["mean"], np.nanmean(rows, 0), rtol=1e-5)
    np.testing.assert_allclose(stats["std"], np.nanstd(rows, 0), rtol=1e-5)
    want = np.nanstd(both.reshape(-1, C), 0)
    np.testing.assert_allclose(stats["increment_std"], want, rtol=1e-5)
    np.testing.assert_allclose(field_std(data), np.nanstd(rows, 0), rtol=1e-5)
    assert missing_share(data) == pytest.approx(1 - SEEN.mean())
    # In blocks, some of them complete and one without any value of a channel.
    blocks = [U[0].reshape(-1, C), np.where([True, False], U[1], np.nan).reshape(-1, C), rows[-40:]]
    with_blocks = ups.data.windows._accumulate_moments(blocks)
    together = np.concatenate(blocks).astype(np.float64)
    np.testing.assert_allclose(with_blocks[0], np.nanmean(together, 0), rtol=1e-12)
    np.testing.assert_allclose(with_blocks[1], np.nanstd(together, 0), rtol=1e-12)


# Losses


@pytest.mark.parametrize("name", sorted(OBSERVED_LOSSES))
def test_a_loss_is_the_mean_over_observed_values(name):
    pred, std = U[:, 0] + 0.5 * U[:, 1], np.ones((1, C), np.float32)
    of_whole, of_seen = (jax.jit(f[name], static_argnums=2) for f in (LOSSES, OBSERVED_LOSSES))
    for given in ((), (std,), (std, 0.5)):
        whole, same = (loss(pred, U[:, 2], 1, *given) for loss in (of_whole, of_seen))
        np.testing.assert_allclose(same, whole, rtol=1e-6)
    total = 0.0
    for i in range(N):
        for c in range(C):
            at = SEEN[i, 2, :, c]
            error = np.mean((pred[i, at, c] - U[i, 2, at, c]) ** 2)
            size = np.mean(U[i, 2, at, c] ** 2) if name == "nrmse" else 1.0
            total += np.sqrt(error / size) if name == "nrmse" else error
    found = of_seen(pred, GAPS[:, 2], 1)
    np.testing.assert_allclose(found, total / (N * C), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(OBSERVED_LOSSES))
def test_a_sample_without_observed_values_adds_nothing_and_has_no_gradient(name):
    true, pred, wild = GAPS[:, 2].copy(), U[:, 0], U[:, 0].copy()
    true[1], wild[1] = np.nan, 1e6
    loss = jax.jit(jax.value_and_grad(partial(OBSERVED_LOSSES[name], ndim=1)))
    value, gradient = map(np.asarray, loss(pred, true))
    np.testing.assert_allclose(loss(wild, true)[0], value)
    assert np.isfinite(gradient).all() and not gradient[np.isnan(true)].any()
    others = loss(np.delete(pred, 1, 0), np.delete(true, 1, 0))[0]
    np.testing.assert_allclose(value, others * (N - 1) / N, rtol=1e-6)


@pytest.mark.parametrize("history", [1, 2])
def test_loss_and_gradient_are_those_of_wild_values_in_the_gaps_that_no_mean_counts(history):
    data = trajectories(GAPS)
    emulator = emulator_of(data, history=history)
    params = ups.init(emulator, KEY, fit_normalizer(data, lambda cond: cond))
    cond, wild = NONE, np.where(SEEN, U, 1e6).astype(np.float32)
    stage = bind(STAGES["operator"], emulator, {})
    assert stage.fill is not None
    u = jax.jit(stage.fill)(GAPS)

    def loss(operator):
        return stage.loss({**params, "operator": operator}, {"u": u, "cond": cond}, KEY)[0]

    def by_hand(operator):
        frames = fill(jnp.asarray(GAPS[:, :history]), 1)
        state, total = ups.states(emulator, frames)[:, -1], 0.0
        for i in range(history, T):
            state = ups.step(emulator, {**params, "operator": operator}, state, cond)
            weight = SEEN[:, i] / np.maximum(SEEN[:, i].sum(1, keepdims=True), 1)
            error = jnp.sum(weight * (state[..., :C] - wild[:, i]) ** 2, 1)
            size = jnp.sum(weight * wild[:, i] ** 2, 1)
            total += jnp.mean(jnp.where(SEEN[:, i].any(1), jnp.sqrt(error / size), 0))
        return total / (T - history)

    found, want = (jax.jit(jax.value_and_grad(f))(params["operator"]) for f in (loss, by_hand))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), found, want)


def test_masks_without_gaps_give_the_loss_and_gradient_of_whole_fields():
    data = trajectories(U)
    values = []
    for missing in ("refuse", "mask"):
        emulator = emulator_of(data, missing)
        params = ups.init(emulator, KEY, fit_normalizer(data, lambda cond: cond))
        stage = bind(STAGES["operator"], emulator, {"loss": "nrmse"})
        batch = {"u": U if stage.fill is None else jax.jit(stage.fill)(U), "cond": NONE}
        loss = partial(lambda stage, batch, params: stage.loss(params, batch, KEY)[0], stage, batch)
        values.append(jax.jit(jax.value_and_grad(loss))(params))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), *values)


def test_windows_without_a_value_to_start_from_keep_their_inputs_and_lose_their_targets():
    u = np.concatenate([GAPS, np.ones((N, T, X, 1), np.float32)], -1)
    u[2, 0, :, 1] = np.nan
    found = np.asarray(jax.jit(partial(fill_windows, ndim=1, given=1, channels=C))(u))
    assert np.isfinite(found[:, 0]).all() and (found[..., -1] == 1).all()
    assert np.isnan(found[2, 1:, :, :C]).all()
    np.testing.assert_array_equal(np.delete(found, 2, 0)[:, 1:], np.delete(u, 2, 0)[:, 1:])


def test_symmetries_move_gaps_with_their_field():
    emulator = emulator_of(trajectories(GAPS))
    for i, symmetry in enumerate(emulator.pde.symmetries):
        change = jax.jit(symmetry)
        for key in jax.random.split(jax.random.key(i), 4):
            moved, _ = change(key, GAPS[0], NONE[0])
            marked, _ = change(key, np.where(SEEN[0], U[0], np.float32(1e6)), NONE[0])
            np.testing.assert_array_equal(np.isnan(moved), np.abs(marked) > 1e5)
            np.testing.assert_array_equal(np.nan_to_num(moved, nan=0), np.where(
                np.abs(marked) > 1e5, 0, marked))  # fmt: skip


# Metrics


@pytest.mark.parametrize("name", sorted(OBSERVED_METRICS))
def test_a_metric_is_that_of_the_observed_points(name):
    """Sensors at fixed points: the metric of gaps elsewhere is that of their points alone."""
    pred, kept = (U + 0.3 * U[::-1]).astype(np.float32), np.array([0, 2, 3, 6])
    gaps = np.full_like(U, np.nan)
    gaps[:, :, kept] = U[:, :, kept]
    found, whole = OBSERVED_METRICS[name], METRICS[name]
    of_seen, of_whole = (
        jax.jit(partial(metric.statistic, ndim=1, floor=0.1)) for metric in (found, whole)
    )
    for true, points in ((gaps, kept), (U, np.arange(X))):
        got, want = of_seen(pred, true), of_whole(pred[:, :, points], U[:, :, points])
        np.testing.assert_allclose(got, want, rtol=1e-5)
        np.testing.assert_allclose(found.reduce(np.asarray(got)), whole.reduce(np.asarray(want)),
                                   rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", sorted(OBSERVED_METRICS))
def test_frames_without_observed_values_are_left_out_and_divergence_is_not(name):
    pred, true = U + np.float32(0.1), GAPS.copy()
    true[:, 3] = np.nan
    metric = OBSERVED_METRICS[name]
    jitted = jax.jit(partial(metric.statistic, ndim=1, floor=0.1))

    def statistic(pred, true):
        return np.asarray(jitted(pred, true))

    shown = [0, 1, 2, 4]
    whole = statistic(pred, true)
    fewer = statistic(pred[:, shown], true[:, shown])
    if whole.ndim > 1:
        assert np.isnan(whole[:, 3]).all()
    if name != "correlation_time":
        reduced = (metric.reduce(x) for x in (whole, fewer))
        np.testing.assert_allclose(*reduced, rtol=1e-5)
    wild = np.where(np.isnan(true), np.float32(1e6), pred)
    np.testing.assert_allclose(statistic(wild, true), whole, rtol=1e-5)
    pred[0, 1] = np.nan
    broken = statistic(pred, true)
    value = metric.reduce(broken)
    assert value == np.inf or name in ("correlation_time", "correlation_censored", "floored")
    if name == "correlation_time":
        assert broken[0] == 2


def test_a_correlation_is_that_of_enough_points_and_observed_frames():
    """Forecasts of the wrong sign: what was not observed counts as neither right nor wrong."""
    time, censored = (
        jax.jit(partial(OBSERVED_METRICS[f"correlation_{name}"].per_sample, ndim=1))
        for name in ("time", "censored")
    )
    true = np.array(U)
    true[0, 3:] = np.nan
    true[1] = np.nan
    true[2, :, 2:] = np.nan
    found = [np.asarray(f(x, true))[:4] for x in (U, -U) for f in (time, censored)]
    np.testing.assert_array_equal(found[0], [3, np.nan, np.nan, T])
    np.testing.assert_array_equal(found[1], [1, np.nan, np.nan, 1])
    np.testing.assert_array_equal(found[2], [1, np.nan, np.nan, 1])
    np.testing.assert_array_equal(found[3], [0, np.nan, np.nan, 0])


def test_increments_need_two_frames_of_a_point():
    u = np.where(np.arange(T)[:, None, None] % 2, np.nan, U).astype(np.float32)
    with pytest.raises(ValueError, match="channel 'a' has no point .* two consecutive frames"):
        fit_normalizer(trajectories(u), lambda cond: cond)


def test_metrics_that_need_whole_fields_are_left_out_or_refused():
    emulator = emulator_of(trajectories(GAPS))
    assert metrics_of(emulator, METRICS).keys() == OBSERVED_METRICS.keys()
    with pytest.raises(ValueError, match="'brmse' needs whole fields, but missing values are mask"):
        metrics_of(emulator, {"brmse": METRICS["brmse"]})
    assert metrics_of(emulator_of(trajectories(U), "refuse"), METRICS) is METRICS


# Training and evaluation


def waves(n=48, frames=7, points=16):
    x, t = np.arange(points) / points, np.arange(frames)[:, None] / points
    phase, size = RNG.uniform(size=(n, 1, 1)), RNG.uniform(0.5, 1, size=(n, 1, 1))
    return (size * np.sin(2 * np.pi * (x - t + phase)))[..., None].astype(np.float32)


RECIPE = ups.Recipe(
    steps=300, batch=8, lr=1e-2, warmup=5, unroll=(1,), steps_per_call=50, val_every=150
)


@pytest.fixture(scope="module")
def trained():
    u = waves()
    u[RNG.uniform(size=u.shape) < 0.3] = np.nan
    data = ups.Trajectories(u, dt=0.5, channels=("h",))
    parts = data.take(slice(36)), data.take(slice(36, 42)), data.take(slice(42, 48))
    sizes = dict(width=8, blocks=1, dilations=(1, 2))
    emulator = ups.Emulator(data, ups.OPERATORS["resnet"], missing="mask", **sizes)
    params = ups.train(emulator, *parts[:2], RECIPE, key=KEY, progress=False)
    return emulator, params, parts


def test_an_operator_trained_on_gaps_beats_persistence(trained):
    emulator, params, (_, _, test) = trained
    report = ups.evaluate(emulator, params, test, context_frames=3)
    s = report.scalars
    for prefix in ("", "p10/"):
        assert s[f"eval/operator/{prefix}nrmse"] < 0.8 * s[f"eval/persistence/{prefix}nrmse"]
    assert all(np.isfinite(value) for value in s.values())
    assert not any("physics" in key or "frmse" in key or "crmse" in key for key in s)
    assert not any("spectrum" in key or "law" in key for key in report.curves)
    assert "of the truth's values are missing: errors are those of observed" in report.table()
    assert 0.2 < report.missing < 0.4 and len(report.short_table()[0]) < 13
    np.testing.assert_array_equal(report.examples["truth"], test.u[report.chosen])
    np.testing.assert_array_equal(ups.plot(report).axes[0].get_yscale(), "log")


def test_scores_of_a_run_are_those_of_its_forecasts_at_observed_values(trained):
    emulator, params, (_, _, test) = trained
    report = ups.evaluate(emulator, params, test, keep_predictions=True)
    for name in ("persistence", "operator"):
        error = report.predictions[name] - test.u[:, 1:]
        size = np.sqrt(np.nanmean(test.u[:, 1:] ** 2, 2))
        want = np.sqrt(np.nanmean(error**2, 2)) / size
        assert report.scalars[f"eval/{name}/nrmse"] == pytest.approx(want.mean(), rel=1e-5)
        assert report.scalars[f"eval/{name}/mae"] == pytest.approx(
            np.nanmean(np.abs(error), 2).mean(), rel=1e-5
        )
    mean = np.nanmean(test.u[:, 0], 1)
    start = np.where(np.isnan(test.u[:, 0]), mean[:, None], test.u[:, 0])
    np.testing.assert_allclose(report.predictions["persistence"][:, 2], start, atol=1e-6)
    np.testing.assert_allclose(report.predictions["mean"][:, 0, 3], mean, atol=1e-6)


def test_a_frame_without_any_value_costs_only_its_scores(trained):
    emulator, params, (_, _, test) = trained
    u = np.array(test.u)
    u[:, 4] = np.nan
    report = ups.evaluate(emulator, params, replace(test, u=u), horizons=(1.0, 2.0))
    assert np.isnan(report.scalars["eval/operator/nrmse@2"])
    known = {k: v for k, v in report.scalars.items() if not k.endswith("@2")}
    assert all(np.isfinite(value) for value in known.values())
    curve = report.curves["operator/nrmse"]
    np.testing.assert_allclose(curve[:, 3], (curve[:, 2] + curve[:, 4]) / 2, rtol=1e-6)


def test_a_forecast_fills_its_start_or_refuses_it(trained, tmp_path):
    emulator, params, (_, _, test) = trained
    u0, cond = test.u[:, 0], test.cond
    run = partial(ups.forecast, cond=cond, key=KEY, steps=2, forecaster="operator")
    want = run(emulator, params, np.asarray(jax.jit(partial(fill_state, emulator))(u0))).u
    for given in (u0, jnp.asarray(u0)):
        np.testing.assert_array_equal(run(emulator, params, given).u, want)
    strict = ups.Emulator(test, ups.OPERATORS["resnet"], **SMALL)
    for given in (u0, jnp.asarray(u0)):
        with pytest.raises(ValueError, match=r"u0 holds NaN .*first at \(0, .*missing='mask'"):
            run(strict, params, given)
    with pytest.raises(ValueError, match=r"no observed value of a channel, first at \(1, 0, 0\)"):
        run(emulator, params, np.where(np.arange(6)[:, None, None] == 1, np.nan, u0))
    with pytest.raises(ValueError, match="u0 holds infinity"):
        run(emulator, params, np.where(np.isnan(u0), np.inf, u0))
    # A saved emulator keeps the rule, and an exported one has it in its program.
    again, params, _ = ups.load(ups.save(tmp_path / "saved", emulator, params))
    assert again.missing == "mask"
    np.testing.assert_array_equal(run(again, params, u0).u, want)
    folder = ups.export(tmp_path / "out", emulator, params, steps=2)
    assert "is a missing value. It takes the last value" in (folder / "README.md").read_text()
    program = jax.export.deserialize(bytearray((folder / "rollout.stablehlo").read_bytes()))
    leaves = jax.tree_util.tree_flatten_with_path({k: params[k] for k in ("stats", "operator")})[0]
    arrays = {array_name(path): np.asarray(leaf) for path, leaf in leaves}
    np.testing.assert_allclose(program.call(arrays, u0, cond), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("forced", [False, True])
def test_a_frame_with_gaps_starts_a_forecast_of_several_frames(forced):
    data = trajectories(GAPS)
    if forced:
        data = ups.with_forcing(data, f=np.ones((N, T, X), np.float32))
    emulator = ups.Emulator(data, ups.OPERATORS["resnet"], history=2, missing="mask", **SMALL)
    params, u0 = ups.init(emulator, KEY), data.u[:, 0]
    forcing = data.u[:, 1:3, ..., C:] if forced else None
    given = dict(cond=data.cond, key=KEY, steps=2, forecaster="operator", forcing=forcing)
    run = partial(ups.forecast, emulator, params, **given)
    whole = np.array(u0)
    whole[..., :C] = np.asarray(filled(GAPS[:, :1], 1))[:, 0]
    np.testing.assert_array_equal(run(u0).u, run(whole).u)
    u0 = np.array(u0)
    u0[1, :, 0] = np.nan
    with pytest.raises(ValueError, match=r"no observed value of a channel, first at \(1, 0, 0\)"):
        run(u0)


@pytest.mark.parametrize("gain", [1.0, 0.4])
def test_an_analysis_takes_observed_values_and_keeps_the_forecast_in_gaps(trained, gain):
    emulator, params, (_, _, test) = trained
    u, cond, step = test.u[:, :4], NONE, jax.jit(partial(ups.step, emulator))
    state = np.asarray(filled(u[:, :1], 1))[:, 0]
    for i in range(1, 4):
        state = np.asarray(step(params, state, cond))
        state = np.where(np.isnan(u[:, i]), state, state + np.float32(gain) * (u[:, i] - state))
    found = jax.jit(partial(nudged_analysis, emulator, gain=gain))(params, u, cond)
    np.testing.assert_allclose(found, state, atol=1e-5)
    # Forecasters without an operator start from the given frames alone.
    without = jax.jit(partial(nudged_analysis, emulator, gain=None))(params, u, cond)
    np.testing.assert_allclose(without, np.asarray(filled(u, 1))[:, -1], atol=1e-6)


def test_windows_from_disk_train_on_the_same_windows(trained, tmp_path, monkeypatch):
    emulator, _, (data, val, _) = trained
    monkeypatch.setenv("UPS_DATA", str(tmp_path))
    path = tmp_path / "gaps.h5"
    ups.data.save_predictions(path, {}, data)
    streamed = ups.load_data(path, missing="mask", stream=True)
    given = dict(batch=8, length=3, start_bias=1.0)
    one, two = (draw_windows(KEY, d, **given)[0] for d in (data, streamed))
    np.testing.assert_array_equal(one, two)
    short = replace(RECIPE, steps=4, warmup=1, steps_per_call=2, val_every=2)
    pair = [ups.train(emulator, d, val, short, key=KEY, progress=False) for d in (data, streamed)]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), *pair)
    with pytest.raises(ValueError, match="sample 0 holds NaN or infinity"):
        ups.load_data(path, stream=True)
    strict = ups.Emulator(data, ups.OPERATORS["resnet"], **SMALL)
    with pytest.raises(ValueError, match="read with missing='mask', which the emulator does not"):
        ups.train(strict, streamed.take(slice(3)), val, short, key=KEY, progress=False)


# Files and refusals


def test_files_and_datasets_keep_gaps_when_masked(tmp_path):
    data = trajectories(GAPS)
    ups.save_npz(tmp_path / "a.npz", data)
    ups.data.save_predictions(tmp_path / "a.h5", {}, data)
    with h5py.File(tmp_path / "a.nc", "w") as file:
        axes = [file.create_dataset(name, data=np.arange(size, dtype=np.float32))
                for name, size in (("n", N), ("time", T), ("x", X))]  # fmt: skip
        for axis in axes:
            axis.make_scale()
        # Attributes in double precision, as most writers leave them.
        for i, (name, fill_value) in enumerate((("a", -999.9), ("b", 1e20))):
            file[name] = np.where(SEEN, U, np.float32(fill_value))[..., i]
            file[name].attrs["_FillValue" if i else "missing_value"] = fill_value
            for axis, scale in zip(file[name].dims, axes, strict=True):
                axis.attach_scale(scale)
    for suffix in ("npz", "h5", "nc"):
        path = tmp_path / f"a.{suffix}"
        np.testing.assert_array_equal(ups.load_data(path, missing="mask").u, GAPS)
        with pytest.raises(ValueError, match="NaN or infinity.*mask NaN by data.missing=mask"):
            ups.load_data(path)
        with pytest.raises(ValueError, match="did you mean 'mask'"):
            ups.load_data(path, missing="masked")


def test_fill_values_of_inputs_are_gaps_and_refused(tmp_path):
    path = tmp_path / "a.nc"
    with h5py.File(path, "w") as file:
        file["a"], file["depth"] = U[..., 0], np.where(np.arange(X) == 3, -999.9, 1.0).astype("f4")
        file["depth"].attrs["_FillValue"] = -999.9
        sizes = (("sample", N), ("time", T), ("x", X))
        axes = [file.create_dataset(k, data=np.arange(n, dtype="f4")) for k, n in sizes]
        for axis in axes:
            axis.make_scale()
        for name, scales in (("a", axes), ("depth", axes[2:])):
            for axis, scale in zip(file[name].dims, scales, strict=True):
                axis.attach_scale(scale)
    with pytest.raises(ValueError, match=r"NaN in an input .* point \(3,\) of channel 1"):
        ups.load_data(path, static=("depth",), missing="mask")


def test_datasets_of_xarray_keep_gaps_when_masked():
    xarray = pytest.importorskip("xarray")
    dims = ("sample", "time", "x")
    dataset = xarray.Dataset({name: (dims, GAPS[..., i]) for i, name in enumerate("ab")})
    np.testing.assert_array_equal(ups.from_xarray(dataset, missing="mask").u, GAPS)
    with pytest.raises(ValueError, match="NaN or infinity"):
        ups.from_xarray(dataset)


def test_padding_may_be_missing_and_counts_nowhere():
    lengths, wild = np.array([3, 5, 5, 5, 5, 5]), GAPS.copy()
    wild[0, 3:] = 1e6
    empty = np.where(wild == 1e6, np.nan, wild)
    pair = [trajectories(u, lengths=lengths) for u in (wild, empty)]
    emulator = emulator_of(pair[0])
    stats = [ups.emulator.fit_statistics(emulator, data) for data in pair]
    jax.tree.map(np.testing.assert_array_equal, *stats)
    assert missing_share(pair[0]) == missing_share(pair[1])
    # Only gaps after frame 2 of the first trajectory: it has nothing to predict.
    lost = np.where(np.arange(T)[:, None, None] == 0, empty[0], np.nan)
    lost[3:] = 1.0
    wild[0] = lost
    with pytest.raises(ValueError, match="sample 0 has no observed value after frame 0"):
        ups.emulator.fit_statistics(emulator, trajectories(wild, lengths=lengths))


def silenced(*index):
    u = GAPS.copy()
    u[index] = np.nan
    return u


@pytest.mark.parametrize(
    ("u", "missing", "message"),
    [
        (GAPS, "refuse", r"sample 0 holds NaN or infinity in float32, first in frame 0 at point"),
        (np.where(SEEN, U, np.inf), "mask", "sample 0 holds infinity in float32, first in frame 0"),
        (silenced(3), "mask", "sample 3 has no observed value in any frame; exclude it"),
        (silenced(4, 0, slice(None), 1), "mask",
         "sample 4 has no observed value of channel 1 in frame 0, where its forecasts start"),
        (silenced(5, slice(1, None)), "mask", "sample 5 has no observed value after frame 0"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_used_are_refused_with_their_place(u, missing, message, tmp_path):
    emulator, data = emulator_of(trajectories(U), missing), trajectories(u)
    params = ups.init(emulator, KEY)
    recipe = ups.Recipe(steps=2, batch=2, warmup=1, unroll=(1,), steps_per_call=1, val_every=1)
    ups.save_npz(tmp_path / "a.npz", data)
    for function in (
        lambda: ups.train(emulator, data, trajectories(U), recipe, key=KEY),
        lambda: ups.train(emulator, trajectories(U), data, recipe, key=KEY, params=params),
        lambda: ups.evaluate(emulator, params, data),
        lambda: ups.load_data(tmp_path / "a.npz", missing=missing),
    ):
        with pytest.raises(ValueError, match=message):
            function()


def test_gaps_of_inputs_are_refused():
    field = RNG.normal(size=(N, T, X)).astype(np.float32)
    forced = ups.with_forcing(trajectories(GAPS), f=field)
    u = np.array(forced.u)
    u[2, 3, 1, 2] = np.nan
    emulator = ups.Emulator(forced, ups.OPERATORS["resnet"], missing="mask", **SMALL)
    with pytest.raises(ValueError, match=r"sample 2 holds NaN in an input .* frame 3 at point"):
        ups.evaluate(emulator, ups.init(emulator, KEY), replace(forced, u=u))


def test_what_needs_whole_fields_is_refused():
    data = trajectories(GAPS)
    burgers = ups.PDES["burgers"](points=16, cells=16)
    for options in (dict(galilean=True), dict(base="solver", coarsen=4)):
        with pytest.raises(ValueError, match="need whole fields"):
            ups.Emulator(burgers, ups.OPERATORS["resnet"], missing="mask", **SMALL, **options)
    steady = ups.pairs(U[:, 0], U[:, 1])
    with pytest.raises(ValueError, match="pairs of a static problem of pde 'data' need whole"):
        ups.Emulator(steady, ups.OPERATORS["resnet"], missing="mask", **SMALL)
    with pytest.raises(ValueError, match="did you mean 'mask'"):
        emulator_of(data, "maks")
    emulator = emulator_of(data)
    params = {**ups.init(emulator, KEY), "ensemble": {}}
    with pytest.raises(ValueError, match="'ensemble' cannot mask missing values; stages that can"):
        ups.train(emulator, data, data, key=KEY, stage="ensemble", params=params)


def test_windows_of_refused_and_masked_data_are_the_same():
    keyed = jax.jit(partial(sample_windows, KEY, batch=16, length=3))
    gaps, whole = (np.asarray(keyed(u, NONE)[0]) for u in (GAPS, U))
    np.testing.assert_array_equal(gaps[~np.isnan(gaps)], whole[~np.isnan(gaps)])


def test_a_run_masks_what_its_config_says_and_records_the_share(tmp_path, capsys):
    data = trajectories(np.concatenate([GAPS + i for i in range(5)]))
    ups.save_npz(tmp_path / "a.npz", data)
    given = {"data.path": tmp_path / "a.npz", "data.missing": "mask", "operator.patch": 1}
    cfg = ups.load_config("configs/data.py:smoke", given)
    emulator = build(cfg)
    assert emulator.missing == "mask"
    splits = load_splits(cfg, emulator.pde)
    assert np.isnan(splits.train.u).any() and splits.record["missing"].keys() == {
        "train", "val", "test"
    }  # fmt: skip
    assert splits.record["missing"]["train"] == pytest.approx(missing_share(splits.train))
    assert "note: missing values are masked: 2" in capsys.readouterr().err
    again = build(config.from_dict(config.to_dict(cfg)))
    assert again.missing == "mask"
    # A config without the key, as older runs have saved it, refuses.
    older = config.to_dict(cfg)
    del older["data"]["missing"]
    assert build(config.from_dict(older)).missing == "refuse"


def test_evaluated_frames_need_a_value_to_predict_before_anything_is_trained(tmp_path):
    many = np.concatenate([GAPS + i for i in range(5)])
    many[:, 1:3] = np.nan
    lengths = np.where(np.arange(len(many)) % 2, T, 3)
    many[lengths == 3, 1] = 1.0
    data = trajectories(many, lengths=lengths)
    ups.save_npz(tmp_path / "a.npz", data)
    given = {"data.path": tmp_path / "a.npz", "data.missing": "mask", "operator.patch": 1}
    cfg = ups.load_config("configs/data.py:smoke", given)
    with pytest.raises(ValueError, match="val trajectory . has no observed value after frame 0"):
        load_splits(cfg, build(cfg).pde)
