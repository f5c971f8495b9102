"""The leaderboard in words: a table for a terminal, csv, Markdown and LaTeX, runs side by side."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from ups_jax.files import flatten
from ups_jax.leaderboard.metrics import higher_is_better, metric_of
from ups_jax.leaderboard.ranking import RANKING_METRICS, champions, ranked
from ups_jax.leaderboard.storage import Leaderboard, Row
from ups_jax.progress import format_table

COLUMNS = {
    "validation nRMSE": RANKING_METRICS,
    "test nRMSE": "eval/nrmse",
    "P10 nRMSE": "eval/p10/nrmse",
    "train s": "wall/train_s",
    "calls": "eval/calls",
    "ms/rollout": "eval/ms",
    "parameters": "params/shipped",
}
"""Numbers of a table, by their name and their key."""
HEAD = ["rank", "champion", "run", "name", "shipped"]
TAIL = ["gates met", "worse", "device", "date"]
Cells = tuple[list[str], list[list[Any]]]


def boards(found: Leaderboard) -> list[str]:
    """Boards of a leaderboard, in the order in which they were begun."""
    return list(dict.fromkeys(row["board"] for row in found.runs if row["board"]))


def standing(found: Leaderboard, board: str) -> Cells:
    """Columns and rows of one board, ranked by validation, its champion marked."""
    leader = champions(found.events).get(board)
    rows = []
    for rank, row in enumerate(ranked(found.runs, board), start=1):
        gates, worse = row.get("gates") or {}, row.get("regressions") or {}
        rows.append(
            [
                rank,
                "champion" if row["id"] == leader else "",
                *(row.get(key) for key in ("id", "name", "ship")),
                *(_counted(metric_of(row, key)) for key in COLUMNS.values()),
                f"{gates.get('met', 0)} of {gates.get('of', 0)}",
                len(worse.get("regressed", [])),
                row.get("device"),
                str(row.get("time") or "")[:10],
            ]
        )
    return [*HEAD, *COLUMNS, *TAIL], rows


def compared(rows: Sequence[Row]) -> tuple[Cells, Cells]:
    """Metrics of some runs side by side, the best marked by a star, and where configs differ."""
    ids = [row["id"] for row in rows]
    names = list(dict.fromkeys(key for row in rows for key in row["metrics"]))
    metrics = [[name, *_starred(name, [metric_of(row, name) for row in rows])] for name in names]
    flat = [{key: str(value) for key, value in flatten(row["config"]).items()} for row in rows]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    differ = [
        [key, *(each.get(key, "-") for each in flat)]
        for key in keys
        if len({each.get(key, "-") for each in flat}) > 1
    ]
    return (["metric", *ids], metrics), (["config key", *ids], differ)


def text(cells: Cells) -> str:
    """Aligned for a terminal."""
    return format_table(*cells)


def as_csv(cells: Cells) -> str:
    """RFC 4180, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(cells[0])
    writer.writerows(["" if value is None else value for value in row] for row in cells[1])
    return out.getvalue()


def as_markdown(cells: Cells) -> str:
    """A table of GitHub's Markdown."""
    columns, rows = cells
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    words = ([_short(value).replace("|", r"\|") for value in row] for row in rows)
    body = [f"| {' | '.join(row)} |" for row in words]
    return "\n".join([*head, *body]) + "\n"


def as_latex(cells: Cells) -> str:
    """A booktabs tabular."""
    columns, rows = cells
    kinds = "".join("r" if _numbers(row[i] for row in rows) else "l" for i in range(len(columns)))
    body = [" & ".join(_tex(_short(value)) for value in row) + r" \\" for row in rows]
    head = " & ".join(map(_tex, columns)) + r" \\"
    inside = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*inside, r"\bottomrule", r"\end{tabular}"]) + "\n"


FORMATS = {"csv": as_csv, "md": as_markdown, "latex": as_latex}


def _counted(value: float | None) -> float | int | None:
    """A whole number as such: parameters and calls are counted."""
    return int(value) if value is not None and value.is_integer() else value


def _starred(name: str, values: Sequence[float | None]) -> list[str]:
    known = [value for value in values if value is not None]
    best = (max if higher_is_better(name) else min)(known) if known else None
    shared = len(set(known)) < 2
    return [_short(v) + ("*" if v is not None and v == best and not shared else "") for v in values]


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _numbers(values: Any) -> bool:
    return all(value is None or isinstance(value, int | float) for value in values)


def _tex(word: str) -> str:
    """A word as LaTeX prints it."""
    special: Mapping[str, str] = {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"
    }  # fmt: skip
    return "".join(special.get(c) or (f"\\{c}" if c in "&%$#_{}" else c) for c in word)
