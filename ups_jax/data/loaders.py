"""Trajectories and predictions as files, selected by suffix, and datasets of xarray."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import h5py
import jax
import numpy as np

from ups_jax.data import pdebench
from ups_jax.data.cache import UNREADABLE, errors_named, reason
from ups_jax.data.lengths import strided
from ups_jax.data.missing import REFUSE
from ups_jax.data.named_arrays import stored_of
from ups_jax.data.static import select_inputs
from ups_jax.data.stored import FIELDS, Stored, names_in
from ups_jax.files import atomic_path
from ups_jax.types import Array, Trajectories

HDF5 = (".h5", ".hdf5")
NETCDF = ".nc"
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
    """Load by suffix: .npz (`load_npz`), .h5, .hdf5, .nc or a .zarr folder (`load_pdebench`).

    Strides and samples subsample both kinds. `nu` is the PDE parameter of a file without any.
    `stream` leaves the fields of all but npz on disk, `datasets` names those of another layout.
    `static` names channels, or fields without a time axis, that are inputs and not predicted,
    `forcing` channels or arrays (n, t, ...) that change in time and are known. With `missing`
    "mask", NaN in predicted channels is kept as a missing value; by default it is refused with its
    place. With `describe`, u is its shape and type alone.
    """
    path, strides = _path(path), dict(space_stride=space_stride, time_stride=time_stride)
    given: Any = dict(**strides, samples=samples, nu=nu, describe=describe)
    if _suffix(path, (".npz", *HDF5, NETCDF, pdebench.ZARR)) != ".npz":
        given |= dict(stream=stream, datasets=datasets, static=static, forcing=forcing)
        given |= dict(missing=missing)
        return pdebench.load_pdebench(path, **given)
    if stream:
        raise ValueError(f"{path}: only HDF5 and Zarr can be streamed; set data.stream to false")
    data = load_npz(path, static=static, forcing=forcing, missing=missing, describe=describe)
    cond, params = data.cond, data.params
    assert cond is not None
    if nu is not None and cond.shape[1] == 0:
        cond, params = np.full((len(cond), 1), nu, np.float32), ("nu",)
    with errors_named(path):
        pdebench.check_strides(data.u.shape[1], data.points, **strides)
        selected = pdebench.sample_range(samples, len(data))
        index = slice(selected.start, selected.stop, selected.step)
        space = (slice(None, None, space_stride),) * data.ndim
        kept = (index, slice(None, None, time_stride), *space)
        shape = np.broadcast_to(np.float32(0), data.u.shape)[kept].shape
        u: Any = jax.ShapeDtypeStruct(shape, np.float32)
        u = u if describe else np.ascontiguousarray(data.u[kept])
        dt, lengths = data.dt * time_stride, strided(data.lengths, time_stride)
        lengths = None if lengths is None else lengths[index]
        return replace(data, u=u, cond=cond[index], params=params, dt=dt, lengths=lengths)


def from_xarray(
    dataset: Any,
    *,
    static: Sequence[str] = (),
    forcing: Sequence[str] = (),
    missing: str = REFUSE,
) -> Trajectories:
    """Return an xarray Dataset as trajectories: u (n, t, *s, c) float32, cond (n, p).

    Channels are the variables (sample, time, x[, y]); see `named_arrays.stored_of`. `static` names
    channels, or variables without time, that are inputs and not predicted, `forcing` those that
    change in time. With `missing` "mask", NaN in predicted channels is kept. Raises ValueError on
    other dimensions, uneven coordinates and non-finite values.
    """
    stored = stored_of(dataset, static, forcing)
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

    `origin` is the file's name and hash, followed by the file's own `origin` if present. Raises
    ValueError if the file is missing, damaged or without `u`, and on a value that is no finite
    float32 number. `static` names channels, or arrays (*s) or (n, *s) of the file, that are inputs
    and not predicted; `forcing` channels, or arrays (n, t, ...) as `with_forcing` takes them.
    `missing` "mask" keeps NaN in all others. With `describe`, u is its shape and type alone.
    """
    path = _path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give an npz file with an array u (n, t, *s, c)")
    with errors_named(path):
        arrays, others = _read_npz(path, (*static, *forcing), describe=describe)
        if "u" not in arrays:
            listed = ", ".join(sorted((*arrays, *others))) or "none"
            raise ValueError(f"no array 'u' (n, t, *s, c); arrays: {listed}")
        u: Any = arrays["u"]
        if u.dtype.kind != "f":
            raise ValueError(f"u holds {u.dtype}; expected floats: u.astype('float32')")
        origin, none = f"{path.name}, {pdebench.file_hash(path)}", np.zeros(0, str)
        words = {name: tuple(map(str, arrays.get(name, none).reshape(-1))) for name in LISTS}
        given: dict[str, Any] = words | dict(
            cond=arrays.get("cond"),
            dt=arrays.get("dt", 1.0),
            extent=arrays.get("extent", ()),
            origin=f"{origin} ({arrays['origin']})" if "origin" in arrays else origin,
            pde=str(arrays.get("pde", "")),
            steady=bool(arrays.get("steady", False)),
            lengths=arrays.get("lengths"),
        )
        if len(u.shape) > 3 and 0 not in u.shape:
            # An array of numbers of the name forcing is one that data.forcing may name.
            forced = names_in(arrays.get("forcing", none))
            taken = [name for name in FIELDS if name != "forcing" or forced]
            further = {name: array for name, array in arrays.items() if name not in taken} | others
            own: Any = {name: words[name] for name in ("channels", "static")}
            own |= dict(read=lambda first, last: arrays["u"][first:last], further=further)
            stored = Stored(shape=u.shape, dt=1.0, extent=(), forcing=forced, **own)
            stored = select_inputs(stored, static, forcing)
            own = ("channels", "static", "forcing")
            given |= {name: getattr(stored, name) for name in own}
            u = jax.ShapeDtypeStruct(stored.shape, u.dtype)
            if not describe:
                with np.errstate(over="ignore"):
                    u = stored.read(0, len(arrays["u"])).astype(np.float32)
                stored = stored._replace(lengths=arrays.get("lengths"))
                pdebench.check_block(u, np.arange(len(u)), stored, missing)
        return Trajectories(u, **given)


