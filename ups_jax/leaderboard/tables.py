"""Leaderboard tables for a terminal, CSV, Markdown and LaTeX."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from ups_jax.files import flatten
from ups_jax.leaderboard.metrics import best_of, metric_of
from ups_jax.leaderboard.ranking import RANKING_METRIC, champions, ranked
from ups_jax.leaderboard.rows import Row
from ups_jax.leaderboard.storage import Leaderboard
from ups_jax.metrics import cost_of_key
from ups_jax.tables import format_cell

METRIC_COLUMNS = {
    "validation nRMSE": RANKING_METRIC,
    "test nRMSE": "eval/nrmse",
    "P10 nRMSE": "eval/p10/nrmse",
    "train s": "wall/train_s",
    "calls": "eval/calls",
    "ms/rollout": "eval/ms",
    "parameters": "params/selected",
}
"""Metric key of each numeric column."""
Cells = tuple[list[str], list[list[Any]]]


def boards(entries: Leaderboard) -> list[str]:
    """List the boards of a leaderboard, oldest first."""
    return list(dict.fromkeys(row["board"] for row in entries.runs if row["board"]))


def ranking_table(entries: Leaderboard, board: str) -> Cells:
    """Return columns and rows of one board, ranked by validation error, its champion marked."""
    leader = champions(entries.events).get(board)
    rows = []
    for rank, row in enumerate(ranked(entries.runs, board), start=1):
        gates, worse = row.get("gates") or {}, row.get("regressions") or {}
        rows.append(
            [
                rank,
                "champion" if row["id"] == leader else "",
                *(row.get(key) for key in ("id", "name", "selected")),
                *(_integer(metric_of(row, key)) for key in METRIC_COLUMNS.values()),
                f"{gates.get('met')} of {gates['total']}" if gates.get("total") else "none",
                len(worse.get("regressed") or []),
                row.get("device"),
                str(row.get("time") or "")[:10],
            ]
        )
    identity = ["rank", "champion", "run", "name", "selected"]
    return [*identity, *METRIC_COLUMNS, "gates met", "worse", "device", "date"], rows


def comparison_tables(rows: Sequence[Row]) -> tuple[Cells, Cells]:
    """Return the metrics of some runs, the best starred, and the config keys that differ."""
    ids = [row["id"] for row in rows]
    names = list(dict.fromkeys(key for row in rows for key in row["metrics"]))
    metrics = [[name, *_starred(name, [metric_of(row, name) for row in rows])] for name in names]
    flat = [{key: str(value) for key, value in flatten(row["config"]).items()} for row in rows]
    keys = list(dict.fromkeys(key for config in flat for key in config))
    settings = [[key, *(config.get(key, "-") for config in flat)] for key in keys]
    differing = [setting for setting in settings if len(set(setting[1:])) > 1]
    return (["metric", *ids], metrics), (["config key", *ids], differing)


def as_csv(cells: Cells) -> str:
    """Write a table as CSV (RFC 4180), numbers in full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(cells[0])
    writer.writerows(["" if value is None else value for value in row] for row in cells[1])
    return out.getvalue()


def as_markdown(cells: Cells) -> str:
    """Write a table in GitHub's Markdown."""
    columns, rows = cells
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    texts = ([format_cell(value).replace("|", r"\|") for value in row] for row in rows)
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in texts)]) + "\n"


def as_latex(cells: Cells) -> str:
    """Write a table as a LaTeX tabular with booktabs rules."""
    columns, rows = cells
    numeric = (
        all(isinstance(row[i], int | float | None) for row in rows) for i, _ in enumerate(columns)
    )
    alignment = "".join("r" if is_numeric else "l" for is_numeric in numeric)
    head, *body = (
        " & ".join(_tex(format_cell(v)) for v in row) + r" \\" for row in (columns, *rows)
    )
    lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


FORMATS = {"csv": as_csv, "md": as_markdown, "latex": as_latex}


def _integer(value: float | None) -> float | int | None:
    """Convert a whole number to an integer: parameters and calls are counts."""
    return int(value) if value is not None and value.is_integer() else value


def _starred(name: str, values: Sequence[float | None]) -> list[str]:
    best = best_of(name, values)
    costs = [None if value is None else cost_of_key(name, value) for value in values]
    stars = ["*" if cost is not None and cost == best else "" for cost in costs]
    return [format_cell(value) + star for value, star in zip(values, stars, strict=True)]


def _tex(text: str) -> str:
    """Escape text for LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return text.translate(str.maketrans(special | {c: f"\\{c}" for c in "&%$#_{}"}))
