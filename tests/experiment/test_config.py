import fnmatch
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from ups_jax import config, stages
from ups_jax.config import base, load, renames, rules
from ups_jax.config.bounds import BOUNDS, MAXIMA
from ups_jax.config.schema import FACTORY_SECTIONS, arguments, flatten, key_specs
from ups_jax.config.types import KeyType, key_type_of
from ups_jax.data import save_npz
from ups_jax.experiment import dry_run
from ups_jax.experiment.build import build
from ups_jax.experiment.context import RunOptions, default_workdir
from ups_jax.experiment.record import fingerprint_updater
from ups_jax.experiment.reevaluate import EvaluateOptions
from ups_jax.jobs import cli, commands
from ups_jax.pde.semilinear import COEFFICIENTS
from ups_jax.physics import diagnostics
from ups_jax.types import Interrupted, Trajectories

ROOT = Path(__file__).parents[2]
NAMES = {"pde": "burgers", "operator": "resnet", "denoiser": "resnet"}
SMOKE = str(ROOT / "configs/burgers.py:smoke")
SHIPPED = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
PLANE = str(ROOT / "configs/advection.py:2d")


def refused(overrides, path=SMOKE):
    with pytest.raises(ValueError) as caught:
        load(path, overrides)
    return str(caught.value)


def written(tmp_path, text):
    file = tmp_path / "mine.py"
    file.write_text(text)
    return str(file)


BODY = """
from ups_jax.config import base
VARIANTS = ("default", "tiny")
def get_config(variant="default"):
    cfg = base.get_config()
    {line}
    return cfg
"""


# Files and variants


@pytest.mark.parametrize(
    "name", ["burgers.py", "burgers.py:smoke", "advection.py:2d", "advection.py:smoke"]
)
def test_shipped_configs_load_locked_and_bound(name):
    cfg = load(f"{ROOT}/configs/{name}")
    assert cfg.is_locked and cfg.pde.is_locked and cfg.operator.base == "identity"
    assert cfg.pde.dt == 0.05 and "cells" not in cfg.pde


def test_default_variant_has_three_spellings():
    path = str(ROOT / "configs/burgers.py")
    prints = {config.fingerprint(load(path + end)) for end in ("", ":", ":default")}
    assert len(prints) == 1 and config.fingerprint(load(SMOKE)) not in prints


def test_unknown_variant_is_answered_with_the_close_one():
    with pytest.raises(ValueError) as caught:
        load(str(ROOT / "configs/burgers.py:smoek"))
    known = "known: default, full, hybrid, joint, nu0.01, nu0.1, nu1, smoke, sparse"
    assert str(caught.value) == f"unknown variant 'smoek'; did you mean 'smoke'? {known}"


def test_missing_file_is_answered_with_the_close_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ValueError) as caught:
        load("configs/burger.py:smoke")
    assert str(caught.value) == (
        "no config file 'configs/burger.py'; did you mean 'configs/burgers.py'? "
        f"known: {', '.join(f'configs/{name}.py' for name in SHIPPED)}, {', '.join(SHIPPED)}"
    )


def test_a_bare_name_is_a_shipped_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.fingerprint(load("burgers:smoke")) == config.fingerprint(load(SMOKE))
    with pytest.raises(ValueError) as caught:
        load("burger:smoke")
    known = f"known: {', '.join(SHIPPED)}"
    assert str(caught.value) == f"no config file 'burger'; did you mean 'burgers'? {known}"


def test_file_without_get_config_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"mine.py has no get_config\(variant\)"):
        load(written(tmp_path, "x = 1\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = 1 / 0\n", "mine.py, line 2: ZeroDivisionError: division by zero"),
        ("x = (\n", "mine.py, line 1: SyntaxError"),
        (BODY.format(line="cfg.fit.operator.stepz = 3"), "mine.py, line 6: AttributeError"),
        (BODY.format(line="cfg.fit.operator.steps = 'many'"), "mine.py, line 6: TypeError"),
    ],
)
def test_errors_in_the_file_are_one_line_with_its_place(tmp_path, text, message):
    with pytest.raises(ValueError) as caught:
        load(written(tmp_path, text))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "cfg.pde = dict(name='burgers', nuu=1.0)",
            "unknown key 'pde.nuu'; did you mean 'pde.nu'?",
        ),
        ("cfg.pde = dict(name='burgers', nu='x')", "pde.nu is 'x'; it must be a finite number or"),
        ("cfg.pde = dict(nu=1.0)", "pde has no name; add pde.name"),
        (
            "cfg.eval.forecasters = (1, 2)",
            "eval.forecasters is (1, 2); it must be a list of strings",
        ),
        ("cfg.seed = True", "seed is True; it must be a whole number"),
        ("cfg.data.train = None", "data.train is None; it must be a whole number"),
        ("cfg.unlock(); cfg.extra = 1", "unknown key 'extra'; known: data, denoiser, "),
        ("cfg.unlock(); del cfg.eval.batch", "eval.batch is missing; start from"),
        ("cfg.data.steps = 0", "data.steps is 0; it must be at least 1"),
    ],
)
def test_what_a_file_may_not_say(tmp_path, line, message):
    with pytest.raises(ValueError) as caught:
        load(written(tmp_path, BODY.format(line=line)))
    assert message in str(caught.value)


def test_an_edited_file_counts_at_once(tmp_path):
    for seed in (1, 2):
        assert load(written(tmp_path, BODY.format(line=f"cfg.seed = {seed}"))).seed == seed


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_files_stay_loadable_by_config_flags(monkeypatch):
    values = flags.FlagValues()
    flag = config_flags.DEFINE_config_file("config", flag_values=values)
    argv = ["prog", f"--config={SMOKE}", "--config.fit.operator.lr=1e-4"]
    monkeypatch.setattr(sys, "argv", argv)
    values(argv)
    assert flag.value.fit.operator.lr == 1e-4 and flag.value.pde.points == 64


# Names, and the keys they bring


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        (
            "pde.name",
            "burger",
            "unknown pde 'burger'; did you mean 'burgers'? known: advection, ape",
        ),
        ("operator.name", "resnt", "unknown operator 'resnt'; did you mean 'resnet'? known: "),
        ("operator.name", "zzz", "unknown operator 'zzz'; known: "),
    ],
)
def test_unknown_names_are_answered_with_the_close_one(key, name, message):
    assert refused({key: name}).startswith(message)


