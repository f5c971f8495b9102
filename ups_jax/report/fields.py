"""Pictures of fields: truth, prediction and error in space-time, snapshots and profiles."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from ups_jax.report.style import (
    TIME,
    draw,
    format_axes,
    legend_below,
    line_styles,
    new_figure,
    number,
    plain,
    span,
    to_png,
)

FIELD = matplotlib.colormaps["cividis"].with_extremes(bad="0.8")
ERROR = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.8")
SNAPSHOTS, PROFILES = 4, 3


class Axis(NamedTuple):
    """Times (t,), the box of the field (x, or x and y lengths), and what the labels say."""

    times: np.ndarray
    lengths: tuple[float, ...]
    time: str
    place: str


class Layer(NamedTuple):
    """One of truth, prediction and error: its values (t, *s), colours and their limits."""

    name: str
    values: np.ndarray
    limits: tuple[float, float]
    colors: Colormap

    @property
    def overflow(self) -> str:
        """Which ends of the colour bar hide larger values, in matplotlib's words."""
        low, high = span([self.values]) or self.limits
        slack = 0.02 * (self.limits[1] - self.limits[0])
        below, above = low < self.limits[0] - slack, high > self.limits[1] + slack
        return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]


def plot_forecast(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    times: ArrayLike | None = None,
    extent: Sequence[float] | None = None,
    title: str = "",
) -> Figure:
    """Truth, prediction and their difference; both (t, *s, c), one or two space axes.

    times: (t,), evenly spaced; extent: length of each space axis. Without them the axes count
    frames and grid points. 1D gives space-time panels, 2D snapshots; one block of panels a channel.
    Truth and prediction share the truth's colour scale. Raises ValueError where the shapes differ.
    """
    true, pred = np.asarray(truth, float), np.asarray(prediction, float)
    if true.shape != pred.shape or true.ndim not in (3, 4):
        raise ValueError(
            f"truth {true.shape} and prediction {pred.shape} must be one shape, (t, *s, c) with "
            "one or two space axes; a truth with its given frame needs truth[1:]"
        )
    axis = _axis(true, times, extent)
    one_dimensional, channels = true.ndim == 3, true.shape[-1]
    tall = np.clip(axis.lengths[-1] / axis.lengths[0], 0.4, 2.0)
    block_height = 2.9 if one_dimensional else 0.6 + 5.2 * tall
    figure = new_figure(10.5 if one_dimensional else 9.6, 0.6 + block_height * channels)
    outcome_ = outcome(true, pred, axis.times)
    figure.suptitle(plain(f"{title}: {outcome_}" if title else outcome_), fontsize=11)
    blocks = np.ravel(np.asarray(figure.subfigures(channels, 1)))
    for channel, block in enumerate(blocks):
        layers = _layers(true[..., channel], pred[..., channel])
        (_space_time if one_dimensional else _snapshots)(block, layers, axis)
    # A notebook shows the figure by itself, whether or not pyplot was imported.
    vars(figure)["_repr_png_"] = partial(to_png, figure)
    return figure


def profiles(
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    *,
    times: np.ndarray,
    extent: Sequence[float] | None = None,
    title: str = "",
) -> Figure:
    """u(x) of the truth and of each prediction at three times: the shape of shocks. (t, x, c)."""
    axis, channels = _axis(truth, times, extent), truth.shape[-1]
    figure = new_figure(10.5, 0.8 + 2.9 * channels)
    figure.suptitle(plain(title), fontsize=11)
    frames = np.linspace(0, len(truth) - 1, PROFILES + 1).round().astype(int)[1:]
    grid = figure.subplots(channels, PROFILES, sharex=True, sharey="row", squeeze=False)
    x = (np.arange(truth.shape[1]) + 0.5) / truth.shape[1] * axis.lengths[0]
    colors = line_styles(["truth", *predictions])
    for channel, row in enumerate(grid):
        low, high = span([truth[frames, :, channel]]) or (0.0, 1.0)
        room = 0.25 * (high - low) or 0.5
        row[0].set_ylim(low - room, high + room)
        for ax, frame in zip(row, frames, strict=True):
            format_axes(ax, axis.place.format("x"), title=f"t = {axis.times[frame]:.3g}")
            for mode, field in {"truth": truth, **predictions}.items():  # truth below
                shown = np.where(np.isfinite(field), field, np.nan)[frame, :, channel]
                note = "" if np.isfinite(field).all() else " (diverged)"
                draw(ax, x, shown, colors[mode]._replace(marker=""), mode + note)
        row[0].set_ylabel("u" if channels == 1 else f"channel {channel}")
    legend_below(figure, grid[0])
    return figure


