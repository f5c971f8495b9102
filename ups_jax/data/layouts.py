"""Layouts of HDF5 files: PDEBench's, The Well's, this library's, and datasets that a user names."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ups_jax.data.stored import (
    AXIS_NAMES,
    FIELDS,
    Stored,
    component_names,
    dataset,
    group,
    listed,
    names_in,
    pair_frames,
    parameters,
    require_numbers,
    side_by_side,
    spacing,
    text_of,
    width_of,
)
from ups_jax.data.well import open_well

FLUID = ("density", "Vx", "Vy", "Vz", "pressure")


def open_layout(
    file: h5py.File, path: Path, *, nu: float | None, datasets: Sequence[str] = ()
) -> Stored:
    """Return the fields of a file in the first layout that it has, or in that of `datasets`.

    Raises ValueError on another layout, with the names that the file holds.
    """
    if datasets:
        return _mapped(file, datasets)
    if "tensor" in file and "nu" in file:
        return _darcy(file, path.name)
    if "tensor" in file:
        return _tensor(file, path.name, nu)
    if "density" in file:
        return _fluid(file, path.name)
    if "t0_fields" in file or "t1_fields" in file:
        return open_well(file)
    if any("data" in group(file, str(key)) for key in list(file)[:1]):
        return _grouped(file, path.name)
    if "u" in file:
        return _own(file)
    if any(_has_dimensions(file, str(key)) for key in file):
        return _netcdf(file)
    raise ValueError(
        f"no dataset 'tensor'; found {listed(file)}: no layout of PDEBench (tensor; density, Vx, "
        "pressure; 0000/data) or of The Well (t0_fields); name the datasets in data.datasets"
    )


def _tensor(file: h5py.File, name: str, nu: float | None) -> Stored:
    """PDEBench in one dimension: `tensor` (n, t, x) or (n, t, x, c)."""
    tensor = dataset(file, "tensor")
    if tensor.ndim not in (3, 4) or "y-coordinate" in file:
        raise ValueError(
            f"tensor has shape {tensor.shape}; expected one space axis, (sample, time, x) or "
            "(sample, time, x, channel); convert other data with ups_jax.data.save_npz"
        )
    require_numbers(tensor)
    total, frames, points = tensor.shape[:3]
    dx = spacing(dataset(file, "x-coordinate"), points)
    dt = spacing(dataset(file, "t-coordinate"), frames, spare=1)
    cond = parameters({**file.attrs, **tensor.attrs}, name, nu)
    channels = tensor.shape[3:] or (1,)

    def read(first: int, last: int) -> np.ndarray:
        block = tensor[first:last]
        return block if block.ndim == 4 else block[..., None]

    return Stored(
        shape=(total, frames, points, *channels),
        read=read,
        dt=dt,
        extent=(dx * points,),
        channels=("u",) if channels == (1,) else (),
        cond={key: np.full(total, value) for key, value in cond.items()},
    )


def _darcy(file: h5py.File, name: str) -> Stored:
    """PDEBench's Darcy flow: permeabilities `nu` (n, x, y) and solutions `tensor` (n, 1, x, y)."""
    nu, tensor = dataset(file, "nu"), dataset(file, "tensor")
    if nu.ndim != 3 or tensor.shape != (len(nu), 1, *nu.shape[1:]):
        raise ValueError(
            f"nu has shape {nu.shape} and tensor {tensor.shape}; expected (sample, x, y) and "
            "(sample, 1, x, y)"
        )
    require_numbers(nu)
    require_numbers(tensor)
    steps = [
        spacing(dataset(file, f"{a}-coordinate"), n)
        for a, n in zip("xy", nu.shape[1:], strict=True)
    ]
    cond = parameters(file.attrs, name, None)
    return Stored(
        read=lambda i, j: pair_frames(nu[i:j][..., None], tensor[i:j, 0][..., None]),
        shape=(len(nu), 2, *nu.shape[1:], 2),
        dt=1.0,
        extent=tuple(n * dx for n, dx in zip(nu.shape[1:], steps, strict=True)),
        channels=("u", "nu"),
        cond={key: np.full(len(nu), value) for key, value in cond.items()},
        boundary=("dirichlet", "dirichlet"),
        static=("nu",),
        steady=True,
    )


