"""The local files of a run's record."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO


def write_text(path: Path, text: str) -> None:
    """Write a whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file or none of it; NaN must be null already."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, default: Any) -> Any:
    """The value in a JSON file, or `default` where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections, plain or of a ConfigDict, as dotted keys in their order."""
    flat = {}
    for key, value in tree.items():
        if hasattr(value, "items"):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def encode(row: dict[str, Any]) -> str:
    """One row of `metrics.jsonl`, its line end with it."""
    return json.dumps(row, allow_nan=False) + "\n"


class MetricsFile:
    """`metrics.jsonl`: one row a line, written at once, cut back on resume."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def append(self, row: dict[str, Any]) -> None:
        """Add one row."""
        if self._file is None:
            self._cut(len(self._whole()))
            self._file = self.path.open("a", buffering=1, encoding="utf-8")
        self._file.write(encode(row))

    def rows(self) -> list[dict[str, Any]]:
        """Every whole row."""
        return [json.loads(line) for line in self._whole().splitlines()]

    def offset(self) -> int:
        """Bytes held now."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, offset: int) -> None:
        """Cut back to `offset` bytes, where a row must end."""
        size = self.offset()
        if not 0 <= offset <= size:
            raise ValueError(f"{self.path} holds {size} bytes, so it cannot go back to {offset}")
        if offset and self.path.read_bytes()[offset - 1 : offset] != b"\n":
            raise ValueError(f"{self.path}: no row ends at byte {offset}")
        self._cut(offset)

    def close(self) -> None:
        """Close the file; a later row opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _whole(self) -> bytes:
        # A kill may tear the last line: only what a line end closes is a row.
        held = self.path.read_bytes() if self.path.exists() else b""
        return held[: held.rfind(b"\n") + 1]

    def _cut(self, offset: int) -> None:
        self.close()
        if self.offset() > offset:
            os.truncate(self.path, offset)
