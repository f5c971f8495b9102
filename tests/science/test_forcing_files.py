"""Known forcing from the file to a run, its folder and its export, and what is refused."""

import os
import re

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import ups_jax as ups
from fixtures import write_well
from runs import QUICK, RUNNER, sh, summary
from ups_jax.config import load_adapted
from ups_jax.data import content_hash, save_predictions
from ups_jax.emulator import first_state
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import load_splits
from ups_jax.forecast import forecast_program
from ups_jax.stages import STAGES, bind

RNG = np.random.default_rng(0)
N, T, X = 12, 5, 8
U = RNG.normal(size=(N, T, X, 1)).astype(np.float32)
DRIVE = RNG.normal(size=(N, T)).astype(np.float32)
FIELD = RNG.normal(size=(N, T, X)).astype(np.float32)
MASK = RNG.normal(size=X).astype(np.float32)
KEY = jax.random.key(0)


def trajectories(**stated):
    plain = ups.Trajectories(U, dt=0.5, channels=("q",), **stated)
    return ups.with_forcing(ups.with_static(plain, mask=MASK), drive=DRIVE, field=FIELD)


WANTED = trajectories().u


def saved(folder):
    ups.save_npz(folder / "a.npz", trajectories())
    return folder / "a.npz", {}


def npz(folder):
    u = np.concatenate([FIELD[..., None], U], -1)
    np.savez(folder / "a.npz", u=u, channels=["field", "q"], drive=DRIVE, mask=MASK)
    return folder / "a.npz", {"static": ("mask",), "forcing": ("drive", "field")}


def own_hdf5(folder):
    save_predictions(folder / "a.h5", {}, trajectories())
    return folder / "a.h5", {}


