"""Comparison of a run with the champion of its board."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ups_jax.report import style
from ups_jax.report.curves import MAX_NRMSE_SHOWN, spectrum_panel
from ups_jax.report.data import ReportData, ReportFigure

Curves = Mapping[str, Sequence[float | None]]

CHAMPION_STYLE = style.LINE_STYLES["diffusion"]._replace(color="#882255")


def champion(data: ReportData) -> ReportFigure | None:
    """Return the figure of a run's and the champion's error over time and spectrum."""
    if data.champion is None:
        return None
    label = data.champion.get("name") or data.champion["id"]
    names = (data.row["name"], f"champion {label}")
    curves = (data.row["curves"], data.champion.get("curves") or {})
    result = compare_errors(*curves, names=names)
    return ReportFigure(
        "champion",
        plot_champion(*curves, names=names),
        f"Comparison with the champion, error over time and energy spectrum: {result}.",
        f"nRMSE against time and energy against wavenumber of {' and '.join(names)}. {result}.",
    )


def plot_champion(run: Curves, champion: Curves, *, names: tuple[str, str]) -> Figure:
    """Plot error against time and energy spectrum of a run and of the champion.

    run, champion: "time" (t,) and "nrmse" (t,), aligned at their ends; "spectrum" (k,) from
    wavenumber 0 on; run: "truth_spectrum" (k,). Any may be missing.
    """
    figure = style.new_figure(10.4, 4.9)
    figure.suptitle(style.plain(compare_errors(run, champion, names=names)), fontsize=11)
    left, right = figure.subplots(1, 2)
    curves = {f"this run: {names[0]}": run, names[1]: champion}
    styles = dict(zip(curves, (style.LINE_STYLES["operator"], CHAMPION_STYLE), strict=True))
    styles["truth"] = style.LINE_STYLES["truth"]
    energies = {"truth": _array(run, "truth_spectrum")}
    energies |= {label: _array(values, "spectrum") for label, values in curves.items()}
    spectrum_panel(right, {k: v for k, v in energies.items() if v.size}, styles)
    errors = {label: _errors(values) for label, values in curves.items()}
    if limits := style.finite_range([error for _, error in errors.values()], positive=True):
        low, high = limits[0] / 1.3, 1.3 * min(limits[1], max(MAX_NRMSE_SHOWN, 10 * limits[0]))
        left.set_yscale("log")
        left.set_ylim(low, high)
        style.log_ticks(left.yaxis, low, high, most=6)
    for label, (times, error) in errors.items():
        style.draw_curve(left, times, error, styles[label], label)
    style.format_axes(left, style.TIME, "nRMSE", "error over time")
    style.format_axes(right, right.get_xlabel(), right.get_ylabel(), "energy spectrum")
    for ax in (ax for ax in (left, right) if not ax.lines):
        ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center")
    style.legend_below(figure, [left, right])
    return figure


def _array(curves: Curves, name: str) -> np.ndarray:
    """Convert a list, None for values that are not finite, to an array (n,); empty without it."""
    return np.asarray([np.nan if v is None else v for v in curves.get(name) or ()], float)


def _errors(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Return times and errors (n,), aligned at their ends."""
    times, errors = _array(curves, "time"), _array(curves, "nrmse")
    count = min(times.size, errors.size)
    return times[times.size - count :], errors[errors.size - count :]


def compare_errors(run: Curves, champion: Curves, *, names: tuple[str, str]) -> str:
    """Compare both errors, in words, at the last time that both have."""
    both = [_errors(curves) for curves in (run, champion)]
    time = min((times[-1] for times, _ in both if times.size), default=0.0)
    if not all(times.size and times[0] <= time for times, _ in both):
        return f"{names[0]} and {names[1]}: no time at which both errors are known"
    ends = [float(np.interp(time, *pair)) for pair in both]
    at = f"At t = {time:.3g}"
    if not np.isfinite(ends).all():
        lost = " and ".join(n for n, end in zip(names, ends, strict=True) if not np.isfinite(end))
        return f"{at} the error of {lost} is not finite"
    low, high = int(np.argmin(ends)), int(np.argmax(ends))
    less, more = style.format_number(ends[low]), style.format_number(ends[high])
    if ends[low] == ends[high]:
        return f"{at} both have an nRMSE of {less}"
    saved = style.format_number(100 * (1 - ends[low] / ends[high]))
    better, worse = names[low], names[high]
    return f"{at} the nRMSE of {better}, {less}, is {saved} % below that of {worse}, {more}"
