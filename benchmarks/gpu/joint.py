"""One network for the equations of ML4PS (2025): trained and tested as a run, in the seconds left.

Burgers is held out. The run keeps its recipe but for the number of updates and of validations, and
leaves its folder in `runs/`, for `python -m benchmarks universal`.
"""

import os
import subprocess
import sys
import time
from functools import partial
from statistics import median
from typing import Any

import numpy as np

import ups_jax as ups
from benchmarks.accuracy.apebench import METRIC
from benchmarks.accuracy.universal import JOINT
from benchmarks.collect import read_summary
from benchmarks.gpu.pack import Row, Setting, Skipped, Task, row
from benchmarks.record import ROOT
from benchmarks.training import one_phase, random_params, updates_program
from ups_jax.experiment.schedule import recipe_of

CONFIG, SMOKE = "configs/universal.py:ml4ps-gpu", "configs/universal.py:smoke"
BASES = ("learned", "exponential")
START_S = 25.0
"""Seconds of a run for imports, data, evaluation and figures."""
PROGRAMS = 5
"""Compilations of a run, in those of one-step updates: its phases, validation, forecasts."""
VALIDATIONS, LEAST = 5, 1000
ENOUGH_S = 300.0
"""Seconds that a run needs for compilation and some ten thousand updates."""


def joint(setting: Setting) -> dict[str, Task]:
    """Return a run for each base step; they share the seconds if both then have enough."""
    return {f"ml4ps {base}": partial(joint_run, setting, base) for base in BASES}


def joint_run(setting: Setting, base: str) -> list[Row]:
    """Train on the fine grid of coefficients; return the errors at APEBench's coefficients."""
    began, name = time.monotonic(), f"ml4ps-{base}"
    seconds = setting.left()
    if seconds > ENOUGH_S * (others := len(BASES) - BASES.index(base)):
        seconds /= others
    # Linear coefficients then act through the base step alone.
    overrides: dict[str, Any] = {"operator.base": base, "pde.inputs": "nonlinear"}
    cfg = ups.load_config(SMOKE if setting.small else CONFIG, overrides)
    ms, compile_s = update_time(cfg, small=setting.small)
    spent = time.monotonic() - began + START_S + PROGRAMS * compile_s
    steps = 100 if setting.small else affordable(cfg, ms, seconds - spent)
    call = cfg.fit.operator.steps_per_call
    overrides |= {
        "fit.operator.steps": steps,
        "fit.operator.val_every": max(1, steps // VALIDATIONS // call) * call,
        "fit.operator.warmup": min(cfg.fit.operator.warmup, steps // 4),
    }
    began = time.monotonic()
    train(SMOKE if setting.small else CONFIG, name, overrides)
    run_s, summary = time.monotonic() - began, read_summary(ROOT / "runs" / name)
    knows = base != "learned"
    rows = [
        row(f"{name}: update of one step", ms, "ms"),
        row(f"{name}: updates", steps, "1"),
        row(f"{name}: seconds of the run", run_s, "s"),
        row(f"{name}: seconds of training", summary["wall/train_s"], "s"),
    ]
    start = "eval/operator/equations/"
    for key in sorted(key for key in summary if key.startswith(start) and key.endswith(METRIC)):
        equation = key.removeprefix(start).split("/")[0]
        limit = {"max": JOINT[equation][knows]} if equation in JOINT else {}
        rows.append(row(f"{name}: {METRIC} of {equation}", summary[key], "1", **limit))
    return rows


def update_time(cfg: Any, *, small: bool) -> tuple[float, float]:
    """Return the milliseconds of a one-step update and the seconds of its compilation."""
    emulator = ups.build(cfg)
    recipe = recipe_of(emulator, cfg, "operator")
    recipe = one_phase(recipe, unroll=1, calls=10, steps_per_call=2 if small else 100)
    began = time.perf_counter()
    _, run = updates_program(emulator, random_params(emulator), recipe)
    compile_s, times = time.perf_counter() - began, []
    for _ in range(4):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e3 * median(times[1:]) / recipe.steps_per_call, compile_s


def affordable(cfg: Any, ms: float, seconds: float) -> int:
    """Return the updates of the recipe's phases that fit, a whole number of calls.

    Raises Skipped if they are fewer than `LEAST`.
    """
    fit = cfg.fit.operator
    mean_unroll = float(np.dot(fit.unroll, fit.phase_fractions))
    steps = min(fit.steps, int(max(0.0, seconds) / (1e-3 * ms * mean_unroll)))
    call = fit.steps_per_call
    if steps // call * call < LEAST:
        raise Skipped(f"{seconds:.0f} s were left to train in, which is less than {LEAST} updates")
    return steps // call * call


def train(config: str, name: str, overrides: dict[str, Any]) -> None:
    """Run the config in a process of its own, into `runs/NAME`. Raises RuntimeError if it fails."""
    values = [f"--config.{key}={value}" for key, value in overrides.items()]
    command = [
        sys.executable, str(ROOT / "runners" / "fast_to_sota.py"), "--config", config, "--restart",
        "--workdir", str(ROOT / "runs" / name), "--wandb_mode", "disabled",
    ]  # fmt: skip
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([*command, *values], env=env, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"the run ended with exit status {done.returncode}")
