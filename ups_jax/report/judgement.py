"""Figures a run is judged by: its gates, the training behind it and the champion beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ups_jax.report.figures import (
    WORST_SHOWN,
    Rows,
    compilations,
    judged,
    log_ticks,
    series_of,
    spectrum_panel,
    stages_of,
    training,
)
from ups_jax.report.page import ReportFigure
from ups_jax.report.style import (
    LINE_STYLES,
    TIME,
    draw,
    format_axes,
    legend_below,
    new_figure,
    number,
    plain,
    span,
    to_png,
)
from ups_jax.types import FAIL, NO_BASELINE, PASS, GateVerdict

Values = Mapping[str, Sequence[float]]

FRAME = (1e-4, 1e4)
"""Shares of a limit beyond which a marker stands at the edge."""
MARKS: dict[str, dict[str, Any]] = {
    PASS: dict(marker="o", color="#0072B2", markersize=8),
    FAIL: dict(marker="x", color="#D55E00", markersize=10, markeredgewidth=3),
    NO_BASELINE: dict(marker="o", color="0.35", markersize=8, markerfacecolor="white"),
}
DIAMOND: dict[str, Any] = dict(marker="D", color="#1b1b1b", markersize=11, markerfacecolor="none")
MARKER_STYLE: dict[str, Any] = dict(linestyle="", clip_on=False)
COLUMNS = {"": 0.02, "value": 0.40, "limit": 0.61, "margin": 0.79, "champion": 1.0}

CHAMPION_STYLES = {
    "this run": LINE_STYLES["operator"],
    "champion": LINE_STYLES["diffusion"]._replace(color="#882255"),
}


def share(value: float, limit: float, *, least: bool) -> float:
    """How much of a limit is used: 1 on it, less inside; 0 or inf where their signs say no more."""
    if least:
        value, limit = -value, -limit
    if value == limit:
        return 1.0
    if min(value, limit) > 0:
        return value / limit
    if max(value, limit) < 0:
        return limit / value
    return 0.0 if value < limit else float("inf")


def _least(verdict: GateVerdict) -> bool:
    """Whether the limit is one from below; the sentence tells where the numbers cannot."""
    value, limit, margin = verdict.value, verdict.limit, verdict.margin
    if value is None or limit is None or not margin:
        return "at least" in verdict.sentence
    return (value > limit) == (margin > 0)


def gates_figure(
    verdicts: Sequence[GateVerdict], *, champion: Mapping[str, float | None]
) -> Figure:
    """A row a gate: how much of its limit is used, on a log axis, beside the numbers.

    champion: the champion's values by metric. What has no place on the axis stands at its edge.
    """
    used = [_place(v, v.value) for v in verdicts]
    held = [_place(v, champion.get(v.metric)) for v in verdicts]
    inner = [x for x in (*used, *held) if x is not None and FRAME[0] <= x <= FRAME[1]]
    low, high = span([[0.5, 2.0], inner]) or FRAME
    low, high = low / 1.5, high * 1.5
    figure = new_figure(10.4, 1.4 + 0.48 * max(1, len(verdicts)))
    figure.suptitle(plain(_kept(verdicts)), fontsize=11)
    chart, table = figure.subplots(1, 2, sharey=True, width_ratios=(1, 0.85))
    chart.set_xscale("log")
    chart.set_xlim(low, high)
    chart.set_ylim(len(verdicts) - 0.4, -0.6)
    format_axes(chart, "share of the limit used (left of the line: inside)")
    chart.grid(False, axis="x")
    chart.axvspan(low, 1, color="0.95", linewidth=0, zorder=0)
    chart.axvline(1, color="0.2", linewidth=1.8, zorder=1)
    chart.text(1, -0.65, "limit", ha="center", va="bottom", fontsize=9)
    log_ticks(chart.xaxis, low, high, most=6)
    chart.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
    named = [plain(f"{v.name}\n{v.metric}") for v in verdicts]
    chart.set_yticks(range(len(named)), named, fontsize=8)
    for row, verdict in enumerate(verdicts):
        x, where = _inside(used[row], verdict.status, low, high)
        chart.plot(x, row, **MARKS[verdict.status], **MARKER_STYLE, label=verdict.status, zorder=3)
        at, side = (12, "left") if x == low else (-12, "right")
        chart.annotate(
            where, (x, row), xytext=(at, 0), textcoords="offset points", fontsize=8, color="0.3",
            va="center", ha=side,
        )  # fmt: skip
        if held[row] is not None:
            x, _ = _inside(held[row], PASS, low, high)
            chart.plot(x, row, **DIAMOND, **MARKER_STYLE, label="champion", zorder=4)
    _numbers(table, verdicts, champion)
    legend_below(figure, [chart])
    return figure


def _place(verdict: GateVerdict, value: float | None) -> float | None:
    if value is None or verdict.limit is None or not np.isfinite(value):
        return None
    return share(value, verdict.limit, least=_least(verdict))


def _inside(used: float | None, status: str, low: float, high: float) -> tuple[float, str]:
    """Where a share stands within the frame, and why it is not where it should be."""
    if used is None:
        return (high, "no share known") if status == FAIL else (low, "no limit yet")
    if FRAME[0] <= used <= FRAME[1]:
        return used, ""
    return (low, "off the scale") if used < 1 else (high, "off the scale")


def _numbers(
    ax: Axes, verdicts: Sequence[GateVerdict], champion: Mapping[str, float | None]
) -> None:
    """The status, value, limit and margin of each row as aligned text, and the champion's value."""
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    cells: list[tuple[str, ...]] = [tuple(COLUMNS)]
    for v in verdicts:
        side = "\u2265" if _least(v) else "\u2264"
        limit = "\u2013" if v.limit is None else f"{side} {v.limit:.4g}"
        status = v.status.upper() if v.status == FAIL else v.status
        own, held = (
            "\u2013" if x is None else f"{x:.4g}" for x in (v.value, champion.get(v.metric))
        )
        cells.append((status, own, limit, _percent(v), held))
    for row, texts in enumerate(cells, start=-1):
        y, va = (row, "center") if row >= 0 else (-0.6, "bottom")
        for x, text in zip(COLUMNS.values(), texts, strict=True):
            weight = "bold" if row < 0 or text == FAIL.upper() else "normal"
            ha = "left" if x < 0.1 else "right"
            ax.text(x, y, plain(text), ha=ha, va=va, weight=weight, fontsize=9)


