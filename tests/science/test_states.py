"""Static channels and history: states, from the file to forecasts, scores and export."""

import dataclasses
import re
from functools import partial

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from fixtures import write_well
from ups_jax.config import load_adapted
from ups_jax.data import DiskFields, add_input_noise, add_short_waves, observe, sample_windows
from ups_jax.data.streaming import ArrayFields
from ups_jax.diffusion import NOISE_SCHEDULES
from ups_jax.emulator import (
    DiffusionSpec,
    identity_stats,
    initial_state,
    last_frame,
    states,
)
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import load_splits
from ups_jax.forecast import forecast_program
from ups_jax.stages import STAGES, bind

RNG = np.random.default_rng(0)
U = RNG.normal(size=(12, 5, 8, 1)).astype(np.float32)
MASK = RNG.normal(size=(12, 8)).astype(np.float32)
MIRRORED = {"ensemble.antithetic": "true"}
WITH_MASK = np.concatenate([U, np.broadcast_to(MASK[:, None, :, None], U.shape)], -1)


def trajectories(**changes):
    plain = ups.Trajectories(U, dt=0.5, extent=(2.0,), channels=("q",), **changes)
    return ups.with_static(plain, mask=MASK)


def extrapolating(pde, history):
    """An operator whose increment is that of the interval before, with one frame none."""

    def apply(params, u, cond):
        return u[..., :1] - u[..., 1:2] if history > 1 else jnp.zeros_like(u[..., :1])

    return ups.Emulator(pde, ups.Network(lambda key: {"w": jnp.zeros(1)}, apply), history=history)


def identity_params(emulator):
    return ups.init(emulator, jax.random.key(0), identity_stats(emulator))


def test_static_fields_are_the_last_channels_and_survive_a_file(tmp_path):
    data = trajectories()
    np.testing.assert_array_equal(data.u, WITH_MASK)
    assert (data.channels, data.predicted, data.static) == (("q", "mask"), ("q",), ("mask",))
    assert "channels q; static mask" in repr(data)
    np.testing.assert_array_equal(ups.with_static(data, flat=MASK[0]).u[3, 2, :, 2], MASK[0])
    ups.save_npz(tmp_path / "a.npz", data)
    back = ups.load_data(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.u, data.u)
    assert back.static == ("mask",) and len(back.take(slice(3))) == 3
    with pytest.raises(ValueError, match=r"static \('q',\) must be the last of the channels"):
        dataclasses.replace(data, static=("q",))
    with pytest.raises(ValueError, match=r"static mask holds \(7,\) float64; expected .* \(8,\)"):
        ups.with_static(data, mask=np.zeros(7))


def npz(folder):
    np.savez(folder / "a.npz", u=U, mask=MASK, channels=["q"])
    return folder / "a.npz", {"data.static": "mask"}


def npz_channel(folder):
    np.savez(folder / "a.npz", u=WITH_MASK[..., ::-1], channels=["mask", "q"])
    return folder / "a.npz", {"data.static": "mask"}