def _read_npz(
    path: Path, inputs: Sequence[str], *, describe: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays of `FIELDS` and `inputs` of an npz file, and only the shapes of others."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("np.savez(path, u=...) makes one")
        with path.open("rb") as raw, np.load(raw) as file:
            wanted = [name for name in dict.fromkeys((*FIELDS, *inputs)) if name in file.files]
            arrays = {name: file[name] for name in wanted if not (describe and name == "u")}
            foreign = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
            if foreign:
                raise ValueError(f"member {foreign[0]!r} is no array")
            if describe and "u" in wanted:
                arrays["u"] = jax.ShapeDtypeStruct(*_header(file, "u"))
            others = [name for name in file.files if name not in wanted]
            others = [name for name in others if f"{name}.npy" in file.zip.namelist()]
            shapes = {name: _header(file, name)[0] for name in others}
            return arrays, {k: np.broadcast_to(np.float32(0), v) for k, v in shapes.items()}
    except UNREADABLE as error:
        raise ValueError(f"not a readable npz file of plain arrays ({reason(error)})") from error


def _header(file: Any, name: str) -> tuple[tuple[int, ...], Any]:
    """Return shape and type of an array of an open npz file, which is not read."""
    with file.zip.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0
        read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    return shape, dtype


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
    _write(_path(path), arrays, allowed=(".npz", *HDF5))


def check_predictions_path(path: str | Path) -> None:
    """Raise ValueError unless `save_predictions` can write to this path."""
    path = _path(path)
    _suffix(path, (".npz", *HDF5))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written: {error.strerror}; name another file"
        ) from error


LISTS = ("channels", "params", "boundary", "static")
"""Those of them that are lists of names."""


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
