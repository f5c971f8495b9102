"""Gates of a run: each value as a share of its limit, with the champion's for comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ups_jax.report import style
from ups_jax.report.data import ReportData, ReportFigure
from ups_jax.types import FAIL, NO_BASELINE, PASS, GateVerdict

SHARE_RANGE = (1e-4, 1e4)
"""Shares of a limit that the axis can show; a marker beyond them is drawn at its edge."""
STATUS_MARKERS: dict[str, dict[str, Any]] = {
    PASS: dict(marker="o", color="#0072B2", markersize=8),
    FAIL: dict(marker="x", color="#D55E00", markersize=10, markeredgewidth=3),
    NO_BASELINE: dict(marker="o", color="0.35", markersize=8, markerfacecolor="white"),
}
CHAMPION_MARKER: dict[str, Any] = dict(
    marker="D", color="#1b1b1b", markersize=11, markerfacecolor="none"
)
MARKER_STYLE: dict[str, Any] = dict(linestyle="", clip_on=False)
TEXT_COLUMNS = {"": 0.02, "value": 0.40, "limit": 0.61, "margin": 0.79, "champion": 1.0}
"""Titles of the columns of numbers and their horizontal positions."""


def gates(data: ReportData) -> ReportFigure | None:
    """Return the figure of the run's gates."""
    verdicts = data.gates
    if not verdicts:
        return None
    champion = {} if data.champion is None else data.champion["metrics"]
    results = [f"{v.name}: {v.status}, margin {_margin_text(v)}; {v.sentence}." for v in verdicts]
    return ReportFigure(
        "gates",
        plot_gates(verdicts, champion=champion),
        "Value of each gate as a share of its limit: up to 100 % the gate passes. Hollow diamonds: "
        "the champion's value. A marker at an edge is off the scale or has no share, as the value "
        "or the limit is zero, missing or of the other sign.",
        f"{_headline(verdicts)}. {' '.join(results)}",
    )


def limit_share(value: float, limit: float, *, minimum: bool) -> float:
    """Return the used share of a limit: 1 at the limit, less if passed; 0 or inf across signs."""
    if minimum:
        value, limit = -value, -limit
    if value == limit:
        return 1.0
    if min(value, limit) > 0:
        return value / limit
    if max(value, limit) < 0:
        return limit / value
    return 0.0 if value < limit else float("inf")


def _is_minimum(verdict: GateVerdict) -> bool:
    """Return True for a lower limit; the sentence decides if the numbers cannot."""
    value, limit, margin = verdict.value, verdict.limit, verdict.margin
    if value is None or limit is None or not margin:
        return "at least" in verdict.sentence
    return (value > limit) == (margin > 0)


def plot_gates(verdicts: Sequence[GateVerdict], *, champion: Mapping[str, float | None]) -> Figure:
    """Plot a row a gate: the used share of its limit on a log axis, and its numbers as text.

    champion: the champion's values by metric.
    """
    shares = [_share_used(v, v.value) for v in verdicts]
    champion_shares = [_share_used(v, champion.get(v.metric)) for v in verdicts]
    lowest, highest = SHARE_RANGE
    inner = [x for x in (*shares, *champion_shares) if x is not None and lowest <= x <= highest]
    low, high = style.finite_range([[0.5, 2.0], inner]) or SHARE_RANGE
    low, high = low / 1.5, high * 1.5
    figure = style.new_figure(10.4, 1.4 + 0.48 * max(1, len(verdicts)))
    figure.suptitle(style.plain(_headline(verdicts)), fontsize=11)
    chart, table = figure.subplots(1, 2, sharey=True, width_ratios=(1, 0.85))
    _share_axes(chart, verdicts, low, high)
    for row, verdict in enumerate(verdicts):
        x, note = _marker_position(shares[row], verdict.status, low, high)
        marker = STATUS_MARKERS[verdict.status]
        chart.plot(x, row, **marker, **MARKER_STYLE, label=verdict.status, zorder=3)
        offset, side = (12, "left") if x == low else (-12, "right")
        chart.annotate(
            note, (x, row), xytext=(offset, 0), textcoords="offset points", fontsize=8,
            color="0.3", va="center", ha=side,
        )  # fmt: skip
        if champion_shares[row] is not None:
            x, _ = _marker_position(champion_shares[row], PASS, low, high)
            chart.plot(x, row, **CHAMPION_MARKER, **MARKER_STYLE, label="champion", zorder=4)
    _text_table(table, verdicts, champion)
    style.legend_below(figure, [chart])
    return figure


