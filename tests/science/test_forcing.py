"""Known forcing: the frames that each step sees, exact cases, losses, windows, refusals."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax.data import check_disjoint, observe
from ups_jax.diffusion import NOISE_SCHEDULES
from ups_jax.emulator import DiffusionSpec, first_state, identity_stats, initial_state, states
from ups_jax.emulator.states import next_state, normalize_state, on_states
from ups_jax.evaluate import validator
from ups_jax.forecast import nudged_analysis
from ups_jax.stages import STAGES, bind

RNG = np.random.default_rng(0)
N, T, X = 6, 7, 8
F = RNG.normal(size=(N, T, X)).astype(np.float32)
MASK = RNG.normal(size=(N, X)).astype(np.float32)
KEY = jax.random.key(0)
NONE = np.zeros((N, 0), np.float32)


def summed(forcing=F, start=None):
    """u at t + 1 is u at t plus a quarter of the forcing there and three of that of t + 1."""
    start = RNG.normal(size=(len(forcing), 1, X)) if start is None else start
    mean = 0.25 * forcing[:, :-1] + 0.75 * forcing[:, 1:]
    u = np.concatenate([start, start + np.cumsum(mean, 1)], 1)
    return ups.Trajectories(u[..., None].astype(np.float32), dt=0.5, channels=("q",))


def trajectories(forcing=F, **fields):
    return ups.with_forcing(ups.with_static(summed(forcing), mask=MASK), f=forcing, **fields)


def integrating(pde, history=1, **options):
    """An operator whose increment is that of `summed`, from the forcing now and next."""

    def apply(params, u, cond, *noise):
        assert u.shape[-1] == history + len(pde.static) + 2 * len(pde.forcing)
        return sum((0 * z for z in noise), 0.25 * u[..., -2:-1] + 0.75 * u[..., -1:])

    network = ups.Network(lambda key: {"w": jnp.zeros(1)}, apply)
    return ups.Emulator(pde, network, history=history, **options)


def identity_params(emulator):
    return ups.init(emulator, KEY, identity_stats(emulator))


def rolled(emulator, u0, steps, forecaster="operator", **given):
    params, cond = identity_params(emulator), np.zeros((len(u0), 0), np.float32)
    return ups.forecast(
        emulator, params, u0, cond, KEY, steps=steps, forecaster=forecaster, **given
    ).u


def test_forcing_is_the_last_channels_constant_or_on_the_grid():
    drive = RNG.normal(size=(N, T, 2)).astype(np.float32)
    data = trajectories(drive=drive, level=drive[..., 0])
    assert data.forcing == ("f", "drive_0", "drive_1", "level") and data.static == ("mask",)
    assert data.predicted == ("q",) and data.channels == ("q", "mask", *data.forcing)
    assert "static mask; forcing f, drive_0, drive_1, level" in repr(data)
    np.testing.assert_array_equal(data.u[..., 2], F)
    want = np.broadcast_to(drive[:, :, None], (N, T, X, 2))
    np.testing.assert_array_equal(data.u[..., 3:5], want)
    np.testing.assert_array_equal(data.u[..., 5], want[..., 0])
    later = ups.with_static(data, flat=MASK[0])
    assert later.channels == ("q", "mask", "flat", *data.forcing)
    np.testing.assert_array_equal(later.u[..., 3:], data.u[..., 2:])


@pytest.mark.parametrize("history", [1, 3])
def test_each_step_sees_the_forcing_of_both_of_its_frames(history):
    """The exact integral of the forcing, from every frame, of the whole horizon."""
    data = trajectories()
    emulator = integrating(ups.pde_of(data), history)
    first, every, step = (jax.jit(partial(f, emulator)) for f in (first_state, states, ups.step))
    for start in (0, 2):
        u0, after = data.u[:, start], data.u[:, start + 1 :, ..., -1:]
        found = rolled(emulator, u0, T - 1 - start, forcing=after)
        np.testing.assert_allclose(found, data.u[:, start + 1 :, ..., :1], atol=1e-5)
        # A longer forcing is cut, and a state may hold it.
        np.testing.assert_array_equal(rolled(emulator, u0, 2, forcing=after), found[:, :2])
        state = first(data.u[:, start:])
        np.testing.assert_array_equal(rolled(emulator, state, T - 1 - start), found)
        state = np.asarray(every(data.u))[:, start]
        after = np.asarray(step(identity_params(emulator), state, NONE))
        np.testing.assert_allclose(after[..., :1], found[:, 0], atol=1e-6)


def test_a_constant_forcing_of_a_forecast_is_that_on_the_grid():
    drive = RNG.normal(size=(N, T)).astype(np.float32)
    data = ups.with_forcing(summed(), f=drive)
    emulator = integrating(ups.pde_of(data))
    full = rolled(emulator, data.u[:, 0], 4, forcing=data.u[:, 1:, ..., -1:])
    for given in (drive[:, 1:], drive[:, 1:, None], data.u[:, 1:, ..., -1]):
        np.testing.assert_array_equal(rolled(emulator, data.u[:, 0], 4, forcing=given), full)


def test_states_hold_the_forcing_now_and_next_and_normalise_both():
    emulator = integrating(ups.pde_of(trajectories()), 2)
    data, every = trajectories().u, jax.jit(partial(states, emulator))
    found = np.asarray(every(data))
    np.testing.assert_array_equal(found[:, :-1, ..., -1], F[:, 1:])
    np.testing.assert_array_equal(found[:, -1, ..., -1], F[:, -1])
    np.testing.assert_array_equal(found[..., -2], F)
    np.testing.assert_array_equal(found[..., 2], data[..., 1])
    # Leading axes are free.
    np.testing.assert_array_equal(every(data[0]), found[0])
    start = np.asarray(jax.jit(partial(initial_state, emulator))(data[0, 0]))
    np.testing.assert_array_equal(start[..., :3], found[0, 0, :, :3])
    after = jax.jit(partial(next_state, emulator))(found[:, 2], data[:, 3, ..., :1])
    np.testing.assert_array_equal(np.asarray(after)[..., :4], found[:, 3, ..., :4])
    stats = {"mean": np.arange(3, dtype="f4"), "std": np.array([1, 2, 4], "f4")}

    @jax.jit
    def scaled(data):
        return normalize_state(emulator, stats, first_state(emulator, data))

    expected = (found[:, 0] - np.array([0, 0, 1, 2, 2])) / np.array([1, 1, 2, 4, 4])
    np.testing.assert_allclose(scaled(data), expected, atol=1e-6)


@pytest.mark.parametrize("history", [1, 2])
def test_evaluation_and_validation_give_the_known_forcing(history):
    data = trajectories()
    emulator = integrating(ups.pde_of(data), history)
    params = identity_params(emulator)
    names = ("persistence", "operator")
    report = ups.evaluate(emulator, params, data, forecasters=names, context_frames=3)
    error = {k: report.scalars[f"eval/{k}/nrmse"] for k in (*names, "operator/p10")}
    assert error["operator"] < 1e-5 and error["operator/p10"] < 1e-5 < 0.1 < error["persistence"]
    assert report.examples["truth"].shape == (3, T, X, 1)
    for start in (0, 2):
        assert validator(emulator, data, batch=4, start=start)(params) < 1e-5
    plain = summed()
    alone = ups.Emulator(plain, ups.OPERATORS["resnet"], width=4, blocks=1)
    other = ups.evaluate(alone, ups.init(alone, KEY), plain, forecasters=("persistence",))
    np.testing.assert_allclose(error["persistence"], other.scalars["eval/persistence/nrmse"], 0.9)


def test_nudging_runs_with_the_forcing_of_the_given_frames():
    data = trajectories()
    emulator = integrating(ups.pde_of(data))
    given, analysis = data.u[:, :4], jax.jit(partial(nudged_analysis, emulator, gain=0.0))
    found = np.asarray(analysis(identity_params(emulator), given, NONE))
    np.testing.assert_allclose(found[..., :2], given[:, -1, :, :2], atol=1e-5)
    np.testing.assert_array_equal(found[..., 2], given[:, -1, :, 2])


@pytest.mark.parametrize("history, unroll", [(1, 1), (1, 4), (3, 2)])
def test_losses_of_exact_rollouts_are_zero(history, unroll):
    data = trajectories()
    noise = {"ensemble": ups.Network(lambda key: {"w": jnp.zeros(1)},
             integrating(ups.pde_of(data), history).operator.apply)}  # fmt: skip
    emulator = integrating(ups.pde_of(data), history, networks=noise)
    params = identity_params(emulator)
    window = data.u[:, 1 : history + 1 + unroll]
    shifted = np.concatenate([window[..., :-1], np.roll(window[..., -1:], 1, 1)], -1)
    for name, size in (("operator", 1e-3), ("ensemble", 1e-5)):
        stage = bind(STAGES[name], emulator, {})
        assert (stage.history, stage.channels, stage.predicted) == (history, 3, 1)
        loss = jax.jit(stage.loss)
        assert loss(params, {"u": window, "cond": NONE}, KEY)[0] < size
        assert loss(params, {"u": shifted, "cond": NONE}, KEY)[0] > 0.1


@pytest.mark.parametrize("autoregressive", [False, True])
def test_derived_data_hold_the_forcing_of_two_frames(autoregressive):
    data = trajectories()
    emulator = integrating(ups.pde_of(data), 2)
    schedule = NOISE_SCHEDULES["edm"](sigma_min=0.02, sigma_max=20.0)
    spec = DiffusionSpec(schedule, "euler", 2, 1, autoregressive=autoregressive)
    object.__setattr__(emulator, "diffusion", spec)
    derived = bind(STAGES["diffusion"], emulator, {"num_rollouts": 5}).data(
        identity_params(emulator), data
    )
    rolled, true = np.split(np.asarray(derived.u), 2, -1)
    np.testing.assert_array_equal(true, jax.jit(partial(states, emulator))(data.u[:5]))
    np.testing.assert_allclose(rolled[..., :3], true[..., :3], atol=1e-5)
    np.testing.assert_array_equal(rolled[..., -2], true[..., -2])
    if not autoregressive:
        np.testing.assert_array_equal(rolled[..., -1], true[..., -1])


def test_symmetries_move_forcing_with_the_field():
    data = trajectories()
    pde = ups.pde_of(data, symmetries=("translation", "reflection"), vector=("q",))
    window, none = data.u[0], np.zeros(0, np.float32)
    changes = [jax.jit(symmetry) for symmetry in pde.symmetries]
    moved = np.asarray(changes[0](jax.random.key(1), window, none)[0])
    shift = int(np.argmax(moved[0, :, 2] == window[0, 0, 2]))
    assert shift
    np.testing.assert_array_equal(moved, np.roll(window, shift, 1))
    mirrored = window[:, ::-1] * np.float32([-1, 1, 1])
    drawn = [np.asarray(changes[1](jax.random.key(i), window, none)[0]) for i in range(8)]
    assert {bool((d == mirrored).all()) for d in drawn} == {True, False}
    assert pde.reflection is None
    # States side by side are changed as the frames of each.
    emulator = integrating(pde, 2)
    every = jax.jit(partial(states, emulator))
    u = np.asarray(every(window))
    for symmetry, change in zip(pde.symmetries, changes, strict=True):
        of_states = jax.jit(on_states(emulator, symmetry))
        for key in map(jax.random.key, range(4)):
            both, _ = of_states(key, np.concatenate([u, 2 * u], -1), none)
            want = np.asarray(every(change(key, window, none)[0]))
            np.testing.assert_array_equal(both, np.concatenate([want, 2 * want], -1))


@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize("autoregressive", [False, True])
def test_members_see_the_forcing_of_each_step(history, autoregressive):
    """Without noise, and with tiny residuals, each member is the exact field."""
    data = trajectories()
    pde, seen = ups.pde_of(data), []

    def denoise(params, x, context, features):
        seen.append(context.shape[-1])
        return 0 * x

    networks = {
        "ensemble": integrating(pde, history).operator,
        "diffusion": ups.Network(lambda key: {"w": jnp.zeros(1)}, denoise),
    }
    schedule = NOISE_SCHEDULES["edm"](sigma_min=0.02, sigma_max=20.0)
    spec = DiffusionSpec(schedule, "euler", 2, 1, autoregressive=autoregressive)
    emulator = integrating(pde, history, networks=networks, diffusion=spec)
    params = identity_params(emulator)
    params["stats"]["residual_std"] = jnp.full(1, 1e-7)
    for name in networks:
        out = ups.forecast(
            emulator, params, data.u[:, 0], data.cond, KEY, steps=T - 1, forecaster=name,
            forcing=data.u[:, 1:, ..., -1:], members=2,
        )  # fmt: skip
        want = np.broadcast_to(data.u[:, None, 1:, ..., :1], (N, 2, T - 1, X, 1))
        np.testing.assert_allclose(out.members, want, atol=1e-5)
    # The predicted channel, its past, the mask, the forcing of two frames, and the forecast.
    assert set(seen) == {history + 1 + 2 + 1}


def test_observations_know_the_forcing():
    seen = observe(trajectories(), seed=0, stride=2, noise=0.1)
    np.testing.assert_array_equal(seen.u[..., 1:], trajectories().u[..., 1:])
    assert seen.forcing == ("f",) and not np.array_equal(seen.u[:, 0, :, 0], summed().u[:, 0, :, 0])


def test_one_start_with_another_forcing_is_no_leak():
    rest = np.zeros((N, 1, X))
    one = ups.with_forcing(summed(F, rest), f=F)
    other = ups.with_forcing(summed(-F, rest), f=-F)
    check_disjoint({"train": one.take(slice(3)), "test": other})
    with pytest.raises(ValueError, match=r"train\[1\] and test\[0\] start from the same initial"):
        check_disjoint({"train": one, "test": one.take(slice(1, 2))})


def test_padding_is_not_seen():
    """Windows of short trajectories end before their padding, whatever it holds."""
    data = trajectories()
    lengths = np.array([7, 5, 4, 7, 6, 4])
    u = np.array(data.u)
    for i, length in enumerate(lengths):
        u[i, length:] = 1e6
    uneven = replace(data, u=u, lengths=lengths)
    emulator = integrating(ups.pde_of(uneven))
    stats = ups.emulator.fit_statistics(emulator, uneven)
    own = np.concatenate([F[i, :n].ravel() for i, n in enumerate(lengths)])
    np.testing.assert_allclose(stats["mean"][-1], own.mean(), atol=1e-5)
    np.testing.assert_allclose(stats["std"][-1], own.std(), rtol=1e-5)
    assert stats["increment_std"].shape == (1,)
    recipe = ups.Recipe(steps=4, batch=4, warmup=0, steps_per_call=4, val_every=4, unroll=(3,))
    losses = []
    hooks = ups.Hooks(on_log=lambda step, row: losses.append(row.get("loss")))
    params = ups.init(emulator, KEY, identity_stats(emulator))
    ups.train(emulator, uneven, ups.cut(uneven, 4), recipe, key=KEY, params=params, hooks=hooks)
    assert all(x is None or x < 1e-2 for x in losses) and any(x is not None for x in losses)


def trained_error(data):
    """nRMSE of a linear network of the state, trained for a moment, on its own data."""

    def linear(*, ndim, channels, params, inputs=1):
        def apply(params, u, cond):
            return u @ params["w"] + params["b"][0]

        shapes = {"w": (inputs, channels), "b": (channels,)}
        return ups.Network(lambda key: {k: jnp.zeros(v) for k, v in shapes.items()}, apply)

    emulator = ups.Emulator(data, linear)
    recipe = ups.Recipe(steps=200, batch=6, lr=0.05, warmup=0, unroll=(2,), phase_fractions=(1.0,),
                        val_every=200, steps_per_call=100)  # fmt: skip
    params = ups.train(emulator, data, data, recipe, key=KEY, progress=False)
    report = ups.evaluate(emulator, params, data, forecasters=("operator",), num_figures=0)
    return report.scalars["eval/operator/nrmse"]


def test_a_trained_network_needs_the_forcing():
    plain = summed()
    assert trained_error(ups.with_forcing(plain, f=F)) < 0.05 * trained_error(plain)
