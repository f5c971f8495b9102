"""The report of a run: figures and one self-contained report.html, from values alone.

`FIGURES["mine"] = draw` adds a figure: `draw` takes a `ReportData` and returns a `ReportFigure`.
"""

from ups_jax.report.data import ReportData, ReportFigure, Table
from ups_jax.report.fields import plot_forecast
from ups_jax.report.figures import FIGURES
from ups_jax.report.films import animate, plot
from ups_jax.report.page import redraw, write_report
