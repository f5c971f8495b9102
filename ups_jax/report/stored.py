"""Values of a report on disk, from which its page and figures are drawn again."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ups_jax.evaluate import Report
from ups_jax.evaluate.beam_search import SearchAnalysis
from ups_jax.evaluate.ensembles import Ensembles
from ups_jax.files import atomic_path
from ups_jax.metrics import METRICS, Metric
from ups_jax.report.data import ReportData, Table
from ups_jax.types import GateVerdict

VALUES = "report.npz"
"""File of a run's folder: arrays, and all other values as JSON."""
LEFT_OUT = ("series", "predictions")
"""Fields that other files of the folder hold."""


def save_values(workdir: Path, data: ReportData, page: Mapping[str, Any]) -> None:
    """Write what `write_report` draws: its data, and the texts and tables of its page."""
    arrays: dict[str, np.ndarray] = {}
    values = _pack({"data": data, "page": dict(page)}, "", arrays)
    with atomic_path(Path(workdir) / VALUES) as scratch, scratch.open("wb") as file:
        np.savez(file, allow_pickle=False, json=np.array(json.dumps(values)), **arrays)


def load_values(workdir: Path) -> tuple[ReportData, dict[str, Any]]:
    """Return the data, and the texts and tables, of a report. Raises ValueError if unreadable."""
    path = Path(workdir) / VALUES
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            values = _unpack(json.loads(str(arrays["json"])), arrays)
        return _data(values["data"], _series(path.with_name("metrics.jsonl"))), _page(
            **values["page"]
        )
    except (OSError, KeyError, TypeError, ValueError, BadZipFile) as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else repr(error)
        raise ValueError(
            f"{path}: the values of the report cannot be read: {reason}; "
            "its page and figures stay as they are"
        ) from error


def _pack(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return a value as JSON; its arrays are moved to `arrays` and replaced by their names."""
    if dataclasses.is_dataclass(value) and not isinstance(value, Metric | type):
        names = (field.name for field in dataclasses.fields(value))
        value = {n: getattr(value, n) for n in names if n not in LEFT_OUT}
    if isinstance(value, Mapping):
        return {str(key): _pack(item, f"{name}/{key}", arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{name}/{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "shape"):
        arrays[name] = np.asarray(value)
        return {"array": name}
    return value if isinstance(value, str | int | float | None) else None


def _unpack(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"array"}:
        return arrays[value["array"]]
    return {key: _unpack(item, arrays) for key, item in value.items()}


def _data(values: dict[str, Any], series: list[dict[str, Any]]) -> ReportData:
    report, ensembles, search = (values.pop(k) for k in ("evaluation", "ensembles", "search"))
    report["metrics"] = {name: METRICS[name] for name in report["metrics"] if name in METRICS}
    for name in ("forecasters", "protocols", "horizons"):
        report[name] = tuple(report[name])
    return ReportData(
        **values
        | {
            "evaluation": Report(**report),
            "ensembles": ensembles and Ensembles(**ensembles),
            "search": search and SearchAnalysis(**search),
            "gates": [GateVerdict(*gate) for gate in values["gates"]],
            "series": series,
        }
    )


def _page(tables: list[list[Any]], facts: list[list[str]], **texts: Any) -> dict[str, Any]:
    pairs = [(name, value) for name, value in facts]
    return {**texts, "facts": pairs, "tables": [Table(*table) for table in tables]}


def _series(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]
