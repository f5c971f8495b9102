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
CARTESIAN = "cartesian"
REMEDY = "name the fields in data.datasets and state pde.boundary to read them otherwise"


def open_well(file: h5py.File) -> Stored:
    """The Well: t0_fields/<name> (n, t, *s), t1_fields/<name> (n, t, *s, axis), scalars."""
    dimensions: Any = group(file, "dimensions")
    axes = [text_of(x) for x in np.ravel(dimensions.attrs["spatial_dims"])] if dimensions else []
    if not axes:
        raise ValueError("no attribute spatial_dims of the group dimensions, as The Well has")
    grid = text_of(file.attrs.get("grid_type", CARTESIAN))
    if len(axes) > 3 or grid != CARTESIAN:
        held = f"{len(axes)} space axes" if len(axes) > 3 else f"grid_type {grid!r}"
        raise ValueError(
            f"it holds The Well's layout with {held}, which is not supported; "
            f"supported are one to three axes of a {CARTESIAN} grid"
        )
    fields, constants, unused = {}, {}, []
    for order in ("t0_fields", "t1_fields", "t2_fields"):
        for key in group(file, order):
            field = dataset(file, f"{order}/{key}")
            varies = all(field.attrs.get(f"{what}_varying", True) for what in ("sample", "time"))
            # Fields without a time axis are coefficients: no state to predict.
            if np.any(~np.asarray(field.attrs.get("dim_varying", True), bool)) and varies:
                raise ValueError(
                    f"{order}/{key} does not vary along every axis (dim_varying), which is not "
                    "supported; write it at all points of the grid"
                )
            if varies and order != "t2_fields":
                fields[key] = field
            else:
                unused.append(key)
                if order == "t0_fields" and not field.attrs.get("time_varying", True):
                    constants[key] = field
    if not fields:
        raise ValueError(f"no field of The Well varies in time; found {listed(file)}")
    read = side_by_side(fields, len(axes))
    total, frames, *points = next(iter(fields.values())).shape[: 2 + len(axes)]
    cond = {}
    for key in group(file, "scalars"):
        scalar = dataset(file, f"scalars/{key}")
        if scalar.attrs.get("time_varying", False) or scalar.dtype.kind not in "fiu":
            unused.append(key)
            constants[key] = scalar
        else:
            cond[key] = _parameter(key, np.ravel(scalar[()]), total)
    steps = [
        spacing(dataset(file, f"dimensions/{a}"), n) for a, n in zip(axes, points, strict=True)
    ]
    return Stored(
        read=read,
        shape=(total, frames, *points, sum(width_of(f, len(points)) for f in fields.values())),
        dt=spacing(dataset(file, "dimensions/time"), frames),
        extent=tuple(dx * n for dx, n in zip(steps, points, strict=True)),
        channels=tuple(component_names(fields, axes)),
        cond=cond,
        boundary=_boundary(file, axes),
        unused=tuple(unused),
        further=constants,
    )


def _parameter(name: str, values: np.ndarray, count: int) -> np.ndarray:
    """Return a scalar of the file, or one of each sample, as (n,). ValueError on others."""
    if len(values) not in (1, count):
        raise ValueError(
            f"scalars/{name} holds {len(values)} numbers; expected one, or {count}, one for each "
            "sample; one that varies in time has the attribute time_varying"
        )
    return np.broadcast_to(values, (count,))


def _boundary(file: h5py.File, axes: Sequence[str]) -> tuple[str, ...]:
    """Return the boundary condition of each axis, if the file states them.

    Raises ValueError on a condition that is not known, and unless each axis has one.
    """
    found: dict[str, str] = {}
    for name, condition in group(file, "boundary_conditions").items():
        kind = text_of(condition.attrs.get("bc_type", "")).upper()
        if kind not in WELL_BOUNDARIES:
            known = ", ".join(WELL_BOUNDARIES)
            raise ValueError(f"boundary condition {name} has bc_type {kind!r}; known: {known}")
        stated = WELL_BOUNDARIES[kind]
        for axis in map(text_of, np.ravel(condition.attrs.get("associated_dims", axes))):
            if found.setdefault(axis, stated) != stated:
                raise ValueError(
                    f"axis {axis} has two boundary conditions, {found[axis]} and {stated} ({name})"
                    f"; one is supported on each axis\n{REMEDY}"
                )
    missing = [axis for axis in axes if found and axis not in found]
    if missing:
        raise ValueError(f"no boundary condition of axis {missing[0]} is stated\n{REMEDY}")
    return tuple(found[axis] for axis in axes) if found else ()
