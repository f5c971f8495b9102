"""Test-time search: error against network calls, rewards, choices and gain."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ups_jax.report import style
from ups_jax.report.data import ReportData, ReportFigure

Costs = Mapping[str, tuple[np.ndarray, np.ndarray]]


def search_analysis(data: ReportData) -> ReportFigure | None:
    """Return the figure of the search and its controls."""
    if data.search is None:
        return None
    curves, calls = data.search.curves, {row[0]: row[1] for row in data.search.rows}
    cost = {name: (np.array([calls[name]]), np.array([curves[name].mean()])) for name in calls}
    error = curves["ttc"].mean(0)
    references = {"mean-of-B": "mean", "operator": "operator"}
    gains = {label: 1 - error / curves[name].mean(0) for label, name in references.items()}
    figure = plot_search(
        cost,
        reward=curves["reward"],
        error=curves["error"],
        chosen=curves["choice"],
        gains=gains,
        times=data.evaluation.times[1:],
        correlation=data.search.scalars["eval/ttc/analysis/rank_correlation"],
    )
    means = ", ".join(f"{name} {style.format_number(float(curves[name].mean()))}" for name in calls)
    return ReportFigure(
        "search_analysis",
        figure,
        "Test-time search: error against network calls, error of candidates against their reward, "
        "how often each candidate is chosen, and the gain over time.",
        f"nRMSE of the search and its controls: {means}.",
    )


def plot_search(
    cost: Costs,
    *,
    reward: np.ndarray,
    error: np.ndarray,
    chosen: np.ndarray,
    gains: Mapping[str, np.ndarray],
    times: np.ndarray,
    correlation: float,
) -> Figure:
    """Plot cost, reward against error, choices and gain of a search in four panels.

    cost: by setting (the search, its controls), network calls per step and nRMSE, (k,) each;
    reward, error: of candidates, (q,) each, a higher reward being better; chosen: share of choices
    of each candidate, (candidates,); gains: by reference, the share of its nRMSE that search
    saves, (t,) at times (t,); correlation: mean rank correlation of reward and error in a state.
    """
    figure = style.new_figure(9.6, 7.6)
    (calls, rank), (choice, gain) = figure.subplots(2, 2)
    _cost_panel(calls, cost)
    rank.set_yscale("log")
    rank.plot(reward, error, ".", color="#56B4E9", markersize=6, alpha=0.6, markeredgewidth=0)
    number = style.format_number(correlation) if np.isfinite(correlation) else "undefined"
    title = f"a candidate a dot; rank correlation in a state {number}"
    style.format_axes(rank, "reward (higher is better)", "error of the candidate", title)
    index = np.arange(len(chosen))
    choice.bar(index, 100 * chosen, color="#56B4E9", width=0.92)
    choice.axhline(100 / len(chosen), color="0.25", linestyle=(0, (5, 2)), linewidth=1)
    choice.xaxis.get_major_locator().set_params(integer=True)
    title = "chosen candidates; dashed: uniform"
    style.format_axes(choice, "candidate", "share of choices (%)", title)
    gain.axhline(0, color="0.25", linestyle=(0, (5, 2)), linewidth=1)
    for name, line in style.line_styles(gains).items():
        style.draw_curve(gain, times, 100 * gains[name], line, f"over {name}")
    title = "gain of search; below 0: search is worse"
    style.format_axes(gain, style.TIME, "nRMSE saved (%)", title)
    for ax in (calls, gain):
        ax.legend(frameon=False, fontsize=8, handlelength=3.5)
    return figure


def _cost_panel(ax: Axes, cost: Costs) -> None:
    for name, line in style.line_styles(cost).items():
        calls, error = map(np.asarray, cost[name])
        order = np.argsort(calls)
        style.draw_curve(ax, calls[order], error[order], line, name)
    style.format_axes(ax, "network calls a step", "nRMSE", "error against compute")
