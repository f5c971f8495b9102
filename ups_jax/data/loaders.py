"""Trajectories and predictions as files, selected by suffix, and datasets of xarray."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import h5py
import numpy as np

from ups_jax.data import pdebench
from ups_jax.data.missing import REFUSE
from ups_jax.data.named_arrays import stored_of
from ups_jax.data.stored import FIELDS
from ups_jax.files import atomic_path
from ups_jax.types import Array, Trajectories
from ups_jax.values import names_of

PDEBENCH_STRIDES = (4, 5)
"""From 1,024 points and 201 frames to 256 points and 41 frames."""


def load(
    path: str | Path,
    *,
    space_stride: int = 1,
    time_stride: int = 1,
    samples: pdebench.Samples = None,
    nu: float | None = None,
    stream: bool = False,
    datasets: Sequence[str] = (),
    static: Sequence[str] = (),
    forcing: Sequence[str] = (),
    missing: str = REFUSE,
    describe: bool = False,
) -> Trajectories:
    """Load by suffix: .npz, .h5, .hdf5, .nc or a .zarr folder; see `load_pdebench`.

    Strides and samples subsample all kinds. `nu` is the PDE parameter of a file without any.
    `stream` leaves the fields of all but npz on disk, `datasets` names those of another layout
    of HDF5 or npz.
    `static` names channels, or fields without a time axis, that are inputs and not predicted,
    `forcing` channels or arrays (n, t, ...) that change in time and are known. With `missing`
    "mask", NaN in predicted channels is kept as a missing value; by default it is refused with its
    place. With `describe`, u is its shape and type alone.
    """
    path = _path(path)
    _suffix(path, (pdebench.NPZ, *pdebench.HDF5, pdebench.NETCDF, pdebench.ZARR))
    return pdebench.load_pdebench(
        path,
        space_stride=space_stride,
        time_stride=time_stride,
        samples=samples,
        nu=nu,
        stream=stream,
        datasets=datasets,
        static=static,
        forcing=forcing,
        missing=missing,
        describe=describe,
    )


def from_xarray(
    dataset: Any,
    *,
    static: Sequence[str] = (),
    forcing: Sequence[str] = (),
    missing: str = REFUSE,
) -> Trajectories:
    """Return an xarray Dataset or DataArray as trajectories: u (n, t, *s, c) float32, cond (n, p).

    Channels are the variables of sample, time and one to three axes of space, whose names or
    coordinates give their roles; without an axis of samples there is one trajectory. See
    `named_arrays.stored_variables`. `static` names channels, or variables without time, that are
    inputs and not predicted, `forcing` those that change in time. With `missing` "mask", NaN in
    predicted channels is kept. Raises ValueError on other dimensions, uneven coordinates and
    non-finite values.
    """
    stored = stored_of(dataset, names_of(static), names_of(forcing))
    samples = np.arange(stored.shape[0])
    with np.errstate(over="ignore"):
        u = stored.read(0, len(samples)).astype(np.float32)
    pdebench.check_block(u, samples, stored, missing)
    return pdebench.described(stored, u, "given", range(len(u)))


def load_section(spec: Any, pde: str, *, describe: bool = False) -> Trajectories:
    """Return all trajectories of the file in a config's section `data`, subsampled by its strides.

    By default HDF5 files for the `pde` "burgers" are subsampled by PDEBENCH_STRIDES.
    """
    is_npz = _path(spec.path).suffix.lower() == ".npz"
    usual = PDEBENCH_STRIDES if pde == "burgers" and not is_npz else (1, 1)
    return load(
        spec.path,
        space_stride=spec.space_stride or usual[0],
        time_stride=spec.time_stride or usual[1],
        nu=spec.nu,
        stream=spec.stream,
        datasets=spec.datasets,
        static=spec.static,
        forcing=spec.forcing,
        missing=spec.missing,
        describe=describe,
    )


def load_npz(
    path: str | Path,
    *,
    static: Sequence[str] = (),
    forcing: Sequence[str] = (),
    missing: str = REFUSE,
    describe: bool = False,
) -> Trajectories:
    """Load an npz file: `u` (n, t, *s, c); the other names of `FIELDS` are optional.

    So are even coordinates t, x and y, which give dt and extent where these are absent. `origin` is
    the file's name and hash, followed by the file's own `origin` if present. Raises ValueError if
    the file is missing, damaged or without `u`, and on a value that is no finite float32 number.
    `static` names channels, or arrays (*s) or (n, *s) of the file, that are inputs and not
    predicted; `forcing` channels, or arrays (n, t, ...) as `with_forcing` takes them.
    `missing` "mask" keeps NaN in all others. With `describe`, u is its shape and type alone.
    """
    path = _path(path)
    _suffix(path, (pdebench.NPZ,))
    return load(path, static=static, forcing=forcing, missing=missing, describe=describe)


def save_npz(path: str | Path, trajectories: Trajectories) -> None:
    """Write trajectories atomically, as `load_npz` reads them."""
    _write(_path(path), _arrays(trajectories), allowed=(".npz",))


def save_predictions(
    path: str | Path, predictions: Mapping[str, Array | np.ndarray], truth: Trajectories
) -> None:
    """Write named forecasts and the truth atomically to a .npz, .h5 or .hdf5 file.

    Each prediction (n, t, *s, c) ends at the last frame of the truth and may start later, after
    the context frames. Names in the file: those of `save_npz` for the truth (`load_npz` opens it),
    and `predictions/<name>`. Raises ValueError on another suffix or on shapes that do not match.
    """
    arrays = _arrays(truth)
    for name, u in predictions.items():
        got, want = np.shape(u), arrays["u"].shape
        want = (*want[:-1], len(truth.predicted))
        if len(got) != len(want) or (got[0], *got[2:]) != (want[0], *want[2:]) or got[1] > want[1]:
            raise ValueError(
                f"prediction {name!r} has shape {got}; expected that of the truth, {want}, "
                "with as many frames or fewer"
            )
        arrays[f"predictions/{name}"] = np.asarray(u)
    _write(_path(path), arrays, allowed=(".npz", *pdebench.HDF5))


def check_predictions_path(path: str | Path) -> None:
    """Raise ValueError unless `save_predictions` can write to this path."""
    path = _path(path)
    _suffix(path, (".npz", *pdebench.HDF5))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written: {error.strerror}; name another file"
        ) from error


def _arrays(trajectories: Trajectories) -> dict[str, np.ndarray]:
    values = {name: getattr(trajectories, name) for name in FIELDS}
    values["forcing"] = trajectories.forcing or None
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def _write(path: Path, arrays: Mapping[str, Any], *, allowed: Sequence[str]) -> None:
    suffix = _suffix(path, allowed)
    with atomic_path(path) as scratch:
        if suffix == ".npz":
            with scratch.open("wb") as file:
                np.savez(file, **arrays)
            return
        with h5py.File(scratch, "w") as out:
            for name, array in arrays.items():
                text = array.dtype.kind == "U"
                out[name] = array.astype(h5py.string_dtype()) if text else array


def _path(path: str | Path) -> Path:
    return Path(path).expanduser()


def _suffix(path: Path, allowed: Sequence[str]) -> str:
    suffix = path.suffix.lower()
    if suffix not in allowed:
        raise ValueError(f"{path}: unknown file type {suffix!r}; allowed: {', '.join(allowed)}")
    return suffix
