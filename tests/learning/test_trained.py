"""Training in Python equals a run, and folders of emulators load, those of schema 2 too."""

import json
import shutil

import jax
import numpy as np
import pytest

import ups_jax as ups
from runs import ROOT
from ups_jax import config
from ups_jax.config.renames import NAME_RENAMES
from ups_jax.experiment.checkpoint import Checkpoints
from ups_jax.jobs import commands

SMALL = {
    "data.train": 32,
    "data.val": 8,
    "data.test": 8,
    "fit.operator.steps": 20,
    "fit.operator.steps_per_call": 10,
    "fit.operator.val_every": 20,
    "fit.operator.warmup": 2,
    "operator.layers": 1,
    "eval.forecasters": "mean,operator",
    "eval.num_figures": 0,
    "report.dpi": 40,
}


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_training_in_python_gives_the_parameters_of_a_run(tmp_path, monkeypatch):
    for name in list(ups.FIGURES):
        monkeypatch.delitem(ups.FIGURES, name)
    flags = [f"--config.{key}={value}" for key, value in SMALL.items()]
    argv = ["--config", "configs/advection.py:smoke", "--workdir", str(tmp_path / "run"), *flags]
    assert commands.main([*argv, "--wandb_mode=disabled"]) == 0
    emulator, params, cfg = ups.load(tmp_path / "run")
    spec = cfg.data
    splits = ups.simulate_splits(
        emulator.pde, train=spec.train, val=spec.val, test=spec.test, steps=spec.steps
    )
    trained = ups.train(
        emulator,
        splits.train,
        splits.val,
        ups.Recipe.of_section(cfg.fit.operator.to_dict()),
        key=jax.random.key(cfg.seed),
        validation=ups.Validation(batch=cfg.eval.batch),
        progress=False,
    )
    equal(trained, params)


@pytest.fixture(scope="module")
def old_folder(tmp_path_factory):
    """A folder of schema 2: its config, and parameters keyed by the old names of stages."""
    folder = tmp_path_factory.mktemp("schema_2")
    shutil.copy(ROOT / "tests" / "experiment" / "config_schema_2.json", folder / "config.json")
    saved = json.loads((folder / "config.json").read_text())
    emulator = ups.build(config.from_dict(saved))
    params = ups.init(emulator, jax.random.key(3))
    old_names = {new: old for old, new in NAME_RENAMES.items()}
    with Checkpoints(folder / "ckpt" / "shipped") as checkpoints:
        checkpoints.save({old_names.get(k, k): v for k, v in params.items()}, {"schema": 2})
    return folder, params


def test_a_folder_of_schema_2_loads(old_folder):
    folder, params = old_folder
    _, loaded, cfg = ups.load(folder)
    assert {"control", "student", "ensemble"} <= set(loaded)
    equal(dict(sorted(loaded.items())), dict(sorted(params.items())))
    assert cfg.schema == config.SCHEMA


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("ensemble", "stage 'ensemble' needs the parameters of operator; train these first"),
        ("opertor", "did you mean 'operator'"),
    ],
)
def test_a_stage_that_cannot_be_trained_is_refused(stage, message):
    pde = ups.PDES["advection"](points=8, cells=8)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    splits = ups.simulate_splits(pde, train=4, val=2, test=2, steps=4)
    recipe = ups.Recipe(steps=50, warmup=5, unroll=(1,))
    with pytest.raises(ValueError, match=message):
        ups.train(
            emulator, splits.train, splits.val, recipe, key=jax.random.key(0), stage=stage,
            progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(steps=120), "steps is 120; it must be a multiple of steps_per_call"),
        (dict(steps=100, warmup=100), "warmup is 100"),
        (dict(steps=100, warmup=1, unroll=(1, 2), phase_fractions=(1.0,)), "one number for each"),
        (dict(steps=50, warmup=1, unroll=(1, 2)), "has no update; raise steps"),
        (dict(batch=0), "batch is 0; it must be at least 1"),
    ],
)
def test_a_recipe_whose_lengths_do_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ups.Recipe(**changes)


def test_a_recipe_has_the_defaults_of_the_config():
    from ups_jax.config import base

    section = base.fit().to_dict()
    values = ups.Recipe().to_dict()
    assert values.pop("phase_fractions") is None
    assert values == {k: v for k, v in section.items() if k != "phase_fractions"}