def test_a_name_swaps_in_its_defaults_wherever_it_stands():
    first = load(SMOKE, {"operator.name": "fno", "operator.width": "12"})
    last = load(SMOKE, {"operator.width": "12", "operator.name": "fno"})
    assert config.to_dict(first) == config.to_dict(last)
    assert first.operator.width == 12 and "dilations" not in first.operator
    # The frame is no argument of the network.
    assert first.operator.galilean
    again = load(SMOKE, {"operator.name": "resnet"})
    assert again.operator.blocks == load(SMOKE).operator.blocks + 2


def test_arguments_without_default_are_no_keys(monkeypatch, tmp_path):
    def still(*, channels: int, rate: float = 1.0, when: Literal["a", "b"] = "a"): ...

    table = FACTORY_SECTIONS["operator"]._replace(
        table={"still": still}, extra={"zero_mean": (False, "")}
    )
    monkeypatch.setitem(FACTORY_SECTIONS, "operator", table)
    path = written(tmp_path, BODY.format(line="cfg.operator = dict(name='still')"))
    cfg = load(path, {"operator.when": "b"})
    assert cfg.operator.to_dict() == dict(name="still", rate=1.0, when="b", zero_mean=False)
    message = "unknown key 'operator.channels'; known in operator: name, rate, when, zero_mean"
    assert refused({"operator.channels": 1}, path) == message


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("fit.operator.lrr", "unknown key 'fit.operator.lrr'; did you mean 'fit.operator.lr'? kno"),
        ("fit.lr", "unknown key 'fit.lr'; did you mean 'fit.operator.lr'? known in fit: "),
        ("fit.steps", "unknown key 'fit.steps'; did you mean 'fit.operator.steps'?"),
        ("lr", "unknown key 'lr'; did you mean 'fit.control.lr'? known: data, denoiser, "),
        ("eval", "unknown key 'eval'; known in eval: batch, coarsen, context_frames,"),
        ("sead", "unknown key 'sead'; did you mean 'seed'? known: "),
        ("operator.zzz", "unknown key 'operator.zzz'; known in operator: "),
        ("pde.cells", "unknown key 'pde.cells'; did you mean 'data.cells'?"),
    ],
)
def test_unknown_keys_are_answered_with_the_close_one(key, message):
    assert refused({key: "1"}).startswith(message)


# Values


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("fit.operator.steps", "1e3", 1000),
        ("seed", "2147483647", 2147483647),
        ("fit.operator.lr", "1e-4", 1e-4),
        ("fit.operator.lr", "1", 1.0),
        ("fit.operator.augment", "False", False),
        ("fit.operator.augment", "1", True),
        ("pde.nu", "0.001,0.01", (0.001, 0.01)),
        ("pde.nu", "0.001,", (0.001,)),
        ("pde.nu", "0.002", 0.002),
        ("data.cells", "512", (512,)),
        ("eval.horizons", "(1, 2)", (1.0, 2.0)),
        ("eval.horizons", "", ()),
        ("log.tags", "a,b c", ("a", "b c")),
        ("log.tags", "", ()),
        ("log.entity", "me", "me"),
        ("log.entity", "none", None),
        ("log.project", "none", "none"),
        ("data.nu", "1e-2", 0.01),
    ],
)
def test_text_is_parsed_by_the_declared_type(key, text, value):
    got = flatten(load(SMOKE, [f"{key}={text}"]))[key]
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    ("key", "value", "must"),
    [
        ("fit.operator.steps", "1.5", "a whole number"),
        ("fit.operator.steps", "1e999999999", "a whole number"),
        ("fit.operator.steps", "none", "a whole number"),
        ("fit.operator.steps", "", "a whole number"),
        ("fit.operator.steps", True, "a whole number"),
        ("fit.operator.steps", 10.5, "a whole number"),
        ("fit.operator.steps", (10,), "a whole number"),
        ("fit.operator.lr", "nan", "a finite number"),
        ("fit.operator.lr", float("inf"), "a finite number"),
        ("fit.operator.lr", 10**400, "a finite number"),
        ("fit.operator.lr", None, "a finite number"),
        ("fit.operator.augment", "yes", "true or false"),
        ("fit.operator.augment", 1, "true or false"),
        ("fit.operator.unroll", "1,2.5", "a list of whole numbers"),
        ("fit.operator.unroll", 1, "a list of whole numbers"),
        ("eval.forecasters", ["solver", 3], "a list of strings"),
        ("log.project", 3, "a string"),
        ("data.nu", "thin", "a finite number or none"),
        ("pde.nu", "a,b", "a finite number or a list of finite numbers"),
    ],
)
def test_values_of_another_type_are_refused(key, value, must):
    assert refused({key: value}) == f"{key} is {value!r}; it must be {must}"


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("fit.operator.steps", 1e3, 1000),
        ("fit.operator.steps", np.int64(1000), 1000),
        ("fit.operator.lr", 1, 1.0),
        ("fit.operator.lr", np.float32(0.25), 0.25),
        ("fit.operator.augment", np.bool_(False), False),
        ("fit.operator.unroll", [1, 4], (1, 4)),
        ("eval.horizons", np.array([0.5, 1.0]), (0.5, 1.0)),
        ("pde.nu", [0.01, 1], (0.01, 1.0)),
        ("log.name", None, None),
    ],
)
def test_python_values_keep_their_number(key, value, kept):
    got = flatten(load(SMOKE, {key: value}))[key]
    assert got == kept and type(got) is type(kept)
    json.dumps(got)


def test_sections_may_be_nested():
    nested = load(SMOKE, {"fit": {"operator": {"lr": 1e-3}}, "operator": {"name": "fno"}})
    assert nested.fit.operator.lr == 1e-3 and nested.operator.name == "fno"


def test_a_list_of_overrides_needs_values():
    assert (
        refused(["fit.operator.lr"]) == "override 'fit.operator.lr' has no value; write KEY=VALUE"
    )


