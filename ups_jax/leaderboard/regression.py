"""Regressions: a run's metrics against the champion's, and against the median of recent runs."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from ups_jax.leaderboard.metrics import metric_of, relative_loss
from ups_jax.leaderboard.ranking import BoardState, spread_of
from ups_jax.leaderboard.rows import Row
from ups_jax.metrics import direction_of_key
from ups_jax.types import NO_BASELINE

REGRESSED, IMPROVED, UNCHANGED = "regression", "improvement", "unchanged"
MIN_HISTORY = 3
"""Runs that a median of recent runs needs."""
ROUNDING_SLACK = 1e-9
"""Relative: a change of exactly the tolerance is within it, despite rounding."""
MAD_TO_STD = 1.4826
"""Ratio of a normal law's standard deviation to its median absolute deviation."""


class Regression(NamedTuple):
    """One metric against one reference; `change` is relative, positive if the metric got worse."""

    metric: str
    against: str
    status: str
    value: float | None
    reference: float | None
    change: float | None
    spread: float | None
    sentence: str


def compare(
    before: BoardState,
    row: Row,
    *,
    metrics: Sequence[str],
    tolerance: float = 0.10,
    improvement: float = 0.05,
    history: int = 10,
) -> tuple[Regression, ...]:
    """Compare metrics of `row` with the champion's and with the median of the last `history` runs.

    A change counts if its relative size exceeds `tolerance` (worse) or `improvement` (better), and
    its absolute size exceeds the spread: over the seeds of the champion's recipe, or over the
    recent runs (from median absolute deviations). For a metric with an ideal value, the change is
    that of the distance to the ideal, over the ideal's size. A value that is missing or not finite
    is a regression if its reference is known. Without a champion, or with fewer than three recent
    runs, the status is "no baseline".
    """
    recent, champion = before.history[-history:], before.champion
    fingerprint = None if champion is None else champion.get("seedless_fingerprint")
    comparisons = []
    for metric in metrics:
        reference = None if champion is None else metric_of(champion, metric)
        spread = spread_of(before.history, fingerprint, metric)
        values = [value for run in recent if (value := metric_of(run, metric)) is not None]
        median = mad = None
        if len(values) >= MIN_HISTORY:
            median = statistics.median(values)
            mad = MAD_TO_STD * statistics.median(abs(value - median) for value in values)
        references = {"champion": (reference, spread), "history": (median, mad)}
        comparisons += [
            _judge(metric, metric_of(row, metric), against, *known, tolerance, improvement)
            for against, known in references.items()
        ]
    return tuple(comparisons)


def worst_regressions(comparisons: Sequence[Regression]) -> dict[str, Regression]:
    """Return each metric that got worse with its largest change, for one alert each."""
    worst: dict[str, Regression] = {}
    for comparison in comparisons:
        other = worst.get(comparison.metric)
        if comparison.status == REGRESSED and (not other or _size(comparison) > _size(other)):
            worst[comparison.metric] = comparison
    return worst


def _size(regression: Regression) -> float:
    return math.inf if regression.change is None else regression.change


def _judge(
    metric: str,
    value: float | None,
    against: str,
    reference: float | None,
    spread: float | None,
    tolerance: float,
    improvement: float,
) -> Regression:
    if reference is None:
        text = f"{metric}: {against} has no value to compare with"
        return Regression(metric, against, NO_BASELINE, value, None, None, None, text)
    if value is None:
        text = f"{metric} is missing or not finite; {against} {reference:.4g}"
        return Regression(metric, against, REGRESSED, None, reference, None, spread, text)
    loss, change = relative_loss(metric, value, reference)
    status = UNCHANGED
    if abs(loss) > (spread or 0.0):
        if change > tolerance * (1 + ROUNDING_SLACK):
            status = REGRESSED
        elif -change > improvement * (1 + ROUNDING_SLACK):
            status = IMPROVED
    direction = direction_of_key(metric)
    ideal = f", ideal {direction:g}" if isinstance(direction, int | float) else ""
    text = f"{metric} is {value:.4g}, {against} {reference:.4g}{ideal}: "
    text += f"{100 * abs(change):.1f} % {'worse' if change > 0 else 'better'}"
    return Regression(metric, against, status, value, reference, change, spread, text)
