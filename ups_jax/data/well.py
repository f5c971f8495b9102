"""The layout of The Well's HDF5 files."""

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from ups_jax.data.stored import (
    Stored,
    component_names,
    dataset,
    group,
    listed,
    side_by_side,
    spacing,
    text_of,
    width_of,
)

WELL_BOUNDARIES = {"PERIODIC": "periodic", "WALL": "wall", "OPEN": "neumann"}
"""Boundary conditions of The Well by its names; an open boundary lets the field out."""


def open_well(file: h5py.File) -> Stored:
    """The Well: t0_fields/<name> (n, t, *s), t1_fields/<name> (n, t, *s, axis), scalars."""
    dimensions: Any = group(file, "dimensions")
    axes = [text_of(x) for x in np.ravel(dimensions.attrs["spatial_dims"])] if dimensions else []
    if not axes:
        raise ValueError("no attribute spatial_dims of the group dimensions, as The Well has")
    fields, constants, unused = {}, {}, []
    for order in ("t0_fields", "t1_fields", "t2_fields"):
        for key in group(file, order):
            field = dataset(file, f"{order}/{key}")
            varies = all(field.attrs.get(f"{what}_varying", True) for what in ("sample", "time"))
            # Fields without a time axis are coefficients: no state to predict.
            if varies and order != "t2_fields":
                fields[key] = field
            else:
                unused.append(key)
                if order == "t0_fields" and not field.attrs.get("time_varying", True):
                    constants[key] = field
    if not fields:
        raise ValueError(f"no field of The Well varies in time; found {listed(file)}")
    total, frames, *points = next(iter(fields.values())).shape[: 2 + len(axes)]
    cond = {}
    for key in group(file, "scalars"):
        scalar = dataset(file, f"scalars/{key}")
        if scalar.attrs.get("time_varying", False) or scalar.dtype.kind not in "fiu":
            unused.append(key)
            constants[key] = scalar
        else:
            cond[key] = np.broadcast_to(np.ravel(scalar[()]), (total,))
    steps = [
        spacing(dataset(file, f"dimensions/{a}"), n) for a, n in zip(axes, points, strict=True)
    ]
    return Stored(
        read=side_by_side(fields, len(points)),
        shape=(total, frames, *points, sum(width_of(f, len(points)) for f in fields.values())),
        dt=spacing(dataset(file, "dimensions/time"), frames),
        extent=tuple(dx * n for dx, n in zip(steps, points, strict=True)),
        channels=tuple(component_names(fields, axes)),
        cond=cond,
        boundary=_boundary(file, axes),
        unused=tuple(unused),
        further=constants,
    )


def _boundary(file: h5py.File, axes: Sequence[str]) -> tuple[str, ...]:
    """Return the boundary condition of each axis, if the file states them."""
    found = {}
    for name, condition in group(file, "boundary_conditions").items():
        kind = text_of(condition.attrs.get("bc_type", "")).upper()
        if kind not in WELL_BOUNDARIES:
            known = ", ".join(WELL_BOUNDARIES)
            raise ValueError(f"boundary condition {name} has bc_type {kind!r}; known: {known}")
        found |= dict.fromkeys(
            map(text_of, np.ravel(condition.attrs.get("associated_dims", axes))),
            WELL_BOUNDARIES[kind],
        )
    return tuple(found.get(a, "periodic") for a in axes) if found else ()
