"""Error, energy spectrum and conserved quantities of every forecaster over time."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ups_jax.report import style
from ups_jax.report.data import ReportData, ReportFigure

Curves = Mapping[str, np.ndarray]

MAX_NRMSE_SHOWN = 20.0
PROTOCOL_TITLES = {
    "nrmse": "P1: from the initial condition",
    "p10/nrmse": "P10: after 10 context frames",
}


def by_forecaster(curves: Curves, name: str) -> dict[str, np.ndarray]:
    """Return the curves "<forecaster>/<name>" by forecaster, in their given order."""
    keys = (key.partition("/") for key in curves)
    forecasters = [forecaster for forecaster, _, rest in keys if rest == name]
    return {f: np.asarray(curves[f"{f}/{name}"], float) for f in forecasters}


def percentiles(samples: np.ndarray) -> np.ndarray:
    """10th, 50th and 90th percentile over samples; samples: (n, t) -> (3, t).

    A diverged sample counts as an infinite error; a percentile that falls on it is nan.
    """
    finite = np.isfinite(samples) & (np.abs(samples) < style.HUGE)
    ranks = np.quantile(np.where(finite, samples, 1e300), [0.1, 0.5, 0.9], axis=0)
    return np.where(ranks < style.HUGE, ranks, np.nan)


def divergence_note(samples: np.ndarray, times: np.ndarray) -> str:
    """Legend suffix for a forecaster with diverged samples (n, t) at times (t,); else ""."""
    diverged = ~np.isfinite(samples)
    if not diverged.any():
        return ""
    majority = diverged.mean(axis=0) >= 0.5
    if majority.any():
        return f" (diverged, from t = {times[np.argmax(majority)]:.3g})"
    return f" ({int(diverged.any(axis=1).sum())} of {len(diverged)} samples diverged)"


def error_over_time(data: ReportData) -> ReportFigure | None:
    """Return the figure of nRMSE against time."""
    curves, counts = dict(data.evaluation.curves), {}
    for name, error in _errors_of_first_samples(data).items():
        if f"{name}/nrmse" not in curves:
            curves[f"{name}/nrmse"], counts[name] = error, len(error)
    errors = by_forecaster(curves, "nrmse") or by_forecaster(curves, "p10/nrmse")
    # A single frame, of a static problem, has no curve.
    if not errors or next(iter(errors.values())).shape[1] < 2:
        return None
    medians = {name: float(np.median(error[:, -1])) for name, error in errors.items()}
    last = ", ".join(f"{name} {style.format_number(value)}" for name, value in medians.items())
    return ReportFigure(
        "error_over_time",
        plot_errors(curves, np.asarray(data.evaluation.times, float), counts=counts),
        "Error against time: median over test samples, band from the 10th to the 90th "
        "percentile. A cross marks the last finite value of a forecaster. An ensemble is scored by "
        "the mean of its members; a forecaster with a number of samples ran on the first, and "
        "has no band.",
        f"nRMSE against time; median at the last time: {last}.",
    )


def _errors_of_first_samples(data: ReportData) -> dict[str, np.ndarray]:
    """Return the nRMSE (n, t) of ensembles and search, which run on the first n samples."""
    curves = {} if data.ensembles is None else by_forecaster(data.ensembles.curves, "nrmse")
    search = {} if data.search is None else data.search.curves
    return curves | {name: np.asarray(search[name], float) for name in ("ttc",) if name in search}


def plot_errors(
    curves: Curves, times: np.ndarray, *, counts: Mapping[str, int] | None = None
) -> Figure:
    """Plot median nRMSE with its 10-90 % band, every forecaster; one panel for P1, one for P10.

    curves: "<forecaster>/nrmse" and "<forecaster>/p10/nrmse" (n, t), at the last t of times;
    counts: samples of forecasters that ran on fewer than all.
    """
    panels = {name: errors for name in PROTOCOL_TITLES if (errors := by_forecaster(curves, name))}
    figure = style.new_figure(9.6 if len(panels) > 1 else 7.2, 4.8)
    grid = figure.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0]
    ranks = {(n, f): percentiles(e) for n, errors in panels.items() for f, e in errors.items()}
    low, high = _error_limits(list(ranks.values()))
    styles = style.line_styles(forecaster for _, forecaster in ranks)
    for ax, (name, errors) in zip(grid, panels.items(), strict=True):
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        for forecaster, samples in errors.items():
            t, line = times[-samples.shape[1] :], styles[forecaster]
            lower, median, upper = ranks[name, forecaster]
            # An infinite upper percentile with a finite median: the band leaves the frame.
            upper = np.where(np.isnan(upper) & ~np.isnan(median), 10 * high, upper)
            few = (counts or {}).get(forecaster) if name == "nrmse" else None
            if not few:  # fewer, overlapping bands
                ax.fill_between(t, lower, upper, color=line.color, alpha=0.15, linewidth=0)
            note = f" ({few} samples)" if few else ""
            label = forecaster + note + divergence_note(samples, t)
            style.draw_curve(ax, t, median, line, label)
        style.format_axes(ax, style.TIME, title=PROTOCOL_TITLES[name])
    grid[0].set_ylabel("nRMSE (median; band: 10-90 % of samples)")
    style.legend_below(figure, grid)
    return figure


def _error_limits(ranks: Sequence[np.ndarray]) -> tuple[float, float]:
    lowest, highest = style.finite_range(ranks, positive=True) or (1e-3, 1.0)
    high = max(min(highest, MAX_NRMSE_SHOWN), 3 * min(lowest, MAX_NRMSE_SHOWN)) * 1.3
    return max(min(lowest, MAX_NRMSE_SHOWN) / 1.3, high * 1e-8), high


def spectra(data: ReportData) -> ReportFigure | None:
    """Return the figure of energy spectra at the last time."""
    curves, times = data.evaluation.curves, data.evaluation.times
    energies = by_forecaster(curves, "spectrum")
    if not energies:
        return None
    return ReportFigure(
        "spectra",
        plot_spectra(curves, float(times[-1])),
        "Energy at each wavenumber, averaged over samples, at the last time.",
        f"Energy spectra of {', '.join(energies)} at the last time, both axes logarithmic.",
    )


def plot_spectra(curves: Curves, time: float) -> Figure:
    """Plot "<forecaster>/spectrum" (k,) of the truth and of each forecaster at one time."""
    energies = by_forecaster(curves, "spectrum")
    figure = style.new_figure(7.2, 4.8)
    ax = figure.subplots()
    spectrum_panel(ax, energies, style.line_styles(["truth", *energies]))
    ax.set_title(f"spectrum at t = {time:.3g}", fontsize=10, loc="left")
    style.legend_below(figure, [ax])
    return figure


def spectrum_panel(ax: Axes, energies: Curves, styles: Mapping[str, style.LineStyle]) -> None:
    """Draw energies (k,) from wavenumber 1 on, in a frame fitted to the truth's."""
    style.format_axes(ax, "wavenumber k (cycles per domain)", "mean energy E(k)")
    # The log axis has no k = 0.
    energies = {label: energy[1:] for label, energy in energies.items()}
    reference = [energies["truth"]] if "truth" in energies else energies.values()
    low, high = style.finite_range(reference, positive=True) or (1e-12, 1.0)
    low = max(low / 10, high * 1e-16)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(low, high * 10)
    for label, energy in energies.items():
        note = "" if np.isfinite(energy).all() else " (diverged)"
        if not note and energy.size and energy.max() < low:
            note = " (no energy, below the frame)"
        positive = np.where(energy > 0, energy, np.nan)
        style.draw_curve(ax, np.arange(1, 1 + energy.size), positive, styles[label], label + note)


