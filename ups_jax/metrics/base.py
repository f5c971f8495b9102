"""What a metric is: a statistic of each sample, then one finishing reduction."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from ups_jax.types import Array

BANDS = {"low": (0, 4), "mid": (4, 12), "high": (12, None)}
"""Whole wavenumbers of each spectral band, the upper one left out."""


class Metric(NamedTuple):
    """`per_sample(pred, true, ndim)` -> (b, ...), and `reduce` of all samples' -> scalar.

    A value in "frames" is multiplied by the time between frames by whoever reports it.
    """

    per_sample: Callable[[Array, Array, int], Array]
    reduce: Callable[[Array], Array]
    unit: Literal["1", "frames"] = "1"
