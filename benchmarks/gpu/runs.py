"""Waiting times of a user: data, seconds to a published error, ensembles, the golden run."""

import tempfile
import time
from argparse import Namespace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np

import ups_jax as ups
from benchmarks.accuracy.time_to_target import CONTENDERS, TASKS, contend, make_data
from benchmarks.gpu.pack import Row, Setting, Skipped, Task, row
from benchmarks.training import golden as golden_setup
from benchmarks.training import one_phase, random_params, train_timed
from ups_jax.emulator import fit_statistics
from ups_jax.evaluate.batches import p1_forecast
from ups_jax.evaluate.timing import milliseconds
from ups_jax.experiment.build import build_pde
from ups_jax.experiment.datasets import split_key
from ups_jax.experiment.schedule import recipe_of
from ups_jax.pde.base import rollout
from ups_jax.train import train_stage
from ups_jax.types import Trajectories

SMOKE = "configs/burgers.py:smoke"
QUICK = {
    "fit.operator.steps_per_call": 5,
    "fit.operator.unroll": (1,),
    "fit.operator.phase_fractions": (1.0,),
}
"""Overrides of part `full` on a CPU."""
FULL_SECONDS = 60
"""Seconds below which part `full` is not begun: two starts, compilations and the data."""
MEMBERS, TRAJECTORIES = 8, 64
GOLDEN_S, TARGET_S = 60.0, 300.0
"""Targets: the golden operator, and nRMSE 1.08e-2 of part `full`."""


def data(setting: Setting) -> dict[str, Task]:
    """Return the tasks: generation as runs do it, then the solver alone by batch."""
    return {
        "burgers": partial(generation, setting),
        "batches": partial(solver_batches, setting),
    }


def generation(setting: Setting) -> list[Row]:
    """Measure trajectories a second of `ups.simulate`, without its cache."""
    cfg = ups.load_config(SMOKE if setting.small else "configs/burgers.py:full")
    pde, n = build_pde(cfg), 32 if setting.small else 2048
    simulate = partial(ups.simulate, pde, jax.random.key(0), steps=cfg.data.steps, cache=False)
    times = []
    for count in (1, n):
        began = time.perf_counter()
        simulate(n=count)
        times.append(time.perf_counter() - began)
    rate, cells = n / times[1], pde.cells[0]
    return [
        row(f"burgers, {cells} cells: first trajectory, with compilation", times[0], "s"),
        row(f"burgers, {cells} cells: generation", rate, "trajectories/s"),
        row(f"burgers, {cells} cells: 10,000 trajectories, projected", 1e4 / rate, "s"),
    ]


def solver_batches(setting: Setting) -> list[Row]:
    """Measure the solver alone at two batch sizes: does a larger one fill the device better?"""
    pde = build_pde(ups.load_config(SMOKE if setting.small else "configs/burgers.py:full"))
    steps, sizes = (2, (4, 8)) if setting.small else (10, (512, 4096))
    path, rows = jax.jit(rollout(pde.step, steps)), []
    u = np.sin(2 * np.pi * np.arange(pde.cells[0])[:, None] / pde.cells[0]).astype(np.float32)
    for size in sizes:
        batch = np.broadcast_to(u, (size, *u.shape)), np.full((size, 1), 1e-3, np.float32)
        jax.block_until_ready(path(*batch))
        began = time.perf_counter()
        jax.block_until_ready(path(*batch))
        ms = 1e3 * (time.perf_counter() - began) / steps / size
        rows.append(row(f"burgers solver, batch {size}: an interval of one trajectory", ms, "ms"))
    return rows


def full(setting: Setting) -> dict[str, Task]:
    """Return the tasks: `time_to_target --task full` in the seconds left, then a narrower one."""
    return {
        name: partial(seconds_to_targets, setting, name) for name in ("resnet", "resnet:narrow")
    }


def seconds_to_targets(setting: Setting, name: str) -> list[Row]:
    """Train a contender in a process of its own; return the seconds to each published error."""
    if setting.left() < FULL_SECONDS and not setting.small:
        raise Skipped(f"{setting.left():.0f} s were left; it needs {FULL_SECONDS} s")
    task, contender = TASKS["full"], CONTENDERS["full"][name]
    sizes = Namespace(train=None, val=64)
    if setting.small:
        task = task._replace(config=SMOKE)
        contender = {"config": SMOKE, "overrides": QUICK}
        sizes = Namespace(train=32, val=4)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        data, _ = make_data(Path(folder), sizes, task)
        data_s, began = time.monotonic() - began, time.monotonic()
        probing = 0.2 * setting.left()  # the probe's process compiles every phase too
        seconds = 10.0 if setting.small else setting.left() - probing
        result = contend(contender, task, data, seconds)
    # A validation whose forecasts diverge is None; `fit` selects the best of the others.
    errors = [error for error in result.get("curve_val", ()) if error is not None]
    if not errors:
        raise RuntimeError(f"the training process failed: {result.get('failed', 'no validation')}")
    rows = [
        row(f"{name}: data on 1,024 points", data_s, "s"),
        row(f"{name}: budget of the training process", seconds, "s"),
        row(f"{name}: process start to the first update", result["curve_s"][0], "s"),
        row(f"{name}: updates", result["updates"], "1"),
        row(f"{name}: P10 nRMSE of the selected update", min(errors), "1"),
        row(f"{name}: validations that diverged", len(result["curve_val"]) - len(errors), "1"),
    ]
    for target, reached in zip(task.targets, result["reached_s"], strict=True):
        limit = {"max": TARGET_S} if target == 0.0108 else {}
        rows.append(row(f"{name}: seconds to P10 nRMSE {target:g}", reached, "s", **limit))
    return rows