def hdf5(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["u"], file["drive"], file["mask"], file["channels"] = U, DRIVE, MASK, ["q"]
        file["field"] = FIELD
    return folder / "a.h5", {"static": ("mask",), "forcing": ("drive", "field")}


def named(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["flow/q"], file["flow/drive"], file["f"] = U[..., 0], DRIVE, FIELD
        file["mask"] = np.broadcast_to(MASK, (N, X))
    names = ("q=flow/q", "drive=flow/drive", "field=f", "mask")
    return folder / "a.h5", {"datasets": names, "forcing": ("drive", "field")}


def netcdf(folder):
    scales = {"sample": N, "time": T, "x": X}
    with h5py.File(folder / "a.nc", "w") as file:
        for name, size in scales.items():
            file[name] = np.arange(size, dtype="f4")
            file[name].make_scale(name)
        for name, field in labelled().items():
            file[name] = field.values
            for axis, dim in enumerate(field.dims):
                file[name].dims[axis].attach_scale(file[dim])
    return folder / "a.nc", {"static": ("mask",), "forcing": ("drive", "field")}


def zarr(folder):
    labelled().to_zarr(folder / "a.zarr", consolidated=False)
    return folder / "a.zarr", {"static": ("mask",), "forcing": ("drive", "field")}


def labelled():
    dims = ("sample", "time", "x")
    return xr.Dataset(
        {"q": (dims, U[..., 0]), "drive": (dims[:2], DRIVE), "mask": (dims[2:], MASK),
         "field": (dims, FIELD)}
    )  # fmt: skip


@pytest.mark.parametrize("write", [saved, npz, own_hdf5, hdf5, named, netcdf, zarr])
def test_files_hold_forcing(tmp_path, write):
    path, given = write(tmp_path)
    data = ups.load_data(path, **given)
    np.testing.assert_array_equal(data.u, WANTED)
    assert data.channels == ("q", "mask", "drive", "field")
    assert (data.static, data.forcing) == (("mask",), ("drive", "field"))
    assert ups.load_data(path, **given, describe=True).u.shape == data.u.shape
    strided = ups.load_data(path, **given, time_stride=2, space_stride=2, samples=(3, 7))
    np.testing.assert_array_equal(strided.u, WANTED[3:7, ::2, ::2])


def test_datasets_of_xarray_and_the_well_have_forcing_by_name(tmp_path):
    data = ups.from_xarray(labelled(), static=("mask",), forcing=("drive", "field"))
    np.testing.assert_array_equal(data.u, WANTED)
    scalar, vector = RNG.normal(size=(3, 4, 8, 4)), RNG.normal(size=(3, 4, 8, 4, 2))
    path = write_well(tmp_path / "w.hdf5", scalar, vector, np.ones(3))
    well = ups.load_data(path, forcing=("tracer",))
    assert well.channels == ("velocity_x", "velocity_y", "tracer") and well.forcing == ("tracer",)


def test_an_array_of_the_name_forcing_is_one_that_a_user_may_name(tmp_path):
    np.savez(tmp_path / "a.npz", u=U, forcing=DRIVE, channels=["q"])
    assert ups.load_data(tmp_path / "a.npz").channels == ("q",)
    data = ups.load_data(tmp_path / "a.npz", forcing=("forcing",))
    assert data.forcing == ("forcing",)
    np.testing.assert_array_equal(data.u[:, :, 3, 1], DRIVE)


def test_windows_from_disk_have_the_forcing(tmp_path, monkeypatch):
    monkeypatch.setenv("UPS_DATA", str(tmp_path / "cache"))
    path, given = hdf5(tmp_path)
    data = ups.load_data(path, **given, stream=True)
    np.testing.assert_array_equal(data.u[:], WANTED)
    assert content_hash(data) == content_hash(ups.load_data(path, **given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(forcing=("driv",)), r"data.forcing names 'driv'; the file has the channels q, r and "
                                  r"the arrays \(n, t\) drive, holes, words$"),
        (dict(static=("mask",), forcing=("mask",)), "data.static and data.forcing both name 'mask"),
        (dict(forcing=("q", "r")), r"data.forcing \('q', 'r'\): no channel is left to predict"),
        (dict(forcing=("mask",)), r"forcing mask holds \(8,\) float32; expected .* \(12, 5\) or"),
        (dict(forcing=("short",)), r"forcing short holds \(12, 4\) float32; expected"),
        (dict(forcing=("holes",)), "sample 2 holds NaN or infinity in float32, first in frame 3"),
        (dict(forcing=("words",)), r"forcing words holds \(12, 5\) <U1; expected numbers"),
    ],
)  # fmt: skip
def test_forcing_of_a_file_that_does_not_fit_is_refused(tmp_path, given, message):
    holes = DRIVE.copy()
    holes[2, 3] = np.nan
    further = dict(drive=DRIVE, mask=MASK, short=DRIVE[:, :4], holes=holes)
    further["words"] = np.full((N, T), "a")
    u = np.concatenate([U, U], -1)
    np.savez(tmp_path / "a.npz", u=u, channels=["q", "r"], **further)
    with pytest.raises(ValueError, match=message) as error:
        ups.load_data(tmp_path / "a.npz", **given)
    assert "\n" not in str(error.value)


def test_forcing_in_memory_that_does_not_fit_is_refused():
    plain, gap = ups.Trajectories(U, channels=("q",)), np.where(DRIVE == DRIVE[4, 1], np.inf, DRIVE)
    for message, fields in (
        (r"forcing f holds \(12, 4\) float32; expected .* \(12, 5\)", {"f": DRIVE[:, :4]}),
        (r"forcing f holds \(12, 5, 2, 2\)", {"f": np.zeros((N, T, 2, 2))}),
        ("forcing f of sample 4 is not finite at frame 1", {"f": gap}),
        ("expected 1 lengths and 2 distinct names", {"q": DRIVE}),
    ):
        with pytest.raises(ValueError, match=message):
            ups.with_forcing(plain, **fields)
    with pytest.raises(ValueError, match="static .* and then forcing .* must be the last"):
        ups.Trajectories(WANTED, channels=("q", "r", "m", "f"), static=("f",), forcing=("m",))
    with pytest.raises(ValueError, match="steady data have one step and no forcing"):
        ups.Trajectories(WANTED[:, :2], channels=("q", "r", "m", "f"), forcing=("f",), steady=True)


@pytest.fixture(scope="module")
def model():
    data = trajectories()
    emulator = ups.Emulator(data, ups.OPERATORS["resnet"], width=4, blocks=1, history=2)
    return emulator, ups.init(emulator, jax.random.key(1)), data


def test_a_forecast_without_its_forcing_is_refused(model):
    emulator, params, data = model
    u0, after = data.u[:, 0], data.u[:, 1:, ..., -2:]
    for message, changes in (
        ("needs the forcing drive, field of the 4 frames after u0, got 0; give", {}),
        ("of the 4 frames after u0, got 3; give forcing", {"forcing": after[:, :3]}),
        (r"forcing has 1 channels; expected 2: drive, field", {"forcing": after[..., :1]}),
        (r"forcing after u0 holds \(12, 4, 5, 2\)", {"forcing": after[:, :, :5]}),
        (r"forcing after u0 holds \(6, 4, 8, 2\)", {"forcing": after[:6]}),
        ("forcing holds NaN or infinity", {"forcing": np.where(after > 1, np.nan, after)}),
        (r"u0 has shape \(12, 8, 6\); expected .* 4 channels", {"u0": np.zeros((N, X, 6), "f4")}),
        ("of the 4 frames after u0, got 1", {"u0": ups.states(emulator, data.u)[:, 0]}),
    ):
        given = {"u0": u0} | changes
        with pytest.raises(ValueError, match=message) as error:
            ups.forecast(emulator, params, cond=data.cond, key=KEY, steps=4, forecaster="operator",
                         **given)  # fmt: skip
        assert str(error.value).count("\n") < 2
    with pytest.raises(
        ValueError, match="state of 4 channels lacks the forcing of the frame after"
    ):
        one = ups.Emulator(data, ups.OPERATORS["resnet"], width=4, blocks=1)
        ups.step(one, ups.init(one, KEY), data.u[:, 0], data.cond)
    plain = ups.Trajectories(U, channels=("q",))
    other = ups.Emulator(plain, ups.OPERATORS["resnet"], width=4, blocks=1)
    with pytest.raises(ValueError, match="forcing is given, but the emulator of pde 'data' takes"):
        ups.forecast(other, ups.init(other, KEY), U[:, 0], plain.cond, KEY, steps=2,
                     forecaster="operator", forcing=after)  # fmt: skip


def test_what_takes_no_forcing_is_refused(tmp_path):
    data = trajectories()
    with pytest.raises(ValueError, match="has forcing drive, field, which solvers, base steps"):
        ups.Emulator(data, ups.OPERATORS["resnet"], width=4, base=lambda u, cond: u)
    pde = ups.pde_of(data, symmetries=("reflection",))
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1)
    with pytest.raises(ValueError, match="forecaster 'symmetrized' needs a reflection"):
        ups.forecast(emulator, ups.init(emulator, KEY), data.u[:, 0], data.cond, KEY, steps=2,
                     forecaster="symmetrized", forcing=data.u[:, 1:, ..., -2:])  # fmt: skip
    path, given = saved(tmp_path)
    ttc = {"stages": "operator,ensemble", "eval.forecasters": "operator,ensemble,ttc"}
    for message, changes in (
        ("eval.forecasters is .* it must be without ttc", ttc),
        ("operator.base|no interval solver", {"operator.base": "solver"}),
        ("antithetic is true, but pde 'data' has no", {"ensemble.antithetic": "true"}),
    ):
        with pytest.raises(ValueError, match=message):
            build(ups.load_config("configs/data.py:smoke", {"data.path": path} | changes))
    for message, config in (
        ("forcing channels 2, not 0", {"pde.points": 8, "data.cells": "8,"}),
        ("static channels", {}),
    ):
        with pytest.raises(ValueError, match=message):
            load_adapted("configs/burgers.py:smoke", {"data.path": path} | config)