def named(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["flow/q"], file["geometry/mask"] = U[..., 0], MASK
    return folder / "a.h5", {"data.datasets": "q=flow/q,mask=geometry/mask"}


def own_hdf5(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["u"], file["mask"], file["channels"] = U, MASK, ["q"]
    return folder / "a.h5", {"data.static": "mask"}


@pytest.mark.parametrize("write", [npz, npz_channel, named, own_hdf5])
def test_a_run_takes_static_channels_of_a_file(tmp_path, write):
    path, given = write(tmp_path)
    given |= {"data.path": path, "operator.patch": 1}
    cfg, notes = load_adapted("configs/data.py:smoke", given)
    assert cfg.pde.channels == ("q",) and cfg.pde.static == ("mask",)
    assert "pde.static=mask" in notes[0]
    emulator = build(cfg)
    train = load_splits(cfg, emulator.pde).train
    rows = [
        int(np.flatnonzero((U[:, 0, :, 0] == first).all(1))[0]) for first in train.u[:, 0, :, 0]
    ]
    np.testing.assert_array_equal(train.u, WITH_MASK[rows])
    assert train.static == ("mask",)


def test_the_well_has_its_constant_fields_by_name(tmp_path):
    scalar, vector = RNG.normal(size=(3, 4, 8, 4)), RNG.normal(size=(3, 4, 8, 4, 2))
    path = write_well(tmp_path / "w.hdf5", scalar, vector, np.ones(3))
    data = ups.load_data(path, static=("height",))
    assert data.channels == ("tracer", "velocity_x", "velocity_y", "height")
    assert data.static == ("height",) and data.meta["unused"] == ("clock",)
    assert (np.asarray(data.u)[..., 3] == 1).all()


@pytest.mark.parametrize(
    ("static", "message"),
    [
        (("msk",), "data.static names 'msk'; the file has the channels q, r and the fields with"),
        (("q", "r"), "no channel is left to predict"),
        (("r",), r"static channel 'r' of sample 2 changes at frame 3, point \(5,\)"),
        (("origin",), "data.static names 'origin'"),
    ],
)
def test_static_channels_that_do_not_fit_are_refused_with_their_place(tmp_path, static, message):
    u = WITH_MASK.copy()
    u[2, 3, 5, 1] += 1
    np.savez(tmp_path / "a.npz", u=u, channels=["q", "r"], origin="mine")
    with pytest.raises(ValueError, match=message) as error:
        ups.load_data(tmp_path / "a.npz", static=static)
    assert "\n" not in str(error.value)


def test_observations_leave_static_channels_as_they_are():
    seen = observe(trajectories(), seed=0, stride=2, noise=0.1)
    np.testing.assert_array_equal(seen.u[..., 1], WITH_MASK[..., 1])
    plain = observe(ups.Trajectories(U), seed=0, stride=2, noise=0.1)
    np.testing.assert_array_equal(seen.u[..., :1], plain.u)


def test_a_network_without_inputs_is_refused():
    def factory(*, ndim, channels, params, noise=0):
        return ups.Network(lambda key: {}, lambda params, u, cond: u)

    with pytest.raises(ValueError, match="make 2 input channels, but the network's factory takes"):
        ups.Emulator(trajectories(), factory)
    with pytest.raises(ValueError, match="operator.history is 0; it must be at least 1"):
        ups.Emulator(trajectories(), ups.OPERATORS["resnet"], history=0)


def test_a_state_holds_the_frames_before_and_repeats_the_first():
    emulator = extrapolating(ups.pde_of(trajectories()), 3)
    frames = jnp.arange(5.0)[None, :, None, None] * jnp.ones((1, 5, 8, 1))
    frames = jnp.concatenate([frames, jnp.full_like(frames, 9)], -1)
    found = np.asarray(states(emulator, frames))[0, :, 0]
    want = [[0, 0, 0, 9], [1, 0, 0, 9], [2, 1, 0, 9], [3, 2, 1, 9], [4, 3, 2, 9]]
    np.testing.assert_array_equal(found, want)
    first = initial_state(emulator, frames[:, 0])
    np.testing.assert_array_equal(first, states(emulator, frames)[:, 0])
    np.testing.assert_array_equal(last_frame(emulator, first), frames[:, 0])


def test_windows_have_the_frames_before_them():
    u = jnp.asarray(WITH_MASK)
    spec = dict(batch=64, length=2, start_bias=1.0)
    key, cond = jax.random.key(3), jnp.zeros((12, 0))
    plain, _ = sample_windows(key, u, cond, **spec)
    longer, _ = sample_windows(key, u, cond, **spec, history=3)
    np.testing.assert_array_equal(longer[:, 2:], plain)
    rows = {tuple(row): i for i, row in enumerate(WITH_MASK[:, 0, :, 1].tolist())}
    for window in np.asarray(longer):
        trajectory = U[rows[tuple(window[0, :, 1].tolist())], :, :, 0]
        start = int(np.flatnonzero((trajectory == window[2, :, 0]).all(1))[0])
        before = [max(0, start - 2), max(0, start - 1)]
        np.testing.assert_array_equal(window[:2, :, 0], trajectory[before])


def test_input_noise_changes_the_given_frames_but_no_static_channel():
    window = jnp.asarray(WITH_MASK[0])
    noisy = add_input_noise(jax.random.key(0), window, 0.1, history=2, channels=1)
    changed = np.asarray(noisy != window)
    assert changed[:2, :, 0].all() and not changed[2:].any() and not changed[..., 1].any()


@pytest.mark.parametrize("points", [(64,), (12, 16)])
def test_damping_noise_has_short_waves_of_many_sizes_alone(points):
    ndim, keys = len(points), jax.random.split(jax.random.key(1), 200)
    scales, rng = np.array([1.0, 100.0, 1.0], np.float32), np.random.default_rng(0)
    window = jnp.asarray(5 + scales * rng.normal(size=(3, *points, 3)).astype(np.float32))
    add = partial(add_short_waves, noise=0.1, lowest=5, history=2, channels=2)
    change = np.asarray(jax.vmap(add, (0, None))(keys, window)) - np.asarray(window)
    assert not change[:, 2].any() and not change[..., 2].any()
    axes = tuple(range(2, 2 + ndim))
    spectrum = np.abs(np.fft.fftn(change[:, :2, ..., :2], axes=axes)) / scales[:2]
    waves = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in points), indexing="ij")
    short = np.linalg.norm(waves, axis=0) >= 5
    assert spectrum[:, :, ~short].max() < 1e-3 < spectrum[:, :, short].mean()
    deviation = change[:, :2, ..., :2].std(axes).mean(1) / np.asarray(window[:2]).std(
        tuple(range(1, 1 + ndim))
    )[..., :2].mean(0)
    shares = np.sort(deviation[:, 0]) / (0.1 * short.mean() ** 0.5)
    # Log-uniform from a hundredth: the median is a tenth.
    assert 0.007 < shares[0] and shares[-1] < 1.3 and 0.06 < np.median(shares) < 0.16
    assert (
        np.abs(np.log(deviation[:, 0] / deviation[:, 1])).max() < 0.5
    )  # one size for all channels


