"""Values of a report: what its figures draw from, and the figures and tables of its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from ups_jax.evaluate import Report
from ups_jax.evaluate.beam_search import SearchAnalysis
from ups_jax.evaluate.ensembles import Ensembles
from ups_jax.types import GateVerdict


@dataclass(frozen=True)
class ReportData:
    """Everything a figure can draw from; what a run does not have is None or empty.

    evaluation: forecasts of the test split; selected: the forecaster that the verdict is about;
    series: rows of metrics.jsonl; row, champion: this run and the champion as rows of the
    leaderboard with `name`, `id`, `metrics` and `curves`; extent: length of each space axis (None:
    figures count grid points); channels: names of those predicted; static: of those that are given
    and do not change in time.
    """

    evaluation: Report
    selected: str = "operator"
    series: Sequence[Mapping[str, Any]] = ()
    ensembles: Ensembles | None = None
    search: SearchAnalysis | None = None
    gates: Sequence[GateVerdict] = ()
    row: Mapping[str, Any] = field(default_factory=dict)
    champion: Mapping[str, Any] | None = None
    extent: Sequence[float] | None = None
    channels: Sequence[str] = ()
    static: Sequence[str] = ()


@dataclass(frozen=True)
class ReportFigure:
    """A Matplotlib figure or the bytes of a GIF: file name without ending, caption, alt text."""

    name: str
    figure: Figure | bytes
    caption: str
    alt: str


class Table(NamedTuple):
    """A table as W&B logs it: a title, columns and rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
