"""Results files, and tables of them in Markdown."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.record import RESULTS


def read(name: str) -> dict[str, Any] | None:
    """Return a results file, None if it does not exist."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None, missing: str = "") -> str:
    """Return three significant digits; whole numbers keep all of theirs."""
    if value is None:
        return missing
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def cores(device: str) -> str:
    """Return a device as a table names it."""
    return "1 core" if device == "1 CPU cores" else device.replace("CPU cores", "cores")


def source(record: dict[str, Any]) -> str:
    """Return the command of a benchmark, its device, date and commit.

    Results from before the common runner name a script and older rows; today's names are shown.
    """
    command = re.sub(
        r"^python benchmarks/(?:\w+/)?(\w+)\.py", r"python -m benchmarks \1", record["command"]
    ).replace("early-1", "start_bias-1")
    details = f"{cores(record['device'])}, {record['date']}, commit {record['git_sha'][:7]}"
    return f"`{command}` ({details})"
