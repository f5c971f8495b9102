"""Static inputs of examples: masks, topography, coefficients."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from ups_jax.report import style
from ups_jax.report.data import ReportData, ReportFigure
from ups_jax.report.fields import axis_of, channel_names, draw_image, layers_of, middle_plane


def static_inputs(data: ReportData) -> Iterator[ReportFigure]:
    """Yield, for each example, its static channels, which are given and not predicted."""
    fields = np.asarray(data.evaluation.examples.get("static", ()), float)
    for i, (field, label) in enumerate(zip(fields, data.evaluation.labels, strict=False)):
        names = channel_names(field, data.static)
        figure = plot_static(field, extent=data.extent, channels=names, title=label)
        listed = ", ".join(names)
        yield ReportFigure(
            f"static_{i}",
            figure,
            f"{label}: static inputs, which do not change in time.",
            f"Static inputs of {label}: {listed}.",
        )


def plot_static(
    fields: np.ndarray,
    *,
    extent: Sequence[float] | None = None,
    channels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Plot static fields (*s, k) side by side: curves in 1D, images in 2D, middle planes in 3D."""
    axis, names = axis_of(fields[None], None, extent), channel_names(fields, channels)
    fields = middle_plane(fields[None])[0]
    tall = np.clip(axis.lengths[:2][-1] / axis.lengths[0], 0.4, 2.0) if fields.ndim == 3 else 0.7
    figure = style.new_figure(0.6 + 3.4 * len(names), 0.9 + 2.9 * tall)
    figure.suptitle(style.plain(title), fontsize=11)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for channel, (name, ax) in enumerate(zip(names, panels, strict=True)):
        values = fields[..., channel]
        style.format_axes(ax, axis.space_label.format("x"), title=style.plain(name))
        if fields.ndim == 2:
            ax.plot((np.arange(len(values)) + 0.5) / len(values) * axis.lengths[0], values)
            continue
        ax.grid(False)
        layer = layers_of(values, values)[0]
        image = draw_image(ax, values, layer, (0, axis.lengths[0], 0, axis.lengths[1]))
        ax.set_ylabel(axis.space_label.format("y"))
        figure.colorbar(image, ax=ax, pad=0.02)
    return figure
