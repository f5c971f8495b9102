"""Files as others write them: PDEBench's official HDF5 layout of one-dimensional Burgers."""

from pathlib import Path

import h5py
import numpy as np


def write_pdebench(
    path: Path | str,
    u: np.ndarray,
    *,
    nu: float | None = 1e-3,
    dt: float = 0.01,
    length: float = 1.0,
    spare_time: int = 1,
    x: np.ndarray | None = None,
    t: np.ndarray | None = None,
    leave_out: tuple[str, ...] = (),
) -> Path:
    """Write u (N, T, X) or (N, T, X, c) with its coordinates; `nu` None leaves the attribute out.

    `t-coordinate` is `spare_time` longer than T, as in the official files. `x`, `t` replace the
    coordinates, `leave_out` names datasets that are not written.
    """
    frames, points = u.shape[1:3]
    datasets = {
        "tensor": u.astype(np.float32),
        "x-coordinate": (np.arange(points) + 0.5) * length / points if x is None else x,
        "t-coordinate": np.arange(frames + spare_time) * dt if t is None else t,
    }
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            if name not in leave_out:
                file[name] = value.astype(np.float32)
        if nu is not None:
            file.attrs["Nu"] = nu
    return Path(path)


def write_fluid(path: Path | str, fields: dict[str, np.ndarray], *, dt: float = 0.05) -> Path:
    """Write PDEBench's compressible flow: a dataset a field, (N, T, X), (N, T, X, Y) or of 3D."""
    frames, *points = next(iter(fields.values())).shape[1:]
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            file[name] = value.astype(np.float32)
        file["t-coordinate"] = np.arange(frames + 1, dtype=np.float32) * dt
        for axis, n in zip("xyz", points, strict=False):
            file[f"{axis}-coordinate"] = ((np.arange(n) + 0.5) / n).astype(np.float32)
        file.attrs.update(eta=0.01, zeta=0.01, M=0.1)
    return Path(path)


def write_groups(path: Path | str, samples: list[np.ndarray], *, dt: float = 0.05) -> Path:
    """Write PDEBench's reaction-diffusion and shallow water: a group of (T, X, Y, c) a sample."""
    with h5py.File(path, "w") as file:
        for i, u in enumerate(samples):
            group = file.create_group(f"{i:04d}")
            group["data"] = u.astype(np.float32)
            group["grid/t"] = np.arange(len(u), dtype=np.float32) * dt
            for axis, n in zip("xy", u.shape[1:-1], strict=False):
                group[f"grid/{axis}"] = (-1 + 2 * (np.arange(n) + 0.5) / n).astype(np.float32)
    return Path(path)


def write_well(path: Path | str, scalar: np.ndarray, vector: np.ndarray, re: np.ndarray) -> Path:
    """Write The Well's layout: `tracer` (N, T, X, Y), `velocity` (N, T, X, Y, 2), scalar `re` (N,).

    y has walls. A constant field `height` (X, Y) and a scalar of time are further inputs.
    """
    frames, *points = scalar.shape[1:]
    with h5py.File(path, "w") as file:
        file.attrs.update(dataset_name="channel", grid_type="cartesian", n_spatial_dims=2)
        grid = file.create_group("dimensions")
        grid.attrs["spatial_dims"] = ["x", "y"]
        grid["time"] = np.arange(frames, dtype=np.float32) * 0.25
        for axis, n in zip("xy", points, strict=True):
            grid[axis] = np.arange(n, dtype=np.float32) * 0.5
        for group, name, value in (
            ("t0_fields", "tracer", scalar),
            ("t1_fields", "velocity", vector),
        ):
            file[f"{group}/{name}"] = value.astype(np.float32)
            file[f"{group}/{name}"].attrs.update(sample_varying=True, time_varying=True)
        file["t0_fields/height"] = np.ones(points, np.float32)
        file["t0_fields/height"].attrs.update(sample_varying=False, time_varying=False)
        file.create_group("t2_fields")
        for name, value, varies in (
            ("re", re, (True, False)),
            ("clock", grid["time"], (False, True)),
        ):
            file[f"scalars/{name}"] = np.asarray(value, np.float32)
            file[f"scalars/{name}"].attrs.update(sample_varying=varies[0], time_varying=varies[1])
        for name, kind, axis in (("x_periodic", "PERIODIC", "x"), ("y_wall", "WALL", "y")):
            condition = file.create_group(f"boundary_conditions/{name}")
            condition.attrs.update(bc_type=kind, associated_dims=[axis], associated_fields=[])
    return Path(path)


def edited(write, change):
    """Return a writer of the same HDF5 file, changed by `change(file)`: folder -> path."""

    def written(folder):
        path = write(folder)
        with h5py.File(path, "a") as file:
            change(file)
        return path

    return written


def without(name):
    """Return the change that deletes a dataset or a group."""
    return lambda file: file.__delitem__(name)


def replaced(name, values):
    """Return the change that puts other values in the place of a dataset."""

    def change(file):
        del file[name]
        file[name] = values

    return change
