"""Calibration of ensembles, and their members at three times."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ups_jax.metrics import NOMINAL_LEVELS
from ups_jax.report import style
from ups_jax.report.curves import Curves, by_forecaster
from ups_jax.report.data import ReportData, ReportFigure


def reliability(data: ReportData) -> ReportFigure | None:
    """Return the reliability diagram of every ensemble."""
    if data.ensembles is None:
        return None
    observed = by_forecaster(data.ensembles.curves, "reliability")
    return ReportFigure(
        "reliability",
        plot_reliability(observed, NOMINAL_LEVELS),
        "Share of the truth within the members' central intervals: a calibrated ensemble follows "
        "the diagonal; below it, the ensemble is overconfident.",
        f"Observed against nominal coverage of {', '.join(observed)}.",
    )


def rank_histogram(data: ReportData) -> ReportFigure | None:
    """Return the rank histogram of every ensemble."""
    if data.ensembles is None:
        return None
    shares = by_forecaster(data.ensembles.curves, "rank")
    return ReportFigure(
        "rank_histogram",
        plot_rank_histograms(shares),
        "Rank of the truth among the members: uniform for a calibrated ensemble, raised at both "
        "ends if the truth lies outside the members too often.",
        f"Rank histograms of {', '.join(shares)}.",
    )


def spread_error(data: ReportData) -> ReportFigure | None:
    """Return the figure of error against spread of every ensemble."""
    if data.ensembles is None:
        return None
    pairs = by_forecaster(data.ensembles.curves, "spread_error")
    return ReportFigure(
        "spread_error",
        plot_spread_error(pairs),
        "Error of the ensemble mean against the spread, in bins of equal count by spread; "
        "a calibrated ensemble follows the diagonal.",
        f"Error of the members' mean against their spread, of {', '.join(pairs)}.",
    )


def fan(data: ReportData) -> Iterator[ReportFigure]:
    """Yield a fan for each ensemble, at the example of the largest spread; one space axis."""
    examples = {} if data.ensembles is None else data.ensembles.examples
    truth = examples.get("truth", np.empty(0))
    if data.ensembles is None or truth.ndim != 4 or not len(truth):
        return
    forecasters = by_forecaster(data.ensembles.curves, "reliability")
    spread = [examples[name].var(1).mean((1, 2, 3)) for name in forecasters]
    widest = int(np.argmax(np.nan_to_num(np.sum(spread, axis=0))))
    for name in forecasters:
        figure = plot_fan(
            truth[widest],
            examples[name][widest],
            times=data.evaluation.times,
            extent=data.extent,
            forecaster=name,
            title=f"{name}, test trajectory {widest}",
        )
        yield ReportFigure(
            f"fan_{name}",
            figure,
            f"Members of {name}: central 50 and 90 % intervals, mean and truth; below, the region "
            "of the largest spread.",
            f"Fan of {name} at three times.",
        )


def plot_fan(
    truth: np.ndarray,
    members: np.ndarray,
    *,
    times: np.ndarray,
    extent: Sequence[float] | None = None,
    forecaster: str = "diffusion",
    title: str = "",
) -> Figure:
    """Plot truth, members' mean and their central 50 and 90 % at three times; one space axis.

    truth: (t, x, c), members: (m, t, x, c), times: (t,); of a truth and times that include the
    given frame the last t count. Below each time: a twelfth of the domain around the largest
    spread. extent: length of the domain, without it x counts grid points. Two rows a channel.
    """
    steps, points, channels = members.shape[1:]
    truth, times = truth[-steps:], times[-steps:]
    label = f"mean of {len(members)}{'' if np.isfinite(members).all() else ' (diverged)'}"
    members = np.where(np.isfinite(members), members, np.nan)
    quantiles = np.quantile(members, [0.05, 0.25, 0.75, 0.95], axis=0)
    layers = np.concatenate([quantiles, [members.mean(axis=0), truth]])
    frames, line = style.three_frames(steps), style.line_styles([forecaster])[forecaster]
    length = float(points if extent is None else extent[0])
    x = (np.arange(points) + 0.5) / points * length
    figure = style.new_figure(10.5, 0.8 + 4.8 * channels)
    figure.suptitle(style.plain(title), fontsize=11)
    grid = figure.subplots(2 * channels, len(frames), squeeze=False)
    for row, column in np.ndindex(channels, len(frames)):
        whole, zoom = grid[2 * row : 2 * row + 2, column]
        curves = layers[:, frames[column], :, row]
        region = _widest_region(curves[3] - curves[0])
        _fan_panel(whole, x, curves, line, label)
        _fan_panel(zoom, x[region], curves[:, region], line, label)
        whole.axvspan(*zoom.get_xlim(), color="0.5", alpha=0.15, linewidth=0, zorder=0)
        whole.set_ylim(*style.padded_range(truth[frames, :, row]))
        style.format_axes(whole, title=f"t = {times[frames[column]]:.3g}")
        xlabel = "grid point x" if extent is None else "position x"
        style.format_axes(zoom, xlabel, title="largest spread")
    for i, ax in enumerate(grid[:, 0]):
        ax.set_ylabel("u" if channels == 1 else f"channel {i // 2}")
    style.legend_below(figure, grid[0])
    return figure


def _fan_panel(
    ax: Axes, x: np.ndarray, layers: np.ndarray, line: style.LineStyle, label: str
) -> None:
    """Draw 5, 25, 75, 95 % of the members, their mean and the truth: layers (6, x) over x (x,)."""
    low, inner, upper, high, mean, truth = layers
    ax.fill_between(x, low, high, color=line.color, alpha=0.25, linewidth=0, label="90 % band")
    ax.fill_between(x, inner, upper, color=line.color, alpha=0.4, linewidth=0, label="50 % band")
    style.draw_curve(ax, x, truth, style.LINE_STYLES["truth"]._replace(width=3.5), "truth")
    style.draw_curve(ax, x, mean, line._replace(marker=""), label)
    ax.set_xlim(x[0], x[-1])


def _widest_region(spread: np.ndarray) -> slice:
    """Return a twelfth of the points around the largest spread (x,)."""
    points = len(spread)
    size = min(points, max(7, round(points / 12)))
    start = int(np.argmax(np.nan_to_num(spread))) - size // 2
    start = min(max(start, 0), points - size)
    return slice(start, start + size)


def plot_reliability(observed: Curves, levels: Sequence[float]) -> Figure:
    """Plot the share of the truth within central intervals against their nominal probability.

    observed: by forecaster, (levels,) from `metrics.reliability`; levels: from 0 to 1.
    """
    figure = style.new_figure(7.2, 5.4)
    ax = figure.subplots()
    style.format_axes(ax, "nominal probability of the interval", "share of the truth within it")
    _diagonal(ax, 0.0, 1.0)
    ax.text(0.97, 0.03, "overconfident", ha="right", va="bottom", color="0.45", fontsize=9)
    ax.text(0.03, 0.97, "underconfident", ha="left", va="top", color="0.45", fontsize=9)
    for name, line in style.line_styles(observed).items():
        style.draw_curve(ax, np.asarray(levels), observed[name], line, name)
    style.legend_below(figure, [ax])
    return figure


def plot_rank_histograms(shares: Curves) -> Figure:
    """Plot how often the truth exceeds 0 to m members over the uniform share, a panel each.

    shares: by forecaster, (m + 1,) from `metrics.rank_histogram`, averaged; m may differ. A valley
    means overconfidence, a hill underconfidence.
    """
    across = min(3, len(shares))
    down = -(-len(shares) // across)
    figure = style.new_figure(max(5.2, 3.4 * across), 0.4 + 2.8 * down)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for ax, (name, line) in zip(grid.ravel(), style.line_styles(shares).items(), strict=False):
        m = len(shares[name]) - 1
        outside = style.format_number(100 * (shares[name][0] + shares[name][-1]))
        ax.bar(np.arange(m + 1), (m + 1) * shares[name], width=0.92, color=line.color, alpha=0.75)
        ax.axhline(1, color="0.25", linestyle=(0, (5, 2)), linewidth=1)
        nominal = style.format_number(200 / (m + 1))
        title = f"{style.plain(name)}\noutside: {outside} % (nominal {nominal} %)"
        style.format_axes(ax, f"rank of the truth among {m} members", title=title)
        ax.set_xlim(-0.7, m + 0.7)
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in grid.ravel()[len(shares) :]:
        ax.remove()
    for ax in grid[:, 0]:
        ax.set_ylabel("frequency / uniform")
    return figure


def plot_spread_error(pairs: Curves) -> Figure:
    """Plot RMS error against RMS spread in twelve bins of equal count by spread, on log axes.

    pairs: by forecaster, spread and error (2, n), a sample and time each: roots of the two
    statistics of `metrics.spread_skill`. The legend has the ratio of the RMS of all. Pairs that are
    not finite, or of no spread, are left out.
    """
    figure = style.new_figure(7.2, 5.8)
    ax = figure.subplots()
    ax.set_xscale("log")
    ax.set_yscale("log")
    style.format_axes(ax, "spread of the members (RMS)", "error of their mean (RMS)")
    drawn = []
    for name, line in style.line_styles(pairs).items():
        valid = np.isfinite(pairs[name]).all(0) & (pairs[name][0] > 0)
        spread, error = pairs[name][:, valid]
        if not spread.size:
            continue
        bins = np.array_split(np.argsort(spread), min(12, spread.size))
        x, y = ([_rms(values[index]) for index in bins] for values in (spread, error))
        ratio = style.format_number(_rms(spread) / _rms(error))
        style.draw_curve(ax, np.asarray(x), np.asarray(y), line, f"{name} (ratio {ratio})")
        drawn += [x, y]
    low, high = style.finite_range(drawn, positive=True) or (0.1, 1.0)
    _diagonal(ax, low / 1.3, high * 1.3)
    style.legend_below(figure, [ax])
    return figure


def _diagonal(ax: Axes, low: float, high: float) -> None:
    """Draw the line of equal values, and make the axes square from low to high."""
    ax.plot([low, high], [low, high], color="0.25", linestyle=(0, (5, 2)), linewidth=1, zorder=1)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
