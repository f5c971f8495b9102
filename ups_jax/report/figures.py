"""Curves of a run, one message a figure: error, spectrum and laws over time, and the training."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from ups_jax.report.style import (
    HUGE,
    TIME,
    LineStyle,
    draw,
    format_axes,
    legend_below,
    line_styles,
    new_figure,
    number,
    plain,
    span,
)

Curves = Mapping[str, np.ndarray]
Rows = Sequence[Mapping[str, Any]]  # of metrics.jsonl

WORST_SHOWN = 20.0  # an nRMSE above this says nothing more than "lost"
PROTOCOLS = {
    "nrmse": "P1: from the initial condition",
    "p10/nrmse": "P10: after 10 context frames",
}
QUANTITIES = {
    "training loss": ("loss",),
    "learning rate": ("lr",),
    "gradient norm": ("grad_norm",),
    "validation error": ("val_nrmse", "val_crps", "val_loss"),
    "steps per second": ("steps_per_s",),
}
LINEAR = ("lr", "steps_per_s")
ROUND = (1, 2, 5, 10)
VALIDATION_METRICS = {"val_nrmse": "nRMSE", "val_crps": "CRPS over RMS", "val_loss": "loss"}


def example_rows(curves: Curves, tail: str) -> dict[str, np.ndarray]:
    """The curves called "<mode>/<tail>", by mode, in their given order."""
    named = (key.partition("/") for key in curves)
    chosen = [mode for mode, _, rest in named if rest == tail]
    return {mode: np.asarray(curves[f"{mode}/{tail}"], float) for mode in chosen}


def percentiles(samples: np.ndarray) -> np.ndarray:
    """10th, 50th and 90th percentile over samples; samples: (n, t) -> (3, t).

    A diverged sample counts as an infinite error; a percentile that falls on it is nan.
    """
    finite = np.isfinite(samples) & (np.abs(samples) < HUGE)
    ranks = np.quantile(np.where(finite, samples, 1e300), [0.1, 0.5, 0.9], axis=0)
    return np.where(ranks < HUGE, ranks, np.nan)


def divergence_note(samples: np.ndarray, times: np.ndarray) -> str:
    """What a legend adds for a forecaster that diverged; "" for one that did not. (n, t), (t,)."""
    lost = ~np.isfinite(samples)
    if not lost.any():
        return ""
    most = lost.mean(axis=0) >= 0.5
    if most.any():
        return f" (diverged, from t = {times[np.argmax(most)]:.3g})"
    return f" ({int(lost.any(axis=1).sum())} of {len(lost)} samples diverged)"


def error_over_time(curves: Curves, times: np.ndarray) -> Figure:
    """Median nRMSE with its 10-90 % band against time, every forecaster; P10 beside P1 if given.

    curves: "<mode>/nrmse" and "<mode>/p10/nrmse" (n, t), scored on the last t of times.
    """
    panels = {name: found for name in PROTOCOLS if (found := example_rows(curves, name))}
    figure = new_figure(9.6 if len(panels) > 1 else 7.2, 4.8)
    grid = figure.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0]
    ranks = {(n, m): percentiles(c) for n, found in panels.items() for m, c in found.items()}
    low, high = _error_limits(list(ranks.values()))
    colors = line_styles(mode for _, mode in ranks)
    for ax, (name, found) in zip(grid, panels.items(), strict=True):
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        for mode, samples in found.items():
            t = times[-samples.shape[1] :]
            lower, median, upper = ranks[name, mode]
            # An infinite upper percentile beside a finite median: the band runs out of the frame.
            upper = np.where(np.isnan(upper) & ~np.isnan(median), 10 * high, upper)
            ax.fill_between(t, lower, upper, color=colors[mode].color, alpha=0.15, linewidth=0)
            draw(ax, t, median, colors[mode], mode + divergence_note(samples, t))
        format_axes(ax, TIME, title=PROTOCOLS[name])
    grid[0].set_ylabel("nRMSE (median; band: 10-90 % of samples)")
    legend_below(figure, grid)
    return figure


def _error_limits(ranks: Sequence[np.ndarray]) -> tuple[float, float]:
    lowest, highest = span(ranks, positive=True) or (1e-3, 1.0)
    high = max(min(highest, WORST_SHOWN), 3 * min(lowest, WORST_SHOWN)) * 1.3
    return max(min(lowest, WORST_SHOWN) / 1.3, high * 1e-8), high


def spectra(curves: Curves, time: float) -> Figure:
    """Energy spectrum of the truth and of each forecaster at one time; "<mode>/spectrum" (k,)."""
    found = example_rows(curves, "spectrum")
    figure = new_figure(7.2, 4.8)
    ax = figure.subplots()
    spectrum_panel(ax, found, line_styles(["truth", *found]))
    ax.set_title(f"spectrum at t = {time:.3g}", fontsize=10, loc="left")
    legend_below(figure, [ax])
    return figure


def spectrum_panel(ax: Axes, spectra: Curves, colors: Mapping[str, LineStyle]) -> None:
    """Energy at each wavenumber from 1 on, framed by the truth's; spectra: (k,) from 0 on."""
    format_axes(ax, "wavenumber k (cycles per domain)", "mean energy E(k)")
    waves = {mode: energy[1:] for mode, energy in spectra.items()}  # k = 0: not on a log axis
    frame = span([waves["truth"]] if "truth" in waves else waves.values(), positive=True)
    low, high = frame or (1e-12, 1.0)
    low = max(low / 10, high * 1e-16)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(low, high * 10)
    for mode, energy in waves.items():
        note = "" if np.isfinite(energy).all() else " (diverged)"
        if not note and energy.size and energy.max() < low:
            note = " (no energy, below the frame)"
        shown = np.where(energy > 0, energy, np.nan)
        draw(ax, np.arange(1, 1 + energy.size), shown, colors[mode], mode + note)


