"""Regressions: a run's numbers against the champion's and against those of the runs before it."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ups_jax.leaderboard.metrics import higher_is_better, metric_of
from ups_jax.leaderboard.ranking import BoardState, spread_of
from ups_jax.leaderboard.storage import Row

WORSE, BETTER, LEVEL, NO_BASELINE = "regression", "improvement", "level", "no_baseline"
ENOUGH = 3
"""Runs of which a median tells what is usual."""
SLACK = 1e-9
"""Relative: a change of exactly the tolerance is within it, whatever its last bit."""
MAD = 1.4826
"""Of a normal law, its standard deviation over its median absolute deviation."""


class Regression(NamedTuple):
    """One metric against one reference; `change` is relative, positive where it got worse."""

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
    worse: float = 0.10,
    better: float = 0.05,
    last: int = 10,
) -> tuple[Regression, ...]:
    """Every metric of `row` against the champion, and against the median of the `last` runs.

    A change counts when it is beyond its tolerance, and beyond the spread: over the seeds of the
    champion's recipe, or of those runs (from median absolute deviations). What is missing or not
    finite is a regression where the reference knows it. Without a champion, or with fewer than
    three runs, the status is "no_baseline": no pass that was not earned.
    """
    recent = before.history[-last:]
    found = []
    for metric in metrics:
        champion = before.champion
        held = None if champion is None else metric_of(champion, metric)
        recipe = None if champion is None else champion.get("recipe")
        noise = spread_of(before.history, recipe, metric)
        usual = [value for each in recent if (value := metric_of(each, metric)) is not None]
        references: dict[str, tuple[float | None, float | None]] = {"champion": (held, noise)}
        if len(usual) >= ENOUGH:
            middle = statistics.median(usual)
            apart = MAD * statistics.median(abs(value - middle) for value in usual)
            references["history"] = (middle, apart)
        else:
            references["history"] = (None, None)
        for against, (reference, spread) in references.items():
            tolerances = {"worse": worse, "better": better}
            found.append(_judge(row, metric, against, reference, spread, tolerances))
    return tuple(found)


def worst_regressions(found: Sequence[Regression]) -> dict[str, Regression]:
    """Each metric that has got worse, with its largest change; one alert each."""
    out: dict[str, Regression] = {}
    for each in found:
        if each.status == WORSE:
            size = float("inf") if each.change is None else each.change
            held = out.get(each.metric)
            if held is None or size > (float("inf") if held.change is None else held.change):
                out[each.metric] = each
    return out


def _judge(
    row: Mapping[str, Any],
    metric: str,
    against: str,
    reference: float | None,
    spread: float | None,
    tolerances: Mapping[str, float],
) -> Regression:
    value = metric_of(row, metric)
    if reference is None:
        return Regression(
            metric,
            against,
            NO_BASELINE,
            value,
            None,
            None,
            None,
            f"{metric}: no {against} knows it",
        )
    if value is None:
        said = f"{metric} is missing or not finite; {against} {reference:.4g}"
        return Regression(metric, against, WORSE, None, reference, None, spread, said)
    loss = reference - value if higher_is_better(metric) else value - reference
    change = loss / abs(reference) if reference else (0.0 if loss == 0 else float("inf") * loss)
    seen = abs(loss) > (spread or 0.0)
    status = LEVEL
    if seen and change > tolerances["worse"] * (1 + SLACK):
        status = WORSE
    elif seen and -change > tolerances["better"] * (1 + SLACK):
        status = BETTER
    side = "worse" if change > 0 else "better"
    said = f"{metric} is {value:.4g}, {against} {reference:.4g}: {100 * abs(change):.1f} % {side}"
    return Regression(metric, against, status, value, reference, change, spread, said)