def _percent(verdict: GateVerdict) -> str:
    """The margin in % of the limit, or, where that is zero, as it is."""
    if verdict.margin is None:
        return "\u2013"
    if not verdict.limit:
        return f"{verdict.margin:+.3g}"
    percent = 100 * verdict.margin
    return f"{percent:+.0f} %" if abs(percent) >= 100 else f"{percent:+.3g} %"


def _kept(verdicts: Sequence[GateVerdict]) -> str:
    """What the gates say, in one line."""
    count = len(verdicts)
    failed = [v.name for v in verdicts if v.status == FAIL]
    bare = sum(v.status == NO_BASELINE for v in verdicts)
    rest = f"; {bare} without a baseline" if bare else ""
    if failed:
        named = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if failed[3:] else "")
        return f"{len(failed)} of {count} gates FAIL: {named}{rest}"
    near = [v for v in verdicts if v.margin is not None and v.limit]
    if not near:
        return f"no gate of {count} fails{rest}"
    least = min(near, key=lambda v: v.margin or 0.0)
    tightest = f"the tightest, {least.name}, by {_percent(least)}"
    return f"{count - bare} of {count} gates pass{rest}; {tightest}"


def gates_report_figure(
    verdicts: Sequence[GateVerdict], *, champion: Mapping[str, float | None], dpi: int
) -> ReportFigure:
    """Every gate's value against its limit, beside the champion's value, by metric."""
    said = " ".join(f"{v.name}: {v.status}, margin {_percent(v)}; {v.sentence}." for v in verdicts)
    return ReportFigure(
        "gates",
        to_png(gates_figure(verdicts, champion=champion), dpi),
        "Value of each gate as a share of its limit, less than all of it where the gate is kept; "
        "hollow diamonds: the champion's. A marker at an edge is off the scale, or has no share: "
        "a value or limit that is zero, missing or of the other sign.",
        f"{_kept(verdicts)}. {said}",
    )


def training_report_figure(series: Rows, *, dpi: int) -> ReportFigure:
    """The training of every stage in rows of metrics.jsonl, of which there must be one."""
    told = []
    for stage in stages_of(series):
        steps, losses = series_of(series, stage, "loss")
        best, speed = judged(series, stage), series_of(series, stage, "steps_per_s")[1]
        parts = [f"{number(losses[0])} to {number(losses[-1])} in loss"] if losses.size else []
        parts += [f"best {best[0]} {number(best[2])} at step {best[1]:g}"] if best else []
        parts += [f"{number(float(np.median(speed)))} steps/s (median)"] if speed.size else []
        marks = [f"{unroll:g} at step {at:g}" for at, unroll in compilations(series, stage)]
        parts += [f"compiled for unrolled lengths {', '.join(marks)}"] if marks else []
        last = series_of(series, stage, "step")[0][-1]
        told.append(f"{stage}, {last:g} steps: {', '.join(parts)}")
    return ReportFigure(
        "training",
        to_png(training(series), dpi),
        "Training of every stage. Dotted: a program was compiled there, for windows unrolled over "
        "so many steps; star: the lowest validation error; cross: a value that is not finite; "
        "band: standard deviation over seeds, where there are several.",
        f"{'; '.join(told)}.",
    )


