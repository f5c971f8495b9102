"""SkyPilot, spoken to in an environment of its own: its packages conflict with wandb's."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ups_jax.jobs.launch.job import Job

HERE = Path(__file__).parent
PYTHON = ".venv-sky/bin/python"
SAID = re.compile(r"launch: (?:wandb_run\.json (?P<run>\{.*\})|ended with code (?P<code>\d+))")


class Missing(ValueError):
    """SkyPilot's environment is not there."""


def find() -> Path:
    """Python of SkyPilot's environment: `$UPS_SKY`, or the one that `make sky` makes."""
    python = Path(os.environ.get("UPS_SKY") or PYTHON)
    if not python.is_file():
        raise Missing(
            f"SkyPilot's environment is missing: {python}\n"
            "make it with `make sky` (its packages conflict with wandb's), or name one: UPS_SKY"
        )
    return python


def ask(tasks: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """What SkyPilot makes of each cloud and YAML, offline: `version` and `read`, or `error`."""
    asked = subprocess.run(
        [str(find()), "-I", str(HERE / "validate_task.py")],
        input=json.dumps(tasks), capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = asked.stdout.strip().splitlines()
    if asked.returncode or not lines:
        reason = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"SkyPilot did not answer: {reason}\nmake its environment anew: make sky")
    return json.loads(lines[-1])


def validate(job: Job, text: str) -> str:
    """What SkyPilot read in a task's YAML. ValueError with its own words where it cannot."""
    (found,) = ask([(job.cloud, text)])
    if "error" in found:
        raise ValueError(f"SkyPilot refuses the task: {found['error']}")
    return f"SkyPilot {found['version']} reads it, offline: {found['read']}"


def launch(job: Job, file: Path, note: Callable[..., None]) -> int:
    """Rent the box and follow its job to the end -> the runner's exit code.

    `note(run=...)` and `note(code=...)` are told what the box says. Keys go from this process's
    environment to SkyPilot's as secrets, by name: no file and no command line holds a value.
    """
    command = Path(find()).with_name("sky")
    words = [str(command), "launch", "--yes", "--cluster", job.name]
    words += ["--retry-until-up"] if job.spot else []
    for key in job.keys:
        words += ["--secret", key]
    environ = dict(os.environ, PATH=f"{command.parent.absolute()}{os.pathsep}{os.environ['PATH']}")
    code = None
    with subprocess.Popen(
        [*words, str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ,
    ) as talk:  # fmt: skip
        for line in talk.stdout or ():
            print(line, end="", flush=True)
            if said := SAID.search(line):
                if said["run"]:
                    note(run=json.loads(said["run"]))
                else:
                    code = int(said["code"])
                    note(code=code)
    return talk.returncode if code is None else code
