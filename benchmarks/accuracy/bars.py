"""Figure of errors by scenario: a group of bars for each, on a logarithmic axis."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure


def draw_bars(
    table: Mapping[str, Mapping[str, float]],
    labels: Sequence[str],
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Return the figure of {scenario: {label: GMean100}}; `colors` of some labels."""
    figure = Figure(figsize=(max(7.0, 1.5 + 1.3 * len(table)), 4.5), layout="constrained")
    ax, width = figure.subplots(), 0.85 / len(labels)
    # No two bars of one color: of twenty, the strong ones come first.
    palette = colormaps["tab20"].colors  # pyright: ignore[reportAttributeAccessIssue]
    free = cycle([*palette[::2], *palette[1::2]])
    for i, label in enumerate(labels):
        at = [j for j, values in enumerate(table.values()) if label in values]
        heights = [values[label] for values in table.values() if label in values]
        middle = np.array(at) + (i - len(labels) / 2 + 0.5) * width
        ax.bar(middle, heights, width, label=label, color=(colors or {}).get(label) or next(free))
    ax.set_yscale("log")
    ax.set_xticks(range(len(table)), [name.replace("_diff_", "\n") for name in table], fontsize=8)
    ax.set_ylabel("GMean100 of nRMSE (lower is better)")
    figure.legend(fontsize=7, ncols=4, loc="outside upper center")
    ax.grid(True, axis="y", color="0.9")
    ax.set_axisbelow(True)
    return figure
