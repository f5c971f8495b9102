"""How every figure looks: a pen a forecaster, quiet axes, PNG bytes; no state of pyplot's."""

import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

TIME = "time t (dimensionless)"
HUGE = 1e150


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


def line_styles(modes: Iterable[str]) -> dict[str, LineStyle]:
    """A pen for each forecaster: fixed for the known ones, so that figures of two runs compare."""
    modes = list(dict.fromkeys(modes))
    strangers = [mode for mode in modes if mode not in LINE_STYLES]
    spare = {mode: SPARE_STYLES[i % len(SPARE_STYLES)] for i, mode in enumerate(strangers)}
    return {mode: spare.get(mode) or LINE_STYLES[mode] for mode in modes}


def plain(text: str) -> str:
    """Text that matplotlib prints as it is: a dollar sign would start a formula."""
    return str(text).replace("$", r"\$")


def number(value: float | None) -> str:
    """Three significant digits; what is missing or not finite is said in words."""
    if value is None or np.isnan(value):
        return "not a number"
    return f"{value:.3g}" if np.isfinite(value) else "infinite"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, laid out without overlaps."""
    return Figure(figsize=(width, height), layout="constrained")


def format_axes(ax: Axes, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Label an axis pair and take away what carries no information."""
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_title(title, fontsize=10, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, which="major", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)


def draw(ax: Axes, x: np.ndarray, y: np.ndarray, pen: LineStyle, label: str) -> None:
    """One curve; where it stops being finite, a cross stands on its last finite point."""
    every = max(1, len(x) // 8)
    below = 1.5 if pen.width > 3 else 2.5
    ax.plot(
        x, y, color=pen.color, linestyle=pen.dash, linewidth=pen.width, label=plain(label),
        marker=pen.marker, markersize=4.5, markevery=(every // 2, every), zorder=below,
    )  # fmt: skip
    broken = np.flatnonzero(~np.isfinite(y))
    if broken.size and broken[0] > 0:
        end = broken[0] - 1
        ax.plot(x[end], y[end], color=pen.color, marker="x", markersize=10, markeredgewidth=2.5)


def span(values: Iterable[ArrayLike], *, positive: bool = False) -> tuple[float, float] | None:
    """Smallest and largest finite (and positive) value of some arrays; None where there is none."""
    flat = np.concatenate([np.zeros(0), *(np.ravel(np.asarray(v, float)) for v in values)])
    kept = flat[np.isfinite(flat) & (np.abs(flat) < HUGE) & ((flat > 0) | (not positive))]
    return (float(kept.min()), float(kept.max())) if kept.size else None


def legend_below(figure: Figure, panels: Iterable[Axes]) -> None:
    """One legend under all panels, outside the data; a forecaster enters it once."""
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


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
