"""The report page: a verdict in one sentence, tables and figures in one self-contained file."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax.files import write_bytes, write_text
from ups_jax.report.data import ReportData, ReportFigure, Table
from ups_jax.report.figures import draw_figures
from ups_jax.report.stored import load_values, save_values
from ups_jax.report.style import to_image
from ups_jax.report.verdict import forecast_verdict

LEAD = ("gates", "Gates", "champion", "Regressions", "Leaderboard")
"""Names of figures and titles of tables that directly follow the verdict and its table."""

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
"""Content security policy: no script, no form, and nothing from another file or host."""
WIDE = 12
"""Columns of a table above which its font is small."""
ALL_METRICS = "All metrics"
"""Title of the table with a column a metric, which is folded."""
CLASS_TEXT = ' class="text"'
VECTOR_FORMATS = {"pdf", "svg"}
MEDIA_TYPES = {"gif": "image/gif", "png": "image/png", "svg": "image/svg+xml"}
CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff;
  max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: .2rem 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ccc; }
.verdict { font-size: 1.1rem; border-left: 4px solid #0072b2; padding: .4rem .8rem; margin: 1rem 0;
  background: #f3f7fa; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
table.wide { font-size: .7rem; }
th, td { padding: .2rem .4rem; border-bottom: 1px solid #e2e2e2; text-align: right; }
td { white-space: nowrap; }
th { vertical-align: bottom; }
th.text, td.text { text-align: left; white-space: normal; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
thead th { border-bottom: 2px solid #888; }
tr.selected td { font-weight: 600; background: #f3f7fa; }
tr.truth td { font-style: italic; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: .92rem; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1.2rem 0; } figcaption { font-size: .9rem; color: #444; }
img { width: 100%; min-width: 34rem; height: auto; }
pre { overflow-x: auto; font-size: .8rem; background: #f6f6f6; padding: .6rem; }
"""


def write_report(
    workdir: Path,
    data: ReportData,
    *,
    title: str,
    config: Mapping[str, Any],
    verdict: str = "",
    facts: Sequence[tuple[str, str]] = (),
    tables: Sequence[Table] = (),
    dpi: int = 110,
    format: str = "png",
) -> Path:
    """Write workdir/figures and, last, workdir/report.html; return the page's path.

    verdict: sentences that follow the one on the selected forecaster; facts: names and values for
    the top of the page; tables: those of LEAD follow the verdict, the others the figures; dpi: of
    the PNG files; format: png, or pdf or svg for a vector file next to each PNG file. Every file is
    replaced atomically. The values are kept for `redraw`.
    """
    workdir = Path(workdir)
    page = dict(title=title, config=config, verdict=verdict, facts=facts, tables=tables)
    save_values(workdir, data, page)
    return _draw(workdir, data, page, dpi=dpi, format=format)


def redraw(
    workdir: Path,
    *,
    config: Mapping[str, Any] | None = None,
    tables: Sequence[Table] = (),
    dpi: int = 110,
    format: str = "png",
) -> Path:
    """Draw figures and page of `write_report` again from their values; return the page's path.

    `config` replaces the one on the page, `tables` are added to it. Raises ValueError if the folder
    lacks the values.
    """
    data, page = load_values(workdir)
    page["config"] = page["config"] if config is None else config
    page["tables"] += tables
    return _draw(Path(workdir), data, page, dpi=dpi, format=format)


