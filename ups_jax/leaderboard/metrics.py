"""Numbers of a row, whichever version wrote it."""

import math
from collections.abc import Mapping
from typing import Any

HIGHER = ("correlation_time",)
"""Last parts of metrics of which more is better; of all others, less."""


def finite(value: Any) -> float | None:
    """A finite number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def metric_of(row: Mapping[str, Any], name: str) -> float | None:
    """A metric of a row, None where it is missing or not finite."""
    return finite((row.get("metrics") or {}).get(name))


def higher_is_better(name: str) -> bool:
    """Whether more of a metric is better, whatever mode or horizon it is of."""
    return name.rpartition("/")[2].partition("@")[0] in HIGHER