def test_windows_from_disk_have_the_frames_before_them(tmp_path):
    (tmp_path / "u.f32").write_bytes(WITH_MASK.tobytes())
    stored, held = DiskFields(tmp_path / "u.f32", WITH_MASK.shape), ArrayFields(WITH_MASK)
    sample, start = np.array([[0, 3], [5, 11]]), np.array([[0, 1], [3, 2]])
    found, want = (fields.windows(sample, start, 2, 3) for fields in (stored, held))
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(found[0, 1], WITH_MASK[3, [0, 0, 1, 2]])


def test_a_forecast_from_one_frame_repeats_it_and_from_two_uses_both():
    """Fields are linear in time: the increment before is the next one."""
    slope, level = RNG.normal(size=(2, 6, 1, 8, 1)).astype(np.float32)
    u = level + slope * np.arange(6, dtype=np.float32)[:, None, None]
    data = ups.with_static(ups.Trajectories(u, channels=("q",)), mask=MASK[0])
    emulator = extrapolating(ups.pde_of(data), 2)
    params = identity_params(emulator)
    report = ups.evaluate(
        emulator, params, data, forecasters=("persistence", "operator"), context_frames=3
    )
    nrmse = {key: report.scalars[f"eval/{key}/nrmse"] for key in
             ("persistence", "operator", "persistence/p10", "operator/p10")}  # fmt: skip
    assert nrmse["operator"] == nrmse["persistence"] > 0.1
    assert nrmse["operator/p10"] < 1e-5 < nrmse["persistence/p10"]
    assert report.examples["truth"].shape == (3, 6, 8, 1)
    plain = ups.Trajectories(u, channels=("q",))
    alone = extrapolating(ups.pde_of(plain), 1)
    other = ups.evaluate(alone, identity_params(alone), plain, forecasters=("persistence",))
    assert other.scalars["eval/persistence/nrmse"] == nrmse["persistence"]