def _share_axes(ax: Axes, verdicts: Sequence[GateVerdict], low: float, high: float) -> None:
    """Prepare the axis of shares from low to high, a labelled row a gate, and the limit's line."""
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(len(verdicts) - 0.4, -0.6)
    style.format_axes(ax, "share of the limit used (left of the line: inside)")
    ax.grid(False, axis="x")
    ax.axvspan(low, 1, color="0.95", linewidth=0, zorder=0)
    ax.axvline(1, color="0.2", linewidth=1.8, zorder=1)
    ax.text(1, -0.65, "limit", ha="center", va="bottom", fontsize=9)
    style.log_ticks(ax.xaxis, low, high, most=6)
    ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
    labels = [style.plain(f"{v.name}\n{v.metric}") for v in verdicts]
    ax.set_yticks(range(len(labels)), labels, fontsize=8)


def _share_used(verdict: GateVerdict, value: float | None) -> float | None:
    if value is None or verdict.limit is None or not np.isfinite(value):
        return None
    return limit_share(value, verdict.limit, minimum=_is_minimum(verdict))


def _marker_position(
    share: float | None, status: str, low: float, high: float
) -> tuple[float, str]:
    """Position of a marker on the axis, and a note if it is not at its share."""
    if share is None:
        return (high, "no share known") if status == FAIL else (low, "no limit yet")
    if SHARE_RANGE[0] <= share <= SHARE_RANGE[1]:
        return share, ""
    return (low, "off the scale") if share < 1 else (high, "off the scale")


def _text_table(
    ax: Axes, verdicts: Sequence[GateVerdict], champion: Mapping[str, float | None]
) -> None:
    """Write status, value, limit, margin and the champion's value of each gate as aligned text."""
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    cells: list[tuple[str, ...]] = [tuple(TEXT_COLUMNS)]
    for v in verdicts:
        sign = "\u2265" if _is_minimum(v) else "\u2264"
        limit = "\u2013" if v.limit is None else f"{sign} {v.limit:.4g}"
        status = v.status.upper() if v.status == FAIL else v.status
        values = ("\u2013" if x is None else f"{x:.4g}" for x in (v.value, champion.get(v.metric)))
        value, champion_value = values
        cells.append((status, value, limit, _margin_text(v), champion_value))
    for row, texts in enumerate(cells, start=-1):
        y, va = (row, "center") if row >= 0 else (-0.6, "bottom")
        for x, text in zip(TEXT_COLUMNS.values(), texts, strict=True):
            weight = "bold" if row < 0 or text == FAIL.upper() else "normal"
            ha = "left" if x < 0.1 else "right"
            ax.text(x, y, style.plain(text), ha=ha, va=va, weight=weight, fontsize=9)


def _margin_text(verdict: GateVerdict) -> str:
    """Format the margin in % of the limit; as it is if the limit is zero."""
    if verdict.margin is None:
        return "\u2013"
    if not verdict.limit:
        return f"{verdict.margin:+.3g}"
    percent = 100 * verdict.margin
    return f"{percent:+.0f} %" if abs(percent) >= 100 else f"{percent:+.3g} %"


def _headline(verdicts: Sequence[GateVerdict]) -> str:
    """Summarize all gates in one line."""
    count = len(verdicts)
    failed = [v.name for v in verdicts if v.status == FAIL]
    without_baseline = sum(v.status == NO_BASELINE for v in verdicts)
    rest = f"; {without_baseline} without a baseline" if without_baseline else ""
    if failed:
        names = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if failed[3:] else "")
        return f"{len(failed)} of {count} gates FAIL: {names}{rest}"
    relative = [v for v in verdicts if v.margin is not None and v.limit]
    if not relative:
        return f"no gate of {count} fails{rest}"
    least = min(relative, key=lambda v: v.margin or 0.0)
    tightest = f"the tightest, {least.name}, by {_margin_text(least)}"
    return f"{count - without_baseline} of {count} gates pass{rest}; {tightest}"
