"""Files that are written whole or not at all."""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a scratch path that replaces `path` on success and is deleted on failure.

    A kill leaves the scratch file, which `scratch_files` finds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Random, as processes of several hosts may share the folder and the process number.
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def scratch_files(folder: Path) -> list[Path]:
    """List the scratch files of interrupted writes in `folder`."""
    return sorted(folder.glob(".*.part"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as scratch:
        scratch.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN must be null already."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, default: Any) -> Any:
    """Return the value in a JSON file, or `default` if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested sections (dict or ConfigDict) to dotted keys, in order."""
    flat = {}
    for key, value in tree.items():
        if hasattr(value, "items"):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
