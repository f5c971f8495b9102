"""Animations of examples in the plane: truth, prediction and error in time, as GIF files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter

from ups_jax.report import style
from ups_jax.report.data import ReportData, ReportFigure
from ups_jax.report.fields import (
    axis_of,
    channel_names,
    draw_image,
    error_text,
    layers_of,
    middle_plane,
    protocol_note,
)

ANIMATED = ("median", "worst")
"""First words of the labels of animated examples."""
FRAMES = 20
"""Most frames of an animation, evenly spaced in time: a file of about a megabyte."""
GIF_DPI = 60
"""Pixels per inch of one channel; files of several channels have as many in all."""


def animate_forecast(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    times: np.ndarray,
    extent: Sequence[float] | None = None,
    channels: Sequence[str] = (),
    title: str = "",
) -> bytes:
    """Return a GIF of truth, prediction and error, both (t, x, y, c); one row of panels a channel.

    Colours and their limits are those of `plot_forecast`.
    """
    axis, names = axis_of(truth, times, extent), channel_names(truth, channels)
    box = (0.0, axis.lengths[0], 0.0, axis.lengths[1])
    figure = style.new_figure(8.0, 0.4 + 2.8 * len(names))
    heading = figure.suptitle(f"{style.plain(title)}, t = {times[-1]:.3g}", fontsize=10)
    grid = figure.subplots(len(names), 3, squeeze=False)
    drawn = []
    for channel, (name, row) in enumerate(zip(names, grid, strict=True)):
        for ax, layer in zip(
            row, layers_of(truth[..., channel], prediction[..., channel], name), strict=True
        ):
            image = draw_image(ax, layer.values[0], layer, box)
            ax.set_axis_off()  # ticks and colour bars would take most of the time
            ax.set_title(layer.name if len(names) == 1 else f"{layer.name}, {name}", fontsize=9)
            drawn.append((image, layer.values))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the same for all frames

    def draw(frame: int) -> None:
        heading.set_text(f"{style.plain(title)}, t = {times[frame]:.3g}")
        for image, values in drawn:
            image.set_data(np.ma.masked_invalid(values[frame].T))

    frames = np.unique(np.linspace(0, len(truth) - 1, FRAMES).round().astype(int))
    animation = FuncAnimation(figure, draw, frames=frames.tolist(), init_func=lambda: None)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "forecast.gif"
        animation.save(path, writer=PillowWriter(fps=6), dpi=GIF_DPI / len(names) ** 0.5)
        return path.read_bytes()


def example_animations(data: ReportData) -> Iterator[ReportFigure]:
    """Yield an animation of the median and of the worst example, in 3D of the middle plane."""
    report, selected = data.evaluation, data.selected
    if not {"truth", selected} <= report.examples.keys():
        return
    truths, predictions = (np.asarray(report.examples[k], float) for k in ("truth", selected))
    times = report.example_times
    if truths.ndim < 5 or len(times) < 2:
        return
    for i, label in enumerate(report.labels):
        if not label.startswith(ANIMATED):
            continue
        truth, prediction = truths[i, 1:], predictions[i]
        content = animate_forecast(
            middle_plane(truth),
            middle_plane(prediction),
            times=times,
            extent=data.extent and data.extent[:2],
            channels=data.channels,
            title=f"{selected}{protocol_note(report)}, {label}",
        )
        result = error_text(truth, prediction, times)
        yield ReportFigure(
            f"animation_{i}",
            content,
            f"{label} in time: truth, {selected} forecast and error, with the colours above.",
            f"Animation of truth, {selected} forecast and error of {label}: {result}.",
        )
