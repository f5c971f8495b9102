"""What a sweep tries: listed values of some keys, ranges of others."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

NUMERIC = "fit.operator.lr"
"""The key whose values train side by side in one run."""


class Range(NamedTuple):
    """Numbers from `low` to `high`, whole ones where both are; `log` for even shares a decade."""

    low: float
    high: float
    log: bool


class Space(NamedTuple):
    """Texts of each listed key, and the ranges of the others."""

    lists: dict[str, list[str]]
    ranges: dict[str, Range]

    def corners(self) -> Iterator[dict[str, str]]:
        """Every listed combination, with both ends of all ranges: what a config has to take."""
        keys = [*self.lists, *self.ranges]
        ends = [[text(r.low), text(r.high)] for r in self.ranges.values()]
        for values in product(*self.lists.values(), *ends):
            yield dict(zip(keys, values, strict=True))


def parse(words: Sequence[str]) -> Space:
    """Space of "KEY=A,B,..." and "KEY=LOW:HIGH[:log]"; `|` parts values that hold a comma."""
    lists, ranges = {}, {}
    for word in words:
        key, equals, values = word.partition("=")
        if not equals or not values.strip(",| "):
            raise ValueError(f"--sweep {word} has no values; write {key}=A,B,... or LOW:HIGH[:log]")
        if key in lists or key in ranges:
            raise ValueError(f"--sweep names {key} twice; give all its values at once")
        if ":" in values:
            ranges[key] = _range(key, values)
            continue
        found = [value.strip() for value in values.split("|" if "|" in values else ",")]
        if "" in found or len(set(found)) < len(found):
            raise ValueError(f"--sweep {word}: every value is given, and given once")
        lists[key] = found
    return Space(lists, ranges)


def rates(space: Space, cfg: Any) -> dict[str, Any]:
    """Overrides of one run that trains all rates side by side; empty where that is not all."""
    if space.ranges or set(space.lists) != {NUMERIC} or "operator" not in cfg.stages:
        return {}
    try:
        values = [float(value) for value in space.lists[NUMERIC]]
    except ValueError as error:
        raise ValueError(f"--sweep {NUMERIC}: {error}") from error
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"--sweep {NUMERIC} is {values}; rates must be positive numbers")
    return {NUMERIC: values[0], "sweep.lr_factors": tuple(value / values[0] for value in values)}


def text(value: float) -> str:
    """A number as the command line takes it."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _range(key: str, values: str) -> Range:
    low, _, rest = values.partition(":")
    high, colon, scale = rest.partition(":")
    try:
        found = Range(float(low), float(high), scale == "log")
    except ValueError:
        raise ValueError(f"--sweep {key}={values} is no range; write LOW:HIGH[:log]") from None
    if (colon and not found.log) or not -math.inf < found.low < found.high < math.inf:
        raise ValueError(f"--sweep {key}={values}: LOW below HIGH, then nothing or :log")
    if found.log and found.low <= 0:
        raise ValueError(f"--sweep {key}={values}: a range with :log begins above 0")
    return found
