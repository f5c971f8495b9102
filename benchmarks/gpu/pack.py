"""Parts of the GPU pack: their tasks within a budget of seconds, and the results file.

The file is written after each task. A task that is in the file is not run again. A file that holds
parts of another device, or of another size, is refused.
"""

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.record import provenance, read, write

Row = dict[str, Any]
Task = Callable[[], list[Row]]
PACKAGES = ("jax", "jaxlib", "flax")


class OtherResults(Exception):
    """Raised for a results file of another device or size, which would be overwritten."""


class Skipped(Exception):
    """Raised by a task that cannot be measured here, or not in the seconds left; says why."""


@dataclass
class Setting:
    """Sizes, the rows so far, and the end of the current part on `time.monotonic`."""

    small: bool
    ends: float = float("inf")
    rows: list[Row] = field(default_factory=list)

    def left(self) -> float:
        """Return the seconds left to the current part."""
        return self.ends - time.monotonic()

    def value(self, metric: str) -> Any:
        """Return the value of a metric, None if it was not measured."""
        return next((row["value"] for row in self.rows if row["metric"] == metric), None)


def row(metric: str, value: Any, unit: str, **limit: float) -> Row:
    """Return a row; `max` or `min` is the target of its value."""
    return {"metric": metric, "value": value, "unit": unit, **limit}


def met(row: Row) -> bool | None:
    """Return whether a row meets its target, None if it has none."""
    if not {"max", "min"} & set(row):
        return None
    inf = float("inf")
    return row["value"] is not None and row.get("min", -inf) <= row["value"] <= row.get("max", inf)


def text(row: Row) -> str:
    """Return a row as one line."""
    value = row["value"]
    value = f"{value:.4g}" if isinstance(value, float) else "none" if value is None else value
    limits = [f"{word} {row[key]:g}" for key, word in TARGETS.items() if key in row]
    verdict = f" ({', '.join(limits)}: {'met' if met(row) else 'not met'})" if limits else ""
    return f"{row['metric']}: {value} {row['unit']}{verdict}"


NO_TIME = "skipped, no time was left"
TARGETS = {"max": "at most", "min": "at least"}


class Pack:
    """The results file: rows and, by part, its provenance, finished tasks and missing ones."""

    def __init__(self, path: Path | None, setting: Setting, git_sha: str = "") -> None:
        """Continue the file. Raises OtherResults if it was measured on another device or size."""
        self.path, self.setting, self.origin = path, setting, provenance(PACKAGES)
        self.origin["git_sha"] = self.origin["git_sha"] or git_sha
        saved = read(path)
        self.parts: dict[str, Any] = saved.get("parts", {})
        here = (self.origin["device"], setting.small)
        for part in self.parts.values():
            if (there := (part["device"], part["small"])) != here:
                raise OtherResults(
                    f"{path} holds results of {described(*there)}; this is {described(*here)}\n"
                    "they are not overwritten: name another file with --out"
                )
        setting.rows += saved.get("rows", [])

    def missing(self, name: str, tasks: Mapping[str, Task]) -> list[str]:
        """Return the tasks of a part that the file lacks."""
        done = self.parts[name]["done"] if name in self.parts else ()
        return [task for task in tasks if task not in done]

    def perform(self, name: str, tasks: Mapping[str, Task]) -> None:
        """Run the missing tasks of a part while time is left; the others are named."""
        fresh = {**self.origin, "small": self.setting.small, "done": [], "seconds": 0.0}
        part = self.parts.setdefault(name, fresh)
        part["missing"] = dict.fromkeys(self.missing(name, tasks), NO_TIME)
        for task in list(part["missing"]):
            if self.setting.left() <= 0:
                break
            began = time.monotonic()
            rows, problem = attempt(tasks[task])
            seconds = time.monotonic() - began
            part["seconds"] += seconds
            if problem is None:
                del part["missing"][task]
                part["done"].append(task)
            else:
                part["missing"][task] = problem
            print(f"{name}, {task}: {problem or f'{seconds:.1f} s'}", flush=True)
            for line in rows:
                print(f"  {text(line)}", flush=True)
            self.setting.rows += [{"part": name, "task": task, **line} for line in rows]
            self.save()
        self.save()

    def result(self) -> dict[str, Any]:
        """Return what the file holds next to the provenance of the last run."""
        return {**self.origin, "rows": self.setting.rows, "parts": self.parts}

    def save(self) -> None:
        """Write the file, if there is one."""
        if self.path:
            write(self.path, self.result(), PACKAGES)


def described(device: str, small: bool) -> str:
    """Return a device and its sizes in words."""
    return f"{device}{' at small sizes' if small else ''}"


def attempt(work: Task) -> tuple[list[Row], str | None]:
    """Run a task; return its rows, or none and the problem: a failure must not end the pack."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        error = future.exception()
    if error is None:
        return future.result(), None
    if isinstance(error, Skipped):
        return [], f"skipped, {error}"
    traceback.print_exception(error, file=sys.stderr)
    lines = str(error).splitlines() or [""]
    return [], f"failed, {type(error).__name__}: {lines[0][:200]}"