def ensemble(setting: Setting) -> dict[str, Task]:
    """Return a task for each forecaster of the golden networks, untrained: time alone."""
    names = ("operator", "ensemble", "diffusion", "student")
    return {name: partial(forecast_time, setting, name) for name in names}


def forecast_time(setting: Setting, name: str) -> list[Row]:
    """Measure a forecast of the golden horizon with all its members."""
    cfg = ups.load_config(SMOKE if setting.small else "configs/burgers.py")
    emulator, steps, n = ups.build(cfg), cfg.data.steps, 2 if setting.small else TRAJECTORIES
    params = random_params(emulator)
    pde = emulator.pde
    u = np.random.default_rng(0).normal(size=(n, steps + 1, *pde.points, 1)).astype(np.float32)
    about = pde.dt, pde.extent, pde.channels
    fields = Trajectories(u, np.full((n, 1), 1e-3, np.float32), *about, params=pde.params)
    options: Any = {} if name == "operator" else {"members": MEMBERS}
    function = p1_forecast(emulator, name, None, **options)
    milliseconds(function, params, fields, jax.random.key(0), batch=n)  # it compiles
    ms = milliseconds(function, params, fields, jax.random.key(1), batch=n)
    members = f", {MEMBERS} members" if options else ""
    return [row(f"{name}{members}, {steps} steps: a trajectory of {n}", ms, "ms")]


def golden(setting: Setting) -> dict[str, Task]:
    """Return the tasks: projected seconds of the golden operator, then the real ones."""
    return {
        "projected": partial(golden_projected, setting),
        "trained": partial(golden_trained, setting),
    }


def golden_projected(setting: Setting) -> list[Row]:
    """Return the projected seconds of the golden operator, without validation."""
    return projected("golden operator", golden_setup(32)[1:], setting, max=GOLDEN_S)


def projected(label: str, task: tuple[Any, ...], setting: Setting, **limit: float) -> list[Row]:
    """Measure two calls of each phase; `task` is emulator, parameters, data and recipe."""
    emulator, params, split, recipe = task
    call = 2 if setting.small else recipe.steps_per_call
    train_s = compile_s = 0.0
    for steps, unroll in recipe.phases()[: 1 if setting.small else None]:
        short = one_phase(recipe, unroll=unroll, calls=3, steps_per_call=call)
        result, rates = train_timed(emulator, params, split, jax.random.key(1), short)
        train_s += steps / median(rates[1:])
        compile_s += result.progress.compile_s
    return [
        row(f"{label}: compilation of its phases", compile_s, "s"),
        row(f"{label}: its updates, projected", train_s, "s"),
        row(f"{label}: both, projected", train_s + compile_s, "s", **limit),
    ]


def apebench(setting: Setting) -> dict[str, Task]:
    """Return a task for each of some scenarios of APEBench on 160 x 160 points."""
    names = ("2d_diff_burgers", "2d_diff_ks", "2d_phy_kolm_flow", "2d_phy_gs_type")
    return {name: partial(apebench_projected, setting, name) for name in names}


def apebench_projected(setting: Setting, scenario: str) -> list[Row]:
    """Measure the data of eight samples, and the projected seconds of the scenario's recipe."""
    if find_spec("exponax") is None:
        raise Skipped("exponax is not installed")
    variant = f"{scenario}-16-smoke" if setting.small else scenario
    cfg = ups.load_config(f"configs/apebench.py:{variant}")
    emulator, began = ups.build(cfg), time.monotonic()
    split = ups.simulate(
        emulator.pde, split_key(cfg, "train"), n=8, steps=cfg.data.steps, cache=False
    )
    data_s = time.monotonic() - began
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, split))
    task = emulator, params, split, recipe_of(emulator, cfg, "operator")
    rows = projected(scenario, task, setting)
    return [row(f"{scenario}: 8 training trajectories", data_s, "s"), *rows]


def golden_trained(setting: Setting) -> list[Row]:
    """Train and validate the golden operator as a run does, if the seconds suffice."""
    need = setting.value("golden operator: both, projected")
    if need is None:
        raise Skipped("it needs the projected seconds, which were not measured")
    if setting.small or setting.left() < 1.3 * need + 20:
        raise Skipped(f"{setting.left():.0f} s were left; it needs its data and {need:.0f} s")
    cfg, emulator, params, split, recipe = golden_setup()
    key = split_key(cfg, "val")
    val = ups.simulate(emulator.pde, key, n=cfg.data.val, steps=cfg.data.steps)
    began = time.monotonic()
    result = train_stage("operator", emulator, params, split, val, recipe, jax.random.key(cfg.seed))
    seconds = time.monotonic() - began
    return [
        row("golden operator: trained and validated", seconds, "s", max=GOLDEN_S),
        row("golden operator: validation nRMSE", min(result.progress.best_value), "1"),
    ]
