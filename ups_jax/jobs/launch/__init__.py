"""What `runners/launch.py` does: rent a box that ends itself, or queue a job. It makes no run."""

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ups_jax import config
from ups_jax.experiment.signals import StopFlag
from ups_jax.files import write_json, write_text
from ups_jax.jobs.launch import clouds, job, onstart, pricing, sky, slurm, task
from ups_jax.jobs.launch.job import Job, LaunchOptions

RECORDS = Path("runs/launches")


@dataclass(frozen=True)
class Command:
    """What would go where: `text` is the task's YAML or the script, `told` what is said of it."""

    job: Job
    text: str
    told: tuple[str, ...]
    refusals: tuple[str, ...]
    options: LaunchOptions
    stop: StopFlag


def prepare(options: LaunchOptions, stop: StopFlag) -> Command:
    """Check the config, the task, the keys and the right to rent. ValueError before any bill."""
    config.load(options.config, options.overrides)
    asked = job.from_options(options, os.environ)
    text, told, refusals = "", [], []
    if options.print_onstart:
        text = onstart.pack_workdir(asked) if asked.cloud == "vast" else onstart.script(asked)
        told.append(f"keys that the box's environment must hold: {', '.join(asked.keys) or 'none'}")
    elif options.slurm:
        folder = RECORDS / asked.name
        told.append(f"slurm: {' '.join(('python', *asked.command))}")
        told.append(f"limit: {asked.max_hours:g} h, then requeued, {slurm.REQUEUES} times at most")
        if not options.dry_run:
            slurm.executor(asked, folder)
    else:
        text = task.to_yaml(task.task(asked))
        told, refusals = _inspect(asked, text)
    if not options.slurm:
        told.append(pricing.estimate(asked, price=options.price, measured=options.measured))
    if asked.about.note and not options.slurm:
        told.append(f"{asked.cloud}: {asked.about.note}")
    if refusals and not (options.dry_run or options.print_onstart):
        raise ValueError(refusals[0])
    return Command(asked, text, tuple(told), tuple(refusals), options, stop)


def execute(plan: Command) -> int:
    """Print what is asked for, or launch it -> exit code."""
    options, out = plan.options, sys.stderr if plan.options.print_onstart else sys.stdout
    if plan.text and (options.dry_run or options.print_onstart):
        print(plan.text, end="")
    for line in plan.told:
        print(line, file=out)
    for reason in plan.refusals:
        print(f"a launch would be refused: {reason.splitlines()[0]}", file=out)
    if options.print_onstart:
        return 0
    if options.dry_run:
        print("dry run: nothing was launched")
        return 0
    return _submit_slurm(plan) if options.slurm else _launch_sky(plan)


def _inspect(asked: Job, text: str) -> tuple[list[str], list[str]]:
    """What is said of a task, and why it would not be launched."""
    told, refusals = [], []
    try:
        told.append(f"validated: {sky.validate(asked, text)}")
    except sky.Missing as missing:
        told.append("not validated: SkyPilot's environment is missing")
        refusals.append(str(missing))
    refusals += [reason for reason in (clouds.refusal(asked.cloud, os.environ),) if reason]
    lacking = [key for key in asked.keys if not os.environ.get(key)]
    if lacking:
        refusals.append(
            f"{lacking[0]} is not in the environment, so the box could not report; nothing was"
            " launched\nset it (it travels as a SkyPilot secret), or add --wandb_mode offline"
        )
    if not asked.sync:
        told.append("warning: without --sync, checkpoints and report end with the box")
    return told, refusals


def _launch_sky(plan: Command) -> int:
    asked, file = plan.job, RECORDS / f"{plan.job.name}.yaml"
    write_text(file, plan.text)
    record: dict[str, Any] = {
        "name": asked.name,
        "infra": asked.infra,
        "gpus": asked.gpus,
        "max_hours": asked.max_hours,
        "command": ["python", *asked.command],
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    def note(**found: Any) -> None:
        record.update(found)
        write_json(file.with_suffix(".json"), record)
        if run := found.get("run"):
            print(f"W&B run {run['id']}: {run['url'] or run['mode']}", flush=True)

    by_hand = f"`{sky.find().with_name('sky')} down {asked.name}` ends the box by hand"
    plan.stop.line = f"no longer followed; the box goes on and ends itself; {by_hand}"
    note()
    code = sky.launch(asked, file, note)
    if plan.stop():
        print(plan.stop.line, file=sys.stderr)
        return plan.stop.code
    if "code" not in record:
        print(f"the box did not say how its job ended; {by_hand}", file=sys.stderr)
    print(f"launch: {file.with_suffix('.json')}")
    return code


def _submit_slurm(plan: Command) -> int:
    asked, folder = plan.job, RECORDS / plan.job.name
    number = slurm.submit(asked, folder)
    write_json(folder / "launch.json", {"job": number, "command": ["python", *asked.command]})
    print(f"job {number}: logs in {folder}")
    print(f"W&B run: {Path(asked.workdir) / 'wandb_run.json'}, once the job has begun")
    return 0