def conserved(curves: Curves, times: np.ndarray) -> Figure:
    """Each law's deviation from the given frame's value against time, one panel a law.

    curves: "<mode>/law/<law>" (3, t+1), the 10th, 50th and 90th percentile over samples.
    """
    laws = list(dict.fromkeys(k.split("/law/")[1] for k in curves if "/law/" in k))
    across = min(3, max(1, len(laws)))
    down = -(-max(1, len(laws)) // across)
    figure = new_figure(4.2 * across, 0.6 + 3.2 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for ax in grid[max(1, len(laws)) :]:
        ax.remove()
    grid = grid[: max(1, len(laws))]
    for ax, law in zip(grid, laws, strict=False):
        found = example_rows(curves, f"law/{law}")
        format_axes(ax, TIME, "change from the given frame", plain(law))
        for mode in found:
            low, median, high = np.where(np.abs(found[mode]) < HUGE, found[mode], np.nan)
            t, pen = times[-median.size :], line_styles(found)[mode]
            note = "" if np.isfinite(median).all() else " (diverged)"
            ax.fill_between(t, low, high, color=pen.color, alpha=0.15, linewidth=0)
            draw(ax, t, median, pen, mode + note)
        _scale_law(ax, found)
    legend_below(figure, grid)
    return figure


def _scale_law(ax: Axes, found: Curves) -> None:
    """Linear, unless one forecaster dwarfs the rest: then linear for the rest, log beyond."""
    spans = [span([bands]) or (0.0, 0.0) for bands in found.values()]
    peaks = sorted(max(abs(low), abs(high)) for low, high in spans)
    if len(peaks) > 1 and peaks[-1] > 30 * peaks[-2] > 0:
        ax.set_yscale("symlog", linthresh=peaks[-2], linscale=1.5)
        low, high = min(s[0] for s in spans), max(s[1] for s in spans)
        ax.set_ylim(min(1.5 * low, -0.2 * peaks[-2]), max(1.5 * high, 0.2 * peaks[-2]))
        decades = np.arange(np.ceil(np.log10(peaks[-2])), np.log10(peaks[-1]) + 0.2)
        ticks = 10.0 ** decades[:: 1 + len(decades) // 6]
        ax.set_yticks([t for t in (*-ticks[::-1], 0.0, *ticks) if low <= t <= high])
        ax.set_title(
            f"{ax.get_title(loc='left')} (log beyond {peaks[-2]:.1e})", fontsize=10, loc="left"
        )
    elif peaks and peaks[-1] == 0:
        ax.set_ylim(-1, 1)
    ax.axhline(0, color="0.6", linewidth=0.8, zorder=0)


def stages_of(series: Rows) -> list[str]:
    """The stages of rows of metrics.jsonl, in the order in which they were trained."""
    names = (key.removesuffix("/step") for row in series for key in row if key.endswith("/step"))
    return list(dict.fromkeys(names))


def series_of(series: Rows, stage: str, key: str) -> np.ndarray:
    """Steps and values of one training series (2, rows); rows without the key are left out."""
    name = f"{stage}/{key}"
    rows = [(r[f"{stage}/step"], r[name]) for r in series if f"{stage}/step" in r and name in r]
    pairs = [(float(step), np.nan if value is None else float(value)) for step, value in rows]
    return np.asarray(pairs, float).reshape(-1, 2).T


def compilations(series: Rows, stage: str) -> list[tuple[float, float]]:
    """Where a stage compiled, one program an unrolled length: (last step before, length)."""
    steps, lengths = series_of(series, stage, "unroll")
    turns = np.flatnonzero(lengths[1:] != lengths[:-1])
    first = [(0.0, float(lengths[0]))] if lengths.size else []
    return [*first, *((float(steps[i]), float(lengths[i + 1])) for i in turns)]


def judged(series: Rows, stage: str) -> tuple[str, float, float] | None:
    """What a stage is validated by, and step and value of the lowest; None without a finite one."""
    if (key := _measured(series, stage, QUANTITIES["validation error"])) is None:
        return None
    steps, values = series_of(series, stage, key)
    best = int(np.argmin(np.where(np.isfinite(values), values, np.inf)))
    found = VALIDATION_METRICS[key], float(steps[best]), float(values[best])
    return found if np.isfinite(found[2]) else None


def _measured(series: Rows, stage: str, keys: Iterable[str]) -> str | None:
    return next((key for key in keys if series_of(series, stage, key).size), None)


def training(series: Rows) -> Figure:
    """All stages on one page: a column a stage, a row a quantity, compilations and the best marked.

    series: rows of metrics.jsonl with "<stage>/step" and any of "<stage>/{loss, lr, ...}"; of
    several seeds their mean, and their standard deviation, "<stage>/<key>_std", as a band.
    """
    stages = stages_of(series)
    rows = {q: k for q, k in QUANTITIES.items() if any(_measured(series, s, k) for s in stages)}
    across, down = len(stages), max(1, len(rows))
    figure = new_figure(max(2.1 * across, min(10.4, 4.8 + 2.4 * across)), 1.2 + 1.35 * down)
    grid = figure.subplots(down, across, sharex="col", squeeze=False)
    for (row, column), ax in np.ndenumerate(grid):
        name, keys = [*rows.items(), ("", ())][row]
        key = _measured(series, stages[column], keys)
        format_axes(ax, "step" if row == down - 1 else "", "" if column else name)
        ax.tick_params(labelsize=8)
        _dynamics(ax, series, stages[column], key)
    for ax, stage in zip(grid[0], stages, strict=True):
        ax.set_title(plain(stage), loc="left", weight="bold", fontsize=10, pad=42)
        last = series_of(series, stage, "step")[0].max()
        ax.set_xlim(-0.02 * last, 1.02 * last)
        ax.xaxis.set_major_locator(MaxNLocator(6 if across < 3 else 4, steps=ROUND))
        ax.xaxis.set_major_formatter(lambda x, _: f"{x / 1e3:g}k" if x >= 1e3 else f"{x:g}")
        for step, unroll in compilations(series, stage):
            ax.annotate(
                f"unroll {unroll:g}", (step, 1), xycoords=ax.get_xaxis_transform(), fontsize=8,
                xytext=(0, 3), textcoords="offset points", rotation=90, ha="center", color="0.25",
            )  # fmt: skip
    figure.align_ylabels(grid[:, 0])
    return figure


def _dynamics(ax: Axes, series: Rows, stage: str, key: str | None) -> None:
    """One quantity of one stage; log but for learning rate and speed, crosses where not finite."""
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
    _frame(ax, values, log=key not in LINEAR)
    lost = steps[~np.isfinite(np.atleast_2d(values)).all(axis=0)]
    if lost.size:
        at_top = ax.get_xaxis_transform()
        ax.plot(lost, 0 * lost + 0.94, "x", color="#D55E00", markeredgewidth=2, transform=at_top)
        told = f"not finite from step {lost[0]:g}"
        ax.text(0.98, 0.82, told, transform=ax.transAxes, ha="right", va="top", fontsize=8)
    best = judged(series, stage) if key in VALIDATION_METRICS else None
    if best is not None:
        ax.plot(*best[1:], "*", color="#D55E00", markersize=12, zorder=4, clip_on=False)
        ax.set_title(f"best {best[0]} {number(best[2])}", loc="right", fontsize=8)


def _frame(ax: Axes, values: np.ndarray, *, log: bool) -> None:
    """Limits and a few ticks around some values: from zero on, or on a log axis."""
    low, high = span([values], positive=True) or (0.1, 1.0)
    ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    if not log:
        ax.set_ylim(0, 1.15 * high)
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=ROUND))
        return
    room = (high / low) ** 0.08 * 1.05
    ax.set_yscale("log")
    ax.set_ylim(low / room, high * room)
    log_ticks(ax.yaxis, low / room, high * room, most=3)


def log_ticks(axis: Axis, low: float, high: float, *, most: int) -> None:
    """At most so many labelled ticks of a log axis: decades, or 1, 2 and 5 times them, or any."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    choices = [np.outer(decades, factors).ravel() for factors in ((1,), (1, 2, 5))]
    choices.append(np.asarray(MaxNLocator(most).tick_values(low, high)))
    kept = [ticks[(ticks >= low) & (ticks <= high)] for ticks in choices]
    chosen = next((ticks for ticks in kept if ticks.size >= 3), max(kept, key=np.size))
    axis.set_major_locator(FixedLocator(list(chosen[:: -(-chosen.size // most)])))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(lambda x, _: f"{x:g}")