@pytest.mark.parametrize(
    ("hint", "default", "kind"),
    [
        (float | Sequence[float], 1, KeyType(float, many=True)),
        (tuple[int, ...] | None, None, KeyType(int, one=False, many=True, optional=True)),
        (int | float, 1, KeyType(float)),
        (Literal["a"], "a", KeyType(str)),
        (Literal["a"] | None, "a", KeyType(str, optional=True)),
        (Literal["a", "b"] | tuple[int, ...], "a", KeyType(int, False, True, words=("a", "b"))),
        (None, (), KeyType(str, one=False, many=True)),
        (dict, 3, KeyType(int)),
        ("unread", True, KeyType(bool)),
    ],
)
def test_kind_comes_from_annotation_then_default(hint, default, kind):
    assert key_type_of(default, hint) == kind


def test_a_factory_argument_without_a_type_is_its_authors_mistake():
    with pytest.raises(TypeError, match="has no type"):
        key_type_of(None, dict)


# Rules


FIT = "fit.operator."


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"schema": 1}, "schema is 1, this version of ups_jax reads 3;"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"stages": ""}, "stages is (); it must be one or more of"),
        ({"stages": "operator,operator"}, "stages is ('operator', 'operator'); it must be"),
        ({"stages": "operater"}, "unknown name in stages: 'operater'; did you mean 'operator'?"),
        (
            {FIT + "val_every": 70},
            "fit.operator: val_every is 70; it must be a multiple of steps_per_call (50)",
        ),
        (
            {FIT + "steps": 430},
            "fit.operator: steps is 430; it must be a multiple of steps_per_call (50)",
        ),
        (
            {FIT + "phase_fractions": (0.95, 0.05)},
            "phase 2 of unroll (1, 2) has no update; raise steps (400)",
        ),
        ({FIT + "phase_fractions": (0.05, 0.95)}, "phase 1 of unroll (1, 2) has no update"),
        (
            {FIT + "unroll": (1, 2, 4)},
            "phase_fractions is (0.75, 0.25); it needs one number for each of unroll (1, 2, 4)",
        ),
        (
            {FIT + "unroll": ()},
            "unroll is (); it must be from 1 to data.steps (40), one number per",
        ),
        ({FIT + "unroll": (0, 2)}, "unroll is (0, 2); it must be at least 1"),
        ({FIT + "unroll": (1, 41)}, "unroll is (1, 41); it must be from 1 to data.steps (40)"),
        (
            {FIT + "phase_fractions": (0.7, 0.2)},
            "phase_fractions is (0.7, 0.2); it must be positive numbers that sum",
        ),
        ({FIT + "phase_fractions": (1.2, -0.2)}, "(1.2, -0.2); it must be positive"),
        ({FIT + "batch": 129}, "batch is 129; it must be at most data.train (128)"),
        ({FIT + "batch": 0}, "batch is 0; it must be at least 1"),
        ({FIT + "steps_per_call": 0}, "steps_per_call is 0; it must be at least 1"),
        ({FIT + "steps": 0}, "steps is 0; it must be at least 1"),
        ({FIT + "val_every": 0}, "val_every is 0; it must be at least 1"),
        ({FIT + "lr": 0.0}, "lr is 0.0; it must be positive"),
        ({FIT + "clip_norm": -1.0}, "clip_norm is -1.0; it must be positive"),
        ({FIT + "weight_decay": -0.1}, "weight_decay is -0.1; it must be at least 0"),
        ({FIT + "ema_decay": 1.0}, "ema_decay is 1.0; it must be at least 0 and below 1"),
        ({FIT + "ema_decay": -0.1}, "ema_decay is -0.1; it must be at least 0 and below 1"),
        ({FIT + "warmup": 400}, "warmup is 400; it must be at least 0 and below"),
        (
            {FIT + "schedule": "cosin"},
            "unknown name in fit.operator.schedule: 'cosin'; did you mean 'cosine'?",
        ),
        (
            {FIT + "loss": "nrsme"},
            "unknown name in fit.operator.loss: 'nrsme'; did you mean 'nrmse'? known: mse, nrmse",
        ),
        ({"data.train": 0}, "data.train is 0; it must be at least 1"),
        ({"data.val": 0}, "data.val is 0; it must be at least 1"),
        ({"data.test": -5}, "data.test is -5; it must be at least 1"),
        ({"data.seed": -1}, "data.seed is -1; it must be at least 0"),
        ({"data.space_stride": 0}, "data.space_stride is 0; it must be at least 1"),
        ({"data.time_stride": 0}, "data.time_stride is 0; it must be at least 1"),
        ({"data.nu": 0.0}, "data.nu is 0.0; it must be positive"),
        (
            {"data.path": "no/such.hdf5"},
            "data.path is 'no/such.hdf5'; it must be a file that exists",
        ),
        ({"data.cells": 100}, "it must be a list of whole numbers"),
        ({"data.cells": "100"}, "data.cells is (100,); it must be a multiple of pde.points (64,)"),
        (
            {"data.cells": "256,256"},
            "data.cells is (256, 256); it must be a multiple of pde.points",
        ),
        ({"data.cells": ""}, "data.cells is (); it must be a multiple of pde.points"),
        ({"pde.points": 0}, "pde.points is 0; it must be at least 1"),
        ({"pde.dt": 0.0}, "pde.dt is 0.0; it must be positive"),
        (
            {"eval.forecasters": "solver,opperator"},
            "unknown name in eval.forecasters: 'opperator'; did you mean 'operator'?",
        ),
        (
            {"eval.forecasters": "solver"},
            "eval.select=best needs 'operator' in eval.forecasters; add it",
        ),
        (
            {"eval.select": "none"},
            "eval.select is 'none'; it must be best, or one of eval.forecasters: pers",
        ),
        (
            {"eval.selection_trajectories": 0},
            "eval.selection_trajectories is 0; it must be at least 1",
        ),
        ({"stages": "diffusion,operator"}, "'diffusion' needs 'operator' before it"),
        ({"stages": "operator,student"}, "'student' needs 'diffusion' before it"),
        (
            {"stages": "operator", "eval.forecasters": "operator,control"},
            "'control', which needs stage 'control'; add it to",
        ),
        (
            {"num_seeds": 2},
            "num_seeds is 2; it must be 1 with stage diffusion/student, which is",
        ),
        ({"fit.ensemble.members": 1}, "fit.ensemble.members is 1; it must be at least 2"),
        ({"fit.student.num_rollouts": 0}, "fit.student.num_rollouts is 0; it must be at least 1"),
        (
            {"fit.student.unroll": "2"},
            "fit.student.unroll is (2,); it must be 1: a denoiser is trained on",
        ),
        (
            {"fit.student.match_flops_of": "me"},
            "fit.student.match_flops_of is 'me'; it must be none, or a stage that",
        ),
        ({"ensemble.members": 0}, "ensemble.members is 0; it must be at least 2"),
        ({"ensemble.temperature": -0.1}, "ensemble.temperature is -0.1; it must be at least 0"),
        ({"ensemble.noise_channels": 0}, "ensemble.noise_channels is 0; it must be at least 1"),
        (
            {"diffusion.sampler": "huen"},
            "unknown name in diffusion.sampler: 'huen'; did you mean 'heun'?",
        ),
        ({"diffusion.noise": "adm"}, "unknown name in diffusion.noise: 'adm'; did you mean 'edm'?"),
        ({"diffusion.sigma_min": -0.1}, "diffusion.sigma_min is -0.1; it must be positive"),
        (
            {"diffusion.sigma_max": 0.001},
            "diffusion.sigma_max is 0.001; it must be above diffusion.",
        ),
        ({"diffusion.steps": 0}, "diffusion.steps is 0; it must be at least 1"),
        ({"diffusion.student_steps": 0}, "diffusion.student_steps is 0; it must be at least 1"),
        (
            {"search.source": "ensembel"},
            "unknown name in search.source: 'ensembel'; did you mean 'ensemble'?",
        ),
        ({"search.discount": 0.0}, "search.discount is 0.0; it must be above 0 and at most 1"),
        (
            {"data.observed_stride": 5},
            "data.observed_stride is 5; it must be none, or a divisor of",
        ),
        ({"data.observed_noise": -0.1}, "data.observed_noise is -0.1; it must be at least 0"),
        ({"search.num_trajectories": 0}, "search.num_trajectories is 0; it must be at least 1"),
        ({"eval.forecasters": ""}, "eval.forecasters is (); it must be one or more of"),
        ({"eval.protocol": "p2"}, "unknown name in eval.protocol: 'p2'; known: p1, p10"),
        (
            {"eval.context_frames": 0},
            "eval.context_frames is 0; it must be at least 1",
        ),
        ({"eval.context_frames": 40}, "eval.context_frames is 40; it must be"),
        ({"eval.horizons": "0.5,2.05"}, "eval.horizons is (0.5, 2.05); it must be multiples of"),
        (
            {"eval.horizons": "0.52"},
            "eval.horizons is (0.52,); it must be multiples of pde.dt (0.05)",
        ),
        ({"eval.horizons": "0"}, "eval.horizons is (0.0,); it must be positive"),
        (
            {"fit.operator.loss_floor": -1.0},
            "fit.operator.loss_floor is -1.0; it must be at least 0",
        ),
        ({"eval.nudging_gain": 1.5}, "eval.nudging_gain is 1.5; it must be from 0 to 1"),
        ({"eval.batch": 0}, "eval.batch is 0; it must be at least 1"),
        ({"eval.num_figures": -1}, "eval.num_figures is -1; it must be at least 0"),
        ({"report.dpi": 0}, "report.dpi is 0; it must be at least 1"),
    ],
)
def test_rules_between_keys(overrides, message):
    assert message in refused(overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"search.calls_per_step": 1},
            "1 network calls per step allow no candidate with 2 beams",
        ),
        (
            {"search.candidates": 0},
            "search.candidates is 0; it must be at least 1",
        ),
        (
            {"search.lookahead": -1},
            "search.lookahead is -1; it must be at least 0",
        ),
        (
            {"search.temperature_schedule": "linaer"},
            "unknown name in search.temperature_schedule: 'linaer'; did you mean 'linear'?",
        ),
        (
            {"search.temperature_start": -1.0},
            "search.temperature_start is -1.0; it must be at least 0",
        ),
        (
            {"search.rewards": "enrgy"},
            "unknown name in search.rewards: 'enrgy'; did you mean 'energy'?",
        ),
        ({"search.weights": "1,2"}, "search.weights has 2 numbers for the 1 names of search."),
    ],
)
def test_what_no_search_can_do_is_refused_when_the_simulator_is_built(overrides, message):
    with pytest.raises(ValueError) as caught:
        build(load(SMOKE, overrides))
    assert message in str(caught.value)


