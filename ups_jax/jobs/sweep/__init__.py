"""Sweeps: learning rates train in parallel in one run, other keys as one W&B run per trial."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from ups_jax import config
from ups_jax.experiment import dry_run, pipeline
from ups_jax.experiment.build import build
from ups_jax.experiment.context import RunContext, default_workdir
from ups_jax.experiment.signals import StopFlag
from ups_jax.jobs.sweep import study
from ups_jax.jobs.sweep.space import Space, parse, rate_overrides
from ups_jax.jobs.sweep.study import Command, SweepOptions

MAX_CORNERS = 1000


def prepare(options: SweepOptions, stop: StopFlag) -> RunContext | Command:
    """Return the one run of learning rates, or a Command of trials. ValueError for bad input."""
    if not options.sweep:
        raise ValueError("nothing to sweep; add --sweep KEY=A,B,... or KEY=LOW:HIGH[:log]")
    space = parse(options.sweep)
    name = options.name or default_workdir(options.config).name
    if Path(name).name != name or name == ".." or not name.isprintable():
        raise ValueError(f"--name is {name!r}; it must be the name of one folder")
    cfg = config.load(options.config, options.overrides)
    if rates := rate_overrides(space, cfg):
        overrides = {**options.overrides, **rates}
        workdir = options.workdir or Path("runs") / f"{name}-rates"
        return pipeline.prepare(replace(options, overrides=overrides, workdir=workdir), stop)
    if options.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS"):
        raise ValueError(
            "trials are separate runs of one process each; "
            "remove --coordinator, or unset $JAX_COORDINATOR_ADDRESS"
        )
    if "WANDB_RUN_ID" in os.environ:
        raise ValueError("every trial is a W&B run with its own id; unset WANDB_RUN_ID")
    if options.dry_run or options.restart:
        flag = "--dry_run" if options.dry_run else "--restart"
        raise ValueError(f"a sweep of trials has no {flag}; start a new one with another --name")
    if space.ranges and options.trials is None:
        raise ValueError(f"{next(iter(space.ranges))} has a range; add --trials N")
    if options.trials and not space.ranges:
        raise ValueError("--trials needs a range; lists of values run every combination")
    study.import_optuna()
    folder = options.workdir or Path("runs") / "sweeps" / name
    command = Command(cfg, space, folder, options, stop)
    if not study.resumes(command):
        _check_corners(options, space)
    return command


def _check_corners(options: SweepOptions, space: Space) -> None:
    """Load the config of every corner. Build the emulator of every value once: building is slow."""
    if (count := space.num_corners()) > MAX_CORNERS:
        raise ValueError(f"--sweep has {count} combinations; at most {MAX_CORNERS} are allowed")
    built: set[tuple[str, str]] = set()
    for overrides in space.corners():
        cfg = config.load(options.config, {**options.overrides, **overrides})
        if not built.issuperset(overrides.items()):
            built.update(overrides.items())
            dry_run.require_memory(cfg, build(cfg))


def execute(command: RunContext | Command) -> int:
    """Run what was prepared -> exit code."""
    if isinstance(command, RunContext):
        return pipeline.execute(command)
    code = study.run(command)
    if code in (130, 143):
        print("rerun the same command to resume; finished trials are not repeated", file=sys.stderr)
    return code
