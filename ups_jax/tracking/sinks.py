"""Files of a run."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from ups_jax.files import (
    digest,
    json_lines,
    salvage_json,
    set_aside,
    write_bytes,
    write_json,
)


class Position(NamedTuple):
    """End of the series at a checkpoint: bytes of `metrics.jsonl`, their digest, and last steps."""

    offset: int = 0
    digest: str | None = None
    steps: Mapping[str, int] = MappingProxyType({})


START = Position()
SERIES_KEYS = {"stage": str, "step": int}


def _up_to(rows: Sequence[bytes], steps: Mapping[str, int]) -> list[bytes]:
    """Return the rows up to the last step of each series, each step once."""
    kept, last = [], dict.fromkeys(steps, -1)
    for line in rows:
        row = json.loads(line)
        if last.get(row["stage"], row["step"]) < row["step"] <= steps.get(row["stage"], -1):
            last[row["stage"]] = row["step"]
            kept.append(line)
    return kept


class FileSink:
    """Files of a workdir: series, summary, metadata, alerts and tables. Alerts go to stderr too."""

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir
        self._metrics = workdir / "metrics.jsonl"
        self._file: BinaryIO | None = None

    def lines(self, cut: Position | None = None) -> list[bytes]:
        """Read the rows of `metrics.jsonl`, and truncate the file at `cut`.

        A kill may have torn the last row. Of a damaged file the readable rows up to the steps of
        `cut` are kept, and the file is set aside.
        """
        content = self._metrics.read_bytes() if self._metrics.exists() else b""
        if cut is None:
            return json_lines(content, SERIES_KEYS)[0]
        kept = content[: cut.offset]
        rows, damaged = json_lines(kept, SERIES_KEYS)
        intact = digest(kept) == cut.digest if cut.digest else len(kept) == cut.offset
        intact = intact and not damaged and len(kept) == sum(map(len, rows))
        if intact and _up_to(rows, cut.steps) == rows:
            self.rewind(cut.offset)
            return rows
        rows = _up_to(json_lines(content, SERIES_KEYS)[0], cut.steps)
        if not intact:
            then = f"{len(rows)} of its rows are kept, training is not affected"
            set_aside(self._metrics, "it is not as the checkpoint recorded it", then)
        write_bytes(self._metrics, b"".join(rows))
        return rows

    def alerts(self) -> list[dict[str, str]]:
        """Read the alerts of earlier processes."""
        path, then = self.workdir / "alerts.json", "earlier alerts are lost"
        return salvage_json(path, [], like=list, then=then)

    def row(self, line: bytes) -> None:
        """Append a line to `metrics.jsonl`, unbuffered."""
        if self._file is None:
            self.rewind(sum(map(len, self.lines())))
            self._file = self._metrics.open("ab", buffering=0)
        self._file.write(line)

    def rewind(self, offset: int) -> None:
        """Truncate `metrics.jsonl` to `offset` bytes."""
        self.finish(0)
        if self._metrics.exists():
            os.truncate(self._metrics, offset)

    def finish(self, exit_code: int) -> None:
        """Close `metrics.jsonl`; a later row opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def summary(self, entries: dict[str, Any]) -> None:
        """Write `summary.json`."""
        write_json(self.workdir / "summary.json", entries)

    def table(self, table: dict[str, Any]) -> None:
        """Write `tables/<slug>.json`."""
        slug = re.sub(r"[^a-z0-9]+", "-", table["name"].lower()).strip("-")
        write_json(self.workdir / "tables" / f"{slug}.json", table)

    def config(self, updates: dict[str, Any]) -> None:
        """Merge the updates into `metadata.json`."""
        path = self.workdir / "metadata.json"
        write_json(path, {**salvage_json(path, {}), **updates})

    def alert(self, alert: dict[str, str]) -> None:
        """Add an alert to `alerts.json` and print it."""
        write_json(self.workdir / "alerts.json", [*self.alerts(), alert])
        print(f"{alert['level']}: {alert['title']}: {alert['text']}", file=sys.stderr)
