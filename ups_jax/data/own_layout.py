"""The layout of this library's files, npz and HDF5: the fields of Trajectories by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ups_jax.data.stored import AXIS_NAMES, FIELDS, Stored, names_in, six_digits, spacing, text_of
from ups_jax.data.variables import Variable, variable
from ups_jax.pde.base import BOUNDARIES
from ups_jax.registry import lookup
from ups_jax.values import positive

EXTENT_TOLERANCE = 1e-3
"""Relative; an extent may also be the distance of the first and last point, or one cell more."""


def open_own(arrays: Mapping[str, Any]) -> Stored:
    """Return the arrays of a file, by name, as stored fields.

    `u` (n, t, *s, c) is needed; the other names of `FIELDS` are optional, as are the coordinates t,
    x and y, which give dt and extent. Raises ValueError on shapes that do not fit.
    """
    if "u" not in arrays:
        listed = ", ".join(sorted(arrays)) or "none"
        raise ValueError(f"no array 'u' (n, t, *s, c); arrays: {listed}")
    u = arrays["u"]
    _check_fields(u)
    # An array of numbers of the name forcing is one that data.forcing may name.
    forcing = names_in(arrays.get("forcing", ()))
    taken = {name for name in FIELDS if name in arrays and (name != "forcing" or forcing)}
    axes = _coordinates(arrays, u.shape)
    _check_channels(arrays, u.shape)
    steps = {name: six_digits(spacing(axis, axis.shape[0])) for name, axis in axes.items()}
    boundary = _words(arrays, "boundary")
    for name in boundary:
        lookup(dict.fromkeys(BOUNDARIES), name, "boundary")
    names, cond = _words(arrays, "params"), _cond(arrays, u.shape[0])
    if names and len(names) != cond.shape[1]:
        raise ValueError(f"params {names} do not name the columns of cond {cond.shape}")
    numbered = tuple(f"p{i}" for i in range(cond.shape[1]))
    further = {name: array for name, array in arrays.items() if name not in taken}
    return Stored(
        read=lambda first, last: np.asarray(u[first:last]),
        shape=tuple(u.shape),
        dt=_interval(arrays, steps),
        extent=_extent(arrays, u.shape[2:-1], steps),
        channels=_words(arrays, "channels"),
        cond=dict(zip(names or numbered, cond.T, strict=True)),
        unnamed=not names,
        digits=12,
        boundary=boundary,
        pde="".join(_words(arrays, "pde")),
        origin="".join(_words(arrays, "origin")),
        static=_words(arrays, "static"),
        forcing=forcing,
        steady=bool(np.all(arrays.get("steady", False))),
        lengths=_lengths(arrays, u.shape[0]),
        unused=tuple(name for name in further if name not in axes),
        further=further,
    )


def _words(arrays: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(map(text_of, np.ravel(np.asarray(arrays.get(name, ())))))


def _check_fields(u: Any) -> None:
    if u.dtype.kind == "O":
        raise ValueError(
            "u holds arrays of different lengths, or other objects; "
            "pad the arrays by ups.padded(list) and write the result by ups.save_npz"
        )
    if u.dtype.kind != "f":
        raise ValueError(f"u holds {u.dtype}; expected floats: u.astype('float32')")
    rank = len(u.shape)
    if rank not in (4, 5, 6):
        remedy = "add a channel axis with u[..., None]"
        remedy = remedy if rank < 4 else "more space axes are not supported: select a part"
        raise ValueError(
            f"u has shape {u.shape}; expected (n, t, *s, c) with one to three space axes; {remedy}"
        )
    if 0 in u.shape:
        raise ValueError(f"u has shape {u.shape} and holds nothing; expected one trajectory")


def _cond(arrays: Mapping[str, Any], count: int) -> np.ndarray:
    cond = np.asarray(arrays.get("cond", np.zeros((count, 0))))
    if cond.ndim != 2 or len(cond) != count:
        raise ValueError(
            f"cond of shape {cond.shape}: expected ({count}, p), one row for each trajectory"
        )
    if cond.dtype.kind not in "fiu":
        raise ValueError(f"cond holds {cond.dtype}; expected floats: cond.astype('float32')")
    return cond


def _lengths(arrays: Mapping[str, Any], count: int) -> np.ndarray | None:
    if "lengths" not in arrays:
        return None
    lengths = np.asarray(arrays["lengths"])
    if lengths.shape != (count,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"lengths is {lengths}; expected {count} whole numbers, the frames of each trajectory"
        )
    return lengths


def _coordinates(arrays: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Variable]:
    """Return the arrays t, x, y, z that are coordinates of the axes of u."""
    axes = zip(("t", *AXIS_NAMES), shape[1:-1], strict=False)
    return {
        name: variable(name, arrays[name])
        for name, count in axes
        if name in arrays and tuple(np.shape(arrays[name])) == (count,)
    }


def _check_channels(arrays: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Raise ValueError if coordinates show that the last axis of u is one of space."""
    name = (*AXIS_NAMES, "")[len(shape) - 3]
    if name in arrays and shape[-1] > 1 and np.shape(arrays[name]) == (shape[-1],):
        raise ValueError(
            f"u has shape {tuple(shape)}, and {name} has as many entries as its last axis, which "
            "counts channels; add a channel axis with u[..., None]"
        )


def _interval(arrays: Mapping[str, Any], steps: Mapping[str, float]) -> float:
    if "dt" not in arrays:
        return steps.get("t", 1.0)
    dt = positive("dt", arrays["dt"])
    if len(dt) != 1:
        raise ValueError(f"dt is {arrays['dt']}; expected one number, the time between frames")
    if not np.isclose(steps.get("t", dt[0]), dt[0], rtol=EXTENT_TOLERANCE):
        raise ValueError(f"dt is {dt[0]:g}, and t rises by {steps['t']:g}; remove one of them")
    return dt[0]


def _extent(
    arrays: Mapping[str, Any], points: Sequence[int], steps: Mapping[str, float]
) -> tuple[float, ...]:
    """Return the lengths of the axes that are stated, else those of coordinates, else ones."""
    axes = list(zip(AXIS_NAMES, points, strict=False))
    if "extent" not in arrays:
        return tuple(six_digits(n * steps.get(name, 1 / n)) for name, n in axes)
    extent = positive("extent", arrays["extent"])
    if len(extent) != len(points):
        raise ValueError(f"extent {extent} has not the {len(points)} lengths of the axes of u")
    for (name, n), length in zip(axes, extent, strict=True):
        step = steps.get(name, length / n)
        if abs(length / step - n) > 1 + n * EXTENT_TOLERANCE:
            raise ValueError(
                f"extent is {length:g} along {name}, and its {n} coordinates rise by {step:g}; "
                "remove one of them"
            )
    return extent