def test_a_reward_by_a_law_that_the_pde_lacks_is_refused():
    overrides = {"stages": "operator,ensemble", "eval.forecasters": "operator,ensemble,ttc"}
    with pytest.raises(ValueError, match=r"reward 'energy' needs .*'energy'.*'kuramoto'"):
        build(load("configs/kuramoto.py:smoke", overrides | {"search.rewards": "energy"}))


MINE = """
import ups_jax as ups
from helper import WEIGHT
from ups_jax.config import base
ups.STAGES["mine"] = ups.Stage(
    "mine", None, after=("operator",), validate_by="loss",
    defaults={"unroll": (1,), "phase_fractions": (1.0,), "weight": WEIGHT})
def get_config():
    cfg = base.get_config()
    cfg.stages = ("operator", "mine")
    return cfg
"""


def test_a_config_file_adds_a_stage_with_its_keys_and_imports_its_neighbours(tmp_path):
    (tmp_path / "helper.py").write_text("WEIGHT = 0.5\n")
    try:
        cfg = load(written(tmp_path, MINE), {"fit.mine.steps": "1000", "fit.mine.weight": 0.2})
        assert cfg.fit.mine.unroll == (1,) and cfg.fit.mine.steps == 1000
        assert cfg.fit.mine.weight == 0.2 and str(tmp_path) not in sys.path
        message = refused({"stages": "mine"}, written(tmp_path, MINE))
        assert message == "stages is ('mine',); 'mine' needs 'operator' before it"
        assert "fit.mine.lr is -1.0; it must be positive" == refused(
            {"fit.mine.lr": -1.0}, str(tmp_path / "mine.py")
        )
    finally:
        stages.STAGES.pop("mine", None)


def test_a_stage_added_after_the_config_was_made_has_no_keys():
    cfg = load(SMOKE)
    with cfg.unlocked():
        del cfg.fit["student"]
    with pytest.raises(ValueError, match="stages has 'student', but the config has no section fit"):
        rules.validate(cfg)


