"""Metrics: a statistic of each sample, one finishing reduction, and which values are better."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ups_jax.types import Array

BANDS = {"low": (0, 4), "mid": (4, 12), "high": (12, None)}
"""Whole wavenumbers of each spectral band, the upper one excluded."""


@dataclass(frozen=True)
class Metric:
    """`per_sample(pred, true, ndim)` -> (b, ...), and `reduce` over all samples -> scalar.

    Lower values are better, unless `higher_is_better` is set or an `ideal` value is given. A value
    in "frames" is multiplied by dt in reports. `label` names the metric in tables and figures.
    """

    per_sample: Callable[[Array, Array, int], Array]
    reduce: Callable[[Array], Array]
    unit: Literal["1", "frames"] = "1"
    higher_is_better: bool = False
    ideal: float | None = None
    label: str = ""

    def cost(self, value: float) -> float:
        """Map a value to a number that is lower for better values, in the metric's own unit."""
        if self.ideal is not None:
            return abs(value - self.ideal)
        return -value if self.higher_is_better else value
