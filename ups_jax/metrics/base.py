"""The metric: a statistic of each sample, a reduction over samples, and a direction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ups_jax.types import Array

BANDS = {"low": (0, 4), "mid": (4, 12), "high": (12, None)}
"""Integer wavenumbers of each spectral band, without the upper limit."""


Direction = float | Literal["lower", "higher", "none"]
"""Values that are better: lower or higher ones, those close to an ideal, or none."""


def mean_observed(values: np.ndarray, axis: int | None = None) -> Any:
    """Return the mean over an axis, or over all values, without NaN; NaN where all are."""
    seen = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(seen, values, 0).sum(axis)) / seen.sum(axis)


@dataclass(frozen=True)
class Metric:
    """A statistic `per_sample(pred, true, ndim)` -> (b, ...) and `reduce` of all samples -> scalar.

    Reductions take NumPy arrays: JAX would compile one for each number of samples. The statistic of
    a `relative` metric takes a keyword `floor` (c,), its smallest denominator. Lower values are
    better, unless `higher_is_better` is set or an `ideal` value is given; None means that neither
    lower nor higher values are better. A value in "frames" is multiplied by dt in reports. `label`
    names the metric in tables and figures. Statistics of a `partial` metric are NaN where nothing
    was observed, and means leave them out.
    """

    per_sample: Callable[..., Array]
    reduce: Callable[[Any], Any]
    unit: Literal["1", "frames"] = "1"
    higher_is_better: bool | None = False
    ideal: float | None = None
    label: str = ""
    relative: bool = False
    partial: bool = False

    def by_sample(self, values: np.ndarray) -> np.ndarray:
        """Return the mean statistic of each sample: (n, ...) -> (n,)."""
        rows = values.reshape(len(values), -1)
        return mean_observed(rows, 1) if self.partial else rows.mean(1)

    def statistic(self, pred: Array, true: Array, ndim: int, *, floor: Array | float) -> Array:
        """Return `per_sample` with the floor, if it takes one."""
        floors = {"floor": floor} if self.relative else {}
        return self.per_sample(pred, true, ndim, **floors)

    @property
    def direction(self) -> Direction:
        """The ideal value if there is one, else lower, higher or none."""
        if self.ideal is not None:
            return self.ideal
        return (
            "none"
            if self.higher_is_better is None
            else ("higher" if self.higher_is_better else "lower")
        )
