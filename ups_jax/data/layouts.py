"""Layouts of HDF5 files: those of PDEBench, and the choice among all that are known."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ups_jax.data.mapped_layout import open_mapped
from ups_jax.data.netcdf import is_netcdf, open_netcdf
from ups_jax.data.own_layout import open_own
from ups_jax.data.stored import (
    AXIS_NAMES,
    FIELDS,
    Stored,
    dataset,
    group,
    listed,
    pair_frames,
    parameters,
    require_numbers,
    side_by_side,
    spacing,
)
from ups_jax.data.well import open_well

SUPPORTED = (
    "supported: PDEBench (tensor; nu, tensor; density, Vx to Vz, pressure; 0000/data), The Well "
    "(t0_fields), both in one to three dimensions, NetCDF, arrays (u); name others in data.datasets"
)
DIFFUSION_SORPTION = (
    "boundary neumann stands for that of PDEBench's diffusion-sorption, u = 1 at x = 0 and "
    "u = D u_x at x = 1"
)


def open_layout(
    file: h5py.File, path: Path, *, nu: float | None, datasets: Sequence[str] = ()
) -> Stored:
    """Return the fields of a file in the first layout that it has, or in that of `datasets`.

    Raises ValueError on another layout, with the names that the file holds.
    """
    if datasets:
        return open_mapped(lambda name: dataset(file, name), datasets)
    if is_netcdf(file):
        return open_netcdf(file)
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
        return open_own(_own_arrays(file))
    if "velocity" in file and ("force" in file or "particles" in file):
        raise ValueError(
            "it holds PDEBench's incompressible Navier-Stokes layout (velocity, particles, force), "
            f"which is not supported\n{SUPPORTED}"
        )
    raise ValueError(f"no known layout; found {listed(file)}\n{SUPPORTED}")


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
        boundary=("periodic",) if re.search(r"Burgers|Advection|ReacDiff", name) else (),
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
    """PDEBench's compressible flows: density, Vx, Vy, Vz, pressure, each (n, t, *s)."""
    first = dataset(file, "density")
    ndim = first.ndim - 2
    if ndim not in (1, 2, 3):
        raise ValueError(
            f"it holds PDEBench's compressible flow of shape {first.shape}, which is not supported"
            f"\n{SUPPORTED}"
        )
    names = ("density", *(f"V{axis}" for axis in AXIS_NAMES[:ndim]), "pressure")
    absent = [key for key in names if key not in file]
    if absent:
        raise ValueError(
            f"PDEBench's compressible flow has {', '.join(names)}, and this file no {absent[0]}; "
            "name the datasets that it has in data.datasets"
        )
    fields = {key: dataset(file, key) for key in names}
    read = side_by_side(fields, ndim)
    total, frames, *points = first.shape
    axes = [
        spacing(dataset(file, f"{a}-coordinate"), n)
        for a, n in zip(AXIS_NAMES, points, strict=False)
    ]
    cond = parameters(file.attrs, name, None)
    outer = "neumann" if "_trans_" in name else "periodic" if "_periodic_" in name else ""
    return Stored(
        read=read,
        shape=(total, frames, *points, len(fields)),
        dt=spacing(dataset(file, "t-coordinate"), frames, spare=1),
        extent=tuple(dx * n for dx, n in zip(axes, points, strict=True)),
        channels=tuple(fields),
        cond={key: np.full(total, value) for key, value in cond.items()},
        boundary=(outer,) * len(points) if outer else (),
        unused=tuple(key for key in ("Vy", "Vz") if key in file and key not in fields),
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
    if len(shape) not in (3, 4):
        raise ValueError(
            f"{keys[0]}/data has shape {shape}; expected (t, x, channel) or (t, x, y, channel)"
        )
    frames, *points, count = shape
    grid = [dataset(file, f"{keys[0]}/grid/{a}") for a in ("t", *AXIS_NAMES[: len(points)])]
    cond, walls = parameters(file.attrs, name, None), re.search(r"diff-react|diff-sorp|rdb", name)
    return Stored(
        read=lambda first, last: np.stack([field[()] for field in fields[first:last]]),
        shape=(len(keys), *shape),
        dt=spacing(grid[0], frames),
        extent=tuple(n * spacing(axis, n) for n, axis in zip(points, grid[1:], strict=True)),
        channels=("u",) if count == 1 else (),
        cond={key: np.full(len(keys), value) for key, value in cond.items()},
        boundary=("neumann",) * len(points) if walls else (),
        notes=(DIFFUSION_SORPTION,) if "diff-sorp" in name else (),
    )


def _own_arrays(file: h5py.File) -> dict[str, Any]:
    """Return the arrays of this library's layout by name: datasets, else attributes of u or file.

    Only u and arrays of other names are not read.
    """
    u = dataset(file, "u")
    names = (*(name for name in FIELDS if name != "u"), "t", *AXIS_NAMES)
    found: dict[str, Any] = {}
    for attrs in (file.attrs, u.attrs):
        found |= {name: np.asarray(attrs[name]) for name in names if name in attrs}
    for key in map(str, file):
        if not group(file, key):
            array = dataset(file, key)
            # An array of the name forcing may be as large as u.
            small = key in names and array.ndim < 3
            found[key] = np.asarray(array[()]) if small else array
    return found
