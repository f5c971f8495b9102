"""Figures of ensembles and of search: is a spread honest, and what do more network calls buy?"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ups_jax.report.style import (
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
Pairs = Mapping[str, tuple[np.ndarray, np.ndarray]]

FANS = 3
ZOOM = 1 / 12
BINS = 12


def fan(
    truth: np.ndarray,
    members: np.ndarray,
    *,
    times: np.ndarray,
    extent: Sequence[float] | None = None,
    mode: str = "diffusion",
    title: str = "",
) -> Figure:
    """u(x) at three times: truth, members' mean and their central 50 and 90 %; one space axis.

    truth: (t, x, c), members: (m, t, x, c), times: (t,); of a truth and times that hold the given
    frame as well the last t count. Below each time a twelfth of the box around the largest spread.
    extent: length of the box, without which x counts grid points. Two rows a channel.
    """
    steps, points, channels = members.shape[1:]
    truth, times = truth[-steps:], times[-steps:]
    label = f"mean of {len(members)}{'' if np.isfinite(members).all() else ' (diverged)'}"
    members = np.where(np.isfinite(members), members, np.nan)
    ranks = np.quantile(members, [0.05, 0.25, 0.75, 0.95], axis=0)
    layers = np.concatenate([ranks, [members.mean(axis=0), truth]])
    frames = np.linspace(0, steps - 1, FANS + 1).round().astype(int)[1:]
    length = float(points if extent is None else extent[0])
    x = (np.arange(points) + 0.5) / points * length
    figure = new_figure(10.5, 0.8 + 4.8 * channels)
    figure.suptitle(plain(title), fontsize=11)
    grid = figure.subplots(2 * channels, FANS, squeeze=False)
    for row, column in np.ndindex(channels, FANS):
        whole, zoom = grid[2 * row : 2 * row + 2, column]
        shown = layers[:, frames[column], :, row]
        near = _widest(shown[3] - shown[0])
        _fan_panel(whole, x, shown, line_styles([mode])[mode], label)
        _fan_panel(zoom, x[near], shown[:, near], line_styles([mode])[mode], label)
        whole.axvspan(*zoom.get_xlim(), color="0.5", alpha=0.15, linewidth=0, zorder=0)
        whole.set_ylim(*_roomy(truth[frames, :, row]))
        format_axes(whole, title=f"t = {times[frames[column]]:.3g}")
        format_axes(
            zoom, "grid point x" if extent is None else "position x", title="largest spread"
        )
    for i, ax in enumerate(grid[:, 0]):
        ax.set_ylabel("u" if channels == 1 else f"channel {i // 2}")
    legend_below(figure, grid[0])
    return figure


def _fan_panel(ax: Axes, x: np.ndarray, layers: np.ndarray, pen: LineStyle, label: str) -> None:
    """5, 25, 75 and 95 % of the members, their mean and the truth: layers (6, x) over x (x,)."""
    low, inner, upper, high, mean, truth = layers
    ax.fill_between(x, low, high, color=pen.color, alpha=0.25, linewidth=0, label="90 % band")
    ax.fill_between(x, inner, upper, color=pen.color, alpha=0.4, linewidth=0, label="50 % band")
    draw(ax, x, truth, line_styles(["truth"])["truth"]._replace(width=3.5), "truth")
    draw(ax, x, mean, pen._replace(marker=""), label)
    ax.set_xlim(x[0], x[-1])


def _widest(spread: np.ndarray) -> slice:
    """A twelfth of the points, within the box, around the largest spread (x,)."""
    points = len(spread)
    size = min(points, max(7, round(points * ZOOM)))
    start = int(np.argmax(np.nan_to_num(spread))) - size // 2
    start = min(max(start, 0), points - size)
    return slice(start, start + size)


def reliability_diagram(observed: Curves, levels: Sequence[float]) -> Figure:
    """Share of the truth within central intervals of the members against their nominal share.

    observed: by forecaster, (levels,) as `metrics.reliability` gives; levels: from 0 to 1.
    """
    figure = new_figure(7.2, 5.4)
    ax = figure.subplots()
    format_axes(ax, "nominal probability of the interval", "share of the truth within it")
    _diagonal(ax, 0.0, 1.0)
    ax.text(0.97, 0.03, "overconfident", ha="right", va="bottom", color="0.45", fontsize=9)
    ax.text(0.03, 0.97, "underconfident", ha="left", va="top", color="0.45", fontsize=9)
    for mode, pen in line_styles(observed).items():
        draw(ax, np.asarray(levels), observed[mode], pen, mode)
    legend_below(figure, [ax])
    return figure


def rank_histograms(shares: Curves) -> Figure:
    """How often the truth exceeds 0 to m members, a panel a forecaster, beside the uniform line.

    shares: by forecaster, (m + 1,) as `metrics.rank_histogram` gives, averaged; m may differ.
    Heights are relative to uniform. Valleys say overconfident, hills underconfident.
    """
    across = min(3, len(shares))
    down = -(-len(shares) // across)
    figure = new_figure(max(5.2, 3.4 * across), 0.4 + 2.8 * down)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for ax, (mode, pen) in zip(grid.ravel(), line_styles(shares).items(), strict=False):
        m = len(shares[mode]) - 1
        outside = number(100 * (shares[mode][0] + shares[mode][-1]))
        ax.bar(np.arange(m + 1), (m + 1) * shares[mode], width=0.92, color=pen.color, alpha=0.75)
        ax.axhline(1, color="0.25", linestyle=(0, (5, 2)), linewidth=1)
        format_axes(ax, f"rank of the truth among {m} members")
        ax.set_title(
            f"{plain(mode)}\noutside: {outside} % (nominal {number(200 / (m + 1))} %)",
            fontsize=10, loc="left",
        )  # fmt: skip
        ax.set_xlim(-0.7, m + 0.7)
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in grid.ravel()[len(shares) :]:
        ax.remove()
    for ax in grid[:, 0]:
        ax.set_ylabel("frequency / uniform")
    return figure


def spread_against_error(pairs: Pairs) -> Figure:
    """Does a wide ensemble err more? Twelve bins of equal count by spread, both axes logarithmic.

    pairs: by forecaster, spread and error (n,) each, one a sample and time: roots of the two
    statistics of `metrics.spread_skill`. A dot is the RMS of a bin; the legend has the ratio of
    the RMS of all. Pairs that are not finite, or of no spread, are left out.
    """
    figure = new_figure(7.2, 5.8)
    ax = figure.subplots()
    ax.set_xscale("log")
    ax.set_yscale("log")
    format_axes(ax, "spread of the members (RMS)", "error of their mean (RMS)")
    drawn = []
    for mode, pen in line_styles(pairs).items():
        spread, error = np.stack(pairs[mode])[:, _sound(*pairs[mode])]
        if not spread.size:
            continue
        order = np.array_split(np.argsort(spread), min(BINS, spread.size))
        x, y = ([_rms(values[bin_]) for bin_ in order] for values in (spread, error))
        ratio = number(_rms(spread) / _rms(error))
        draw(ax, np.asarray(x), np.asarray(y), pen, f"{mode} (ratio {ratio})")
        drawn += [x, y]
    low, high = span(drawn, positive=True) or (0.1, 1.0)
    _diagonal(ax, low / 1.3, high * 1.3)
    legend_below(figure, [ax])
    return figure


def search_analysis(
    cost: Pairs,
    *,
    reward: np.ndarray,
    error: np.ndarray,
    chosen: np.ndarray,
    gains: Curves,
    times: np.ndarray,
) -> Figure:
    """What search at test time buys, in four panels.

    cost: by setting (the search, its controls), network calls a step and nRMSE, (k,) each; reward,
    error: of k candidates, (k,) each, a higher reward being better; chosen: share of the choices
    that fell on each candidate, (candidates,); gains: by what search is compared with, the part of
    that one's nRMSE which search saves, (t,) at times (t,).
    """
    figure = new_figure(9.6, 7.6)
    (calls, rank), (choice, gain) = figure.subplots(2, 2)
    _cost(calls, cost)
    rank.set_yscale("log")
    rank.plot(reward, error, ".", color="#56B4E9", markersize=6, alpha=0.6, markeredgewidth=0)
    title = f"a candidate a dot; Spearman rank correlation {number(spearman(reward, error))}"
    format_axes(rank, "reward (higher is better)", "error of the candidate", title)
    index = np.arange(len(chosen))
    choice.bar(index, 100 * chosen, color="#56B4E9", width=0.92)
    choice.axhline(100 / len(chosen), color="0.25", linestyle=(0, (5, 2)), linewidth=1)
    choice.xaxis.get_major_locator().set_params(integer=True)
    format_axes(choice, "candidate", "share of choices (%)", "which is chosen; dashed: all alike")
    gain.axhline(0, color="0.25", linestyle=(0, (5, 2)), linewidth=1)
    for name, pen in line_styles(gains).items():
        draw(gain, times, 100 * gains[name], pen, f"over {name}")
    format_axes(gain, TIME, "nRMSE saved (%)", "gain of search; below 0: search is worse")
    for ax in (calls, gain):
        ax.legend(frameon=False, fontsize=8, handlelength=3.5)
    return figure


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of two arrays (n,), ties at their mean rank; nan where one is constant."""
    ranks = []
    for values in (a, b):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place])
    if min(np.ptp(r) for r in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def _roomy(values: np.ndarray) -> tuple[float, float]:
    """Limits with a quarter of the values' span to spare on both sides."""
    low, high = span([values]) or (0.0, 1.0)
    room = 0.25 * (high - low) or 0.5
    return low - room, high + room


def _cost(ax: Axes, cost: Pairs) -> None:
    for name, pen in line_styles(cost).items():
        calls, error = map(np.asarray, cost[name])
        order = np.argsort(calls)
        draw(ax, calls[order], error[order], pen, name)
    format_axes(ax, "network calls a step", "nRMSE", "error against compute")


def _diagonal(ax: Axes, low: float, high: float) -> None:
    """A square from low to high and the line on which both axes agree."""
    ax.plot([low, high], [low, high], color="0.25", linestyle=(0, (5, 2)), linewidth=1, zorder=1)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")


def _sound(spread: np.ndarray, error: np.ndarray) -> np.ndarray:
    return np.isfinite(spread) & np.isfinite(error) & (spread > 0)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
