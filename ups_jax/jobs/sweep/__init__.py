"""A sweep: learning rates side by side in one run, anything else as one run a trial.

The parent of trials starts no W&B run; the winner on validation alone joins the leaderboard.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ups_jax import config
from ups_jax.experiment import pipeline
from ups_jax.experiment.signals import StopFlag
from ups_jax.jobs.sweep import study, trial
from ups_jax.jobs.sweep.space import Space, parse, rates


@dataclass(frozen=True)
class Command:
    """Trials that are to be run, one after another, and where."""

    cfg: Any
    space: Space
    folder: Path
    args: Namespace
    stop: StopFlag
    command: trial.Command


def prepare(args: Namespace, stop: StopFlag, command: trial.Command = trial.RUNNER) -> Any:
    """One plan of the pipeline, or a Sweep of trials. Bad input is a ValueError."""
    if not args.sweep:
        raise ValueError("nothing to sweep; add --sweep KEY=A,B,... or KEY=LOW:HIGH[:log]")
    space = parse(args.sweep)
    cfg = config.load(args.config, args.overrides)
    if alone := rates(space, cfg):
        args.overrides = {**args.overrides, **alone}
        args.workdir = args.workdir or Path("runs") / f"{args.name or _stem(args)}-rates"
        return pipeline.prepare(args, stop)
    if args.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS"):
        raise ValueError(
            "--coordinator, or $JAX_COORDINATOR_ADDRESS, is for one run; trials are runs of their "
            "own, without it"
        )
    if args.jobs != 1:
        raise ValueError(f"--jobs is {args.jobs}; trials run one after another, --jobs 1")
    if args.dry_run or args.restart:
        flag = "--dry_run" if args.dry_run else "--restart"
        raise ValueError(f"{flag} is for one run; a sweep of trials has none, use another --name")
    for overrides in space.corners():
        config.load(args.config, {**args.overrides, **overrides})
    if space.ranges and args.trials is None:
        raise ValueError(f"{next(iter(space.ranges))} has a range; add --trials N")
    study.package()
    folder = args.workdir or Path("runs") / "sweeps" / (args.name or _stem(args))
    return Command(cfg, space, folder, args, stop, command)


def execute(plan: Any) -> int:
    """Run what was prepared -> exit code."""
    if not isinstance(plan, Command):
        return pipeline.execute(plan)
    return study.run(plan)


def _stem(args: Namespace) -> str:
    file, variant = config.split_path(args.config)
    stem = Path(file).stem
    return stem if variant == "default" else f"{stem}-{variant}"


def main(
    args: Namespace, run_main: Callable[..., int], command: trial.Command = trial.RUNNER
) -> int:
    """Exit code of a sweep whose trials are started by `command`."""
    code = run_main(args, lambda given, stop: prepare(given, stop, command), execute)
    if code in (130, 143):
        print("the same command goes on; finished trials are not repeated", file=sys.stderr)
    return code
