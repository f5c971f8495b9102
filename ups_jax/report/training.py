"""Training of every stage: loss, learning rate, gradient norm, validation and speed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ups_jax.metrics import cost_of_key, metric_of_key
from ups_jax.report import style
from ups_jax.report.data import ReportData, ReportFigure

Series = Sequence[Mapping[str, Any]]  # rows of metrics.jsonl

TRAINING_SERIES = {
    "loss": "training loss",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "val_*": "validation error",
    "steps_per_s": "steps per second",
}
LINEAR_SERIES = ("lr", "steps_per_s")
TICK_STEPS = (1, 2, 5, 10)


def stages_of(series: Series) -> list[str]:
    """Return the stages in rows of metrics.jsonl, in the order of their training."""
    names = (key.removesuffix("/step") for row in series for key in row if key.endswith("/step"))
    return list(dict.fromkeys(names))


def series_of(series: Series, stage: str, key: str) -> np.ndarray:
    """Steps and values of one training series (2, rows), without the rows that lack the key."""
    name = f"{stage}/{key}"
    rows = [(r[f"{stage}/step"], r[name]) for r in series if f"{stage}/step" in r and name in r]
    pairs = [(float(step), np.nan if value is None else float(value)) for step, value in rows]
    return np.asarray(pairs, float).reshape(-1, 2).T


def compilations(series: Series, stage: str) -> list[tuple[float, float]]:
    """Last step before each compilation of a stage, and the unroll length it was made for."""
    steps, lengths = series_of(series, stage, "unroll")
    changes = np.flatnonzero(lengths[1:] != lengths[:-1])
    first = [(0.0, float(lengths[0]))] if lengths.size else []
    return [*first, *((float(steps[i]), float(lengths[i + 1])) for i in changes)]


def best_validation(series: Series, stage: str) -> tuple[str, float, float] | None:
    """Label of a stage's validation metric, step and value of its best; None without a finite one.

    The metric of a series "val_<metric>" defines which value is best; of a loss it is the lowest.
    """
    key = _recorded_key(series, stage, "val_*")
    if key is None:
        return None
    name, (steps, values) = key.removeprefix("val_"), series_of(series, stage, key)
    costs = np.array([cost_of_key(name, value) for value in values])
    best = int(np.argmin(np.where(np.isfinite(costs), costs, np.inf)))
    metric = metric_of_key(name)
    label = metric.label if metric and metric.label else name
    return (label, float(steps[best]), float(values[best])) if np.isfinite(costs[best]) else None


def _recorded_key(series: Series, stage: str, key: str) -> str | None:
    """Return a key with values, None without any; "val_*" stands for the stage's validation."""
    if key == "val_*":
        names = (name.removeprefix(f"{stage}/") for row in series for name in row)
        found = (n for n in names if n.startswith("val_") and not n.endswith("_std"))
        key = next(found, key)
    return key if series_of(series, stage, key).size else None


def training(data: ReportData) -> ReportFigure | None:
    """Return the figure of every stage's training."""
    series, summaries = data.series, []
    for stage in stages_of(series):
        steps, losses = series_of(series, stage, "loss")
        best, speed = best_validation(series, stage), series_of(series, stage, "steps_per_s")[1]
        marks = [f"{unroll:g} at step {step:g}" for step, unroll in compilations(series, stage)]
        parts = []
        if losses.size:
            parts.append(f"{' to '.join(map(style.format_number, losses[[0, -1]]))} in loss")
        if best:
            parts.append(f"best {best[0]} {style.format_number(best[2])} at step {best[1]:g}")
        if speed.size:
            parts.append(f"{style.format_number(float(np.median(speed)))} steps/s (median)")
        if marks:
            parts.append(f"compiled for unrolled lengths {', '.join(marks)}")
        last = series_of(series, stage, "step")[0][-1]
        summaries.append(f"{stage}, {last:g} steps: {', '.join(parts)}")
    if not summaries:
        return None
    return ReportFigure(
        "training",
        plot_training(series),
        "Training of every stage. Dotted line: compilation of a program for windows of that "
        "unroll length; star: the best validation value; cross: a value that is not finite; "
        "band: standard deviation over seeds. Validation CRPS is relative to the truth's RMS.",
        f"{'; '.join(summaries)}.",
    )


