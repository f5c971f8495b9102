"""Results files: rows, and the command, device, versions, date and commit that made them."""

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

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PACKAGES = ("jax", "flax")
"""Packages whose versions are recorded, unless a benchmark names others."""


def provenance(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Return device, versions, date, command and commit of this process."""
    import jax  # here, since tables are written without it

    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "device": f"{cores} CPU cores" if device.platform == "cpu" else device.device_kind,
        "git_sha": _git_sha(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in packages},
        },
    }


def _git_sha() -> str:
    """Return the commit of this checkout; empty in a copy without one, and without git."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def write(path: Path, result: dict[str, Any], packages: Sequence[str] = PACKAGES) -> Path:
    """Write a result, which holds `rows`, together with its provenance."""
    return save(path, {**provenance(packages), **result})


def save(path: Path, record: dict[str, Any]) -> Path:
    """Replace a results file as a whole, so that a killed process leaves the old one."""
    target = path.resolve()
    scratch = target.with_name(f".{target.name}.part")
    scratch.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    os.replace(scratch, target)
    return path


def read(path: Path | None) -> dict[str, Any]:
    """Return a results file, empty if there is none; a damaged one is moved aside, with a line."""
    if path is None or not path.exists():
        return {}
    try:
        record = json.loads(path.read_text())
        if isinstance(record, dict):
            return record
        problem = "it holds no object"
    except ValueError as error:
        problem = str(error)
    aside = path.with_name(f"{path.name}.damaged")
    os.replace(path, aside)
    print(f"warning: {path} is damaged ({problem}), now {aside.name}", file=sys.stderr)
    return {}


def merge_rows(path: Path | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a results file with those of the same `row` replaced, new ones last.

    The file is read again at each call, since another process may have added rows.
    """
    saved = read(path).get("rows", [])
    new = {row["row"]: row for row in rows}
    kept = [new.pop(row["row"], row) for row in saved]
    return [*kept, *new.values()]


def choose_rows(names: str | None, known: Sequence[str]) -> list[str]:
    """Return the rows of a comma-separated flag, all rows if it is absent.

    Exits with a message on an unknown name.
    """
    chosen = names.split(",") if names else list(known)
    if unknown := sorted(set(chosen) - set(known)):
        sys.exit(f"unknown rows {', '.join(unknown)}; known: {', '.join(known)}")
    return chosen
