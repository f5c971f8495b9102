"""The search space of a sweep: listed values of some keys, ranges of others."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

RATE_KEY = "fit.operator.lr"
"""The key whose values train in parallel in one run."""


class Range(NamedTuple):
    """Numbers from `low` to `high`, integers if both are; `log`: uniform in the logarithm."""

    low: float
    high: float
    log: bool


class Space(NamedTuple):
    """Texts of each listed key, and the ranges of the others."""

    lists: dict[str, list[str]]
    ranges: dict[str, Range]

    def num_corners(self) -> int:
        """Return the number of combinations."""
        return math.prod(map(len, self.lists.values())) * 2 ** len(self.ranges)

    def corners(self) -> Iterator[dict[str, str]]:
        """Yield all combinations of the lists with both ends of all ranges, to check configs."""
        keys = [*self.lists, *self.ranges]
        ends = [[text(r.low), text(r.high)] for r in self.ranges.values()]
        for values in product(*self.lists.values(), *ends):
            yield dict(zip(keys, values, strict=True))


def parse(words: Sequence[str]) -> Space:
    """Return the space of "KEY=A,B,..." and "KEY=LOW:HIGH[:log]"; `|` separates lists of values."""
    lists, ranges = {}, {}
    for word in words:
        key, equals, values = word.partition("=")
        if not equals or not values.strip(",| "):
            raise ValueError(f"--sweep {word} has no values; write {key}=A,B,... or LOW:HIGH[:log]")
        if key in lists or key in ranges:
            raise ValueError(f"--sweep has {key} twice; give all its values at once")
        if ":" in values:
            ranges[key] = _range(key, values)
            continue
        texts = [value.strip() for value in values.split("|" if "|" in values else ",")]
        if "" in texts or len(set(texts)) < len(texts):
            raise ValueError(f"--sweep {word} has an empty or repeated value; give each value once")
        lists[key] = texts
    return Space(lists, ranges)


def rate_overrides(space: Space, cfg: Any) -> dict[str, Any]:
    """Return overrides of one run that trains all learning rates; empty for other sweeps."""
    if space.ranges or set(space.lists) != {RATE_KEY} or "operator" not in cfg.stages:
        return {}
    try:
        rates = [float(value) for value in space.lists[RATE_KEY]]
    except ValueError as error:
        raise ValueError(f"--sweep {RATE_KEY}: {error}") from error
    if not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise ValueError(f"--sweep {RATE_KEY} is {rates}; rates must be positive and finite")
    return {RATE_KEY: rates[0], "sweep.lr_factors": tuple(rate / rates[0] for rate in rates)}


def text(value: float) -> str:
    """Return a number as text for the command line."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _range(key: str, values: str) -> Range:
    low, _, rest = values.partition(":")
    high, colon, scale = rest.partition(":")
    try:
        result = Range(float(low), float(high), scale == "log")
    except ValueError:
        raise ValueError(f"--sweep {key}={values} is no range; write LOW:HIGH[:log]") from None
    if (colon and not result.log) or not -math.inf < result.low < result.high < math.inf:
        raise ValueError(f"--sweep {key}={values}: write LOW:HIGH[:log] with LOW below HIGH")
    if result.log and result.low <= 0:
        raise ValueError(f"--sweep {key}={values}: with :log, LOW must be above 0")
    return result
