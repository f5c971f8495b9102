"""Data without an equation: what a file states is enough for a config, an emulator and a run."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from fixtures import write_groups, write_well
from ups_jax.config import load_adapted
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import load_splits

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data():
    """Sixty waves that travel one point a frame: 16 points, 9 frames, two channels."""
    x = np.arange(16) / 16
    phase, t = RNG.uniform(size=(60, 1, 1)), np.arange(9)[:, None] / 16
    u = np.sin(2 * np.pi * (x - t + phase))
    fields = np.stack([u, 1 + 0.5 * u], -1).astype(np.float32)
    return ups.Trajectories(fields, dt=0.25, extent=(2.0,), channels=("q", "rho"))


@pytest.fixture
def path(tmp_path, data):
    ups.save_npz(tmp_path / "own.npz", data)
    return tmp_path / "own.npz"


def test_the_path_alone_gives_the_task_the_times_and_the_splits(path, data):
    cfg, notes = load_adapted("configs/data.py:smoke", {"data.path": path})
    assert dict(cfg.pde) == dict(
        name="data", points=(16,), channels=("q", "rho"), params=(), dt=0.25, length=(2.0,),
        boundary=(), conserved=(), symmetries=(), vector=(), static=(), steady=False,
        forcing=(),
    )  # fmt: skip
    sizes = (cfg.data.train, cfg.data.val, cfg.data.test, cfg.data.steps)
    assert sizes == (48, 6, 6, 8) and cfg.eval.horizons == (0.5, 1.0, 2.0)
    assert cfg.eval.context_frames == 2 and "points=16" in notes[0]
    splits = load_splits(cfg, build(cfg).pde)
    assert [len(part) for part in splits[:3]] == [48, 6, 6]
    saved = ups.build(ups.load_config("configs/data.py:smoke", {"data.path": path})).spec
    assert saved["pde"]["points"] == (16,) or saved["pde"]["points"] == [16]


def test_a_file_that_does_not_fit_is_answered_once(path, data):
    with pytest.raises(ValueError) as error:
        ups.load_config("burgers:smoke", {"data.path": path})
    text, command = str(error.value).splitlines()
    for part in ("channels 2, not 1", "dt 0.25, not 0.05", "extent 2, not 1", "points 16, not 64"):
        assert part in text
    assert command.startswith(f"--config configs/data.py --config.data.path={path}")
    given = {"pde.points": "8", "pde.channels": "a", "data.train": "70", "data.path": path}
    with pytest.raises(ValueError) as error:
        ups.load_config("configs/data.py", given)
    command = str(error.value).splitlines()[1]
    own = dict(re.findall(r"--config\.(\S+?)=(\S+)", command))
    assert ups.load_config("configs/data.py", given | own).pde.points == (16,)


def test_one_channel_of_burgers_is_fitted_by_the_command_of_the_refusal(tmp_path, data):
    cond = np.full((60, 1), 1e-3, np.float32)
    one = dataclasses.replace(data, u=data.u[..., :1], channels=("u",), cond=cond, extent=(1.0,))
    ups.save_npz(tmp_path / "a.npz", one)
    given = {"data.path": tmp_path / "a.npz", "operator.patch": "1"}
    with pytest.raises(ValueError) as error:
        ups.load_config("burgers", given)
    own = dict(re.findall(r"--config\.(\S+?)=(\S+)", str(error.value).splitlines()[1]))
    cfg = ups.load_config("burgers", given | own)
    assert cfg.pde.points == 16 and len(load_splits(cfg, build(cfg).pde).train) == cfg.data.train


def test_a_run_says_what_needs_an_equation(path):
    cfg, notes = load_adapted("burgers:smoke", {"data.path": path, "pde.name": "data"})
    text = "; ".join(notes)
    assert "eval.forecasters without solver, ttc" in text and "gate energy is off" in text
    assert not cfg.operator.galilean and "operator.zero_mean is false" in text
    build(cfg)
    with pytest.raises(ValueError, match="eval.forecasters is .*must be without solver"):
        chosen = {"eval.forecasters": "solver,operator"}
        load_adapted("configs/data.py", {"data.path": path} | chosen)
    with pytest.raises(ValueError, match="data.path is None; it must be a file: pde 'data'"):
        ups.load_config("configs/data.py")
    with pytest.raises(ValueError, match="unknown channel of the data 'v'"):
        build(ups.load_config("configs/data.py", {"data.path": path, "pde.conserved": "v"}))


def test_declared_laws_and_symmetries_are_those_of_the_data(data):
    pde = ups.pde_of(
        data, conserved=("rho",), symmetries=("translation", "reflection"), vector=("q",)
    )
    translate, reflect = pde.symmetries
    cond = jnp.zeros((0,))
    shifted = translate(jax.random.key(1), jnp.asarray(data.u[0]), cond)[0]
    np.testing.assert_array_equal(np.sort(shifted, axis=1), np.sort(data.u[0], axis=1))
    mirrored = np.asarray(data.u[0])[:, ::-1] * np.float32([-1, 1])
    drawn = [
        np.asarray(reflect(jax.random.key(i), jnp.asarray(data.u[0]), cond)[0]) for i in range(8)
    ]
    assert {bool((d == mirrored).all()) for d in drawn} == {True, False}
    assert pde.reflection is not None
    np.testing.assert_array_equal(pde.reflection(jnp.asarray(data.u[0])), mirrored)
    law = pde.laws["mean_rho"]
    np.testing.assert_allclose(law.value(jnp.asarray(data.u)), 1.0, rtol=1e-5)
    wall = ups.pde_of(dataclasses.replace(data, boundary=("wall",)), symmetries=("translation",))
    moved = wall.symmetries[0](jax.random.key(1), jnp.asarray(data.u[0]), cond)[0]
    np.testing.assert_array_equal(moved, data.u[0])
    with pytest.raises(ValueError, match="no solver, residual"):
        wall.step(data.u[0, 0], cond)


def waves_2d(n=24, frames=6, points=8):
    """Two decaying standing waves between walls: (n, t, x, y, 2)."""
    x = np.pi * (np.arange(points) + 0.5) / points
    shapes = np.stack([np.cos(x)[:, None] * np.cos(x), np.cos(2 * x)[:, None] * np.cos(x)], -1)
    decay = np.exp(-0.3 * np.arange(frames)[:, None] * [1, 2])
    size = np.random.default_rng(1).uniform(0.5, 1.5, (n, 1, 1, 1, 2))
    return size * decay[:, None, None] * shapes


def test_the_blocks_of_the_page_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fields = waves_2d()
    write_groups(tmp_path / "2D_diff-react_NA_NA.h5", list(fields))
    write_well(tmp_path / "channel.hdf5", fields[..., 0], fields, np.arange(1.0, 25))
    page = (ROOT / "docs" / "data.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 11 and all(block.count("\n") <= 17 for block in blocks)
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["emulator"].pde.laws
    heat, out = names["heat"][36:, 1:, :, None], names["out"].u
    assert np.abs(out - heat).mean() < 0.3 * np.abs(heat).mean()
    assert names["waves"].channels == ("h",) and names["waves"].dt == 0.1
    np.testing.assert_array_equal(names["waves"].u, names["u"].astype(np.float32))
    assert len(repr(names["data"]).splitlines()) == 1 and "40 of 9 frames" in repr(names["data"])
    printed = capsys.readouterr().out
    walled, channel, solution = (names[key].pde for key in ("walled", "channel", "solution"))
    assert len(walled.channels) == 2 and walled.boundary == ("neumann", "neumann")
    assert channel.channels == ("tracer", "velocity_x", "velocity_y")
    assert channel.boundary == ("periodic", "wall") and channel.params == ("re",)
    assert solution.steady and solution.static == ("a",) and "mean_field" in printed
    assert "'operator', 'p1'" in printed and "of the truth's values are missing" in printed
    # The first emulator of the page, before the one with a declared law.
    emulator, params, _ = ups.load("my_emulator")
    report = ups.evaluate(emulator, params, names["test"])
    assert report.forecasters == ("persistence", "mean", "operator")
    assert report.physics_columns == ["forecaster", "boundary_jump", "floored"]
    error = report.scalars["eval/operator/nrmse"]
    assert error < 0.5 * report.scalars["eval/persistence/nrmse"]
    config, file = re.findall(r"--config (\S+) --config.data.path=(\S+)", page)[0]
    cfg = ups.load_config(str(ROOT / config), {"data.path": file})
    assert cfg.pde.channels == ("height",) and cfg.data.train == 32
