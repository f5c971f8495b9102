"""Files that are written whole or not at all, and read with their damage named."""

import json
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from hashlib import blake2b
from pathlib import Path
from typing import Any

STALE_S = 3600
"""Age of a scratch file from which no process is taken to be writing it."""


class DamagedFile(ValueError):
    """A file does not hold what was written there; the message names it and the damage."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} is damaged ({problem})")
        self.problem = problem


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a scratch path that replaces `path` on success and is deleted on failure.

    A link keeps pointing to its file, which is replaced. Raises ValueError if `path` is a folder or
    a device. A kill leaves the scratch file, which `scratch_files` finds.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no plain file"
        raise ValueError(f"{path} is {kind}; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):
        _remove_stale(left)
    # Random, as processes of several hosts may share the folder and the process number.
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def scratch_files(folder: Path, *, below: bool = False) -> list[Path]:
    """List the scratch files of interrupted writes in `folder`, or in all folders below it too."""
    return sorted((folder.rglob if below else folder.glob)(".*.part"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; a device or a pipe is written to directly."""
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(content)
        return
    with atomic_path(path) as scratch:
        scratch.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN must be null already."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_text(path: Path) -> str:
    """Return the text of a file without its last line break. Raises DamagedFile if it has none."""
    if not path.is_file():
        raise DamagedFile(path, "it is a folder" if path.is_dir() else "it is missing")
    try:
        text = path.read_text(encoding="utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        raise DamagedFile(path, "it is not text") from error
    if not text.strip():
        raise DamagedFile(path, "it is empty")
    return text


def read_json(path: Path, default: Any, *, like: type = dict, keys: Iterable[str] = ()) -> Any:
    """Return the value in a JSON file, or `default` if there is no file.

    Raises DamagedFile unless the value is of type `like` and has `keys`.
    """
    if not path.exists():
        return default
    try:
        value = json.loads(read_text(path))
    except DamagedFile:
        raise
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, "it is no JSON") from error
    if not isinstance(value, like):
        raise DamagedFile(path, f"it holds no JSON {'object' if like is dict else 'list'}")
    if missing := [key for key in keys if key not in value]:
        raise DamagedFile(path, f"it has no {missing[0]!r}")
    return value


def salvage_json(
    path: Path,
    default: Any,
    *,
    like: type = dict,
    keys: Iterable[str] = (),
    then: str = "it is written again",
) -> Any:
    """Return the value in a JSON file; a damaged file is set aside, and `default` returned.

    `then` ends the line on stderr: what follows from the loss.
    """
    try:
        return read_json(path, default, like=like, keys=keys)
    except DamagedFile as error:
        set_aside(path, error.problem, then)
        return default


def set_aside(path: Path, problem: str, then: str) -> None:
    """Rename a damaged file or folder, if any is left, to `<name>.damaged`; say so on stderr."""
    target, renamed = path.with_name(f"{path.name}.damaged"), ""
    if path.exists():
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
        renamed = f", now {target.name}"
    print(f"warning: {path} is damaged ({problem}){renamed}; {then}", file=sys.stderr)


def json_lines(content: bytes, keys: Mapping[str, type]) -> tuple[list[bytes], list[bytes]]:
    """Split JSON lines into those that hold an object with `keys` of these types, and the others.

    A last line without a line end is torn and in neither.
    """
    good, bad = [], []
    for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            row = json.loads(line)
            valid = all(type(row[key]) is kind for key, kind in keys.items())
        except (ValueError, TypeError, KeyError, RecursionError):
            valid = False
        (good if valid else bad).append(line)
    return good, bad


def digest(value: Any) -> str:
    """Hash bytes, or a value that JSON can hold, to 32 hex digits."""
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True).encode()
    return blake2b(value, digest_size=16).hexdigest()


def folder_digest(folder: Path, *, without: str) -> str:
    """Hash names and contents of all files below a folder, `folder/without` excepted."""
    total = blake2b(digest_size=16)
    files = {path for path in folder.rglob("*") if path.is_file()} - {folder / without}
    for path in sorted(files):
        content = path.read_bytes()
        total.update(f"{path.relative_to(folder)} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def _remove_stale(scratch: Path) -> None:
    try:
        if time.time() - scratch.stat().st_mtime > STALE_S:
            scratch.unlink()
    except OSError:
        # Another process has removed it, or may alone remove it.
        pass


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested sections (dict or ConfigDict) to dotted keys, in order."""
    flat = {}
    for key, value in tree.items():
        if hasattr(value, "items"):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
