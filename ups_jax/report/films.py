"""Plots and films of trajectories and reports, for scripts and notebooks."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import jax
import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ups_jax.evaluate import Report
from ups_jax.report import style
from ups_jax.report.curves import plot_errors
from ups_jax.report.fields import FIELD_COLORS, middle_plane
from ups_jax.types import Trajectories


def plot(data: Report | Trajectories, *, samples: int = 3) -> Figure:
    """Plot the error of a report over time, or the first trajectories as one panel a channel.

    1D: u(x, t), time to the right; 2D and the middle plane of 3D: the first trajectory at `samples`
    times from first to last. Raises ValueError on other data, and on a report without curves of the
    nRMSE.
    """
    _require(data, (Report, Trajectories), "a report or trajectories")
    if isinstance(data, Trajectories):
        figure = _plot_trajectories(data, samples)
    elif any(key.endswith("nrmse") for key in data.curves):
        figure = plot_errors(data.curves, np.asarray(data.times, float))
    else:
        raise ValueError("the report has no curves of the nRMSE; evaluate with the metric 'nrmse'")
    # A notebook shows the figure as a cell's result, whether or not pyplot was imported.
    vars(figure)["_repr_png_"] = partial(style.to_image, figure)
    return figure


def animate(
    data: Trajectories | Mapping[str, ArrayLike],
    path: str | Path,
    *,
    sample: int = 0,
    channel: int = 0,
    fps: float = 10,
) -> Path:
    """Write one channel as a GIF of all frames; return its path.

    `data` are trajectories, whose number `sample` is drawn, or fields (t, *s, c) by name, such as
    {"truth": ..., "operator": ...}, of equal shapes. 1D gives curves, 2D images, 3D middle
    planes. Raises ValueError on other data, on unequal shapes and on a path that does not end in
    .gif.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".gif":
        raise ValueError(f"{path} is no GIF; name a file that ends in .gif")
    _require(data, (Trajectories, Mapping), "trajectories, or fields (t, *s, c) by name")
    single = isinstance(data, Trajectories)
    named = {f"sample {sample}": data.u[sample]} if single else dict(data)
    fields = {name: middle_plane(np.asarray(u, float))[..., channel] for name, u in named.items()}
    shapes = {name: u.shape for name, u in fields.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) not in (2, 3):
        raise ValueError(f"fields without their channel are {shapes}; expected equal (t, *s)")
    times = data.dt * np.arange(data.u.shape[1]) if single else None
    figure = style.new_figure(3.6 * len(fields) if fields[next(iter(fields))].ndim == 3 else 6, 3.8)
    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = PillowWriter(fps=round(fps))
    with writer.saving(figure, path, dpi=80):
        for frame in _draw_frames(figure, fields):
            label = f"frame {frame}" if times is None else f"t = {times[frame]:.3g}"
            figure.suptitle(label, fontsize=11)
            writer.grab_frame()
    return path


def _require(data: object, kinds: tuple[type, ...], allowed: str) -> None:
    """Raise ValueError on data of another type, with the call that takes an array."""
    if not isinstance(data, kinds):
        shape = f" of shape {data.shape}" if isinstance(data, np.ndarray | jax.Array) else ""
        raise ValueError(
            f"got {type(data).__name__}{shape}; expected {allowed}; wrap fields (n, t, *s, c) as "
            "ups.Trajectories(u, dt=...)"
        )


def _plot_trajectories(data: Trajectories, samples: int) -> Figure:
    """Plot space-time panels (1D), or snapshots of the first trajectory (2D, 3D)."""
    u = np.asarray(
        data.u[:samples] if data.ndim == 1 else middle_plane(np.asarray(data.u[0])), float
    )
    frames = data.u.shape[1]
    if data.ndim == 1:
        panels = {f"sample {i}": field for i, field in enumerate(u)}
        box = (0, (frames - 1) * data.dt or 1, 0, data.extent[0])
        labels = (style.TIME, "position x")
    else:
        chosen = np.unique(np.linspace(0, frames - 1, samples).round().astype(int))
        panels = {f"t = {i * data.dt:.3g}": u[i] for i in chosen}
        box, labels = (0, data.extent[0], 0, data.extent[1]), ("position x", "position y")
    rows, columns, aspect = len(data.channels), len(panels), "auto" if data.ndim == 1 else "equal"
    figure = style.new_figure(3.2 * columns + 0.8, 2.7 * rows + 0.3)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for channel, row in enumerate(grid):
        low, high = style.finite_range([p[..., channel] for p in panels.values()]) or (0.0, 1.0)
        image = None
        for ax, (name, field) in zip(row, panels.items(), strict=True):
            image = ax.imshow(
                np.ma.masked_invalid(field[..., channel].T), extent=box, origin="lower",
                cmap=FIELD_COLORS, vmin=low, vmax=high, aspect=aspect,
            )  # fmt: skip
            if channel == 0:
                ax.set_title(name, fontsize=10)
            if channel == rows - 1:
                ax.set_xlabel(labels[0])
        row[0].set_ylabel(labels[1])
        if image:
            figure.colorbar(image, ax=list(row), label=style.plain(data.channels[channel]))
    return figure


def _draw_frames(figure: Figure, fields: Mapping[str, np.ndarray]) -> Iterator[int]:
    """Draw each frame of fields (t, *s) on the figure in turn, and yield its number."""
    first = next(iter(fields.values()))
    curves = first.ndim == 2
    axes = np.ravel(np.asarray(figure.subplots(1, 1 if curves else len(fields))))
    low, high = style.padded_range(first) if curves else style.finite_range([first]) or (0.0, 1.0)
    styles, artists = style.line_styles(fields), {}
    for i, (name, field) in enumerate(fields.items()):
        ax = axes[0 if curves else i]
        if curves:
            (artists[name],) = ax.plot(
                field[0], color=styles[name].color, linestyle=styles[name].dash,
                label=style.plain(name),
            )  # fmt: skip
            ax.set_ylim(low, high)
            style.format_axes(ax, "grid point, x")
        else:
            artists[name] = ax.imshow(
                field[0].T, origin="lower", cmap=FIELD_COLORS, vmin=low, vmax=high
            )
            ax.set_title(style.plain(name), fontsize=10)
    if curves:
        style.legend_below(figure, axes)
    for frame in range(len(first)):
        for name, field in fields.items():
            if curves:
                artists[name].set_ydata(field[frame])
            else:
                artists[name].set_data(np.ma.masked_invalid(field[frame].T))
        yield frame
