"""Fields of examples: truth, prediction and error in space-time, snapshots and profiles."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from ups_jax.arrays import FLOOR
from ups_jax.evaluate import Report
from ups_jax.report import style
from ups_jax.report.data import ReportData, ReportFigure

FIELD_COLORS = matplotlib.colormaps["cividis"].with_extremes(bad="0.8")
ERROR_COLORS = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.8")
VORTICITY_COLORS = matplotlib.colormaps["PuOr_r"].with_extremes(bad="0.8")
"""Colours of a channel named "vorticity", whose scale is symmetric about zero."""


class Axis(NamedTuple):
    """Times (t,), length of each space axis, and labels; `space_label` has "{}" for its name."""

    times: np.ndarray
    lengths: tuple[float, ...]
    time_label: str
    space_label: str


class Layer(NamedTuple):
    """Truth, prediction or error: its values (t, *s), colours and their limits."""

    name: str
    values: np.ndarray
    limits: tuple[float, float]
    colors: Colormap

    @property
    def overflow(self) -> str:
        """Ends of the colour bar with values beyond its limits, as Matplotlib's `extend`."""
        low, high = style.finite_range([self.values]) or self.limits
        slack = 0.02 * (self.limits[1] - self.limits[0])
        below, above = low < self.limits[0] - slack, high > self.limits[1] + slack
        return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]


