"""Curves of a run, one message a figure: error, spectrum and laws over time, and the training."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ups_jax.run.report.look import (
    HUGE,
    TIME,
    canvas,
    draw,
    legend_below,
    number,
    pens,
    plain,
    span,
    tidy,
)

Curves = Mapping[str, np.ndarray]

WORST_SHOWN = 20.0  # an nRMSE above this says nothing more than "lost"
PROTOCOLS = {
    "nrmse": "P1: from the initial condition",
    "p10/nrmse": "P10: after 10 context frames",
}
PANELS = {
    "loss": "training loss",
    "val_nrmse": "validation nRMSE",
    "val_crps": "validation CRPS over RMS",
    "val_loss": "validation loss",
    "grad_norm": "gradient norm",
    "lr": "learning rate",
}


def pick(curves: Curves, tail: str) -> dict[str, np.ndarray]:
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


def fate(samples: np.ndarray, times: np.ndarray) -> str:
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
    panels = {name: found for name in PROTOCOLS if (found := pick(curves, name))}
    figure = canvas(9.6 if len(panels) > 1 else 7.2, 4.8)
    grid = figure.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0]
    ranks = {(n, m): percentiles(c) for n, found in panels.items() for m, c in found.items()}
    low, high = _error_limits(list(ranks.values()))
    colors = pens(mode for _, mode in ranks)
    for ax, (name, found) in zip(grid, panels.items(), strict=True):
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        for mode, samples in found.items():
            t = times[-samples.shape[1] :]
            lower, median, upper = ranks[name, mode]
            # An infinite upper percentile beside a finite median: the band runs out of the frame.
            upper = np.where(np.isnan(upper) & ~np.isnan(median), 10 * high, upper)
            ax.fill_between(t, lower, upper, color=colors[mode].color, alpha=0.15, linewidth=0)
            draw(ax, t, median, colors[mode], mode + fate(samples, t))
        tidy(ax, TIME, title=PROTOCOLS[name])
    grid[0].set_ylabel("nRMSE (median; band: 10-90 % of samples)")
    legend_below(figure, grid)
    return figure


def _error_limits(ranks: Sequence[np.ndarray]) -> tuple[float, float]:
    lowest, highest = span(ranks, positive=True) or (1e-3, 1.0)
    high = max(min(highest, WORST_SHOWN), 3 * min(lowest, WORST_SHOWN)) * 1.3
    return max(min(lowest, WORST_SHOWN) / 1.3, high * 1e-8), high


def spectra(curves: Curves, time: float) -> Figure:
    """Energy spectrum of the truth and of each forecaster at one time; "<mode>/spectrum" (k,)."""
    found = pick(curves, "spectrum")
    figure = canvas(7.2, 4.8)
    ax = figure.subplots()
    tidy(ax, "wavenumber k (cycles per domain)", "mean energy E(k)", f"spectrum at t = {time:.3g}")
    waves = {mode: energy[1:] for mode, energy in found.items()}  # k = 0 has no place on a log axis
    frame = span([waves["truth"]] if "truth" in waves else waves.values(), positive=True)
    low, high = frame or (1e-12, 1.0)
    low = max(low / 10, high * 1e-16)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(low, high * 10)
    colors = pens(["truth", *waves])
    for mode, energy in waves.items():
        note = "" if np.isfinite(energy).all() else " (diverged)"
        if not note and energy.size and energy.max() < low:
            note = " (no energy, below the frame)"
        shown = np.where(energy > 0, energy, np.nan)
        draw(ax, np.arange(1, 1 + energy.size), shown, colors[mode], mode + note)
    legend_below(figure, [ax])
    return figure


def conserved(curves: Curves, times: np.ndarray) -> Figure:
    """Each law's deviation from the given frame's value against time, one panel a law.

    curves: "<mode>/law/<law>" (3, t+1), the 10th, 50th and 90th percentile over samples.
    """
    laws = list(dict.fromkeys(k.split("/law/")[1] for k in curves if "/law/" in k))
    across = min(3, max(1, len(laws)))
    down = -(-max(1, len(laws)) // across)
    figure = canvas(4.2 * across, 0.6 + 3.2 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for ax in grid[max(1, len(laws)) :]:
        ax.remove()
    grid = grid[: max(1, len(laws))]
    for ax, law in zip(grid, laws, strict=False):
        found = pick(curves, f"law/{law}")
        tidy(ax, TIME, "change from the given frame", plain(law))
        for mode in found:
            low, median, high = np.where(np.abs(found[mode]) < HUGE, found[mode], np.nan)
            t, pen = times[-median.size :], pens(found)[mode]
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


def series_of(series: Sequence[Mapping[str, Any]], stage: str, key: str) -> np.ndarray:
    """Steps and values of one training series (2, rows); rows without the key are left out."""
    name = f"{stage}/{key}"
    rows = [(r[f"{stage}/step"], r[name]) for r in series if f"{stage}/step" in r and name in r]
    pairs = [(float(step), np.nan if value is None else float(value)) for step, value in rows]
    return np.asarray(pairs, float).reshape(-1, 2).T


def training(series: Sequence[Mapping[str, Any]], stage: str) -> Figure:
    """Loss, validation nRMSE, gradient norm and learning rate against step, phase changes marked.

    series: rows of metrics.jsonl with "<stage>/step" and any of "<stage>/{loss, ...}".
    """
    drawn = {k: xy for k in PANELS if (xy := series_of(series, stage, k)).size}
    rows = max(1, (len(drawn) + 1) // 2)
    figure = canvas(9.6, 0.6 + 2.5 * rows)
    grid = figure.subplots(rows, min(2, max(1, len(drawn))), sharex=True, squeeze=False).ravel()
    changes = _phase_changes(series, stage)
    for ax, key in zip_longest(grid, drawn):
        if key is None:
            ax.remove()
            continue
        _training_panel(ax, key, *drawn[key])
        for step, unroll in changes:
            ax.axvline(step, color="0.35", linestyle=(0, (2, 2)), linewidth=1)
            ax.annotate(
                f"unroll {unroll:g}", (step, 1), xycoords=ax.get_xaxis_transform(), fontsize=8,
                xytext=(3, -2), textcoords="offset points", va="top", rotation=90, color="0.35",
            )  # fmt: skip
    return figure


def _training_panel(ax: Axes, key: str, steps: np.ndarray, values: np.ndarray) -> None:
    title = PANELS[key]
    pen = pens(["operator"])["operator"]._replace(marker="o" if steps.size < 40 else "")
    if key != "lr" and span([values], positive=True):
        ax.set_yscale("log")
    draw(ax, steps, values, pen, key)
    lost = np.flatnonzero(~np.isfinite(values))
    if lost.size:
        title += f" (not finite from step {steps[lost[0]]:g})"
    elif key.startswith("val_"):
        best = int(np.argmin(values))
        ax.plot(steps[best], values[best], "*", color="#D55E00", markersize=12)
        title += f" (best {number(values[best])} at step {steps[best]:g})"
    tidy(ax, "step", title=plain(title))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    if ax.get_subplotspec().rowspan.stop < ax.get_subplotspec().get_gridspec().nrows:  # pyright: ignore[reportOptionalMemberAccess]
        ax.set_xlabel("")


def _phase_changes(series: Sequence[Mapping[str, Any]], stage: str) -> list[tuple[float, float]]:
    """Where the unrolled length changes: (last step before, new length)."""
    steps, lengths = series_of(series, stage, "unroll") if series else np.zeros((2, 0))
    turns = np.flatnonzero(lengths[1:] != lengths[:-1])
    return [(float(steps[i]), float(lengths[i + 1])) for i in turns]
