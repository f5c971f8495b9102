"""Plug points used from files outside the package: the blocks of docs/extending.md, in a run."""

import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import ups_jax as ups
from runs import ROOT, summary
from ups_jax.experiment.reevaluate import EvaluateOptions, prepare
from ups_jax.jobs import commands

MINE = {"heat", "linear", "robust", "worst_frame", "smoothness", "error_histogram"}
TABLES = (ups.PDES, ups.OPERATORS, ups.STAGES, ups.FORECASTERS, ups.METRICS, ups.REWARDS)


@pytest.fixture(scope="module", autouse=True)
def user_settings():
    """JAX as a user has it: with broadcasting of ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the config in docs/extending.md, from a folder of its own."""
    folder = tmp_path_factory.mktemp("mine")
    text = (ROOT / "docs" / "extending.md").read_text()
    *blocks, config = re.findall(r"```python\n(.*?)```", text, re.S)
    (folder / "my_things.py").write_text("\n".join(blocks))
    (folder / "my_config.py").write_text(config)
    tables = (*TABLES, ups.FIGURES)
    before = [dict(table) for table in tables]
    argv = ["--config", str(folder / "my_config.py"), "--workdir", str(folder / "run")]
    code = commands.main([*argv, "--wandb_mode=disabled", "--config.report.dpi=40"])
    yield folder, code
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    sys.modules.pop("my_things", None)


def test_every_plug_point_takes_part_in_a_run(run):
    folder, code = run
    values = summary(folder / "run")
    assert code == 0
    assert np.isfinite(values["eval/operator/worst_frame"])
    assert values["eval/robust/nrmse"] != values["eval/operator/nrmse"]
    assert values["params/robust"] == values["params/operator"] == 7
    assert (folder / "run" / "figures" / "error_histogram.png").stat().st_size > 1000
    gates = json.loads((folder / "run" / "verdict.json").read_text())["gates"]
    assert [gate["name"] for gate in gates] == ["worst"]
    rows = [json.loads(x) for x in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in rows} == {"operator", "robust"}


@pytest.fixture
def fresh(run):
    """The tables of a process that has imported nothing of the user's."""
    tables = (*TABLES, ups.FIGURES)
    before = [dict(table) for table in tables]
    for table in tables:
        for name in MINE & table.keys():
            del table[name]
    things = sys.modules.pop("my_things", None)
    yield
    for table, entries in zip(tables, before, strict=True):
        table.update(entries)
    if things:
        sys.modules["my_things"] = things


def test_a_run_reopens_in_a_process_that_has_imported_nothing(run, fresh, capsys):
    folder = run[0]
    recorded = json.loads((folder / "run" / "config.json").read_text())["imports"]
    assert [Path(entry.partition("#")[0]) for entry in recorded] == [folder / "my_things.py"]
    command = prepare(EvaluateOptions(workdir=folder / "run"), lambda: False)
    assert command.context.emulator.pde.name == "heat" and "one device" in capsys.readouterr().err


def test_a_file_that_changed_since_the_run_is_named(run, fresh, capsys):
    file = run[0] / "my_things.py"
    text = file.read_text()
    file.write_text(text + "# edited\n")
    try:
        assert ups.load(run[0] / "run")[0].pde.name == "heat"
        assert capsys.readouterr().err == f"warning: {file} has changed since this run\n"
        file.unlink()
        ups.load(run[0] / "run")
        assert "my_things.py, which this run imported, is missing" in capsys.readouterr().err
    finally:
        file.write_text(text)


def test_files_to_import_are_named_on_the_command_line(run, fresh):
    names = {"pde.name": "heat", "data.cells": "64", "pde.points": "64", "eval.horizons": "0.5"}
    cfg = ups.load_config("advection:smoke", names | {"imports": str(run[0] / "my_things.py")})
    assert cfg.pde.name == "heat" and cfg.imports[0].startswith(str(run[0] / "my_things.py#"))
    for entry in ("nowhere.py", "no_such_module"):
        with pytest.raises(ValueError, match=f"imports has '{entry}'"):
            ups.load_config("advection:smoke", {"imports": entry})


def test_a_metric_of_the_user_is_a_column_of_the_table(run):
    emulator, params, _ = ups.load(run[0] / "run")
    data = ups.simulate(emulator.pde, jax.random.key(9), n=3, steps=4, cache=False)
    report = ups.evaluate(emulator, params, data, forecasters=("persistence", "robust"))
    row = dict(zip(report.columns, report.rows[1], strict=True))
    assert row["worst_frame"] == report.scalars["eval/robust/worst_frame"]
    assert "worst frame" in report.table()


def test_a_reward_of_the_user_scores_transitions(run):
    emulator, *_ = ups.load(run[0] / "run")
    from ups_jax.rewards import weighted_reward

    reward = weighted_reward(emulator.pde, ("smoothness",), (1.0,))
    flat, rough = np.zeros((2, 64, 1)), np.random.default_rng(0).normal(size=(2, 64, 1))
    cond = np.full((2, 1), 0.02)
    assert np.all(np.asarray(reward(flat, flat, cond)) > np.asarray(reward(flat, rough, cond)))