def _fluid(file: h5py.File, name: str) -> Stored:
    """PDEBench's compressible flows: density, Vx, Vy, pressure, each (n, t, *s)."""
    fields = {key: dataset(file, key) for key in FLUID if key in file}
    first = fields["density"]
    total, frames, *points = first.shape
    axes = [
        spacing(dataset(file, f"{a}-coordinate"), n)
        for a, n in zip(AXIS_NAMES, points, strict=False)
    ]
    cond = parameters(file.attrs, name, None)
    outer = "neumann" if "_trans_" in name else "periodic" if "_periodic_" in name else ""
    return Stored(
        read=side_by_side(fields, len(points)),
        shape=(total, frames, *points, len(fields)),
        dt=spacing(dataset(file, "t-coordinate"), frames, spare=1),
        extent=tuple(dx * n for dx, n in zip(axes, points, strict=False)),
        channels=tuple(fields),
        cond={key: np.full(total, value) for key, value in cond.items()},
        boundary=(outer,) * len(points) if outer else (),
    )


def _grouped(file: h5py.File, name: str) -> Stored:
    """PDEBench's reaction-diffusion and shallow water: <sample>/data (t, *s, c), <sample>/grid."""
    keys = sorted(str(key) for key in file if group(file, str(key)))
    fields = [dataset(file, f"{key}/data") for key in keys]
    shape = fields[0].shape
    for i, field in enumerate(fields):
        if field.shape != shape:
            raise ValueError(
                f"sample {i} ({field.name}) has shape {field.shape}, sample 0 {shape}; "
                "expected equal lengths and grids; pad them in Python by ups.padded, and save that"
            )
    require_numbers(fields[0])
    frames, *points, count = shape
    grid = [dataset(file, f"{keys[0]}/grid/{a}") for a in ("t", *AXIS_NAMES[: len(points)])]
    cond = parameters(file.attrs, name, None)
    return Stored(
        read=lambda first, last: np.stack([field[()] for field in fields[first:last]]),
        shape=(len(keys), *shape),
        dt=spacing(grid[0], frames),
        extent=tuple(n * spacing(axis, n) for n, axis in zip(points, grid[1:], strict=True)),
        channels=("u",) if count == 1 else (),
        cond={key: np.full(len(keys), value) for key, value in cond.items()},
        boundary=("neumann",) * len(points) if re.search(r"diff-react|rdb", name) else (),
    )


def _own(file: h5py.File) -> Stored:
    """This library's: the arrays of `save_npz`, as `save_predictions` writes them."""
    u = dataset(file, "u")
    require_numbers(u)
    if u.ndim not in (4, 5):
        raise ValueError(f"u has shape {u.shape}; expected (n, t, *s, c), one or two space axes")

    def array(name: str, default: Any) -> Any:
        return dataset(file, name)[()] if name in file else default

    def words(name: str) -> tuple[str, ...]:
        return tuple(map(text_of, np.ravel(array(name, ()))))

    forcing = names_in(array("forcing", ()))
    cond = np.asarray(array("cond", np.zeros((len(u), 0))))
    names = words("params") or tuple(f"p{i}" for i in range(cond.shape[-1]))
    extent = tuple(float(x) for x in np.ravel(array("extent", (1.0,) * (u.ndim - 3))))
    return Stored(
        read=lambda first, last: u[first:last],
        shape=u.shape,
        dt=float(array("dt", 1.0)),
        extent=extent,
        channels=words("channels"),
        cond=dict(zip(names, cond.T, strict=True)),
        boundary=words("boundary"),
        pde="".join(words("pde")),
        static=words("static"),
        forcing=forcing,
        steady=bool(array("steady", False)),
        lengths=array("lengths", None),
        # An array of numbers of the name forcing is one that data.forcing may name.
        further=_further(file, without=[n for n in FIELDS if n != "forcing" or forcing]),
    )