def champion_figure(own: Values, champion: Values, *, names: tuple[str, str]) -> Figure:
    """Error against time and energy spectrum of a run and the champion, and who is better.

    own, champion: "time" (t,) and "nrmse" (t,), whose last entries belong together, "spectrum" (k,)
    from wavenumber 0 on; own: "truth_spectrum" (k,). Any may be missing.
    """
    figure = new_figure(10.4, 4.9)
    figure.suptitle(plain(better(own, champion, names=names)), fontsize=11)
    left, right = figure.subplots(1, 2)
    sides = dict(zip(CHAMPION_STYLES, (own, champion), strict=True))
    labels = dict(zip(CHAMPION_STYLES, (f"this run: {names[0]}", names[1]), strict=True))
    colors = {labels[role]: pen for role, pen in CHAMPION_STYLES.items()} | {
        "truth": LINE_STYLES["truth"]
    }
    spectra = {label: _array(sides[role], "spectrum") for role, label in labels.items()}
    spectra = {"truth": _array(own, "truth_spectrum")} | spectra
    spectrum_panel(right, {k: v for k, v in spectra.items() if v.size}, colors)
    errors = {labels[role]: _errors(side) for role, side in sides.items()}
    if frame := span([error for _, error in errors.values()], positive=True):
        low, high = frame[0] / 1.3, 1.3 * min(frame[1], max(WORST_SHOWN, 10 * frame[0]))
        left.set_yscale("log")
        left.set_ylim(low, high)
        log_ticks(left.yaxis, low, high, most=6)
    for label, (times, error) in errors.items():
        if times.size:
            draw(left, times, error, colors[label], label)
    format_axes(left, TIME, "nRMSE", "error over time")
    format_axes(right, right.get_xlabel(), right.get_ylabel(), "energy spectrum")
    for ax in (ax for ax in (left, right) if not ax.lines):
        ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center")
    legend_below(figure, [left, right])
    return figure


def _array(values: Values, name: str) -> np.ndarray:
    """Of a list of numbers, None for those that are not finite, an array (n,); empty without it."""
    return np.asarray([np.nan if v is None else v for v in values.get(name) or ()], float)


def _errors(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """Times and errors (n,) of the last n of both."""
    times, errors = _array(values, "time"), _array(values, "nrmse")
    count = min(times.size, errors.size)
    return times[times.size - count :], errors[errors.size - count :]


def better(own: Values, champion: Values, *, names: tuple[str, str]) -> str:
    """Whose error is lower at the last time that both have, and by how much, in a few words."""
    both = [_errors(values) for values in (own, champion)]
    time = min((times[-1] for times, _ in both if times.size), default=0.0)
    if not all(times.size and times[0] <= time for times, _ in both):
        return f"{names[0]} beside {names[1]}: no time at which both errors are known"
    ends = [float(np.interp(time, *pair)) for pair in both]
    at = f"At t = {time:.3g}"
    if not np.isfinite(ends).all():
        lost = " and ".join(n for n, end in zip(names, ends, strict=True) if not np.isfinite(end))
        return f"{at} the error of {lost} is not finite"
    low, high = int(np.argmin(ends)), int(np.argmax(ends))
    if ends[low] == ends[high]:
        return f"{at} both have an nRMSE of {number(ends[0])}"
    less = 100 * (1 - ends[low] / ends[high])
    return (
        f"{at} the nRMSE of {names[low]}, {number(ends[low])}, is {number(less)} % below "
        f"that of {names[high]}, {number(ends[high])}"
    )


def champion_report_figure(
    own: Values, champion: Values, *, names: tuple[str, str], dpi: int
) -> ReportFigure:
    """Error over time and spectrum of a run and the champion; `comparison` says of what arrays."""
    said = better(own, champion, names=names)
    return ReportFigure(
        "champion",
        to_png(champion_figure(own, champion, names=names), dpi),
        f"Beside the champion, error over time and the scales that survive: {said}.",
        f"nRMSE against time and energy against wavenumber of {' and '.join(names)}. {said}.",
    )
