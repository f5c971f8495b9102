"""SkyPilot, run in a separate environment because its packages conflict with wandb's."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ups_jax.jobs.launch.job import Job

PYTHON = ".venv-sky/bin/python"
STATUS_LINE = re.compile(
    r"launch: (?:wandb_run\.json (?P<run>\{.*\})|ended with code (?P<code>\d+))"
)
"""Lines by which `onstart.sh` reports the W&B run and the exit code."""


class Missing(ValueError):
    """SkyPilot's environment does not exist."""


def find() -> Path:
    """Return the Python of SkyPilot's environment: `$UPS_SKY`, or the one of `make sky`."""
    python = Path(os.environ.get("UPS_SKY") or PYTHON)
    if not python.is_file():
        raise Missing(
            f"SkyPilot's environment is missing: {python}\n"
            "create it with `make sky` (its packages conflict with wandb's), or set UPS_SKY"
        )
    return python


def read_tasks(tasks: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Have SkyPilot read each (cloud, YAML) offline -> its `version` and `read`, or its `error`."""
    done = subprocess.run(
        [str(find()), "-I", str(Path(__file__).with_name("validate_task.py"))],
        input=json.dumps(tasks), capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ValueError(f"SkyPilot failed: {reason}\nrebuild its environment: make sky")
    return json.loads(lines[-1])


def validate(job: Job, text: str) -> str:
    """Return what SkyPilot read in a task's YAML. ValueError with its message if it cannot."""
    (result,) = read_tasks([(job.cloud, text)])
    if "error" in result:
        raise ValueError(f"SkyPilot refuses the task: {result['error']}")
    return f"SkyPilot {result['version']} reads it, offline: {result['read']}"


def launch(job: Job, file: Path, note: Callable[..., None]) -> int:
    """Rent the machine and follow its job to the end -> the run's exit code.

    Calls `note(run=...)` and `note(code=...)` when the machine reports them. Keys travel by name
    from this environment as SkyPilot secrets: no file and no command line holds a value.
    """
    command = find().with_name("sky")
    words = [str(command), "launch", "--yes", "--cluster", job.name]
    words += ["--retry-until-up"] if job.options.spot else []
    for key in job.keys:
        words += ["--secret", key]
    environ = dict(os.environ, PATH=f"{command.parent.absolute()}{os.pathsep}{os.environ['PATH']}")
    code = None
    with subprocess.Popen(
        [*words, str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if status := STATUS_LINE.search(line):
                if status["run"]:
                    note(run=json.loads(status["run"]))
                else:
                    code = int(status["code"])
                    note(code=code)
    return process.returncode if code is None else code