def test_every_stage_and_forecaster_takes_forcing(tmp_path):
    """Traced only: shapes of losses, of derived data and of forecasts."""
    path, _ = saved(tmp_path)
    given = {"data.path": path, "pde.name": "data", "operator.history": "2"}
    cfg, notes = load_adapted("configs/burgers.py:smoke", given)
    assert any("eval.forecasters without solver, ttc" in note for note in notes)
    assert any("pde.forcing=drive,field" in note for note in notes)
    emulator = build(cfg)
    params = jax.eval_shape(lambda: ups.init(emulator, KEY))
    assert params["stats"]["std"].shape == (4,) and params["stats"]["residual_std"].shape == (1,)
    cond = jax.ShapeDtypeStruct((3, 0), jnp.float32)
    for name in cfg.stages:
        stage = bind(STAGES[name], emulator, {})
        shape = (3, 1 + stage.history, X, stage.channels)
        assert shape[1:] == ((2, X, 14) if name in ("diffusion", "student") else (3, X, 4))
        batch = {"u": jax.ShapeDtypeStruct(shape, jnp.float32), "cond": cond}
        assert jax.eval_shape(stage.prepare, params, batch, KEY).keys() == params.keys()
        assert jax.eval_shape(stage.loss, params, batch, KEY)[0].shape == ()
        options = {} if name in ("operator", "control") else {"members": 2}
        run, used = forecast_program(emulator, params, name, steps=4, **options)
        state = jax.ShapeDtypeStruct((3, X, 3 + 5 * 2), jnp.float32)
        forecast = jax.eval_shape(run, used, state, cond, jax.random.split(KEY, 3))
        assert forecast.u.shape == (3, 4, X, 1)
        if options:
            assert forecast.members.shape == (3, 2, 4, X, 1)


