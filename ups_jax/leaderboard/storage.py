"""`leaderboard.jsonl`: append-only, one line per finished run, promotion or demotion."""

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any

from ups_jax.leaderboard.rows import ROW_SCHEMA, Row, parse


@dataclass(frozen=True)
class Leaderboard:
    """Contents of a file: its runs, its promotions in order, and sentences on unreadable parts."""

    runs: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def warning(self) -> str | None:
        """One line on everything that was left out, None if nothing was."""
        first, more = "; ".join(self.problems[:3]), len(self.problems) - 3
        return f"{first}; and {more} more" if more > 0 else first or None


def append(path: Path, *rows: Mapping[str, Any]) -> None:
    """Add lines and flush them to disk; safe if several processes write at once.

    A line that another process left unfinished is first moved to `<path>.torn`.
    """
    with locked(path):
        _append(path, rows)


def enter(path: Path, row: Row, decide: Callable[[Leaderboard], Row | None]) -> Leaderboard:
    """Add a run and the event that `decide` derives from the board, under one lock.

    `decide` gets the board as it is now; no other run can be added meanwhile. A run that was
    entered before, by a process that was killed at its end, keeps its line.
    """
    with locked(path):
        before = read_locked(path)
        is_new = all(run["id"] != row["id"] for run in before.runs)
        lines = [row] * is_new + [event for event in [decide(before)] if event is not None]
        _append(path, lines)
        return read_locked(path)


def require_writable(path: Path) -> None:
    """Raise ValueError unless lines can be added to this leaderboard and its page be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in (path, path.with_suffix(".html")):
            if file.exists() and not file.is_file():
                raise ValueError(f"leaderboard {path}: {file} is no plain file; use another path")
            if os.path.lexists(file):
                file.open("ab").close()
        with tempfile.TemporaryFile(dir=path.parent), locked(path):
            binary = path.exists() and b"\0" in path.read_bytes()[:4096]
    except OSError as error:
        raise ValueError(
            f"cannot write the leaderboard {path} ({error.strerror}: {error.filename}); "
            "use another path"
        ) from error
    if binary:
        raise ValueError(f"{path} holds binary data and is no leaderboard; use another path")


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    lines = [json.dumps({"schema": ROW_SCHEMA, **row}, allow_nan=False) + "\n" for row in rows]
    with path.open("a+b") as file:
        _quarantine(path, file)
        file.write("".join(lines).encode())
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Leaderboard:
    """Read every valid line, and report the lines and columns that were left out.

    A run that was appended twice, because it was interrupted and judged again, counts with its
    last line.
    """
    if not path.exists():
        return Leaderboard()
    with locked(path, read_only=True):
        return read_locked(path)


def read_locked(path: Path) -> Leaderboard:
    """Read as `read` does; the caller holds the lock."""
    runs: dict[str, Row] = {}
    entries = Leaderboard()
    content = path.read_bytes() if path.exists() else b""
    whole, _, torn = content.rpartition(b"\n")
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        row, problems = parse(line)
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
def locked(path: Path, *, read_only: bool = False) -> Iterator[None]:
    """Hold the lock of a leaderboard; the system releases it if the process dies.

    A reader does without in a folder where no lock can be created.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(_open_lock(path.with_name(f".{path.name}.lock")))
        except OSError:
            if not read_only:
                raise
        else:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                # Some network file systems have no locks.
                _warn_once(f"{path} cannot be locked ({error.strerror})")
        yield


@cache
def _warn_once(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _open_lock(lock: Path) -> IO[bytes]:
    """Open the lock file; another user's may be only readable, which is enough to lock it."""
    try:
        return lock.open("ab")
    except PermissionError:
        return lock.open("rb")


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


def now() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def event(kind: str, row: Row, *, by: str, reason: str) -> Row:
    """Return the line of a promotion or demotion of a run."""
    line = {"kind": kind, "id": row["id"], "board": row["board"], "time": now()}
    return {**line, "by": by, "reason": reason}
