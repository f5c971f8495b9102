"""Style of every figure: line styles by forecaster, axes, legends, image files; without pyplot."""

import io
from collections.abc import Iterable
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

TIME = "time t (dimensionless)"
HUGE = 1e150
"""A magnitude from which a forecast counts as diverged."""


class LineStyle(NamedTuple):
    """Colour (safe for colour-blind readers), dash pattern, marker and width of one curve."""

    color: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str
    width: float = 1.7


LINE_STYLES = {
    "truth": LineStyle("#b0b0b0", "-", "", 5.0),  # a broad band: what lies on it stays visible
    "operator": LineStyle("#0072B2", "-", "o"),
    "solver": LineStyle("#D55E00", (0, (5, 2)), "s"),
    "coarse_solver": LineStyle("#8C3A00", (0, (1, 1)), "8"),
    "mean": LineStyle("#808080", (0, (1, 1.6)), "^"),
    "persistence": LineStyle("#3a3a3a", (0, (6, 2, 1, 2)), "v"),
    "diffusion": LineStyle("#CC79A7", (0, (9, 3)), "D"),
    "student": LineStyle("#009E73", (0, (3, 1.5)), "P"),
    "ensemble": LineStyle("#E69F00", (0, (5, 1.5, 1, 1.5, 1, 1.5)), "X"),
    "ttc": LineStyle("#56B4E9", (0, (2, 1)), "*"),
    "hybrid": LineStyle("#882255", (0, (8, 2, 3, 2)), "h"),
}
SPARE_STYLES = (
    LineStyle("#332288", (0, (4, 1, 1, 1)), "<"),
    LineStyle("#117733", (0, (7, 1.5)), ">"),
    LineStyle("#AA4499", (0, (2, 2)), "p"),
    LineStyle("#999933", (0, (1, 1)), "d"),
)


def line_styles(names: Iterable[str]) -> dict[str, LineStyle]:
    """Return a line style by forecaster; those of LINE_STYLES are the same in every figure."""
    names = list(dict.fromkeys(names))
    unknown = [name for name in names if name not in LINE_STYLES]
    spare = {name: SPARE_STYLES[i % len(SPARE_STYLES)] for i, name in enumerate(unknown)}
    return {name: spare.get(name) or LINE_STYLES[name] for name in names}


def plain(text: str) -> str:
    """Escape dollar signs, with which Matplotlib would start a formula."""
    return str(text).replace("$", r"\$")


def format_number(value: float | None) -> str:
    """Format a value with three significant digits; a missing or infinite one in words."""
    if value is None or np.isnan(value):
        return "not a number"
    return f"{value:.3g}" if np.isfinite(value) else "infinite"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sizes in inches, whose layout avoids overlaps."""
    return Figure(figsize=(width, height), layout="constrained")


def format_axes(ax: Axes, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Label the axes; remove the upper and right spines; draw a light grid."""
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_title(title, fontsize=10, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, which="major", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)


def draw_curve(ax: Axes, x: np.ndarray, y: np.ndarray, style: LineStyle, label: str) -> None:
    """Draw y over x; a cross marks the last finite point of a curve that diverges."""
    every = max(1, len(x) // 8)
    zorder = 1.5 if style.width > 3 else 2.5
    ax.plot(
        x, y, color=style.color, linestyle=style.dash, linewidth=style.width, label=plain(label),
        marker=style.marker, markersize=4.5, markevery=(every // 2, every), zorder=zorder,
    )  # fmt: skip
    broken = np.flatnonzero(~np.isfinite(y))
    if broken.size and broken[0] > 0:
        end = broken[0] - 1
        ax.plot(x[end], y[end], color=style.color, marker="x", markersize=10, markeredgewidth=2.5)


def finite_range(
    values: Iterable[ArrayLike], *, positive: bool = False
) -> tuple[float, float] | None:
    """Return the smallest and largest finite (and positive) value of arrays; None without any."""
    flat = np.concatenate([np.zeros(0), *(np.ravel(np.asarray(v, float)) for v in values)])
    kept = flat[np.isfinite(flat) & (np.abs(flat) < HUGE) & ((flat > 0) | (not positive))]
    return (float(kept.min()), float(kept.max())) if kept.size else None


def log_ticks(axis: Axis, low: float, high: float, *, most: int) -> None:
    """Label at most `most` ticks of a log axis: decades, else 1, 2, 5 times them, else any."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    choices = [np.outer(decades, factors).ravel() for factors in ((1,), (1, 2, 5))]
    choices.append(np.asarray(MaxNLocator(most).tick_values(low, high)))
    visible = [ticks[(ticks >= low) & (ticks <= high)] for ticks in choices]
    chosen = next((ticks for ticks in visible if ticks.size >= 3), max(visible, key=np.size))
    axis.set_major_locator(FixedLocator(list(chosen[:: -(-chosen.size // most)])))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(lambda x, _: f"{x:g}")


def legend_below(figure: Figure, panels: Iterable[Axes]) -> None:
    """Add one legend under all panels, with one entry a forecaster."""
    entries = {}
    for ax in panels:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label.partition(" (")[0], (handle, label))
    if not entries:
        return
    handles, labels = zip(*entries.values(), strict=True)
    columns = 5 if max(map(len, labels)) < 14 else 3
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(columns, len(labels)),
        frameon=False, handlelength=4.5, fontsize=9,
    )  # fmt: skip


def to_image(figure: Figure, format: str = "png", *, dpi: int = 110) -> bytes:
    """Render a figure as the bytes of a PNG, PDF or SVG file, the same for equal figures."""
    buffer = io.BytesIO()
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(format)
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(buffer, format=format, dpi=dpi, metadata=undated)
    return buffer.getvalue()


def padded_range(values: np.ndarray) -> tuple[float, float]:
    """Limits of an axis: the range of the values and a quarter of it on both sides."""
    low, high = finite_range([values]) or (0.0, 1.0)
    room = 0.25 * (high - low) or 0.5
    return low - room, high + room


def three_frames(count: int) -> np.ndarray:
    """Indices of three evenly spaced frames of `count`, the last one included."""
    return np.linspace(0, count - 1, 4).round().astype(int)[1:]
