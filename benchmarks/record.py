"""What every benchmark writes: its numbers, and where, when and how they were taken."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

RESULTS = Path(__file__).parent / "results"


PACKAGES = ("jax", "flax")
"""Whose versions are recorded, unless a benchmark names others."""


def about(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Device, versions, date, command and commit of this process."""
    root = Path(__file__).parent.parent
    sha = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    script = os.path.relpath(sys.argv[0], root)
    return {
        "command": " ".join(["python", script, *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "device": f"{cores} CPU cores" if device.platform == "cpu" else device.device_kind,
        "git_sha": sha.stdout.strip(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in packages},
        },
    }


def write(name: str, found: dict[str, Any], packages: Sequence[str] = PACKAGES) -> Path:
    """Write results/<name>.json: `found` beside what `about` says."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**about(packages), **found}, indent=1, sort_keys=True) + "\n")
    return path