def conserved(data: ReportData) -> ReportFigure | None:
    """Return the figure of conserved and decaying quantities against time."""
    curves = data.evaluation.curves
    laws = sorted({key.split("/law/")[1] for key in curves if "/law/" in key})
    if not laws:
        return None
    return ReportFigure(
        "conserved",
        plot_laws(curves, np.asarray(data.evaluation.times, float)),
        "Quantities that the equation conserves or dissipates, as deviation from the given frame.",
        f"Deviation of {' and '.join(laws)} from the given frame against time.",
    )


def plot_laws(curves: Curves, times: np.ndarray) -> Figure:
    """Plot the deviation of each law's quantity from the given frame, one panel a law.

    curves: "<forecaster>/law/<law>" (3, t+1), the 10th, 50th and 90th percentile over samples.
    """
    laws = list(dict.fromkeys(k.split("/law/")[1] for k in curves if "/law/" in k))
    across = min(3, max(1, len(laws)))
    down = -(-max(1, len(laws)) // across)
    figure = style.new_figure(4.2 * across, 0.6 + 3.2 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for ax in grid[max(1, len(laws)) :]:
        ax.remove()
    grid = grid[: max(1, len(laws))]
    for ax, law in zip(grid, laws, strict=False):
        bands = by_forecaster(curves, f"law/{law}")
        styles = style.line_styles(bands)
        style.format_axes(ax, style.TIME, "change from the given frame", style.plain(law))
        for forecaster, band in bands.items():
            low, median, high = np.where(np.abs(band) < style.HUGE, band, np.nan)
            t, line = times[-median.size :], styles[forecaster]
            note = "" if np.isfinite(median).all() else " (diverged)"
            ax.fill_between(t, low, high, color=line.color, alpha=0.15, linewidth=0)
            style.draw_curve(ax, t, median, line, forecaster + note)
        _scale_law(ax, bands)
    style.legend_below(figure, grid)
    return figure


def _scale_law(ax: Axes, bands: Curves) -> None:
    """Scale linearly; logarithmically beyond the second peak if one forecaster dwarfs the rest."""
    ranges = [style.finite_range([band]) or (0.0, 0.0) for band in bands.values()]
    peaks = sorted(max(abs(low), abs(high)) for low, high in ranges)
    if len(peaks) > 1 and peaks[-1] > 30 * peaks[-2] > 0:
        ax.set_yscale("symlog", linthresh=peaks[-2], linscale=1.5)
        low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
        ax.set_ylim(min(1.5 * low, -0.2 * peaks[-2]), max(1.5 * high, 0.2 * peaks[-2]))
        decades = np.arange(np.ceil(np.log10(peaks[-2])), np.log10(peaks[-1]) + 0.2)
        ticks = 10.0 ** decades[:: 1 + len(decades) // 6]
        ax.set_yticks([t for t in (*-ticks[::-1], 0.0, *ticks) if low <= t <= high])
        title = f"{ax.get_title(loc='left')} (log beyond {peaks[-2]:.1e})"
        ax.set_title(title, fontsize=10, loc="left")
    elif peaks and peaks[-1] == 0:
        ax.set_ylim(-1, 1)
    ax.axhline(0, color="0.6", linewidth=0.8, zorder=0)
