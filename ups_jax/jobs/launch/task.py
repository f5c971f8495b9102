"""The SkyPilot task of a job, as plain values and as YAML."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ups_jax.jobs.launch import onstart
from ups_jax.jobs.launch.job import Job

IDLE_MINUTES = 5
"""Until SkyPilot takes down a box on which nothing runs: the second rope under the script's own."""
MARK = "END_OF_SCRIPT"


def task(job: Job) -> dict[str, Any]:
    """The task. Set-up stands inside `run`, under the one script that ends the box whatever fails.

    Spot boxes are launched until one is up; a preempted one is gone, and the same command goes on
    from what it saved. Managed jobs are not used: their controller is one more box that costs.
    """
    resources: dict[str, Any] = {
        "infra": job.infra,
        "accelerators": job.gpus,
        "use_spot": job.spot or None,
        "max_hourly_cost": job.max_hourly_cost,
        "autostop": {"idle_minutes": IDLE_MINUTES, "down": True},
        **{key: _typed(value) for key, value in job.resource.items()},
    }
    text = onstart.script(job, under_sky=True)
    return {
        "name": job.name,
        "workdir": None if job.repo else ".",
        "resources": {key: value for key, value in resources.items() if value is not None},
        "secrets": dict.fromkeys(job.keys),
        "run": f"cat >~/launch.sh <<'{MARK}'\n{text}{MARK}\nexec bash ~/launch.sh\n",
    }


def to_yaml(value: Mapping[str, Any], indent: str = "") -> str:
    """YAML of nested mappings of plain values; text of many lines is kept readable."""
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            if item:
                lines += [f"{indent}{key}:", to_yaml(item, f"{indent}  ").rstrip("\n")]
        elif isinstance(item, str) and "\n" in item:
            kept = re.sub(r"^(?=.)", f"{indent}  ", item, flags=re.MULTILINE)
            lines += [f"{indent}{key}: |", kept.rstrip("\n")]
        elif item is not None or indent:
            lines.append(f"{indent}{key}: {json.dumps(item)}")
    return "\n".join(lines) + "\n"


def _typed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