def test_losses_start_from_the_frames_before_and_do_not_score_static_channels():
    data = trajectories()
    emulator = extrapolating(ups.pde_of(data), 2)
    params = identity_params(emulator)
    stage = bind(STAGES["operator"], emulator, {"loss": "mse"})
    assert (stage.history, stage.channels) == (2, 2)
    window, cond = jnp.asarray(data.u[:4, 1:4]), jnp.zeros((4, 0))
    loss, _ = stage.loss(params, {"u": window, "cond": cond}, jax.random.key(0))
    q = U[:4, :, :, 0]
    want = np.mean((2 * q[:, 2] - q[:, 1] - q[:, 3]) ** 2)
    np.testing.assert_allclose(loss, want, rtol=1e-5)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """An emulator of all stages with history and a static channel, its config and its data."""
    path = tmp_path_factory.mktemp("data") / "a.npz"
    ups.save_npz(path, trajectories())
    given = {"data.path": path, "pde.name": "data", "operator.history": "2"}
    cfg, notes = load_adapted("configs/burgers.py:smoke", given)
    assert any("eval.forecasters without solver, ttc" in note for note in notes)
    return build(cfg), cfg, trajectories()


def test_every_stage_and_forecaster_takes_history_and_static_channels(everything):
    """Traced only: shapes of losses, of derived data and of forecasts."""
    emulator, cfg, data = everything
    key = jax.random.key(0)
    params = jax.eval_shape(lambda: ups.init(emulator, key))
    assert params["stats"]["std"].shape == (2,) and params["stats"]["residual_std"].shape == (1,)
    cond = jax.ShapeDtypeStruct((3, 0), jnp.float32)
    for name in cfg.stages:
        stage = bind(STAGES[name], emulator, {})
        shape = (3, 1 + stage.history, 8, stage.channels)
        assert shape[1:] == ((2, 8, 6) if name in ("diffusion", "student") else (3, 8, 2))
        batch = {"u": jax.ShapeDtypeStruct(shape, jnp.float32), "cond": cond}
        assert jax.eval_shape(stage.prepare, params, batch, key).keys() == params.keys()
        assert jax.eval_shape(stage.loss, params, batch, key)[0].shape == ()
        options = {} if name in ("operator", "control") else {"members": 2}
        run, used = forecast_program(emulator, params, name, steps=4, **options)
        state = jax.ShapeDtypeStruct((3, 8, 3), jnp.float32)
        forecast = jax.eval_shape(run, used, state, cond, jax.random.split(key, 3))
        assert forecast.u.shape == (3, 4, 8, 1)
        if options:
            assert forecast.members.shape == (3, 2, 4, 8, 1)


def test_derived_data_hold_states():
    emulator = extrapolating(ups.pde_of(trajectories()), 2)
    spec = DiffusionSpec(NOISE_SCHEDULES["edm"](sigma_min=0.02, sigma_max=20.0), "euler", 2, 1)
    object.__setattr__(emulator, "diffusion", spec)
    params = identity_params(emulator)
    derived = bind(STAGES["diffusion"], emulator, {"num_rollouts": 5}).data(params, trajectories())
    rolled, true = np.split(np.asarray(derived.u), 2, -1)
    want = states(emulator, jnp.asarray(WITH_MASK[:5]))
    np.testing.assert_array_equal(true, want)
    # One frame is given, so the extrapolation is that frame, with the mask.
    np.testing.assert_array_equal(rolled, np.broadcast_to(rolled[:, :1], rolled.shape))
    np.testing.assert_array_equal(rolled[:, 0], want[:, 0])