def test_every_number_has_bounds():
    specs = key_specs(NAMES)
    for section, factories in FACTORY_SECTIONS.items():
        for name in factories.table:
            specs |= {f"{section}.{k}": spec for k, spec in arguments(section, name).items()}
    numbers = {key for key, spec in specs.items() if spec.type.element in (int, float)}
    patterns = [pattern for _, _, patterns in BOUNDS for pattern in patterns]
    bounded = {key for pattern in patterns for key in fnmatch.filter(numbers, pattern)}
    checked_by_factory = {"pde.velocity", "pde.k", *(f"pde.{name}" for name in COEFFICIENTS)}
    assert numbers - bounded == {"schema", "search.weights", *checked_by_factory}
    for pattern in [*patterns, *(pattern for _, group in MAXIMA for pattern in group)]:
        assert fnmatch.filter(numbers, pattern), pattern
    assert MAXIMA[-1][1] == ("*",)


def test_every_axis_is_a_multiple_of_its_points():
    assert "data.cells is (128, 100)" in refused({"data.cells": "128,100"}, PLANE)


@pytest.fixture
def fitting(tmp_path):
    """A file of zeros that fits the config SMOKE."""
    cond = np.full((192, 1), 1e-3, np.float32)
    u = np.zeros((192, 41, 64, 1), np.float32)
    save_npz(tmp_path / "data.npz", Trajectories(u, cond, dt=0.05))


def test_a_file_of_data_frees_the_solver_cells(tmp_path, fitting):
    load(SMOKE, {"data.path": tmp_path / "data.npz", "data.cells": "100"})


# Identity


def test_fingerprint_leaves_out_what_changes_no_result():
    plain, board = load(SMOKE), {"leaderboard.path": "other/board.jsonl"}
    relabelled = load(SMOKE, {"log.project": "other", "log.tags": "a", "report.dpi": 70, **board})
    assert config.fingerprint(plain) == config.fingerprint(relabelled)
    assert not config.difference(config.to_dict(plain), config.to_dict(relabelled))
    for key, value in {"seed": 1, "eval.batch": 8, "operator.width": 8, "data.nu": 0.1}.items():
        assert config.fingerprint(plain) != config.fingerprint(load(SMOKE, {key: value}))


def test_a_config_survives_json():
    for path in (SMOKE, PLANE):
        cfg = load(path, {"log.tags": "a,b", "data.nu": 0.1})
        back = config.from_dict(json.loads(json.dumps(config.to_dict(cfg))))
        assert config.fingerprint(back) == config.fingerprint(cfg)
        assert back.to_dict() == cfg.to_dict() and back.is_locked
        assert back.data.get_type("path") is str


def test_a_saved_config_needs_its_schema_not_its_data(tmp_path, fitting):
    saved = config.to_dict(load(SMOKE, {"data.path": tmp_path / "data.npz"}))
    (tmp_path / "data.npz").unlink()
    assert config.from_dict(saved).data.path == str(tmp_path / "data.npz")
    with pytest.raises(ValueError, match="schema is 0, this version of ups_jax reads 3"):
        config.from_dict({**saved, "schema": 0, "older": 1})


def test_a_saved_config_from_before_a_key_takes_its_default():
    saved = config.to_dict(load(SMOKE, {"eval.nudging_gain": 0.3, "log.name": "mine"}))
    del saved["eval"]["nudging_gain"], saved["fit"]["operator"]["loss_floor"]
    back = config.from_dict(saved)
    assert (
        back.eval.nudging_gain == 1.0
        and back.fit.operator.loss_floor == 0.0
        and back.log.name == "mine"
    )
    del saved["operator"]["name"]
    with pytest.raises(ValueError, match="operator has no name"):
        config.from_dict(saved)


def test_difference_names_the_keys():
    old = json.loads(json.dumps(config.to_dict(load(SMOKE))))
    new = load(SMOKE, {"fit.operator.lr": 1e-4, "log.name": "x", "eval.horizons": "0.5"})
    assert config.difference(old, old) == config.difference(old, load(SMOKE).to_dict()) == []
    assert config.difference(old, config.to_dict(new)) == [
        "eval.horizons: [0.5, 1.0, 2.0] -> [0.5]",
        "fit.operator.lr: 0.003 -> 0.0001",
    ]
    other = config.to_dict(load(SMOKE, {"operator.name": "fno"}))
    assert "operator.blocks: 1 -> absent" in config.difference(old, other)


# Renamed keys


def schema_2():
    """A config.json of schema 2: every section of an older golden run, most of its keys."""
    saved = json.loads((Path(__file__).parent / "config_schema_2.json").read_text())
    del saved["gates"]["seconds"]  # a gate that the golden config no longer has
    new = config.to_dict(load("configs/burgers.py"))["gates"]
    return saved | {"gates": saved["gates"] | {name: new[name] for name in NEW_GATES}}


NEW_GATES = ("student_coverage", "student_spread")
RECIPE_OF_SCHEMA_2 = {
    "gates.accuracy.max": 0.012,
    "operator.zero_mean": False,
    "operator.equivariant": False,
    "fit.operator.optimizer": "adamw",
    "fit.operator.lr": 3e-3,
    "fit.operator.steps": 20000,
    "fit.operator.val_every": 4000,
    "eval.nudging_gain": 0.7,
    "eval.select": "best",
    "eval.forecasters": "persistence,mean,solver,operator,control,diffusion,student,ensemble,ttc",
    "fit.ensemble.steps": 1000,
    "fit.ensemble.val_every": 500,
    "fit.control.val_every": 1000,
    "fit.diffusion.steps": 10000,
    "fit.diffusion.val_every": 2500,
    "diffusion.transform": "linear",
    "diffusion.sigma_min": 0.01,
    "diffusion.sigma_max": 80.0,
    "diffusion.sampler": "heun",
    "diffusion.steps": 4,
    "diffusion.student_temperature": 0.35,
    "ensemble.temperature": 0.9,
}


def test_a_config_of_schema_2_is_the_same_run_under_new_names():
    new = load("configs/burgers.py", RECIPE_OF_SCHEMA_2)
    old = config.from_dict(schema_2())
    assert config.difference(schema_2(), config.to_dict(new)) == []
    assert config.fingerprint(old) == config.fingerprint(new)
    assert old.schema == 3 and old.stages[-1] == "ensemble" and old.search.source == "ensemble"
    assert old.fit.control.match_flops_of == "ensemble" and old.fit.student.num_rollouts == 256
    assert old.gates.coverage.metric == "eval/ensemble/coverage_90" and old.gates.coverage.min