def test_an_operator_that_ignores_noise_is_refused_for_an_ensemble(run):
    small = {"operator.name": "linear", "operator.width": 5, "operator.galilean": False}
    cfg = ups.load_config(str(ROOT / "configs/burgers.py:smoke"), small)
    with pytest.raises(ValueError, match="operator 'linear' ignores noise"):
        ups.build(cfg)


def test_an_emulator_of_the_user_is_saved_and_loaded(run, tmp_path):
    pde = ups.PDES["heat"](points=32, cells=(32,))
    emulator = ups.Emulator(pde, ups.OPERATORS["linear"], width=3, zero_mean=True)
    params = ups.init(emulator, jax.random.key(0))
    folder = ups.save(tmp_path / "saved", emulator, params)
    loaded, again, cfg = ups.load(folder)
    assert loaded.zero_mean and cfg.operator.width == 3 and loaded.pde.points == (32,)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    with pytest.raises(ValueError, match="is not empty"):
        ups.save(folder, emulator, params)


def test_a_factory_outside_the_table_cannot_be_saved(tmp_path):
    pde = ups.PDES["advection"](points=8, cells=8)

    def mine(**sizes):
        return ups.OPERATORS["resnet"](width=4, blocks=1, dilations=(1,), **sizes)

    emulator = ups.Emulator(pde, mine)
    with pytest.raises(ValueError, match="OPERATORS"):
        ups.save(tmp_path / "x", emulator, ups.init(emulator, jax.random.key(0)))
    assert not Path(tmp_path / "x").exists()


def test_a_walled_equation_of_two_dimensions_and_channels_is_added_by_a_config_file(tmp_path):
    """Every metric and every law of a file outside the package, on a grid with a wall."""
    (tmp_path / "tank.py").write_text(TANK)
    (tmp_path / "my_config.py").write_text(TANK_CONFIG)
    before = dict(ups.PDES)
    try:
        cfg = ups.load_config(str(tmp_path / "my_config.py"))
        emulator = ups.build(cfg)
        assert emulator.pde.boundary == ("periodic", "wall")
        data = ups.simulate(emulator.pde, jax.random.key(0), n=4, steps=4, cache=False)
        params = ups.init(emulator, jax.random.key(1))
        report = ups.evaluate(emulator, params, data, forecasters=("persistence", "operator"))
    finally:
        ups.PDES.clear(), ups.PDES.update(before)
        sys.modules.pop("tank", None)
    names = {key.removeprefix("eval/operator/") for key in report.scalars}
    assert {"physics/boundary_jump", "physics/conservation_gap", "brmse", "frmse_low"} <= names
    empty = {"frmse_high"}  # the grid has no such waves
    missing = {k for k, v in report.scalars.items() if v is None or not np.isfinite(v)}
    assert {key.rpartition("/")[2] for key in missing} <= empty, missing


TANK = '''
from functools import partial

import jax
import jax.numpy as jnp
import ups_jax as ups
from ups_jax.pde import finite_volume as fv
from ups_jax.pde.base import Law, random_translation, spatial_mean

BOUNDARY = ("periodic", "wall")


def make(*, points=(8, 8), cells=(8, 8), dt: float = 0.01) -> ups.PDE:
    """Two substances that spread at different rates, without flux through the wall."""

    def tendency(u):
        return jnp.array([1.0, 0.5]) * fv.laplacian(u, [1 / n for n in u.shape[-3:-1]], BOUNDARY)

    def step(u, cond):
        return jax.lax.fori_loop(0, 40, lambda _, u: u + dt / 40 * tendency(u), u)

    mean = partial(spatial_mean, ndim=2)
    return ups.PDE(
        name="tank",
        channels=("a", "b"),
        params=(),
        cells=tuple(cells),
        points=tuple(points),
        extent=(1.0, 1.0),
        dt=dt,
        boundary=BOUNDARY,
        initial=lambda key, cond, cells: 1 + jax.random.uniform(key, (*cells, 2)),
        step=step,
        residual=lambda prev, next, cond: (next - prev) / dt - tendency(0.5 * (prev + next)),
        sample_cond=lambda key: jnp.zeros((0,)),
        symmetries=(random_translation(2, periodic=(True, False)),),
        laws={"mass": Law(mean, "conserved", "conservation_gap", mean)},
        spec=dict(points=points, cells=cells, dt=dt),
    )


ups.PDES["tank"] = make
'''
TANK_CONFIG = """
from ml_collections import ConfigDict

import tank
from ups_jax.config import base


def get_config(variant="default"):
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="tank"))
    cfg.operator = ConfigDict(dict(name="resnet", width=4, blocks=1, dilations=(1,)))
    cfg.data.cells = (8, 8)
    cfg.eval.horizons = (0.1, 0.2)
    return cfg
"""
