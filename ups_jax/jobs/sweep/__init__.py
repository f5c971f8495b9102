"""A sweep: learning rates side by side in one run, anything else as one run a trial.

The parent of trials starts no W&B run; the winner on validation alone joins the leaderboard.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ups_jax import config
from ups_jax.experiment import pipeline
from ups_jax.experiment.context import RunOptions, default_workdir
from ups_jax.experiment.signals import StopFlag
from ups_jax.jobs.sweep import study, trial
from ups_jax.jobs.sweep.space import Space, parse, rates


@dataclass(frozen=True, kw_only=True)
class SweepOptions(RunOptions):
    """Options of every run of a sweep, and of the sweep."""

    sweep: Sequence[str] = ()
    """KEY=A,B,... or KEY=LOW:HIGH[:log], one per key."""
    trials: int | None = None
    name: str | None = None
    """None: named after the config."""
    program: Sequence[str] = trial.RUNNER
    """The command that trains one trial."""


@dataclass(frozen=True)
class Command:
    """Trials to run one after another, and their folder."""

    cfg: Any
    space: Space
    folder: Path
    options: SweepOptions
    stop: StopFlag


def prepare(options: SweepOptions, stop: StopFlag) -> Any:
    """Return one plan of the pipeline, or a Command of trials. ValueError for bad input."""
    if not options.sweep:
        raise ValueError("nothing to sweep; add --sweep KEY=A,B,... or KEY=LOW:HIGH[:log]")
    space = parse(options.sweep)
    name = options.name or default_workdir(options.config).name
    cfg = config.load(options.config, options.overrides)
    if alone := rates(space, cfg):
        overrides = {**options.overrides, **alone}
        workdir = options.workdir or Path("runs") / f"{name}-rates"
        return pipeline.prepare(replace(options, overrides=overrides, workdir=workdir), stop)
    if options.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS"):
        raise ValueError(
            "--coordinator, or $JAX_COORDINATOR_ADDRESS, is for one run; trials are runs of their "
            "own, without it"
        )
    if options.dry_run or options.restart:
        flag = "--dry_run" if options.dry_run else "--restart"
        raise ValueError(f"{flag} is for one run; a sweep of trials has none, use another --name")
    for overrides in space.corners():
        config.load(options.config, {**options.overrides, **overrides})
    if space.ranges and options.trials is None:
        raise ValueError(f"{next(iter(space.ranges))} has a range; add --trials N")
    study.package()
    folder = options.workdir or Path("runs") / "sweeps" / name
    return Command(cfg, space, folder, options, stop)


def execute(plan: Any) -> int:
    """Run what was prepared -> exit code."""
    if not isinstance(plan, Command):
        return pipeline.execute(plan)
    code = study.run(plan)
    if code in (130, 143):
        print("rerun the same command to resume; finished trials are not repeated", file=sys.stderr)
    return code
