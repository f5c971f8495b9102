"""`launch`: rent a machine that ends itself, or submit a Slurm job. The run starts there."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ups_jax import config
from ups_jax.experiment.build import build
from ups_jax.experiment.signals import StopFlag
from ups_jax.files import atomic_path, write_json
from ups_jax.jobs.launch import clouds, job, onstart, pricing, sky, slurm, task
from ups_jax.jobs.launch.job import Job, LaunchOptions
from ups_jax.leaderboard import now

RECORDS = Path("runs/launches")


@dataclass(frozen=True)
class Command:
    """A checked job: `text` is the task's YAML or the script, `problems` prevent its launch."""

    job: Job
    text: str
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    stop: StopFlag


def prepare(options: LaunchOptions, stop: StopFlag) -> Command:
    """Check config, task, keys and credentials. ValueError before anything is billed."""
    cfg = config.load(options.config, options.overrides)
    new = job.from_options(options, os.environ)
    build(cfg)
    text, notes, problems = "", [], []
    if options.print_onstart:
        text = onstart.packed_script(new) if new.cloud == "vast" else onstart.script(new)
        notes.append(f"variables that the machine must have: {', '.join(new.keys) or 'none'}")
    elif options.slurm:
        notes.append(f"slurm: {' '.join(('python', *new.command))}")
        notes.append(f"limit: {options.max_hours:g} h, at most {slurm.REQUEUES} times requeued")
        if not options.dry_run:
            slurm.make_executor(new, RECORDS / new.name)
    else:
        text = task.to_yaml(task.task(new))
        try:
            notes.append(f"validated: {sky.validate(new, text)}")
        except sky.Missing as missing:
            notes.append("not validated: SkyPilot's environment is missing")
            problems.append(str(missing))
        problems += _problems(new)
        if not new.sync:
            notes.append("warning: without --sync, checkpoints and report are lost at the end")
    if not options.slurm:
        notes.append(pricing.estimate(new))
        notes += [f"{new.cloud}: {new.about.note}"] if new.about.note else []
    if problems and not (options.dry_run or options.print_onstart):
        raise ValueError(problems[0])
    return Command(new, text, tuple(notes), tuple(problems), stop)


def execute(command: Command) -> int:
    """Print the task or the script, or launch the job -> exit code."""
    options = command.job.options
    out = sys.stderr if options.print_onstart else sys.stdout
    if options.dry_run or options.print_onstart:
        print(command.text, end="")
    for line in command.notes:
        print(line, file=out)
    for problem in command.problems:
        print(f"this prevents a launch: {problem.splitlines()[0]}", file=out)
    if options.print_onstart:
        return 0
    if options.dry_run:
        print("dry run: nothing was launched")
        return 0
    return _submit_slurm(command.job) if options.slurm else _launch_sky(command)


def _problems(new: Job) -> Iterator[str]:
    if missing := clouds.missing_credentials(new.cloud):
        yield missing
    for key in new.keys:
        if not os.environ.get(key):
            yield (
                f"{key} is not set, so the machine could not report; nothing was launched\n"
                "set it (it travels as a SkyPilot secret), or add --wandb_mode offline"
            )


def _launch_sky(command: Command) -> int:
    new, file = command.job, RECORDS / f"{command.job.name}.yaml"
    with atomic_path(file) as scratch:
        scratch.touch(0o600)  # a --shutdown_cmd may hold a key
        scratch.write_text(command.text, encoding="utf-8")
    spec = {"gpus": new.options.gpus, "max_hours": new.options.max_hours}
    record: dict[str, Any] = {"name": new.name, "infra": new.options.cloud, **spec}
    record |= {"command": ["python", *new.command], "begun": now()}

    def note(**values: Any) -> None:
        record.update(values)
        write_json(file.with_suffix(".json"), record)
        if run := values.get("run"):
            print(f"W&B run {run['id']}: {run['url'] or run['mode']}", flush=True)

    remedy = f"`{sky.find().with_name('sky')} down {new.name}` ends the machine now"
    command.stop.line = f"stopped following; the job continues, then its machine ends; {remedy}"
    note()
    code = sky.launch(new, file, note)
    if command.stop():
        print(command.stop.line, file=sys.stderr)
        return command.stop.code
    if "code" not in record:
        print(f"the machine did not report an exit code; {remedy}", file=sys.stderr)
    print(f"launch: {file.with_suffix('.json')}")
    return code


def _submit_slurm(new: Job) -> int:
    folder = RECORDS / new.name
    number = slurm.submit(new, folder)
    write_json(folder / "launch.json", {"job": number, "command": ["python", *new.command]})
    print(f"job {number}: logs in {folder}")
    print(f"W&B run: {Path(new.workdir) / 'wandb_run.json'}, once the job has started")
    return 0
