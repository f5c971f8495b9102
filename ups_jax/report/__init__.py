"""The report of a run: figures and one self-contained report.html, from numpy arrays alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ups_jax.files import write_bytes, write_text
from ups_jax.report.fields import outcome, plot_forecast, profiles
from ups_jax.report.figures import conserved, error_over_time, example_rows, spectra, stages_of
from ups_jax.report.generative import ensemble_figures, search_figure
from ups_jax.report.judgement import (
    champion_report_figure,
    gates_report_figure,
    training_report_figure,
)
from ups_jax.report.page import ReportFigure, Table, render, verdict, with_truth
from ups_jax.report.style import number, to_png

__all__ = [
    "Evidence",
    "ReportFigure",
    "Table",
    "champion_report_figure",
    "ensemble_figures",
    "gates_report_figure",
    "plot_forecast",
    "search_figure",
    "write_report",
]


class Evidence(Protocol):
    """What an evaluation must hold to be reported (`ups_jax.evaluate.Report` does)."""

    @property
    def scalars(self) -> Mapping[str, float]:
        """Keys "eval/<mode>/nrmse", "eval/<mode>/p10/nrmse", "eval/truth/physics/<metric>", ..."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """Columns of the Evaluation Summary, the forecaster first."""
        ...

    @property
    def rows(self) -> Sequence[Sequence[Any]]:
        """Rows of the Evaluation Summary."""
        ...

    @property
    def physics_columns(self) -> Sequence[str]:
        """Columns of the Physics Diagnostics, the forecaster first."""
        ...

    @property
    def physics_rows(self) -> Sequence[Sequence[Any]]:
        """Rows of the Physics Diagnostics."""
        ...

    @property
    def curves(self) -> Mapping[str, np.ndarray]:
        """Keys "<mode>/nrmse" and "<mode>/p10/nrmse", (n, t); "<mode>/spectrum", (k,);

        "<mode>/law/<law>", (3, t+1): 10th, 50th, 90th percentile of the law's deviation.
        """
        ...

    @property
    def examples(self) -> Mapping[str, np.ndarray]:
        """Keys "truth", (m, t+1, *s, c) with the given frame, and "<mode>", (m, t, *s, c)."""
        ...

    @property
    def times(self) -> np.ndarray:
        """Physical times of the truth's frames, (t+1,)."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """What each example is, such as "median sample (id 417)"."""
        ...


def write_report(
    workdir: Path,
    evidence: Evidence,
    *,
    title: str,
    series: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    facts: Sequence[tuple[str, str]],
    stage_columns: Sequence[str],
    stage_rows: Sequence[Sequence[Any]],
    ship: str = "operator",
    extent: Sequence[float] | None = None,
    dpi: int = 110,
    more: Sequence[ReportFigure] = (),
    tables: Sequence[Table] = (),
    ruling: str = "",
    lead: Sequence[Table | ReportFigure] = (),
) -> Path:
    """Write workdir/figures/*.png and, last, workdir/report.html; returns the page's path.

    series: rows of metrics.jsonl; facts: names and values for the top of the page; ship: the
    forecaster the verdict is about; extent: length of each space axis (else grid points); more,
    tables: what stands after the others; ruling, lead: what follows the verdict and its table.
    Every file is replaced at once, so that a reader never meets half of one.
    """
    folder = Path(workdir) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    plates = [*_plates(evidence, series, ship=ship, extent=extent, dpi=dpi), *more]
    for plate in (*plates, *(each for each in lead if isinstance(each, ReportFigure))):
        write_bytes(folder / f"{plate.name}.png", plate.png)
    physics = Table("Physics Diagnostics", evidence.physics_columns, evidence.physics_rows)
    truth = evidence.examples.get("truth")
    text = render(
        title=title,
        sentence=verdict(
            evidence.scalars, ship=ship, grid=() if truth is None else truth.shape[2:-1]
        ),
        ruling=ruling,
        facts=facts,
        lead=lead,
        summary=Table("Evaluation Summary", evidence.columns, evidence.rows),
        plates=plates,
        tables=[
            with_truth(physics, evidence.scalars),
            Table("Stage Summary", stage_columns, stage_rows),
            *tables,
        ],
        config=config,
        ship=ship,
    )
    page = Path(workdir) / "report.html"
    write_text(page, text)
    return page


def _plates(
    evidence: Evidence,
    series: Sequence[Mapping[str, Any]],
    *,
    ship: str,
    extent: Sequence[float] | None,
    dpi: int,
) -> Iterator[ReportFigure]:
    """Every figure there is evidence for, in the order of the page."""
    curves, times = evidence.curves, np.asarray(evidence.times, float)
    if errors := example_rows(curves, "nrmse") or example_rows(curves, "p10/nrmse"):
        last = ", ".join(f"{m} {number(float(np.median(c[:, -1])))}" for m, c in errors.items())
        yield ReportFigure(
            "error_over_time",
            to_png(error_over_time(curves, times), dpi),
            "How the error grows: median over test samples, band from the 10th to the 90th "
            "percentile. A cross marks where a forecaster stops being finite.",
            f"nRMSE against time; median at the last time: {last}.",
        )
    yield from _example_plates(evidence, times, ship=ship, extent=extent, dpi=dpi)
    if modes := example_rows(curves, "spectrum"):
        yield ReportFigure(
            "spectra",
            to_png(spectra(curves, float(times[-1])), dpi),
            "Which scales survive: energy at each wavenumber, averaged over samples, at the last "
            "time.",
            f"Energy spectra of {', '.join(modes)} at the last time, both axes logarithmic.",
        )
    if laws := sorted({key.split("/law/")[1] for key in curves if "/law/" in key}):
        yield ReportFigure(
            "conserved",
            to_png(conserved(curves, times), dpi),
            "What the equation keeps or lets decay, as a deviation from the given frame.",
            f"Deviation of {' and '.join(laws)} from the given frame against time.",
        )
    if stages_of(series):
        yield training_report_figure(series, dpi=dpi)


def _example_plates(
    evidence: Evidence,
    times: np.ndarray,
    *,
    ship: str,
    extent: Sequence[float] | None,
    dpi: int,
) -> Iterator[ReportFigure]:
    """For each example the shipped forecast beside the truth; in 1D, profiles as well."""
    examples = {name: np.asarray(field, float) for name, field in evidence.examples.items()}
    if "truth" not in examples or ship not in examples:
        return
    for i, label in enumerate(evidence.labels):
        truth, pred = examples["truth"][i, 1:], examples[ship][i]
        figure = plot_forecast(
            truth, pred, times=times[1:], extent=extent, title=f"{ship}, {label}"
        )
        said = outcome(truth, pred, times[1:])
        yield ReportFigure(
            f"forecast_{i}",
            to_png(figure, dpi),
            f"{label}: truth and prediction share one colour scale, the error has its own.",
            f"Truth, {ship} forecast and error of {label}: {said}.",
        )
        if truth.ndim == 3:
            shown = {m: examples[m][i] for m in dict.fromkeys((ship, "solver")) if m in examples}
            figure = profiles(truth, shown, times=times[1:], extent=extent, title=label)
            yield ReportFigure(
                f"profile_{i}",
                to_png(figure, dpi),
                f"{label}: the field along x at three times.",
                f"Profiles of truth and {', '.join(shown)} of {label} at three times.",
            )