def _draw(
    workdir: Path, data: ReportData, page: Mapping[str, Any], *, dpi: int, format: str
) -> Path:
    report, figures = data.evaluation, {}
    for drawn in draw_figures(data):
        file = workdir / "figures" / drawn.name
        if isinstance(drawn.figure, bytes):
            write_bytes(file.with_name(f"{file.name}.gif"), drawn.figure)
            figures[drawn.name] = _figure(drawn, MEDIA_TYPES["gif"], drawn.figure)
            continue
        images = {kind: to_image(drawn.figure, kind, dpi=dpi) for kind in {"png", format}}
        for kind in VECTOR_FORMATS - images.keys():
            file.with_name(f"{file.name}.{kind}").unlink(missing_ok=True)
        for kind, content in images.items():
            write_bytes(file.with_name(f"{file.name}.{kind}"), content)
        # A browser shows no PDF file as an image.
        shown = "svg" if format == "svg" else "png"
        figures[drawn.name] = _figure(drawn, MEDIA_TYPES[shown], images[shown])
    truth = report.examples.get("truth")
    grid = () if truth is None else truth.shape[2:-1]
    sentence = forecast_verdict(
        report.scalars, selected=data.selected, grid=grid, protocol=report.protocol
    )
    every = Table(ALL_METRICS, report.columns, report.rows)
    physics = Table("Physics Diagnostics", report.physics_columns, report.physics_rows)
    text = render(
        title=page["title"],
        verdict=f"{sentence} {page['verdict']}".strip(),
        facts=page["facts"],
        figures=figures,
        summary=Table("Evaluation Summary", *report.short_table()),
        tables=[every, physics, *page["tables"]],
        config=page["config"],
        selected=data.selected,
    )
    path = workdir / "report.html"
    write_text(path, text)
    return path


def render(
    *,
    title: str,
    verdict: str,
    facts: Sequence[tuple[str, str]],
    summary: Table,
    figures: Mapping[str, str],
    tables: Sequence[Table],
    config: Mapping[str, Any],
    selected: str,
) -> str:
    """Return the page as HTML that refers to nothing outside itself; every text is escaped.

    figures: HTML by name.
    """
    pairs = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts)
    settings = json.dumps(config, indent=2, default=str)
    drawn = dict(figures)
    written = {table.title: _table(table, selected) for table in tables}
    lead = [part for name in LEAD for part in (drawn.pop(name, ""), written.pop(name, ""))]
    body = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="verdict">{_text(verdict)}</p>',
        _table(summary, selected),
        *lead,
        "<h2>Run</h2>" if facts else "",
        f"<dl>{pairs}</dl>" if facts else "",
        "<h2>Figures</h2>" if drawn else "",
        *drawn.values(),
        *written.values(),
        f"<details><summary>Configuration</summary><pre>{_text(settings)}</pre></details>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{CSS}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def _text(value: Any) -> str:
    return escape(str(value), quote=True)


def _breakable(text: Any) -> str:
    """Return an escaped text that may wrap after an underscore or a slash."""
    return re.sub(r"([_/])", r"\1<wbr>", _text(text))


def _cell(value: Any, column: int) -> str:
    """Format a table cell: four significant digits, a dash for None, nan and inf as they are."""
    if value is None:
        return "<td>&ndash;</td>"
    if isinstance(value, str):
        return (
            f'<td class="text">{_breakable(value)}</td>' if column else f"<td>{_text(value)}</td>"
        )
    shown = f"{value:.4g}" if isinstance(value, float | np.floating) else _text(value)
    return f"<td>{shown}</td>"


def _table(table: Table, selected: str) -> str:
    """Return a table that wraps its titles and texts, to fit the page."""
    if not table.rows:
        return ""
    texts = {i for row in table.rows for i, value in enumerate(row) if isinstance(value, str)}
    head = "".join(
        f'<th{CLASS_TEXT if i in texts else ""} scope="col">{_breakable(column)}</th>'
        for i, column in enumerate(table.columns)
    )
    lines = []
    for row in table.rows:
        first = str(row[0]) if len(row) else ""
        mark = {selected: ' class="selected"', "truth": ' class="truth"'}.get(first, "")
        lines.append(f"<tr{mark}>" + "".join(_cell(v, i) for i, v in enumerate(row)) + "</tr>")
    wide = ' class="wide"' if len(table.columns) > WIDE else ""
    body = (
        f'<div class="scroll"><table{wide}><thead><tr>{head}</tr></thead>'
        f"\n<tbody>{chr(10).join(lines)}</tbody></table></div>"
    )
    if table.title == ALL_METRICS:
        return f"<details><summary>{_text(table.title)}</summary>{body}</details>"
    return f"<h2>{_text(table.title)}</h2>\n{body}"


def _figure(figure: ReportFigure, media_type: str, content: bytes) -> str:
    image = base64.b64encode(content).decode("ascii")
    return (
        f'<figure id="{_text(figure.name)}"><div class="scroll"><img alt="{_text(figure.alt)}" '
        f'src="data:{media_type};base64,{image}"></div>'
        f"<figcaption>{_text(figure.caption)}</figcaption></figure>"
    )
