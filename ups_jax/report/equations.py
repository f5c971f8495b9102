"""Heat map of the error over the equations of a mixture and the time."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ups_jax.report import style
from ups_jax.report.data import ReportData, ReportFigure


def equation_errors(data: ReportData) -> ReportFigure | None:
    """Return the figure of the selected forecaster's mean nRMSE of each equation against time."""
    start = f"{data.selected}/equations/"
    curves = data.evaluation.curves.items()
    errors = {key.removeprefix(start): error for key, error in curves if key.startswith(start)}
    if not errors:
        return None
    times, held_out = np.asarray(data.evaluation.times, float), data.evaluation.held_out
    names = [f"{name} (held out)" * (name in held_out) or name for name in errors]
    last = ", ".join(
        f"{name} {style.format_number(float(error[-1]))}"
        for name, error in zip(names, errors.values(), strict=True)
    )
    return ReportFigure(
        "equation_errors",
        plot_equations(names, np.array(list(errors.values()), float), times),
        f"Mean nRMSE of {data.selected} over test samples, by equation and time.",
        f"Heat map of nRMSE by equation and time; at the last time: {last}.",
    )


def plot_equations(names: list[str], errors: np.ndarray, times: np.ndarray) -> Figure:
    """Plot errors (equations, t) in logarithmic colours; errors that are not finite stay white."""
    figure = style.new_figure(7.2, 1.4 + 0.32 * len(names))
    ax = figure.subplots()
    shown = np.where(np.isfinite(errors) & (errors > 0), errors, np.nan)
    low, high = style.finite_range([shown], positive=True) or (1e-3, 1.0)
    edges = np.concatenate([times[-errors.shape[1] :] - times[1] / 2, [times[-1] + times[1] / 2]])
    rows = np.arange(len(names) + 1) - 0.5
    norm = LogNorm(low, max(min(high, 2.0), 1.01 * low))
    mesh = ax.pcolormesh(edges, rows, shown, norm=norm, cmap="viridis")
    figure.colorbar(mesh, ax=ax, label="nRMSE")
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel(style.TIME)
    return figure