def test_a_config_of_the_older_name_of_the_identity_is_the_same_run():
    cfg = config.to_dict(load(SMOKE))
    older = cfg | {"operator": cfg["operator"] | {"base": "persistence"}}
    assert config.difference(older, cfg) == []
    row = {"config": older, "seedless_fingerprint": "of the older name"}
    updated = fingerprint_updater(load(SMOKE))(row)
    assert updated["seedless_fingerprint"] == config.seedless_fingerprint(load(SMOKE))
    assert fingerprint_updater(load(SMOKE))(row | {"config": cfg})["seedless_fingerprint"] == (
        "of the older name"
    )


def test_difference_from_schema_2_uses_the_new_names():
    new = config.to_dict(
        load("configs/burgers.py", {**RECIPE_OF_SCHEMA_2, "fit.operator.steps_per_call": 50})
    )
    assert config.difference(schema_2(), new) == ["fit.operator.steps_per_call: 100 -> 50"]


@pytest.mark.parametrize(
    ("key", "new"),
    [
        ("eval.modes", "eval.forecasters"),
        ("fit.operator.chunk", "fit.operator.steps_per_call"),
        ("fit.crps.ema", "fit.ensemble.ema_decay"),
        ("gates.skill.most", "gates.skill.max"),
        ("seeds", "num_seeds"),
    ],
)
def test_an_older_key_is_answered_with_its_new_name(key, new):
    assert refused({key: "1"}) == f"{key!r} was renamed; write {new!r}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cfg.eval.modes = ('operator',)", "'eval.modes' is now 'eval.forecasters'"),
        ("cfg.fit.operator.update(chunk=50)", "'fit.operator.chunk' is now 'fit.operator.steps_"),
        ("cfg.fit.continued.steps = 5", "'fit.continued' is now 'fit.control'"),
    ],
)
def test_an_older_key_in_a_file_is_answered_with_its_new_name(tmp_path, line, message):
    with pytest.raises(ValueError) as caught:
        load(written(tmp_path, BODY.format(line=line)))
    assert f"mine.py, line 6: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("eval/crps", "eval/crps"),
        ("eval/crps/crps", "eval/ensemble/crps"),
        ("eval/distilled/p10/nrmse@1", "eval/student/p10/nrmse@1"),
        ("eval/rivals/continued/nrmse", "eval/selection/control/nrmse"),
        ("params/distill", "params/student"),
        ("wall/train_s", "wall/train_s"),
    ],
)
def test_summary_keys_of_schema_2(old, new):
    assert renames.rename_metric(old) == new


def test_every_renamed_key_exists():
    known = set(flatten(base.get_config()))
    for old in ("seeds", *renames.KEY_RENAMES):
        key = old.replace("fit.", "fit.distill.")
        if not old.startswith("gates."):
            assert renames.rename_key(key) in known and key not in known


# The page of keys


def test_help_lists_every_key_with_its_comment():
    page, comments = config.describe().splitlines(), config.comments()
    for key in flatten(base.get_config()):
        stage = key.split(".")[1] if key.startswith("fit.") else ""
        name = key.replace(f"fit.{stage}.", "fit.<stage>.")
        assert comments.get(name, "").strip(), f"{name} has no comment in ups_jax/config/base.py"
        assert any(line.startswith(f"  {name}=") and comments[name] in line for line in page), name


def test_help_lists_the_arguments_of_every_factory():
    page = config.describe()
    assert "pde.name=burgers: nu=0.001 points=256 dt=0.05" in page
    assert "operator.name=fno: " in page and "zero_mean=false  remove the mean" in page
    assert max(map(len, page.splitlines())) <= 140


# The command line


def parse(*argv):
    add_flags = cli.add_distributed_flags
    return RunOptions(**cli.parse(argv, add_flags, prog="run.py", description="Train."))


def test_overrides_stand_anywhere_on_the_line():
    args = parse(
        "--config.seed=1", "--config", "a.py:b", "--restart", "--config.data.nu", "-1", "--dry_run",
        "--config.fit.operator.lr=a=b",
    )  # fmt: skip
    assert args.overrides == {"seed": "1", "data.nu": "-1", "fit.operator.lr": "a=b"}
    assert args.config == "a.py:b" and args.workdir is None
    flags = (args.restart, args.dry_run, args.fail_on_gate, args.fail_on_regression)
    assert flags == (True, True, False, False)


def test_wandb_mode_is_none_unless_a_flag_says_so():
    assert parse("--config=x").wandb_mode is None
    assert parse("--config=x", "--wandb_mode=disabled").wandb_mode == "disabled"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--confg", "x"], "unknown flag '--confg'; did you mean '--config'? known: --config,"),
        (["--config=x", "--dry-run"], "unknown flag '--dry-run'; did you mean '--dry_run'?"),
        (["--config=x", "--seed=3"], "did you mean '--config.seed'?"),
        (["--config=x", "--fit.operator.lr=3"], "did you mean '--config.fit.operator.lr'?"),
        ([], "--config is missing; for example --config burgers:smoke"),
        (["x.py"], "unexpected argument 'x.py'"),
        (["--config=x", "--config.seed"], "--config.seed has no value; write --config.seed=VALUE"),
        (["--config=x", "--config.seed", "--restart"], "--config.seed has no value"),
        (["--config=x", "--wandb_mode=of"], "invalid choice: 'of'"),
        (["--config"], "expected one argument"),
    ],
)
def test_a_mistake_on_the_line_exits_2_in_two_lines(capsys, argv, message):
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    out, err = capsys.readouterr()
    assert caught.value.code == 2 and out == "" and message in err and len(err.splitlines()) <= 2


def test_a_runner_of_finished_runs_requires_a_workdir(capsys):
    def parse(argv):
        add_flags = commands.COMMANDS["evaluate"].add_flags
        return cli.parse(argv, add_flags, prog="", description="", subject="workdir")

    flags = parse(["--workdir", "w"])
    assert flags == {"workdir": Path("w")} and EvaluateOptions(**flags).forecasters is None
    for argv in ([], ["--workdir=w", "--config=x"]):
        with pytest.raises(SystemExit):
            parse(argv)
    assert "--workdir is missing" in capsys.readouterr().err


