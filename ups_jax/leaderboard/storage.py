"""`leaderboard.jsonl`: one line a finished run, promotion or demotion, only ever added to."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCHEMA = 1
"""Version of a line; raised when a key changes its meaning."""
KINDS = ("run", "promote", "demote")
KEYS = {
    "run": {
        "board", "config", "curves", "data", "device", "fingerprint", "gates", "git_sha", "id",
        "kind", "metrics", "name", "protocol", "recipe", "regressions", "report", "schema", "seed",
        "seeds", "ship", "spread", "task", "time", "versions", "wandb",
    },
    "promote": {"board", "by", "id", "kind", "reason", "schema", "time"},
    "demote": {"board", "by", "id", "kind", "reason", "schema", "time"},
}  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class Leaderboard:
    """What a leaderboard holds: its runs, its promotions in order, and what could not be read."""

    runs: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line, whole and on disk when this returns, however many processes do so at once.

    A line that another process left unfinished is first moved to `<path>.torn`.
    """
    line = json.dumps({"schema": SCHEMA, **row}, allow_nan=False).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path), path.open("a+b") as file:
        _quarantine(path, file)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Leaderboard:
    """Every line that can be understood; of the others, and of unknown columns, what was left out.

    A run that was appended twice, being judged again after a stop, counts with its last line.
    """
    runs: dict[Any, Row] = {}
    found = Leaderboard()
    if not path.exists():
        return found
    with locked(path):
        held = path.read_bytes()
    whole, _, torn = held.rpartition(b"\n")
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        row, said = _parse(line)
        found.problems.extend(f"{path.name} line {number}: {text}" for text in said)
        if row is None:
            continue
        if row["kind"] == "run":
            runs.pop(row["id"], None)
            runs[row["id"]] = row
        else:
            found.events.append(row)
    if torn:
        found.problems.append(f"{path.name}: its last line is torn ({len(torn)} bytes); left out")
    if (aside := path.with_name(f"{path.name}.torn")).exists():
        count = aside.read_bytes().count(b"\n")
        found.problems.append(f"{aside.name}: holds {count} torn lines that were set aside")
    found.runs.extend(runs.values())
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a leaderboard; it is let go when its holder ends, however it does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _quarantine(path: Path, file: Any) -> None:
    """Move a last line without an end to `<path>.torn`."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    held = file.read()
    start = held.rfind(b"\n") + 1
    with path.with_name(f"{path.name}.torn").open("ab") as aside:
        aside.write(held[start:] + b"\n")
    file.truncate(start)


def _parse(line: bytes) -> tuple[Row | None, list[str]]:
    """A line as a row of this version, and in words what of it could not be kept."""
    try:
        row = json.loads(line)
    except ValueError:
        return None, ["no JSON; left out"]
    if not isinstance(row, dict) or row.get("kind", "run") not in KINDS or not row.get("id"):
        return None, ["no run, promotion or demotion with an id; left out"]
    row = {**row, "kind": row.get("kind", "run")}
    told = []
    if row.get("schema") != SCHEMA:
        told.append(f"schema {row.get('schema')}, this version reads {SCHEMA}; known columns kept")
    known = KEYS[row["kind"]]
    if strange := sorted(row.keys() - known):
        told.append(f"unknown columns left out: {', '.join(strange)}")
    kept = {key: value for key, value in row.items() if key in known}
    if row["kind"] == "run":
        if not isinstance(kept.get("board"), str) or not isinstance(kept.get("metrics"), dict):
            told.append("its board or its metrics are missing; the run is kept, not ranked")
            kept["board"] = None
        for key in ("metrics", "config", "curves"):
            kept[key] = kept[key] if isinstance(kept.get(key), dict) else {}
    return kept, told


def now() -> str:
    """Time of a line, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def event(kind: str, row: Row, *, by: str, reason: str) -> Row:
    """A promotion or demotion of a row, as the leaderboard keeps it."""
    named = {"kind": kind, "id": row["id"], "board": row["board"], "time": now()}
    return {**named, "by": by, "reason": reason}
