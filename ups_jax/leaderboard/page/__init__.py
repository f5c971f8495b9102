"""The leaderboard page: every run of every board in one self-contained HTML file."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

RANKING_METRICS = ("eval/val/nrmse", "val/nrmse")
"""Names of the error that runs are ranked by; the first one that a run has counts."""
ROW_KEYS = (
    "id", "board", "time", "name", "task", "protocol", "data", "ship", "seed", "seeds", "spread",
    "device", "versions", "git_sha", "wandb", "gates", "regressions", "report",
)  # fmt: skip
DIGITS = 5
SCRIPTS = ("dom.js", "axes.js", "chart.js", "compare.js", "columns.js", "page.js")

Row = Mapping[str, Any]


def page(
    rows: Sequence[Row],
    champions: Mapping[str, str],
    history: Sequence[Row],
    *,
    title: str = "Leaderboard",
    higher: Sequence[str] = ("correlation_time",),
) -> str:
    """The whole page as HTML that refers to nothing outside itself and runs no text of a row.

    rows: finished runs, one a mapping of what JSON holds; only "id" and "board" must be there.
    champions: the id that leads each board. history: promotions and demotions in order. higher:
    last parts of the names of metrics of which more is better.
    """
    return Template(_asset("page.html")).substitute(
        title=escape(title),
        style=_asset("page.css"),
        data=_embedded(_payload(rows, champions, history, higher)),
        script="\n".join(map(_asset, SCRIPTS)),
    )


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _embedded(value: Any) -> str:
    """ASCII JSON in which no character can end a script element or begin an entity."""
    text = json.dumps(_finite(value), allow_nan=False, default=str, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _payload(
    rows: Sequence[Row], champions: Mapping[str, str], history: Sequence[Row], higher: Sequence[str]
) -> dict[str, Any]:
    """What page.js reads. Settings are stored as differences: of a board from all, of a run from

    its board. Metrics are lists in the order of "metrics".
    """
    names = list(dict.fromkeys(name for row in rows for name in _mapping(row, "metrics")))
    leaves = [_leaves(_mapping(row, "config")) for row in rows]
    boards: dict[str, list[dict[str, Any]]] = {}
    for row, own in zip(rows, leaves, strict=True):
        if own:
            boards.setdefault(_board(row), []).append(own)
    usual = {board: _common(own) for board, own in boards.items()}
    common = _common(usual.values())
    return {
        "judged": RANKING_METRICS,
        "higher": list(higher),
        "metrics": names,
        "config": common,
        "boards": {board: _difference(common, own) for board, own in usual.items()},
        "rows": [
            _row(row, names, _difference(usual[_board(row)], own) if own else None)
            for row, own in zip(rows, leaves, strict=True)
        ],
        "champions": dict(champions),
        "history": list(history),
    }


def _row(row: Row, names: Sequence[str], config: Row | None) -> dict[str, Any]:
    metrics = _mapping(row, "metrics")
    values = [metrics.get(name) for name in names]
    shown = {key: row[key] for key in ROW_KEYS if row.get(key) is not None}
    curves = {
        name: [_rounded(value) for value in curve]
        for name, curve in _mapping(row, "curves").items()
        if isinstance(curve, list | tuple)
    }
    # Ranks are of the error as it was measured; what is only shown can be shorter.
    judged = [
        v if n in RANKING_METRICS else _rounded(v) for n, v in zip(names, values, strict=True)
    ]
    return {**shown, "metrics": judged, "curves": curves, "config": config}


def _board(row: Row) -> str:
    board = row.get("board")
    return "null" if board is None else str(board)


def _mapping(row: Row, key: str) -> Row:
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def _rounded(value: Any) -> int | float | None:
    """A finite number with five significant digits; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    short = value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short


def _finite(value: Any) -> Any:
    """The value with None for every number in it that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _leaves(config: Row, prefix: str = "") -> dict[str, Any]:
    """Nested settings as one mapping of dotted names; a list is one setting."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found.update(_leaves(value, f"{name}."))
        elif isinstance(value, float) and not math.isfinite(value):
            found[name] = str(value)
        else:
            found[name] = value
    return found


def _common(configs: Iterable[Row]) -> dict[str, Any]:
    """Settings that most of the configs have, each with its most frequent value."""
    seen: dict[str, Counter[str]] = {}
    values: dict[tuple[str, str], Any] = {}
    count = 0
    for count, config in enumerate(configs, start=1):  # noqa: B007
        for name, value in config.items():
            text = repr(value)
            seen.setdefault(name, Counter())[text] += 1
            values.setdefault((name, text), value)
    return {
        name: values[name, texts.most_common(1)[0][0]]
        for name, texts in seen.items()
        if 2 * texts.total() > count
    }


def _difference(base: Row, config: Row) -> dict[str, Any]:
    """What makes `config` of `base`: settings to set, and names to take away."""
    changed = {k: v for k, v in config.items() if k not in base or repr(base[k]) != repr(v)}
    gone = [name for name in base if name not in config]
    return {"set": changed, "gone": gone}