def _further(file: h5py.File, *, without: Sequence[str]) -> dict[str, h5py.Dataset]:
    """Return further datasets of a file by name, which may be static channels or forcing."""
    names = [str(key) for key in file if key not in without and not group(file, str(key))]
    return {name: dataset(file, name) for name in names}


def _has_dimensions(file: h5py.File, key: str) -> bool:
    """Return whether a top-level entry is a field whose axes have NetCDF's dimensions."""
    if group(file, key):
        return False
    found = dataset(file, key)
    return found.ndim > 2 and all(len(scales) for scales in found.dims)


def _netcdf(file: h5py.File) -> Stored:
    """NetCDF-4: variables with the dimensions (sample, time, *space) of the first of them."""
    names = [str(key) for key in file if _has_dimensions(file, str(key))]
    # A field without time (sample, x, y) has as many dimensions as one of (sample, time, x).
    names.sort(key=lambda name: -dataset(file, name).ndim)
    first = dataset(file, names[0])
    scales = [axis[0] for axis in first.dims]
    fields = {key: dataset(file, key) for key in names if dataset(file, key).shape == first.shape}
    if first.ndim not in (4, 3):
        raise ValueError(
            f"{names[0]} has {first.ndim} dimensions; expected sample, time and one or two of space"
        )

    def step(scale: h5py.Dataset, count: int) -> float:
        # A dimension without a variable has no coordinates.
        bare = text_of(scale.attrs.get("NAME", "")).startswith("This is a netCDF dimension but not")
        return 1.0 if bare else spacing(scale, count)

    points = first.shape[2:]
    single = {str(key) for key in file if not group(file, str(key))}
    rows = {key: dataset(file, key) for key in single if key not in names}
    axes = {str(scale.name).strip("/") for scale in scales}
    return Stored(
        read=side_by_side(fields, len(points)),
        shape=(*first.shape, len(fields)),
        dt=step(scales[1], first.shape[1]),
        extent=tuple(n * step(s, n) for n, s in zip(points, scales[2:], strict=True)),
        channels=tuple(fields),
        cond={
            key: np.asarray(row)
            for key, row in sorted(rows.items())
            if row.shape == first.shape[:1] and key not in axes
        },
        unused=tuple(key for key in names if key not in fields),
        further=_further(file, without=(*fields, *axes)),
    )


def _mapped(file: h5py.File, datasets: Sequence[str]) -> Stored:
    """Datasets by name: CHANNEL=PATH of (n, t, *s), and t=, x=, y= of the coordinates.

    Fields (*s) or (n, *s) are static channels, unless data.forcing names them.
    """
    found = {}
    for item in datasets:
        name, _, path = item.partition("=")
        found[name] = dataset(file, path or name)
    given = {k: v for k, v in found.items() if k not in ("t", *AXIS_NAMES)}
    rank = max((v.ndim for v in given.values() if v.ndim > 2), default=0)
    ndim = sum(axis in found for axis in AXIS_NAMES) or rank - 2
    fields = {k: v for k, v in given.items() if v.ndim >= 2 + ndim > 2}
    static = {k: v for k, v in given.items() if 1 < v.ndim < 2 + ndim}
    rows = {k: np.asarray(v) for k, v in given.items() if v.ndim == 1}
    if not fields:
        raise ValueError(f"data.datasets {tuple(datasets)} names no field (n, t, *s)")
    total, frames, *points = next(iter(fields.values())).shape[: 2 + ndim]
    axes = [a for a in AXIS_NAMES[:ndim] if a in found]
    return Stored(
        read=side_by_side(fields, ndim),
        shape=(total, frames, *points, sum(width_of(f, ndim) for f in fields.values())),
        dt=spacing(found["t"], frames, spare=1) if "t" in found else 1.0,
        extent=tuple(n * spacing(found[a], n) for a, n in zip(axes, points, strict=False))
        or (1.0,) * ndim,
        channels=tuple(component_names(fields, AXIS_NAMES[:ndim])),
        cond=rows,
        static=tuple(static),
        further=static,
    )