def nrmse(truth: np.ndarray, prediction: np.ndarray) -> float:
    """nRMSE a frame and channel, then averaged, as the metric of that name. (t, *s, c) -> ()."""
    space = tuple(range(1, truth.ndim - 1))
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt(np.mean((prediction - truth) ** 2, axis=space))
        size = np.sqrt(np.mean(truth**2, axis=space))
        return float(np.mean(error / np.maximum(size, np.finfo(np.float32).tiny)))


def outcome(truth: np.ndarray, prediction: np.ndarray, times: np.ndarray) -> str:
    """A title's last words: the nRMSE, or the time from which the prediction is not finite."""
    finite = np.isfinite(prediction).reshape(len(prediction), -1).all(axis=1)
    if not finite.all():
        return f"diverged at t = {times[np.argmin(finite)]:.3g} (grey: not finite)"
    return f"nRMSE {number(nrmse(truth, prediction))}"


def _axis(truth: np.ndarray, times: ArrayLike | None, extent: Sequence[float] | None) -> Axis:
    when = np.arange(1, len(truth) + 1) if times is None else np.asarray(times, float)
    if when.shape != truth.shape[:1]:
        raise ValueError(f"times {when.shape} must hold one time a frame, {truth.shape[:1]}")
    lengths = tuple(map(float, truth.shape[1:-1] if extent is None else extent))
    if len(lengths) != truth.ndim - 2:
        raise ValueError(f"extent {lengths} must hold one length a space axis, {truth.ndim - 2}")
    time = "saved frame" if times is None else TIME
    return Axis(when, lengths, time, "grid point, {}" if extent is None else "position {}")


def _layers(truth: np.ndarray, pred: np.ndarray) -> tuple[Layer, Layer, Layer]:
    """The three pictures of one channel; the error has a scale of its own, around zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = pred - truth
    low, high = span([truth]) or (0.0, 1.0)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    worst = np.abs(span([error]) or (0.0, 0.0)).max()
    half = float(np.clip(worst, 1e-12, 2 * (high - low)))
    return (
        Layer("truth", truth, (low, high), FIELD),
        Layer("prediction", pred, (low, high), FIELD),
        Layer("error", error, (-half, half), ERROR),
    )


def _space_time(block: FigureBase, layers: Sequence[Layer], axis: Axis) -> None:
    """Three panels, time to the right and x upward."""
    t = axis.times
    margin = (t[-1] - t[0]) / max(1, len(t) - 1) / 2 or 0.5
    box = (t[0] - margin, t[-1] + margin, 0.0, axis.lengths[0])
    panels = block.subplots(1, 3, sharey=True)
    for i, (ax, layer) in enumerate(zip(panels, layers, strict=True)):
        image = _image(ax, layer.values, layer, box)
        ax.set_aspect("auto")
        ax.set_xlabel(axis.time)
        ax.set_title(layer.name, fontsize=10)
        if i:  # one bar for truth and prediction, one for the error
            at = [ax] if i == 2 else list(panels[:2])
            block.colorbar(image, ax=at, extend=layer.overflow, pad=0.02, aspect=25)
    panels[0].set_ylabel(axis.place.format("x"))


def _snapshots(block: FigureBase, layers: Sequence[Layer], axis: Axis) -> None:
    """Rows truth, prediction and error at up to four times, x to the right and y upward."""
    frames = np.unique(np.linspace(0, len(axis.times) - 1, SNAPSHOTS).round().astype(int))
    grid = block.subplots(3, len(frames), sharex=True, sharey=True, squeeze=False)
    for i, (row, layer) in enumerate(zip(grid, layers, strict=True)):
        image = None
        for ax, frame in zip(row, frames, strict=True):
            image = _image(ax, layer.values[frame], layer, (0, axis.lengths[0], 0, axis.lengths[1]))
            if i == 0:
                sign = "t =" if axis.time == TIME else "frame"
                ax.set_title(f"{sign} {axis.times[frame]:.3g}", fontsize=10)
            if i == 2:
                ax.set_xlabel(axis.place.format("x"))
        row[0].set_ylabel(f"{layer.name}\n{axis.place.format('y')}")
        if i and image:
            at = row if i == 2 else grid[:2].ravel()
            block.colorbar(image, ax=list(at), extend=layer.overflow, pad=0.02)


def _image(
    ax: Axes, values: np.ndarray, layer: Layer, box: tuple[float, float, float, float]
) -> AxesImage:
    """The values (right, up) as an image; what is not finite is grey."""
    low, high = layer.limits
    return ax.imshow(
        np.ma.masked_invalid(values.T), extent=box, origin="lower", cmap=layer.colors,
        vmin=low, vmax=high,
    )  # fmt: skip
