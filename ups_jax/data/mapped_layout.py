"""Datasets of any layout, which a user names: `data.datasets`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ups_jax.data.axes import in_seconds
from ups_jax.data.stored import (
    AXIS_NAMES,
    Stored,
    component_names,
    side_by_side,
    spacing,
    width_of,
)
from ups_jax.data.variables import Variable, variable
from ups_jax.pde.data import FEWEST_POINTS


def open_mapped(find: Callable[[str], Any], datasets: Sequence[str]) -> Stored:
    """Return datasets CHANNEL=PATH of (n, t, *s[, c]), and t=, x=, y= of the coordinates.

    `find` returns a dataset by its path. Fields (*s) or (n, *s) are static channels, unless
    data.forcing names them, and arrays (n,) PDE parameters. Raises ValueError on other shapes.
    """
    found = {}
    for item in datasets:
        name, _, path = item.partition("=")
        found[name] = find(path or name)
    given = {k: v for k, v in found.items() if k not in ("t", *AXIS_NAMES)}
    largest = max(given, key=lambda name: given[name].ndim, default="")
    ndim = sum(axis in found for axis in AXIS_NAMES)
    ndim = ndim or (_space_axes(largest, given[largest].shape) if given else 0)
    fields = {k: v for k, v in given.items() if v.ndim >= 2 + ndim > 2}
    static = {k: v for k, v in given.items() if 1 < v.ndim < 2 + ndim}
    if not fields:
        raise ValueError(
            f"data.datasets {tuple(datasets)} names no field (n, t, *s); name one, or leave the "
            "key out for a layout that is known"
        )
    read = side_by_side(fields, ndim)
    total, frames, *points = next(iter(fields.values())).shape[: 2 + ndim]
    axes = [a for a in AXIS_NAMES[:ndim] if a in found]
    return Stored(
        read=read,
        shape=(total, frames, *points, sum(width_of(f, ndim) for f in fields.values())),
        dt=_interval(found["t"], frames) if "t" in found else 1.0,
        extent=tuple(n * spacing(found[a], n) for a, n in zip(axes, points, strict=False))
        or (1.0,) * ndim,
        channels=tuple(component_names(fields, AXIS_NAMES[:ndim])),
        cond={k: _parameter(k, v, total) for k, v in given.items() if v.ndim < 2},
        static=tuple(static),
        further=static,
    )


def _interval(times: Any, frames: int) -> float:
    """Return the time between frames; times with a unit count in seconds."""
    if times.ndim == 1:
        times = times if isinstance(times, Variable) else variable(str(times.name), times)
        times = in_seconds(times)
    return spacing(times, frames, spare=1)


def _space_axes(name: str, shape: Sequence[int]) -> int:
    """Return the axes of space of a field (n, t, *s) or (n, t, *s, c) without coordinates.

    A last axis that is too short for space counts channels.
    """
    ndim = len(shape) - 2
    if ndim > 1 and shape[-1] < FEWEST_POINTS:
        ndim -= 1
    if ndim > 2:
        raise ValueError(
            f"{name} has shape {tuple(shape)}; its last axis may be space or channels: name the "
            "coordinates x=PATH and y=PATH too, and z=PATH for three axes of space"
        )
    return ndim


def _parameter(name: str, array: Any, count: int) -> np.ndarray:
    if array.shape != (count,) or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} holds {tuple(array.shape)} {array.dtype}; expected a field (n, t, *s), or "
            f"numbers ({count},), one for each sample; coordinates are t=PATH, x=PATH, y=PATH"
        )
    return np.asarray(array[:])
