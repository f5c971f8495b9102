"""Plates of what draws members and of what searches, from numpy arrays alone."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ups_jax.report.ensembles import (
    fan,
    rank_histograms,
    reliability_diagram,
    search_analysis,
    spread_against_error,
)
from ups_jax.report.figures import example_rows
from ups_jax.report.page import ReportFigure
from ups_jax.report.style import number, to_png

Arrays = Mapping[str, np.ndarray]


def ensemble_figures(
    curves: Arrays,
    examples: Arrays,
    times: np.ndarray,
    *,
    levels: Sequence[float],
    extent: Sequence[float] | None,
    dpi: int,
) -> Iterator[ReportFigure]:
    """Calibration of every mode that draws, and a fan of the least sure example in one dimension.

    curves: "<mode>/reliability" (levels,), "<mode>/rank" (m + 1,), "<mode>/spread_error" (2, k);
    examples: "truth" (e, t + 1, *s, c), "<mode>" (e, m, t, *s, c); times: (t + 1,).
    """
    observed = example_rows(curves, "reliability")
    modes = ", ".join(observed)
    yield ReportFigure(
        "reliability",
        to_png(reliability_diagram(observed, levels), dpi),
        "How often the truth lies within the members' central intervals: an honest ensemble "
        "follows the diagonal; below it, members are too sure.",
        f"Observed against nominal coverage of {modes}.",
    )
    yield ReportFigure(
        "rank_histogram",
        to_png(rank_histograms(example_rows(curves, "rank")), dpi),
        "How many members lie below the truth: level where truth and members are alike, raised at "
        "both ends where the truth lies outside too often.",
        f"Rank histograms of {modes}.",
    )
    pairs = {
        mode: (both[0], both[1]) for mode, both in example_rows(curves, "spread_error").items()
    }
    yield ReportFigure(
        "spread_error",
        to_png(spread_against_error(pairs), dpi),
        "Does the spread know where the error is? Frames in bins of equal count by their spread.",
        f"Error of the members' mean against their spread, of {modes}.",
    )
    if "truth" not in examples or examples["truth"].ndim != 4 or not len(examples["truth"]):
        return
    spread = [examples[mode].var(1).mean((1, 2, 3)) for mode in observed]
    widest = int(np.argmax(np.nan_to_num(np.sum(spread, axis=0))))
    for mode in observed:
        figure = fan(
            examples["truth"][widest],
            examples[mode][widest],
            times=times,
            extent=extent,
            mode=mode,
            title=f"{mode}, test trajectory {widest}",
        )
        yield ReportFigure(
            f"fan_{mode}",
            to_png(figure, dpi),
            f"Members of {mode}: their central 50 and 90 %, their mean and the truth; below, "
            "where they differ most.",
            f"Fan of {mode} at three times.",
        )


def search_figure(
    curves: Arrays, calls: Mapping[str, int], times: np.ndarray, *, dpi: int
) -> ReportFigure:
    """The search beside its controls.

    curves: "<forecaster>" (n, t), nRMSE, for each of `calls` (a step), among them mean, oracle and
    ttc; "choice" (k,), "reward", "error" (q,); times: (t + 1,).
    """
    cost = {name: (np.array([calls[name]]), np.array([curves[name].mean()])) for name in calls}
    found = curves["ttc"].mean(0)
    gains = {
        label: 1 - found / curves[name].mean(0)
        for label, name in (("mean-of-B", "mean"), ("operator", "operator"))
    }
    figure = search_analysis(
        cost,
        reward=curves["reward"],
        error=curves["error"],
        chosen=curves["choice"],
        gains=gains,
        times=times[1:],
    )
    told = ", ".join(f"{name} {number(float(curves[name].mean()))}" for name in calls)
    return ReportFigure(
        "search_analysis",
        to_png(figure, dpi),
        "What search at test time buys: error against network calls, reward against error of "
        "candidates beside each other, which are chosen, and the gain in time.",
        f"nRMSE of the search and its controls: {told}.",
    )