def test_help_prints_the_keys_and_exits_0(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    out = capsys.readouterr().out
    assert caught.value.code == 0 and "--fail_on_gate" in out and config.describe() in out


def test_help_of_a_config_shows_its_variants_and_values(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help", "--config", "burgers:smoke")
    out = capsys.readouterr().out
    assert caught.value.code == 0 and "values of burgers:smoke (variants: default, " in out
    assert "  pde.points=64\n" in out and "  fit.operator.steps=400\n" in out
    assert "  eval.context_frames=" not in out.split("values of burgers:smoke")[1]
    with pytest.raises(SystemExit) as caught:
        parse("--help", "--config=burgers:smoek")
    assert caught.value.code == 2 and "did you mean 'smoke'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("configs/burgers.py", "runs/burgers"),
        ("configs/burgers.py:default", "runs/burgers"),
        ("/a:b/burgers.py:smoke", "runs/burgers-smoke"),
    ],
)
def test_default_workdir(text, folder):
    assert default_workdir(text) == Path(folder)


def raising(error):
    def act(*_):
        raise error

    return act


@pytest.mark.parametrize(
    ("prepare", "execute", "code", "lines"),
    [
        (lambda args, stop: 1, lambda plan: plan + 2, 3, 0),
        (raising(ValueError("a\n  b\n\nc")), None, 2, 2),
        (raising(FileNotFoundError(2, "gone", "x.h5")), None, 2, 1),
        (raising(ValueError()), None, 2, 1),
        (raising(Interrupted("data")), None, 128, 1),
        (lambda args, stop: 1, raising(FloatingPointError("operator: loss is nan")), 4, 1),
    ],
)
def test_exit_codes(capsys, prepare, execute, code, lines):
    assert cli.run_main(parse("--config=x"), prepare, execute) == code
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == lines


def test_a_defect_inside_the_run_keeps_its_traceback():
    with pytest.raises(ValueError, match="deep"):
        cli.run_main(parse("--config=x"), lambda args, stop: args, raising(ValueError("deep")))


def test_bad_config_through_a_real_process_has_no_traceback():
    code = (
        "import sys; from ups_jax import config; from ups_jax.jobs import cli\n"
        "flags = cli.parse(None, cli.add_distributed_flags, prog='p', description='d')\n"
        "load = lambda f, stop: config.load(f['config'], f['overrides'])\n"
        "sys.exit(cli.run_main(flags, load, lambda c: 0))"
    )
    argv = [sys.executable, "-c", code, "--config", f"{ROOT}/configs/burgers.py:smoek"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) <= 2 and "did you mean 'smoke'?" in done.stderr


