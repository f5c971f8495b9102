"""Lines of `leaderboard.jsonl`: their columns and types, and the reader that checks them."""

import json
import math
from typing import Any

ROW_SCHEMA = 2
"""Version of a line; raised when a key changes its name or meaning."""
MAX_NESTING = 32
"""Levels of lists and objects in a line; a config has four."""
CURVES = ("time", "nrmse", "seconds", "val_nrmse", "spectrum", "truth_spectrum")
EVENT_SHAPE = {
    "schema": int, "kind": str, "id": str, "board": str, "time": str, "by": str, "reason": str
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "run": {
        "schema": int, "kind": str, "id": str, "board": str, "time": str, "name": str,
        "task": str, "protocol": str, "data": dict, "selected": str, "seed": int,
        "num_seeds": int, "spread": float, "metrics": dict, "config": dict,
        "curves": dict.fromkeys(CURVES, [float]), "device": str, "versions": dict,
        "gates": {"met": int, "total": int, "failed": [str]},
        "regressions": {"regressed": [str], "improved": [str], "baseline": str},
        "git_sha": str, "wandb": dict, "fingerprint": str, "seedless_fingerprint": str,
        "report": str,
    },
    "promote": EVENT_SHAPE,
    "demote": EVENT_SHAPE,
}  # fmt: skip
"""Columns of each kind of line, and their types; None fits any. A list holds one type."""
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


def parse(line: bytes) -> tuple[Row | None, list[str]]:
    """Return a line as a row of this version, and sentences on the parts that were left out."""
    try:
        row = json.loads(
            line, parse_int=_integer, parse_float=_finite, parse_constant=lambda _: None
        )
        if b"\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        return None, ["no JSON; left out"]
    kind = row.get("kind", "run") if isinstance(row, dict) else None
    shape = SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None or _is_deeper(row, MAX_NESTING):
        return None, ["no run, promotion or demotion; left out"]
    row, problems = upgrade_row({**row, "kind": kind}), []
    if row.get("schema") != ROW_SCHEMA:
        text = f"schema {row.get('schema')}, this version reads {ROW_SCHEMA}; known columns kept"
        problems.append(text)
    if unknown := sorted(row.keys() - shape):
        problems.append(f"unknown columns left out: {', '.join(unknown)}")
    kept = {key: row[key] for key in shape if key in row and _fits(row[key], shape[key])}
    if wrong := sorted((shape.keys() & row.keys()) - kept.keys()):
        problems.append(f"columns of another type left out: {', '.join(wrong)}")
    if not kept.get("id") or (kind != "run" and not kept.get("board")):
        return None, [f"a {kind} without its id or board; left out"]
    if kind == "run":
        if not kept.get("board") or kept.get("metrics") is None:
            problems.append("its board or its metrics are missing; the run is kept, not ranked")
            kept["board"] = None
        for key in ("metrics", "config", "curves"):
            kept[key] = kept.get(key) or {}
    return kept, problems


def _fits(value: Any, shape: Any) -> bool:
    """Return True if a column has the type of its shape; None fits, but is no text of a list."""
    if value is None:
        return True
    if isinstance(shape, list):
        (item,) = shape
        return isinstance(value, list) and all(
            _fits(v, item) and (v is not None or item is float) for v in value
        )
    if isinstance(shape, dict):
        known = shape.keys() & value.keys() if isinstance(value, dict) else None
        return known is not None and all(_fits(value[key], shape[key]) for key in known)
    types = (int, float) if shape is float else shape
    return isinstance(value, types) and not isinstance(value, bool)


def _is_deeper(value: Any, levels: int) -> bool:
    """Return True if lists and objects are nested deeper than `levels`."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _is_deeper(item, levels - 1) for item in items)


def _integer(text: str) -> int | float | None:
    return int(text) if len(text) < 20 else _finite(text)


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


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


def _upgrade_key(key: Any) -> Any:
    """Rename forecasters and stages in a metric key of schema 1, but not the metric itself."""
    if not isinstance(key, str):
        return key
    *parents, last = [SCHEMA_1_PARTS.get(part, part) for part in key.split("/")]
    return "/".join([*parents, last if parents == ["params"] else key.rpartition("/")[2]])
