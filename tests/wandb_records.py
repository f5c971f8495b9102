"""Read a run back from its .wandb files: LevelDB-style blocks of protobuf records."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32 * 1024
FILE_HEADER = 7  # ":W&B", magic, version
CHUNK_HEADER = struct.Struct("<IHB")  # checksum, length, type: 1 whole, 2 first, 3 middle, 4 last


class Stored(NamedTuple):
    """Content of one .wandb file."""

    ids: list[str]  # one for each run record
    run: Any  # the first run record
    tags: list[str]  # of the last run record
    config: dict[str, Any]  # without W&B's own keys, as the summary and the history
    summary: dict[str, Any]  # what W&B derives from the history included
    history: list[dict[str, Any]]
    definitions: dict[str, Any]  # metric name -> MetricRecord
    alerts: list[Any]
    artifacts: list[Any]
    preempting: int
    exit_codes: list[int]


def segments(workdir: Path) -> list[Path]:
    """Every .wandb file of a workdir, oldest first."""
    files = (workdir / "wandb").glob("*/*.wandb")
    return sorted(file for file in files if not file.parent.is_symlink())  # latest-run is a link


def records(path: Path) -> Iterator[Record]:
    """The records of one file, in order."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    at, parts = FILE_HEADER, b""
    while at + CHUNK_HEADER.size <= len(content):
        if BLOCK - at % BLOCK < CHUNK_HEADER.size:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = CHUNK_HEADER.unpack_from(content, at)
        start = at + CHUNK_HEADER.size
        parts += content[start : start + length]
        at = start + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def read(path: Path) -> Stored:
    """Read one file."""
    stored = Stored([], None, [], {}, {}, [], {}, [], [], 0, [])
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            stored.ids.append(record.run.run_id)
            stored.config.update(_without_private(_items(record.run.config.update)))
            stored = stored._replace(run=stored.run or record.run, tags=list(record.run.tags))
        elif kind == "config":
            stored.config.update(_without_private(_items(record.config.update)))
        elif kind == "summary":
            stored.summary.update(_without_private(_items(record.summary.update)))
        elif kind == "history":
            stored.history.append(_without_private(_items(record.history.item)))
        elif kind == "metric":
            stored.definitions[record.metric.name] = record.metric
        elif kind == "alert":
            stored.alerts.append(record.alert)
        elif kind == "request" and record.request.HasField("log_artifact"):
            stored.artifacts.append(record.request.log_artifact.artifact)
        elif kind == "artifact":
            stored.artifacts.append(record.artifact)
        elif kind == "preempting":
            stored = stored._replace(preempting=stored.preempting + 1)
        elif kind == "exit":
            stored.exit_codes.append(record.exit.exit_code)
    return stored


def _items(items: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        section = values
        for key in outer:
            section = section.setdefault(key, {})
        section[last] = json.loads(item.value_json)
    return values


def _without_private(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith("_")}
