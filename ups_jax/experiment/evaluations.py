"""Further evaluations of a finished run: one file for each, and a copy of the latest."""

import itertools
import re
from pathlib import Path
from typing import Any

from ups_jax.files import read_json, write_json
from ups_jax.report import Table

LATEST = "evaluation.json"
Record = dict[str, Any]


def latest(folder: Path) -> Record | None:
    """Return the record of the latest evaluation, None without any."""
    return read_json(folder / LATEST, None)


def write(folder: Path, record: Record, earlier: Record | None) -> Path:
    """Write a record under a name of its own and as the latest one; return the former path.

    The name has the record's `label`. An `earlier` record without one gets a file first.
    """
    if earlier is not None and "label" not in earlier:
        _write_new(folder, {"label": "earlier", **earlier})
    path = _write_new(folder, record)
    write_json(folder / LATEST, record)
    return path


def tables(folder: Path) -> list[Table]:
    """Return the tables of all evaluations in a folder."""
    records = {path.stem: read_json(path, {}) for path in sorted(folder.glob("evaluation-*.json"))}
    titles = {stem: stem.removeprefix("evaluation-").replace("-", " ") for stem in records}
    return [
        Table(f"Evaluation: {titles[stem]}", record["columns"], record["rows"])
        for stem, record in records.items()
        if "rows" in record
    ]


def _write_new(folder: Path, record: Record) -> Path:
    stem = f"evaluation-{re.sub(r'[^a-z0-9.]+', '-', record['label'].lower()).strip('-')[:100]}"
    names = (f"{stem}{f'-{i}' if i > 1 else ''}.json" for i in itertools.count(1))
    path = next(folder / name for name in names if not (folder / name).exists())
    write_json(path, record)
    return path
