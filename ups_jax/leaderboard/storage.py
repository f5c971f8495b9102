"""`leaderboard.jsonl`: append-only, one line per finished run, promotion or demotion."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROW_SCHEMA = 2
"""Version of a line; raised when a key changes its name or meaning."""
EVENT_KEYS = {"board", "by", "id", "kind", "reason", "schema", "time"}
KEYS_OF_KIND = {
    "run": {
        "board", "config", "curves", "data", "device", "fingerprint", "gates", "git_sha", "id",
        "kind", "metrics", "name", "num_seeds", "protocol", "regressions", "report", "schema",
        "seed", "seedless_fingerprint", "selected", "spread", "task", "time", "versions", "wandb",
    },
    "promote": EVENT_KEYS,
    "demote": EVENT_KEYS,
}  # fmt: skip
SCHEMA_1_KEYS = {
    "recipe": "seedless_fingerprint", "seeds": "num_seeds",
    "ship": "selected",  # key map
}  # fmt: skip
SCHEMA_1_PARTS = {
    "continued": "control", "crps": "ensemble", "distill": "student", "distilled": "student",
    "rivals": "selection",
    "shipped": "selected",  # key map
}  # fmt: skip
"""Parts of metric keys, and names of forecasters, that schema 1 wrote."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Leaderboard:
    """Contents of a file: its runs, its promotions in order, and sentences on unreadable parts."""

    runs: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line and flush it to disk; safe if several processes write at once.

    A line that another process left unfinished is first moved to `<path>.torn`.
    """
    with locked(path):
        _append(path, row)


def enter(path: Path, row: Row, decide: Callable[[Leaderboard], Row | None]) -> Leaderboard:
    """Add a run and the event that `decide` derives from the board, under one lock.

    `decide` gets the board as it is now, without the run; no other run can be added meanwhile.
    """
    with locked(path):
        event = decide(_read(path))
        for line in (row, event):
            if line is not None:
                _append(path, line)
        return _read(path)


def _append(path: Path, row: Mapping[str, Any]) -> None:
    line = json.dumps({"schema": ROW_SCHEMA, **row}, allow_nan=False).encode() + b"\n"
    with path.open("a+b") as file:
        _quarantine(path, file)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Leaderboard:
    """Read every valid line, and report the lines and columns that were left out.

    A run that was appended twice, because it was interrupted and judged again, counts with its
    last line.
    """
    if not path.exists():
        return Leaderboard()
    with locked(path):
        return _read(path)


def _read(path: Path) -> Leaderboard:
    runs: dict[Any, Row] = {}
    entries = Leaderboard()
    content = path.read_bytes() if path.exists() else b""
    whole, _, torn = content.rpartition(b"\n")
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        row, problems = _parse(line)
        entries.problems.extend(f"{path.name} line {number}: {text}" for text in problems)
        if row is None:
            continue
        if row["kind"] == "run":
            runs.pop(row["id"], None)
            runs[row["id"]] = row
        else:
            entries.events.append(row)
    if torn:
        entries.problems.append(f"{path.name}: its last line is torn ({len(torn)} bytes); left out")
    if (quarantine := path.with_name(f"{path.name}.torn")).exists():
        count = quarantine.read_bytes().count(b"\n")
        entries.problems.append(f"{quarantine.name}: holds {count} torn lines that were set aside")
    entries.runs.extend(runs.values())
    return entries


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a leaderboard; the system releases it if the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _quarantine(path: Path, file: Any) -> None:
    """Move a last line without a line end to `<path>.torn`."""
    file.seek(0)
    content = file.read()
    start = content.rfind(b"\n") + 1
    if start == len(content):
        return
    with path.with_name(f"{path.name}.torn").open("ab") as torn:
        torn.write(content[start:] + b"\n")
    file.truncate(start)


def _parse(line: bytes) -> tuple[Row | None, list[str]]:
    """Return a line as a row of this version, and sentences on the parts that were left out."""
    try:
        row = json.loads(line)
    except ValueError:
        return None, ["no JSON; left out"]
    if not isinstance(row, dict) or row.get("kind", "run") not in KEYS_OF_KIND or not row.get("id"):
        return None, ["no run, promotion or demotion with an id; left out"]
    row, problems = upgrade_row({**row, "kind": row.get("kind", "run")}), []
    if row.get("schema") != ROW_SCHEMA:
        text = f"schema {row.get('schema')}, this version reads {ROW_SCHEMA}; known columns kept"
        problems.append(text)
    known = KEYS_OF_KIND[row["kind"]]
    if unknown := sorted(row.keys() - known):
        problems.append(f"unknown columns left out: {', '.join(unknown)}")
    kept = {key: value for key, value in row.items() if key in known}
    if row["kind"] == "run":
        if not isinstance(kept.get("board"), str) or not isinstance(kept.get("metrics"), dict):
            problems.append("its board or its metrics are missing; the run is kept, not ranked")
            kept["board"] = None
        for key in ("metrics", "config", "curves"):
            kept[key] = kept[key] if isinstance(kept.get(key), dict) else {}
    return kept, problems


def upgrade_row(row: Row) -> Row:
    """Return a row of schema 1 with the keys and names of this version, any other row unchanged.

    Its config keeps the keys of its time.
    """
    if row.get("schema") != 1:
        return row
    row = {SCHEMA_1_KEYS.get(key, key): value for key, value in row.items()}
    row["schema"] = ROW_SCHEMA
    if isinstance(selected := row.get("selected"), str):
        row["selected"] = SCHEMA_1_PARTS.get(selected, selected)
    if isinstance(metrics := row.get("metrics"), dict):
        row["metrics"] = {_upgrade_key(key): value for key, value in metrics.items()}
    if isinstance(gates := row.get("gates"), dict):
        row["gates"] = {"total" if key == "of" else key: value for key, value in gates.items()}
    if isinstance(changes := row.get("regressions"), dict):
        lists = {k: list(map(_upgrade_key, v)) for k, v in changes.items() if isinstance(v, list)}
        row["regressions"] = {**changes, **lists}
    return row


def _upgrade_key(key: str) -> str:
    """Rename forecasters and stages in a metric key of schema 1, but not the metric itself."""
    *parents, last = [SCHEMA_1_PARTS.get(part, part) for part in key.split("/")]
    return "/".join([*parents, last if parents == ["params"] else key.rpartition("/")[2]])


def now() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def event(kind: str, row: Row, *, by: str, reason: str) -> Row:
    """Return the line of a promotion or demotion of a run."""
    line = {"kind": kind, "id": row["id"], "board": row["board"], "time": now()}
    return {**line, "by": by, "reason": reason}
