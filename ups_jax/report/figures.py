"""FIGURES, the figures of a report in the order of the page; a user can add entries to it."""

from collections.abc import Callable, Iterable, Iterator

from ups_jax.report.animation import example_animations
from ups_jax.report.champion import champion
from ups_jax.report.curves import conserved, error_over_time, spectra
from ups_jax.report.data import ReportData, ReportFigure
from ups_jax.report.ensembles import fan, rank_histogram, reliability, spread_error
from ups_jax.report.equations import equation_errors
from ups_jax.report.fields import example_forecasts
from ups_jax.report.gates import gates
from ups_jax.report.inputs import static_inputs
from ups_jax.report.search import search_analysis
from ups_jax.report.training import training

DrawFn = Callable[[ReportData], ReportFigure | Iterable[ReportFigure] | None]

FIGURES: dict[str, DrawFn] = {
    "gates": gates,
    "champion": champion,
    "error_over_time": error_over_time,
    "equation_errors": equation_errors,
    "static_inputs": static_inputs,
    "example_forecasts": example_forecasts,
    "example_animations": example_animations,
    "spectra": spectra,
    "conserved": conserved,
    "training": training,
    "reliability": reliability,
    "rank_histogram": rank_histogram,
    "spread_error": spread_error,
    "fan": fan,
    "search_analysis": search_analysis,
}
"""Functions that return one figure, several, or None if the run lacks what they draw."""


def draw_figures(data: ReportData) -> Iterator[ReportFigure]:
    """Draw every entry of FIGURES that `data` has the values for; ValueError on an equal name."""
    names = set()
    for draw in FIGURES.values():
        drawn = draw(data)
        for figure in [drawn] if isinstance(drawn, ReportFigure) else drawn or ():
            if figure.name in names:
                raise ValueError(
                    f"two figures of the report are named {figure.name!r}; names must be unique: "
                    "rename one"
                )
            names.add(figure.name)
            yield figure
