"""The SkyPilot task of a job, as plain values and as YAML."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from ups_jax.jobs.launch import onstart
from ups_jax.jobs.launch.job import Job

IDLE_MINUTES = 5
"""SkyPilot takes down a machine that is idle for so long: a second safeguard after the script's."""


def task(job: Job) -> dict[str, Any]:
    """Return the task. Set-up is inside `run`, where the script ends the machine if it fails.

    Spot machines are requested until one starts. A preempted one is not replaced: the same command
    resumes from the saved results. Managed jobs would need a controller, one more paid machine.
    """
    options = job.options
    resources: dict[str, Any] = {
        "infra": options.cloud,
        "accelerators": options.gpus,
        "use_spot": options.spot or None,
        "max_hourly_cost": options.max_hourly_cost,
        "autostop": {"idle_minutes": IDLE_MINUTES, "down": True},
    }
    if taken := resources.keys() & job.resource:
        raise ValueError(f"--resource {min(taken)} is set by the launcher; use its own flags")
    resources |= {key: _typed(value) for key, value in job.resource.items()}
    text = onstart.script(job, under_sky=True)
    return {
        "name": job.name,
        "workdir": None if options.repo else ".",
        "resources": {key: value for key, value in resources.items() if value is not None},
        "secrets": dict.fromkeys(job.keys),
        "run": f"printf %s {shlex.quote(text)} >~/launch.sh\nexec bash ~/launch.sh\n",
    }


def to_yaml(values: Mapping[str, Any]) -> str:
    """Return the YAML of a task without its empty entries, scripts as literal blocks."""
    present = {key: value for key, value in values.items() if value}
    return yaml.dump(present, Dumper=_Dumper, sort_keys=False, width=1000)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as literal blocks."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def _typed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