def test_every_variant_that_ships_can_be_built(tmp_path, fitting):
    for file in sorted((ROOT / "configs").glob("*.py")):
        if file.stem in ("base", "__init__"):
            continue
        spec = importlib.import_module(f"configs.{file.stem}")
        for variant in getattr(
            spec, "VARIANTS", ("default", "2d_diff_ks-32-constrained", "1d_diff_kdv-gpu")
        ):
            path = {"data.path": tmp_path / "data.npz"} if file.stem == "data" else {}
            cfg = load(f"{file}:{variant}", path)
            pde = build(cfg).pde
            assert pde.name == cfg.pde.name
            # On the cells that made the data the solver is the truth; `full` has PDEBench's file.
            other = pde.cells != pde.points or variant == "full"
            assert "solver" not in cfg.eval.forecasters or other, (file.stem, variant)
            # A smoke run in two dimensions compiles far longer than it computes.
            programs = sum(len(cfg.fit[stage].unroll) for stage in cfg.stages)
            assert (pde.ndim, variant) != (2, "smoke") or programs <= 2, file.stem


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"gates.skill.metric": "eval/nrsme"}, "did you mean 'nrmse'?"),
        ({"gates.skill.metric": "val/nrmse"}, "did you mean 'eval'?"),
        ({"gates.skill.metric": "wall/total_s"}, "known: compile_s"),
        ({"stages": "operator", "gates.coverage.min": 0.5}, "metric= switches"),
        ({"gates.skill.metric": "eval/operator/coverage_90"}, "unknown metric 'coverage_90'"),
        (
            {"eval.forecasters": "mean,operator", "gates.coverage.min": 0.5},
            "unknown forecaster or part of a summary key 'ensemble'",
        ),
        ({"gates.skill.max": 0.1}, "exactly one of max, min, max_ratio, min_ratio"),
        ({"gates.accuracy.ratio_to": "eval/mean/nrmse"}, "empty with an absolute limit"),
        ({"gates.skill.max_ratio": -1.0}, "gates.skill.max_ratio is -1.0; it must be positive"),
        ({"gates.skil.max_ratio": 1.0}, "unknown key 'gates.skil.max_ratio'; did you mean"),
        ({"regression.metrics": "eval/foo"}, "unknown metric 'foo'"),
        ({"regression.tolerance": 0.0}, "regression.tolerance is 0.0; it must be positive"),
        ({"regression.history": 0}, "regression.history is 0; it must be at least 1"),
        ({"leaderboard.margin": -0.1}, "leaderboard.margin is -0.1; it must be at least 0"),
        ({"leaderboard.path": "configs"}, "it must be a file, not a folder"),
    ],
)
def test_what_could_not_judge_a_run_is_refused(overrides, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config.load("configs/burgers.py", overrides)


@pytest.mark.parametrize(
    ("overrides", "notes", "values"),
    [
        ({"seed": 1}, [], {"gates.coverage.metric": "eval/ensemble/coverage_90"}),
        (
            {"stages": "operator"},
            [
                "eval.forecasters without control, diffusion, student, ensemble, ttc: ",
                "gate coverage is off: this run does not measure eval/ensemble/coverage_90",
                "gate student_coverage is off: this run does not measure eval/student/coverage_90",
                "gate student_spread is off",
            ],
            {"eval.forecasters": ("persistence", "mean", "solver", "operator")},
        ),
        (
            {"stages": "operator,control", "eval.select": "operator"},
            [
                "eval.forecasters without",
                "fit.control.match_flops_of is none:",
                "gate coverage",
                "gate student_coverage",
                "gate student_spread",
            ],
            {"fit.control.match_flops_of": None, "gates.coverage.metric": ""},
        ),
        (
            {"eval.forecasters": "persistence,operator,ensemble"},
            [
                "gate skill is off: this run does not measure eval/mean/nrmse",
                "gate small_scales",
                "gate student_coverage",
                "gate student_spread",
            ],
            {"gates.accuracy.metric": "eval/nrmse"},
        ),
        (
            {"eval.forecasters": "mean,operator"},
            ["gate coverage is off", "gate student_coverage", "gate student_spread"],
            {},
        ),
        (
            {"operator.name": "fno"},
            ["operator.name=fno takes the defaults of fno: blocks 3 -> absent, dilations"],
            {"operator.galilean": True},
        ),
        (
            {"pde.name": "advection", "pde.points": 256},
            [
                "pde.name=advection takes the defaults of advection: nu 0.001 -> absent",
                "operator.equivariant is false: pde 'advection' has no reflection of one space",
            ],
            {"gates.energy.metric": "eval/physics/energy_growth"},
        ),
    ],
)
def test_gates_and_forecasters_follow_what_is_there(overrides, notes, values):
    cfg, found = config.load_adapted("configs/burgers.py", overrides)
    assert len(found) == len(notes) and all(map(str.startswith, found, notes))
    flat = flatten(cfg)
    assert {key: flat[key] for key in values} == values
    # A saved config has all that was switched off, and loads without notes.
    saved = json.loads(json.dumps(config.to_dict(cfg)))
    assert not config.difference(saved, config.to_dict(config.from_dict(saved)))


def test_a_metric_that_the_file_itself_cannot_have_is_no_override_s_doing(tmp_path):
    gate = "cfg.gates = {'g': base.gate('eval/ensemble/crps', max=1.0)}"
    path = written(tmp_path, BODY.format(line=f"{gate}; cfg.eval.select = 'operator'"))
    assert "gates.g.metric has 'eval/ensemble/crps'" in refused({"eval.batch": 4}, path)
    watched = "cfg.stages = ('operator', 'ensemble'); cfg.eval.forecasters += ('ensemble',); "
    watched += "cfg.regression.metrics += ('eval/ensemble/crps',); cfg.eval.select = 'ensemble'"
    path = written(tmp_path, BODY.format(line=watched))
    cfg, notes = config.load_adapted(path, {"stages": "operator"})
    assert cfg.eval.select == "operator" and len(cfg.regression.metrics) == 4
    assert [note.partition(" ")[0] for note in notes] == [
        "eval.forecasters", "eval.select", "regression.metrics"
    ]  # fmt: skip


def test_forecasters_and_symmetries_follow_the_reflection_of_the_equation():
    advection = {"pde.name": "advection", "pde.points": 256}
    _, notes = config.load_adapted("configs/burgers.py:sparse", advection)
    assert any("eval.forecasters without symmetrized: it needs a reflection" in n for n in notes)
    cfg, _ = config.load_adapted("configs/burgers.py", advection)
    assert not cfg.operator.equivariant
    with pytest.raises(ValueError, match="equivariant is true, which needs a PDE with"):
        build(load("configs/burgers.py", advection | {"operator.equivariant": True}))


def test_a_gate_without_a_metric_is_off_and_limits_can_be_moved_from_the_command_line():
    cfg = config.load("configs/burgers.py", ["gates.skill.metric=", "gates.accuracy.max=0.5"])
    assert not cfg.gates.skill.metric and cfg.gates.accuracy.max == 0.5
    saved = config.to_dict(cfg)
    assert config.to_dict(config.from_dict(saved)) == saved


def test_runs_that_differ_by_their_seed_or_their_judges_are_of_one_recipe():
    def of(**overrides):
        return config.seedless_fingerprint(config.load("configs/burgers.py", overrides))

    judges = {"gates.skill.metric": "", "leaderboard.margin": 0.1, "regression.tolerance": 0.2}
    assert of() == of(seed=7) == of(**judges)
    assert of() != of(**{"fit.operator.lr": 1e-3}) and of() != of(**{"data.seed": 1})


@pytest.mark.parametrize("name", ["advection", "burgers", "kuramoto", "reaction_diffusion"])
def test_gates_can_name_every_diagnostic_of_the_equation(name):
    from ups_jax.config.gate_rules import check_key

    cfg = load(f"{name}:smoke")
    pde = build(cfg).pde
    u = jax.ShapeDtypeStruct((1, *pde.points, len(pde.channels)), "float32")
    path = jax.ShapeDtypeStruct((1, 2, *u.shape[1:]), "float32")
    cond = jax.ShapeDtypeStruct((1, len(pde.params)), "float32")
    for metric in jax.eval_shape(partial(diagnostics, pde), u, path, cond):
        check_key(cfg, "gates.mine", f"eval/physics/{metric}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit(0)\n", "mine.py, line 1: SystemExit: 0"),
        ("while True: pass\n", "mine.py, line 1: TimeoutError: no config after 0.2 s"),
        ("def get_config(): return get_config()\n", "mine.py, line 1: RecursionError"),
        (BODY.format(line="cfg.unlock(); cfg.me = cfg"), "a section of the config contains itself"),
        ("VARIANTS = 5\n", "TypeError: 'int' object is not iterable"),
    ],
)
def test_a_file_that_ends_python_or_never_ends_is_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(config, "TIME_LIMIT_S", 0.2 if "while" in text else 60.0)
    with pytest.raises(ValueError) as caught:
        load(written(tmp_path, text))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"pde.points": 2}, "pde.points is 2; expected one axis of at least 4 points"),
        ({"denoiser.patch": 7}, "denoiser: patch is 7; it must divide the grid, (64,)"),
        ({"operator.patch": 7}, "operator: patch is 7; it must divide the grid, (64,)"),
        (
            {"operator.dilations": ()},
            "operator: width 16, blocks 1, dilations (), patch 1; expected",
        ),
        (
            {"pde.dt": 1e6, "eval.horizons": "1e6"},
            "pde.dt is 1000000.0, which needs 4e+09 substeps",
        ),
    ],
)
def test_a_network_or_solver_that_cannot_be_built_names_its_section(overrides, message):
    with pytest.raises(ValueError) as caught:
        build(load(SMOKE, overrides))
    assert message in str(caught.value)


def test_memory_beyond_the_machine_is_refused_before_data_are_made():
    cfg = load(PLANE, {"data.train": 10**9})
    with pytest.raises(
        ValueError, match=r"needs about .* for its data; this machine has .* data\.tr"
    ):
        dry_run.require_memory(cfg, build(cfg))