def plot_training(series: Series) -> Figure:
    """Plot a column a stage and a row a quantity; mark compilations and the best validation.

    series: rows of metrics.jsonl with "<stage>/step" and any of "<stage>/{loss, lr, ...}"; with
    several seeds their mean, and "<stage>/<key>_std", their standard deviation, as a band.
    """
    stages = stages_of(series)
    recorded = [k for k in TRAINING_SERIES if any(_recorded_key(series, s, k) for s in stages)]
    across, down = len(stages), max(1, len(recorded))
    figure = style.new_figure(max(2.1 * across, min(10.4, 4.8 + 2.4 * across)), 1.2 + 1.35 * down)
    grid = figure.subplots(down, across, sharex="col", squeeze=False)
    for (row, column), ax in np.ndenumerate(grid):
        key = recorded[row] if recorded else ""
        quantity = TRAINING_SERIES.get(key, "")
        style.format_axes(ax, "step" if row == down - 1 else "", "" if column else quantity)
        ax.tick_params(labelsize=8)
        _series_panel(ax, series, stages[column], _recorded_key(series, stages[column], key))
    for ax, stage in zip(grid[0], stages, strict=True):
        ax.set_title(style.plain(stage), loc="left", weight="bold", fontsize=10, pad=42)
        last = series_of(series, stage, "step")[0].max()
        ax.set_xlim(-0.02 * last, 1.02 * last)
        ax.xaxis.set_major_locator(MaxNLocator(6 if across < 3 else 4, steps=TICK_STEPS))
        ax.xaxis.set_major_formatter(lambda x, _: f"{x / 1e3:g}k" if x >= 1e3 else f"{x:g}")
        for step, unroll in compilations(series, stage):
            ax.annotate(
                f"unroll {unroll:g}", (step, 1), xycoords=ax.get_xaxis_transform(), fontsize=8,
                xytext=(0, 3), textcoords="offset points", rotation=90, ha="center", color="0.25",
            )  # fmt: skip
    figure.align_ylabels(grid[:, 0])
    return figure


def _series_panel(ax: Axes, series: Series, stage: str, key: str | None) -> None:
    """Draw one series of one stage; crosses at the top mark values that are not finite."""
    for step, _ in compilations(series, stage):
        ax.axvline(step, color="0.35", linestyle=(0, (1, 2)), linewidth=1, zorder=1)
    if key is None:
        ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center", fontsize=8)
        ax.set_yticks([])
        return
    steps, values = series_of(series, stage, key)
    spread = series_of(series, stage, f"{key}_std")[1]
    ax.plot(steps, values, color="#0072B2", linewidth=1.3, marker="." if steps.size < 40 else "")
    if spread.size == values.size:
        values = np.stack([values - spread, values, values + spread])
        ax.fill_between(steps, values[0], values[-1], color="#0072B2", alpha=0.3, linewidth=0)
    _scale_panel(ax, values, log=key not in LINEAR_SERIES)
    broken = steps[~np.isfinite(np.atleast_2d(values)).all(axis=0)]
    if broken.size:
        at_top = ax.get_xaxis_transform()
        marks = np.full(broken.shape, 0.94)
        ax.plot(broken, marks, "x", color="#D55E00", markeredgewidth=2, transform=at_top)
        note = f"not finite from step {broken[0]:g}"
        ax.text(0.98, 0.82, note, transform=ax.transAxes, ha="right", va="top", fontsize=8)
    best = best_validation(series, stage) if key.startswith("val_") else None
    if best is not None:
        label, step, value = best
        ax.plot(step, value, "*", color="#D55E00", markersize=12, zorder=4, clip_on=False)
        ax.set_title(f"best {label} {style.format_number(value)}", loc="right", fontsize=8)


def _scale_panel(ax: Axes, values: np.ndarray, *, log: bool) -> None:
    """Set limits and a few ticks for some values: from zero on, or on a log axis."""
    low, high = style.finite_range([values], positive=True) or (0.1, 1.0)
    ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    if not log:
        ax.set_ylim(0, 1.15 * high)
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=TICK_STEPS))
        return
    room = (high / low) ** 0.08 * 1.05
    ax.set_yscale("log")
    ax.set_ylim(low / room, high * room)
    style.log_ticks(ax.yaxis, low / room, high * room, most=3)
