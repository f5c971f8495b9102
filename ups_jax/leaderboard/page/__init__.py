"""The leaderboard page: every run of every board in one self-contained HTML file."""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from ups_jax.files import flatten, write_text
from ups_jax.leaderboard.metrics import significant
from ups_jax.leaderboard.ranking import RANKING_METRIC, champions
from ups_jax.leaderboard.rows import Row
from ups_jax.leaderboard.storage import locked, read_locked
from ups_jax.metrics import direction_of_key

ROW_KEYS = (
    "id", "board", "time", "name", "task", "protocol", "data", "selected", "seed", "num_seeds",
    "spread", "device", "versions", "git_sha", "wandb", "gates", "regressions", "report",
)  # fmt: skip
SCRIPTS = ("dom.js", "axes.js", "chart.js", "compare.js", "columns.js", "page.js")


def write_page(path: Path) -> Path:
    """Write the page of the leaderboard at `path`, and return the page's path.

    Runs that end together write one after another, so that the last page has them all.
    """
    target = path.with_suffix(".html")
    with locked(path):
        entries = read_locked(path)
        write_text(target, page(entries.runs, champions(entries.events), entries.events))
    return target


def page(
    rows: Sequence[Row],
    leaders: Mapping[str, str],
    history: Sequence[Row],
    *,
    title: str = "Leaderboard",
) -> str:
    """Return the page as HTML that loads no other file and runs no text of a row.

    rows: runs, with at least "id" and "board"; leaders: each board's champion; history: events.
    """
    return Template(_asset("page.html")).substitute(
        title=escape(title),
        style=_asset("page.css"),
        data=_embedded(_payload(rows, leaders, history)),
        script="\n".join(map(_asset, SCRIPTS)),
    )


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _embedded(value: Any) -> str:
    """Return ASCII JSON without the characters that end a script element or begin an entity."""
    # NaN and infinities become null.
    plain = json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)
    text = json.dumps(plain, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _payload(
    rows: Sequence[Row], leaders: Mapping[str, str], history: Sequence[Row]
) -> dict[str, Any]:
    """Return the data of page.js.

    A run's settings are stored as their difference from those of the last run. A row's metrics are
    a list in the order of "metrics". "directions" holds the ideal value of a metric, "higher" or
    "none"; lower is better for metrics without an entry.
    """
    names = list(dict.fromkeys(name for row in rows for name in _mapping(row, "metrics")))
    directions = {name: direction_of_key(name) for name in names}
    settings = [_settings(_mapping(row, "config")) for row in rows]
    base = next(filter(None, reversed(settings)), {})
    return {
        "ranking": RANKING_METRIC,
        "directions": {name: value for name, value in directions.items() if value != "lower"},
        "metrics": names,
        "config": base,
        "rows": [
            _row(row, names, _difference(base, config) if config else None)
            for row, config in zip(rows, settings, strict=True)
        ],
        "champions": dict(leaders),
        "history": list(history),
    }


def _row(row: Row, names: Sequence[str], config: Mapping[str, Any] | None) -> dict[str, Any]:
    metrics = _mapping(row, "metrics")
    # Ranks need the ranking metric in full precision.
    values = [metrics.get(n) if n == RANKING_METRIC else _short(metrics.get(n)) for n in names]
    curves = {
        name: list(map(_short, curve))
        for name, curve in _mapping(row, "curves").items()
        if isinstance(curve, list | tuple)
    }
    kept = {key: row[key] for key in ROW_KEYS if row.get(key) is not None}
    return {**kept, "metrics": values, "curves": curves, "config": config}


def _mapping(row: Row, key: str) -> Mapping[str, Any]:
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def _short(value: Any) -> int | float | None:
    """Return a finite number with five significant digits, whole numbers as integers."""
    short = significant(value, 5)
    return int(short) if short is not None and short == int(short) and abs(short) < 1e15 else short


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config as one mapping of dotted keys, with numbers that JSON cannot hold as text."""
    flat = flatten(config).items()
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in flat}


def _difference(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings to set in `base`, and those to remove, to obtain `config`."""
    changed = {k: v for k, v in config.items() if k not in base or repr(base[k]) != repr(v)}
    return {"set": changed, "gone": [name for name in base if name not in config]}
