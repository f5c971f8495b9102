"""The metric: a statistic of each sample, a reduction over samples, and a direction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ups_jax.types import Array

BANDS = {"low": (0, 4), "mid": (4, 12), "high": (12, None)}
"""Integer wavenumbers of each spectral band, without the upper limit."""


Direction = float | Literal["lower", "higher", "none"]
"""Values that are better: lower or higher ones, those close to an ideal, or none."""


@dataclass(frozen=True)
class Metric:
    """A statistic `per_sample(pred, true, ndim)` -> (b, ...) and `reduce` of all samples -> scalar.

    Reductions take NumPy arrays: JAX would compile one for each number of samples. The statistic of
    a `relative` metric takes a keyword `floor` (c,), its smallest denominator. Lower values are
    better, unless `higher_is_better` is set or an `ideal` value is given; None means that neither
    lower nor higher values are better. A value in "frames" is multiplied by dt in reports. `label`
    names the metric in tables and figures.
    """

    per_sample: Callable[..., Array]
    reduce: Callable[[Any], Any]
    unit: Literal["1", "frames"] = "1"
    higher_is_better: bool | None = False
    ideal: float | None = None
    label: str = ""
    relative: bool = False

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
