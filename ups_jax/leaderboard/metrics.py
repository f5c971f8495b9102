"""Numbers of a leaderboard row: finite values, significant digits, and which values are better."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ups_jax.metrics import cost_of_key, direction_of_key


def finite(value: Any) -> float | None:
    """Return a finite number as a float, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def significant(value: Any, digits: int) -> int | float | None:
    """Round a finite number to significant digits; integers stay exact, anything else is None."""
    if finite(value) is None:
        return None
    return value if isinstance(value, int) else float(f"{value:.{digits}g}")


def metric_of(row: Mapping[str, Any], key: str) -> float | None:
    """Return a metric of a row, None if it is missing or not finite."""
    return finite((row.get("metrics") or {}).get(key))


def best_of(key: str, values: Sequence[float | None]) -> float | None:
    """Return the lowest cost among the values of a metric, None unless two costs differ."""
    costs = {cost_of_key(key, value) for value in values if value is not None}
    return min(costs) if len(costs) > 1 else None


def relative_loss(key: str, value: float, reference: float) -> tuple[float, float]:
    """Return the increase in cost from `reference` to `value`, absolute and relative.

    Positive means worse. A metric that has an ideal value costs its distance to the ideal, and the
    relative increase is over the ideal's size: coverage of 90 % that falls from .90 to .81, or
    rises to .99, loses 10 %. Any other relative increase is over the size of `reference`.
    """
    loss = cost_of_key(key, value) - cost_of_key(key, reference)
    direction = direction_of_key(key)
    scale = abs(direction if isinstance(direction, int | float) and direction else reference)
    return loss, loss / scale if scale else (0.0 if loss == 0 else math.inf * loss)
