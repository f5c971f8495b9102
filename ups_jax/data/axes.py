"""Axes of named arrays: time, samples and space, by their names and coordinates."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ups_jax.data.stored import decoded, text_of
from ups_jax.data.variables import Variable, variable

TIME_AXIS, SAMPLE_AXIS, SPACE_AXIS = "time", "sample", "space"
NAMED_AXES = {
    TIME_AXIS: "time t times valid_time",
    SAMPLE_AXIS: "sample samples member members ensemble ensemble_member realization realisation "
    "trajectory trajectories simulation number batch run n",
    SPACE_AXIS: "x y z lon lat longitude latitude lev level height depth altitude plev "
    "pressure_level rlon rlat xc yc south_north west_east bottom_top",
}
"""Usual names of axes, in lower case."""
SECONDS = {
    "nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3, "second": 1.0, "minute": 60.0,
    "hour": 3600.0, "day": 86400.0, "week": 604800.0, "month": 365.242198781 / 12 * 86400,
    "year": 365.242198781 * 86400, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0,
    "min": 60.0, "h": 3600.0, "hr": 3600.0, "d": 86400.0,
}  # fmt: skip
"""Seconds of the units of time that CF conventions allow; a year is the mean tropical one."""


class Roles(NamedTuple):
    """Axes of a field by name. `sample` is None for a single trajectory."""

    sample: str | None
    time: str
    space: tuple[str, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """Names in the order of trajectories; an absent axis of samples is "sample"."""
        return (self.sample or SAMPLE_AXIS, self.time, *self.space)


def kind_of(name: str, coordinate: Any = None) -> str | None:
    """Return the role of an axis that its name or its coordinates state, else None."""
    attrs = getattr(coordinate, "attrs", {})
    stated = text_of(attrs.get("axis", "")).upper()
    times = coordinate is not None and (
        coordinate.dtype.kind in "mM"
        or stated == "T"
        or text_of(attrs.get("standard_name", "")) == "time"
        or " since " in text_of(attrs.get("units", ""))
    )
    if times:
        return TIME_AXIS
    if stated in ("X", "Y", "Z") or text_of(attrs.get("units", "")).startswith("degrees_"):
        return SPACE_AXIS
    known = (kind for kind, names in NAMED_AXES.items() if name.lower() in names.split())
    return next(known, None)


def roles_of(name: str, dims: Sequence[str], kinds: Mapping[str, str | None]) -> Roles:
    """Return the roles of the axes `dims` of the field `name`.

    `kinds` are those of `kind_of`. Without a known axis of time, the order is (sample, time, *s).
    Raises ValueError where several assignments are possible.
    """
    found = {kind: [d for d in dims if kinds[d] == kind] for kind in NAMED_AXES}
    listed = f"{name} has dimensions ({', '.join(dims)})"
    for kind in (TIME_AXIS, SAMPLE_AXIS):
        if len(found[kind]) > 1:
            both = " and ".join(found[kind])
            raise ValueError(
                f"{listed}, and both {both} are axes of {kind}; expected one: rename or select one"
            )
    if not found[TIME_AXIS]:
        if kinds[dims[0]] not in (None, SAMPLE_AXIS) or kinds[dims[1]] is not None:
            raise ValueError(f"{listed} and none of them is time; rename that axis to 'time'")
        return Roles(dims[0], dims[1], tuple(dims[2:]))
    time = found[TIME_AXIS][0]
    if found[SAMPLE_AXIS]:
        sample = found[SAMPLE_AXIS][0]
    elif dims[1] == time and kinds[dims[0]] is None:
        sample = dims[0]
    elif all(kinds[d] == SPACE_AXIS for d in dims if d != time):
        sample = None
    else:
        raise ValueError(
            f"{listed}, where samples or space are not known by name; rename an axis to 'sample', "
            "or those of space to 'x' and 'y'"
        )
    return Roles(sample, time, tuple(d for d in dims if d not in (time, sample)))


def in_seconds(coordinate: Variable) -> Variable:
    """Return coordinates of time in seconds, where their type or `units` state a unit of time."""
    values = coordinate[:]
    if values.dtype.kind == "M":
        values = (values - values[0]) / np.timedelta64(1, "s")
    elif values.dtype.kind == "m":
        values = values / np.timedelta64(1, "s")
    elif values.dtype.kind == "O":
        values = np.array([(value - values[0]).total_seconds() for value in values])
    else:
        unit = text_of(coordinate.attrs.get("units", "")).partition(" since ")[0].strip().lower()
        second = SECONDS.get(unit, SECONDS.get(unit.removesuffix("s"), 1.0))
        values = decoded(coordinate, values) * second
    return variable(coordinate.name, values)