def plot_forecast(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    times: ArrayLike | None = None,
    extent: Sequence[float] | None = None,
    channels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Plot truth, prediction and their difference; both (t, *s, c), one to three space axes.

    times: (t,), evenly spaced; extent: length of each space axis. Without them the axes count
    frames and grid points. channels: names of several. 1D gives space-time panels, 2D snapshots, 3D
    those of the plane in the middle of z; one block of panels a channel. Truth and prediction share
    the truth's colour scale. Raises ValueError if the shapes differ.
    """
    true, pred = np.asarray(truth, float), np.asarray(prediction, float)
    if true.shape != pred.shape or true.ndim not in (3, 4, 5):
        raise ValueError(
            f"truth has shape {true.shape} and prediction {pred.shape}; expected one shape "
            "(t, *s, c) with 1 to 3 space axes; drop the given frame of a truth with truth[1:]"
        )
    axis = axis_of(true, times, extent)
    one_dimensional, names = true.ndim == 3, channel_names(true, channels)
    tall = np.clip(axis.lengths[:2][-1] / axis.lengths[0], 0.4, 2.0)
    block_height = 2.9 if one_dimensional else 0.6 + 5.2 * tall
    width = 10.5 if one_dimensional else max(4.5, 2.0 + 1.9 * len(_shown(axis)))
    figure = style.new_figure(width, 0.6 + block_height * len(names))
    result = error_text(true, pred, axis.times)
    if true.ndim == 5:
        result, true, pred = f"{result}, middle of z", middle_plane(true), middle_plane(pred)
    figure.suptitle(style.plain(f"{title}: {result}" if title else result), fontsize=11)
    blocks = np.ravel(np.asarray(figure.subfigures(len(names), 1)))
    for channel, (name, block) in enumerate(zip(names, blocks, strict=True)):
        layers = layers_of(true[..., channel], pred[..., channel], name)
        if len(names) > 1:
            block.suptitle(style.plain(name), fontsize=10)
        (_space_time if one_dimensional else _snapshots)(block, layers, axis)
    # A notebook shows the figure as a cell's result, whether or not pyplot was imported.
    vars(figure)["_repr_png_"] = partial(style.to_image, figure)
    return figure


def plot_profiles(
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    *,
    times: np.ndarray,
    extent: Sequence[float] | None = None,
    title: str = "",
) -> Figure:
    """Plot u(x) of the truth and of each prediction, (t, x, c), at three times."""
    axis, channels = axis_of(truth, times, extent), truth.shape[-1]
    frames, xlabel = style.three_frames(len(truth)), axis.space_label.format("x")
    figure = style.new_figure(10.5, 0.8 + 2.9 * channels)
    figure.suptitle(style.plain(title), fontsize=11)
    grid = figure.subplots(channels, len(frames), sharex=True, sharey="row", squeeze=False)
    x = (np.arange(truth.shape[1]) + 0.5) / truth.shape[1] * axis.lengths[0]
    styles = style.line_styles(["truth", *predictions])
    for channel, row in enumerate(grid):
        row[0].set_ylim(*style.padded_range(truth[frames, :, channel]))
        for ax, frame in zip(row, frames, strict=True):
            style.format_axes(ax, xlabel, title=f"t = {axis.times[frame]:.3g}")
            for name, field in {"truth": truth, **predictions}.items():  # truth below
                values = np.where(np.isfinite(field), field, np.nan)[frame, :, channel]
                note = "" if np.isfinite(field).all() else " (diverged)"
                if name == "truth" and note:
                    # Points without a value have no neighbour to draw a line to.
                    ax.plot(x, values, ".", color=styles[name].color, label="truth (observed)")
                    continue
                style.draw_curve(ax, x, values, styles[name]._replace(marker=""), name + note)
        row[0].set_ylabel("u" if channels == 1 else f"channel {channel}")
    style.legend_below(figure, grid[0])
    return figure


def example_forecasts(data: ReportData) -> Iterator[ReportFigure]:
    """Yield, for each example, the selected forecast with the truth; in 1D also profiles."""
    report, selected, extent = data.evaluation, data.selected, data.extent
    examples = {name: np.asarray(field, float) for name, field in report.examples.items()}
    if not {"truth", selected} <= examples.keys():
        return
    times = report.example_times
    for i, label in enumerate(report.labels):
        truth, pred = examples["truth"][i, 1:], examples[selected][i]
        title = f"{selected}{protocol_note(report)}, {label}"
        figure = plot_forecast(
            truth, pred, times=times, extent=extent, channels=data.channels, title=title
        )
        yield ReportFigure(
            f"forecast_{i}",
            figure,
            f"{label}: truth and prediction share one colour scale, the error has its own.",
            f"Truth, {selected} forecast and error of {label}: {error_text(truth, pred, times)}.",
        )
        if truth.ndim != 3:
            continue
        names = [name for name in dict.fromkeys((selected, "solver")) if name in examples]
        predictions = {name: examples[name][i] for name in names}
        title = f"{label}{protocol_note(report)}"
        figure = plot_profiles(truth, predictions, times=times, extent=extent, title=title)
        yield ReportFigure(
            f"profile_{i}",
            figure,
            f"{label}: the field along x at three times.",
            f"Profiles of truth and {', '.join(names)} of {label} at three times.",
        )


def protocol_note(report: Report) -> str:
    """Return the protocol of the examples for a title, if it is not P1."""
    return "" if report.protocol == "p1" else f" ({report.protocol.upper()})"


def nrmse(truth: np.ndarray, prediction: np.ndarray) -> float:
    """nRMSE of each frame and channel, averaged, as `metrics.nrmse` does. (t, *s, c) -> ().

    NaN in the truth is a missing value, over whose frames and points nothing is averaged.
    """
    space = tuple(range(1, truth.ndim - 1))
    if np.isnan(truth).any():
        return _observed_nrmse(truth, prediction, space)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt(np.mean((prediction - truth) ** 2, axis=space))
        size = np.sqrt(np.mean(truth**2, axis=space))
        std = np.std(truth, axis=(0, *space))
        return float(np.mean(error / np.maximum(size, FLOOR * np.where(std > 0, std, 1.0))))


def _observed_nrmse(truth: np.ndarray, prediction: np.ndarray, space: tuple[int, ...]) -> float:
    seen = ~np.isnan(truth)
    count, known = np.maximum(seen.sum(space), 1), np.where(seen, truth, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt((np.where(seen, prediction - known, 0) ** 2).sum(space) / count)
        size = np.sqrt((known**2).sum(space) / count)
        channels = (truth[..., c][seen[..., c]] for c in range(truth.shape[-1]))
        std = np.array([np.std(values) if values.size else 0.0 for values in channels])
        ratio = error / np.maximum(size, FLOOR * np.where(std > 0, std, 1.0))
        return float(ratio[seen.any(space)].mean())


def error_text(truth: np.ndarray, prediction: np.ndarray, times: np.ndarray) -> str:
    """Return the nRMSE, or the time from which the prediction is not finite, as text."""
    finite = np.isfinite(prediction).reshape(len(prediction), -1).all(axis=1)
    if not finite.all():
        return f"diverged at t = {times[np.argmin(finite)]:.3g} (grey: not finite)"
    return f"nRMSE {style.format_number(nrmse(truth, prediction))}"


def middle_plane(u: np.ndarray) -> np.ndarray:
    """Return a field (t, x, y, z, c) at the middle of z, (t, x, y, c); others as they are."""
    return u[:, :, :, u.shape[3] // 2] if u.ndim == 5 else u


def axis_of(truth: np.ndarray, times: ArrayLike | None, extent: Sequence[float] | None) -> Axis:
    """Return the axes of a field (t, *s, c). Raises ValueError if their numbers differ."""
    values = np.arange(1, len(truth) + 1) if times is None else np.asarray(times, float)
    if values.shape != truth.shape[:1]:
        frames = truth.shape[:1]
        raise ValueError(f"times has shape {values.shape}; expected one time a frame, {frames}")
    lengths = tuple(map(float, truth.shape[1:-1] if extent is None else extent))
    if len(lengths) != truth.ndim - 2:
        raise ValueError(f"extent is {lengths}; expected one length a space axis, {truth.ndim - 2}")
    time_label = "saved frame" if times is None else style.TIME
    space_label = "grid point, {}" if extent is None else "position {}"
    return Axis(values, lengths, time_label, space_label)


def channel_names(truth: np.ndarray, channels: Sequence[str]) -> list[str]:
    """Return the names of the channels of a field (..., c); their numbers where there are none."""
    count = truth.shape[-1]
    return list(channels) if len(channels) == count else [f"channel {i}" for i in range(count)]


def layers_of(truth: np.ndarray, pred: np.ndarray, name: str = "") -> tuple[Layer, Layer, Layer]:
    """Return the layers of channel `name`; the error has a separate scale, around zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = pred - truth
    low, high = style.finite_range([truth]) or (0.0, 1.0)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    colors = FIELD_COLORS
    if name == "vorticity":
        colors, high = VORTICITY_COLORS, max(-low, high)
        low = -high
    worst = np.abs(style.finite_range([error]) or (0.0, 0.0)).max()
    half = float(np.clip(worst, 1e-12, 2 * (high - low)))
    return (
        Layer("truth", truth, (low, high), colors),
        Layer("prediction", pred, (low, high), colors),
        Layer("error", error, (-half, half), ERROR_COLORS),
    )


def _space_time(block: FigureBase, layers: Sequence[Layer], axis: Axis) -> None:
    """Draw the three layers of one channel, time to the right and x upward."""
    t = axis.times
    margin = (t[-1] - t[0]) / max(1, len(t) - 1) / 2 or 0.5
    box = (t[0] - margin, t[-1] + margin, 0.0, axis.lengths[0])
    panels = block.subplots(1, 3, sharey=True)
    for i, (ax, layer) in enumerate(zip(panels, layers, strict=True)):
        image = draw_image(ax, layer.values, layer, box)
        ax.set_aspect("auto")
        ax.set_xlabel(axis.time_label)
        ax.set_title(layer.name, fontsize=10)
        if i:  # one bar for truth and prediction, one for the error
            axes = [ax] if i == 2 else list(panels[:2])
            block.colorbar(image, ax=axes, extend=layer.overflow, pad=0.02, aspect=25)
    panels[0].set_ylabel(axis.space_label.format("x"))


def _shown(axis: Axis) -> np.ndarray:
    """Return up to four frames, evenly spaced."""
    return np.unique(np.linspace(0, len(axis.times) - 1, 4).round().astype(int))


def _snapshots(block: FigureBase, layers: Sequence[Layer], axis: Axis) -> None:
    """Draw rows of truth, prediction and error at up to four times, x to the right, y upward."""
    frames = _shown(axis)
    grid = block.subplots(3, len(frames), sharex=True, sharey=True, squeeze=False)
    for i, (row, layer) in enumerate(zip(grid, layers, strict=True)):
        image = None
        for ax, frame in zip(row, frames, strict=True):
            image = draw_image(
                ax, layer.values[frame], layer, (0, axis.lengths[0], 0, axis.lengths[1])
            )
            if i == 0:
                prefix = "t =" if axis.time_label == style.TIME else "frame"
                ax.set_title(f"{prefix} {axis.times[frame]:.3g}", fontsize=10)
            if i == 2:
                ax.set_xlabel(axis.space_label.format("x"))
        row[0].set_ylabel(f"{layer.name}\n{axis.space_label.format('y')}")
        if i and image:
            axes = row if i == 2 else grid[:2].ravel()
            block.colorbar(image, ax=list(axes), extend=layer.overflow, pad=0.02)


def draw_image(
    ax: Axes, values: np.ndarray, layer: Layer, box: tuple[float, float, float, float]
) -> AxesImage:
    """Draw values (right, up) as an image, grey where they are not finite."""
    low, high = layer.limits
    return ax.imshow(
        np.ma.masked_invalid(values.T), extent=box, origin="lower", cmap=layer.colors,
        vmin=low, vmax=high,
    )  # fmt: skip
