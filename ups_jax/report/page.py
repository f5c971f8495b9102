"""The report page: a verdict in one sentence, tables and figures in one self-contained file."""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

TRIVIAL = ("persistence", "mean")

CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff;
  max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: .2rem 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ccc; }
.verdict { font-size: 1.1rem; border-left: 4px solid #0072b2; padding: .4rem .8rem; margin: 1rem 0;
  background: #f3f7fa; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e2e2e2; text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; }
tr.ship td { font-weight: 600; background: #f3f7fa; }
tr.truth td { font-style: italic; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: .92rem; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1.2rem 0; } figcaption { font-size: .9rem; color: #444; }
img { width: 100%; min-width: 34rem; height: auto; }
pre { overflow-x: auto; font-size: .8rem; background: #f6f6f6; padding: .6rem; }
"""


class ReportFigure(NamedTuple):
    """A rendered figure: file name without ending, PNG bytes, caption, words for who cannot see."""

    name: str
    png: bytes
    caption: str
    alt: str


class Table(NamedTuple):
    """A table as it is logged: a title, its columns and its rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def verdict(
    scalars: Mapping[str, float | None], *, ship: str = "operator", grid: Sequence[int] = ()
) -> str:
    """One true sentence: the shipped mode's error against the best trivial one and the solver.

    scalars: "eval/<mode>/nrmse" and "eval/<mode>/p10/nrmse"; grid: the solver's cells an axis.
    """

    def nrmse(mode: str) -> float | None:
        value = scalars.get(f"eval/{mode}/nrmse")
        return None if value is None or not np.isfinite(value) else float(value)

    rivals = {m: v for m in TRIVIAL if m != ship and (v := nrmse(m)) is not None}
    best = min(rivals, key=lambda m: rivals[m]) if rivals else None
    solver = nrmse("solver") if ship != "solver" else None
    cells = " x ".join(map(str, grid))
    who = f"the {cells}-cell solver" if cells else "the solver"
    own = nrmse(ship)
    if own is None:
        found = f"eval/{ship}/nrmse" in scalars
        beside = [f"{best} {rivals[best]:.3g}"] if best else []
        beside += [f"{who} {solver:.3g}"] if solver is not None else []
        line = "is not finite (P1): some forecasts diverged" if found else "was not measured (P1)"
        return f"The {ship}'s test nRMSE {'; '.join([line, *beside])}."
    p10 = scalars.get(f"eval/{ship}/p10/nrmse")
    later = f", {p10:.3g} on P10" if p10 is not None and np.isfinite(p10) else ""
    parts = []
    if best:
        parts.append(_against_trivial(own, best, rivals[best]))
    if solver is not None:
        parts.append(f"{_ratio(own, solver)} {who} ({solver:.3g})")
    return f"The {ship}'s test nRMSE is {own:.3g} (P1{later})" + _joined(parts) + "."


def _against_trivial(own: float, best: str, value: float) -> str:
    name = f"the best trivial predictor ({best}, {value:.3g})"
    if own == value or (value > 0 and 0.95 < own / value < 1.05):
        return f"no better than {name}"
    if own < value:
        return f"{_ratio(value, own)} below {name}"
    return f"worse than {name}: {_ratio(own, value)} its error"


def _ratio(value: float, unit: float) -> str:
    if unit == 0:
        return "infinitely far" if value else "1x"
    times = value / unit
    return f"{times:.0f}x" if times >= 10 else f"{times:.2g}x"


def _joined(parts: Sequence[str]) -> str:
    return f", {' and '.join(parts)}" if parts else ""


def with_truth(table: Table, scalars: Mapping[str, float | None]) -> Table:
    """A physics table in which the truth's own values stand, from "eval/truth/physics/<column>"."""
    known = {str(row[0]) for row in table.rows if len(row)} | set(map(str, table.columns))
    values = [scalars.get(f"eval/truth/physics/{column}") for column in table.columns[1:]]
    if "truth" in known or all(value is None for value in values):
        return table
    return table._replace(rows=[["truth", *values], *table.rows])


def render(
    *,
    title: str,
    sentence: str,
    ruling: str,
    facts: Sequence[tuple[str, str]],
    summary: Table,
    lead: Sequence[Table | ReportFigure],
    plates: Sequence[ReportFigure],
    tables: Sequence[Table],
    config: Mapping[str, Any],
    ship: str,
) -> str:
    """The whole page as HTML that refers to nothing outside itself; every text is escaped."""
    pairs = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts)
    settings = json.dumps(config, indent=2, default=str)
    body = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="verdict">{_text(sentence)}{_text(f" {ruling}" if ruling else "")}</p>',
        _table(summary, ship),
        *(_table(each, ship) if isinstance(each, Table) else _figure(each) for each in lead),
        "<h2>Run</h2>" if facts else "",
        f"<dl>{pairs}</dl>" if facts else "",
        "<h2>Figures</h2>" if plates else "",
        *map(_figure, plates),
        *(_table(table, ship) for table in tables),
        f"<details><summary>Configuration</summary><pre>{_text(settings)}</pre></details>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{CSS}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def _text(value: Any) -> str:
    return escape(str(value), quote=True)


def _cell(value: Any) -> str:
    """A table cell: four significant digits, a dash for what is missing, nan and inf as such."""
    if value is None:
        return "&ndash;"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}"
    return _text(value)


def _table(table: Table, ship: str) -> str:
    if not table.rows:
        return ""
    head = "".join(f'<th scope="col">{_text(column)}</th>' for column in table.columns)
    lines = []
    for row in table.rows:
        first = str(row[0]) if len(row) else ""
        mark = {ship: ' class="ship"', "truth": ' class="truth"'}.get(first, "")
        lines.append(f"<tr{mark}>" + "".join(f"<td>{_cell(v)}</td>" for v in row) + "</tr>")
    return (
        f'<h2>{_text(table.title)}</h2>\n<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"\n<tbody>{chr(10).join(lines)}</tbody></table></div>"
    )


def _figure(plate: ReportFigure) -> str:
    data = base64.b64encode(plate.png).decode("ascii")
    return (
        f'<figure id="{_text(plate.name)}"><div class="scroll"><img alt="{_text(plate.alt)}" '
        f'src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{_text(plate.caption)}</figcaption></figure>"
    )