def test_an_emulator_with_forcing_is_saved_and_exported(tmp_path, model):
    emulator, params, data = model
    loaded, again, _ = ups.load(ups.save(tmp_path / "saved", emulator, params))
    assert loaded.pde.forcing == ("drive", "field") and loaded.pde.static == ("mask",)
    folder = ups.export(tmp_path / "out", loaded, again, steps=3)
    card = (folder / "README.md").read_text()
    assert "`u0` (b, 8, 11)" in card and "forcing drive, field of 4 frames" in card
    assert "forcing channels | drive, field" in card
    u0 = np.asarray(first_state(emulator, jnp.asarray(data.u[:2, :4])))
    names = {"u0": u0, "cond": np.zeros((2, 0), np.float32)}
    code = re.findall(r"```python\n(.*?)```", card, re.S)[0]
    exec(code.replace('Path("', f'Path("{folder}/'), names)
    want = ups.forecast(
        emulator, params, data.u[:2, 0], names["cond"], KEY, steps=3, forecaster="operator",
        forcing=data.u[:2, 1:, ..., -2:],
    ).u  # fmt: skip
    np.testing.assert_allclose(names["u"], want, atol=1e-6)


def test_a_source_without_the_forcing_is_fine_tuned_to_it(model):
    plain = ups.Trajectories(U, dt=0.5, channels=("q",))
    data = ups.with_forcing(plain, drive=DRIVE)
    build = dict(width=4, blocks=1, dilations=(1,))
    source = ups.Emulator(plain, ups.OPERATORS["resnet"], **build)
    forced = ups.Emulator(data, ups.OPERATORS["resnet"], **build)
    recipe = ups.Recipe(steps=2, batch=2, warmup=0, steps_per_call=2, val_every=2, unroll=(1,))
    given = (source, ups.init(source, KEY))
    _, tuned = ups.finetune(given, data, data, recipe, key=KEY, emulator=forced)
    assert tuned["stats"]["std"].shape == (2,)
    with pytest.raises(
        ValueError, match=r"this one .*forcing drive \(now\), forcing drive \(next\)"
    ):
        masked = ups.Emulator(ups.with_static(plain, m=MASK), ups.OPERATORS["resnet"], **build)
        ups.finetune((masked, tuned), data, data, recipe, key=KEY, emulator=forced)


def test_a_run_on_a_file_needs_the_forcing_that_drives_it(tmp_path):
    """u grows by the mean of an unpredictable forcing of both frames: the network must read it."""
    drive, start = RNG.normal(size=(60, 9)), RNG.normal(size=(60, 1, 1))
    x = np.arange(16) / 16
    steps = np.cumsum((drive[:, 1:] + drive[:, :-1]) / 2, 1)
    grown = np.pad(steps, ((0, 0), (1, 0)))[:, :, None] * (1 + 0.5 * np.sin(2 * np.pi * x))
    np.savez(
        tmp_path / "a.npz", u=(grown + start)[..., None].astype(np.float32), drive=drive, dt=0.1
    )
    line = [*RUNNER, "--config=configs/data.py:smoke", f"--config.data.path={tmp_path / 'a.npz'}"]
    line += ["--config.data.forcing=drive", f"--workdir={tmp_path / 'w'}", "--wandb_mode=disabled"]
    line += ["--config.fit.operator.unroll=2", "--config.fit.operator.phase_fractions=1"]
    line += ["--config.fit.operator.loss=mse", "--config.report.dpi=40"]
    run = sh(line, env={**os.environ, "XLA_FLAGS": QUICK})
    assert run.returncode == 0, run.stderr
    assert "pde.forcing=drive" in run.stderr and "report:" in run.stdout.splitlines()[-1]
    values = summary(tmp_path / "w")
    # No forecast that does not read the forcing is better than the given frame.
    for protocol in ("", "p10/"):
        error, still = (values[f"eval/{k}/{protocol}nrmse"] for k in ("operator", "persistence"))
        assert error < 0.5 * still
    emulator, _, cfg = ups.load(tmp_path / "w")
    assert emulator.pde.forcing == ("drive",) and load_splits(cfg, emulator.pde).test.forcing