def test_the_spread_of_members_is_that_of_the_predicted_channels():
    """Each member adds its own noise to the field."""
    noise = ups.Network(lambda key: {"w": jnp.zeros(1)}, lambda params, u, cond, z: z)
    data = trajectories()
    emulator = ups.Emulator(ups.pde_of(data), extrapolating(ups.pde_of(data), 1).operator,
                            history=2, networks={"ensemble": noise})  # fmt: skip
    out = ups.forecast(
        emulator, identity_params(emulator), data.u[:3, 0], data.cond[:3], jax.random.key(0),
        steps=2, forecaster="ensemble", members=2,
    )  # fmt: skip
    assert out.members is not None and out.log is not None
    difference = np.asarray(out.members[:, 0] - out.members[:, 1])
    want = np.sqrt((difference**2 / 2).mean((2, 3)))
    np.testing.assert_allclose(out.log["spread"], want, rtol=1e-5)


def test_symmetries_move_static_channels_with_the_field():
    data = trajectories()
    pde = ups.pde_of(data, symmetries=("translation", "reflection"), vector=("q",))
    translate, reflect = pde.symmetries
    window = jnp.asarray(data.u[0])
    moved, _ = translate(jax.random.key(1), window, jnp.zeros(0))
    shift = int(np.argmax(moved[0, :, 1] == window[0, 0, 1]))
    np.testing.assert_array_equal(moved, np.roll(window, shift, 1))
    mirrored = np.asarray(window)[:, ::-1] * np.float32([-1, 1])
    drawn = [reflect(jax.random.key(i), window, jnp.zeros(0))[0] for i in range(8)]
    assert {bool((d == mirrored).all()) for d in drawn} == {True, False}


def test_an_emulator_with_more_inputs_is_saved_and_exported(tmp_path):
    data = trajectories()
    emulator = ups.Emulator(ups.pde_of(data), ups.OPERATORS["resnet"], width=4, blocks=1, history=2)
    params = ups.init(emulator, jax.random.key(1))
    loaded, again, _ = ups.load(ups.save(tmp_path / "saved", emulator, params))
    assert loaded.history == 2 and loaded.pde.static == ("mask",)
    folder = ups.export(tmp_path / "out", loaded, again, steps=3)
    card = (folder / "README.md").read_text()
    assert "`u0` (b, 8, 3)" in card and "newest first" in card and "static: mask" in card
    u0 = np.asarray(states(emulator, jnp.asarray(data.u[:2, :2]))[:, 1])
    names = {"u0": u0, "cond": np.zeros((2, 0), np.float32)}
    code = re.findall(r"```python\n(.*?)```", card, re.S)[0]
    exec(code.replace('Path("', f'Path("{folder}/'), names)
    want = ups.forecast(
        emulator, params, u0, names["cond"], jax.random.key(0), steps=3, forecaster="operator"
    ).u
    assert want.shape == (2, 3, 8, 1)
    np.testing.assert_allclose(names["u"], want, atol=1e-6)


def test_what_has_no_static_channels_or_history_is_refused(tmp_path):
    path, given = npz(tmp_path)
    given |= {"data.path": path}
    with pytest.raises(ValueError, match="eval.forecasters is .* it must be without ttc"):
        chosen = {"stages": "operator,ensemble", "eval.forecasters": "operator,ensemble,ttc"}
        ups.load_config("configs/data.py:smoke", given | chosen)
    older = {"stages": "operator", "operator.history": "2", "operator.galilean": "false"}
    for message, changes in (
        ("ensemble.antithetic is true, .* or operator.history is above 1", MIRRORED),
        ("in the Galilean frame exactly 1", {"operator.galilean": "true"}),
        ("operator.history is 101; it must be at most 100", {"operator.history": "101"}),
        ("operator.history is 0; it must be at least 1", {"operator.history": "0"}),
    ):
        with pytest.raises(ValueError, match=message):
            build(ups.load_config("burgers:smoke", older | changes))
