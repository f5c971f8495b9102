"""Trajectories of npz, HDF5 and NetCDF files and Zarr stores, read and subsampled in blocks."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np

from ups_jax.data.cache import UNREADABLE, errors_named, reason
from ups_jax.data.layouts import open_layout
from ups_jax.data.lengths import fill_padding, strided
from ups_jax.data.missing import REFUSE, check_values
from ups_jax.data.npz import open_npz
from ups_jax.data.static import check_static, select_inputs
from ups_jax.data.stored import Stored, with_nu
from ups_jax.data.streaming import copy_to_disk
from ups_jax.data.zarr_stores import open_netcdf3, open_zarr, store_hash
from ups_jax.types import Trajectories
from ups_jax.values import names_of

NPZ, ZARR, NETCDF = ".npz", ".zarr", ".nc"
HDF5 = (".h5", ".hdf5")
NETCDF3_MAGIC = b"CDF"
COPY_VERSION = 2
"""Number in the names of copies on disk; another one where a layout is read in another way."""
READ_BYTES = 64 * 2**20
"""Bytes per read, at least one sample."""
FULL_HASH_BYTES = 256 * 2**20
"""Largest file that is hashed completely; of larger ones only head and tail are hashed."""
END_HASH_BYTES = 16 * 2**20
"""Bytes of the head, and of the tail, that are hashed."""
Samples = slice | range | tuple[int, int] | None
"""Samples of a file: a slice, a range, (first, last + 1), or None for all."""


def load_pdebench(
    path: str | Path,
    *,
    space_stride: int = 1,
    time_stride: int = 1,
    samples: Samples = None,
    nu: float | None = None,
    stream: bool = False,
    datasets: Sequence[str] = (),
    static: Sequence[str] = (),
    forcing: Sequence[str] = (),
    missing: str = REFUSE,
    describe: bool = False,
) -> Trajectories:
    """Return the trajectories of a file or Zarr store: u (n, t, *s, c) float32, cond (n, p).

    Layouts are those of `layouts.open_layout` in HDF5, of `own_layout.open_own` in npz and of
    `named_arrays.stored_variables` in Zarr and NetCDF; `datasets` names those of another. The given
    samples, every `time_stride`-th frame and every `space_stride`-th point along each axis
    are kept. PDE parameters are attributes, or else in the file's name; `nu` is that of a file
    without it. `static` names channels, or fields without a time axis, that are inputs and not
    predicted, `forcing` channels or arrays (n, t, ...) that change in time and are known. With
    `missing` "mask", NaN in channels that are predicted is kept, see `missing.check_values`. With
    `stream`, the first call copies the selection to the data cache, and `DiskFields` reads rows and
    windows. With `describe`, u is its shape and type alone, and no field is read.

    Raises ValueError on a file that is missing, damaged or of another layout, on invalid strides
    and samples, and on non-finite values. PDEBench (2022), app. D; The Well (2024).
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ZARR and not path.is_file() or not path.exists():
        raise ValueError(
            f"{path}: no such file; give the path of an npz, HDF5 or NetCDF file or a Zarr store"
        )
    if stream and path.suffix.lower() == NPZ:
        raise ValueError(f"{path}: only HDF5 and Zarr can be streamed; set data.stream to false")
    datasets, static, forcing = map(names_of, (datasets, static, forcing))
    opened = _open(path, nu, datasets, (*static, *forcing), describe=describe)
    with errors_named(path), opened as stored:
        with _readable(path):
            stored = select_inputs(with_nu(stored, nu), static, forcing)
            total, frames, *points, channels = stored.shape
            strides = dict(space_stride=space_stride, time_stride=time_stride)
            check_strides(frames, tuple(points), **strides)
            chosen = sample_range(samples, total)
        kept = (n // space_stride for n in points)
        shape = (len(chosen), (frames - 1) // time_stride + 1, *kept, channels)
        blocks = _read_blocks(stored, chosen, time_stride, space_stride, path, missing)
        digest = file_hash(path)
        u: Any
        if describe:
            u = jax.ShapeDtypeStruct(shape, np.float32)
        elif stream:
            suffix = f"{chosen.start}-{chosen.stop}-{chosen.step}-{time_stride}-{space_stride}"
            name = f"{path.stem}-{digest.rpartition(' ')[2]}-{suffix}"
            # A copy with gaps must not be read where these are refused.
            parts = (COPY_VERSION, missing, *datasets, *stored.static, *stored.forcing)
            named = sha256("|".join(map(str, parts)).encode()).hexdigest()[:8]
            u = copy_to_disk(f"{name}-{named}.f32", shape, blocks)
            u.missing = missing
        else:
            u, first = np.empty(shape, np.float32), 0
            for block in blocks:
                u[first : first + len(block)] = block
                first += len(block)
        return described(stored, u, f"{path.name}, {digest}", chosen, time_stride=time_stride)


def described(
    stored: Stored, u: Any, origin: str, chosen: Sequence[int], *, time_stride: int = 1
) -> Trajectories:
    """Return fields u (n, t, *s, c), read from `stored`, with all that it states about them."""
    columns = [_column(name, x, stored)[list(chosen)] for name, x in stored.cond.items()]
    lengths = (stored.dt * time_stride, *stored.extent)
    dt, *extent = (float(f"{x:.{stored.digits}g}") for x in lengths)
    lengths = strided(stored.lengths, time_stride)
    notes = {"unused": stored.unused, "notes": stored.notes}
    return Trajectories(
        u,
        np.stack(columns, axis=1) if columns else None,
        dt,
        tuple(extent),
        stored.channels,
        f"{origin} ({stored.origin})" if stored.origin else origin,
        meta={key: values for key, values in notes.items() if values},
        params=() if stored.unnamed else tuple(stored.cond),
        pde=stored.pde,
        boundary=stored.boundary,
        static=stored.static,
        forcing=stored.forcing,
        steady=stored.steady,
        lengths=None if lengths is None else lengths[list(chosen)],
    )


def _column(name: str, values: Any, stored: Stored) -> np.ndarray:
    """Return a PDE parameter (n,) of all samples. ValueError on another shape."""
    if np.shape(values) != stored.shape[:1]:
        raise ValueError(
            f"parameter {name} has shape {np.shape(values)}; expected ({stored.shape[0]},), one "
            "number for each sample"
        )
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)


@contextmanager
def _open(
    path: Path, nu: float | None, datasets: Sequence[str], inputs: Sequence[str], *, describe: bool
) -> Iterator[Stored]:
    """Yield the fields of a file or Zarr store."""
    if path.suffix.lower() == NPZ:
        yield open_npz(path, datasets=datasets, inputs=inputs, shapes=describe)
        return
    netcdf3 = path.is_file() and _begins(path, NETCDF3_MAGIC)
    if netcdf3 or path.suffix.lower() == ZARR:
        if datasets:
            raise ValueError(
                "data.datasets names datasets of HDF5 and npz; rename the variables by xarray"
            )
        with ExitStack() as stack:
            with _readable(path):
                opened = open_netcdf3(path) if netcdf3 else open_zarr(path)
                stored = stack.enter_context(opened)
            yield stored
        return
    with _readable(path):
        file = h5py.File(path, "r")
    with file:
        with _readable(path):
            stored = open_layout(file, path, nu=nu, datasets=datasets)
        yield stored


def _begins(path: Path, magic: bytes) -> bool:
    with _readable(path), path.open("rb") as file:
        return file.read(len(magic)) == magic


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn h5py's errors into a ValueError that names the file and the remedy."""
    try:
        yield
    except ValueError:
        raise
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.EACCES):
            remedy = "close the program that writes to it, or make the file readable"
        else:
            kind = "HDF5 file" if path.suffix.lower() in HDF5 else "NetCDF file"
            kind = "Zarr store" if path.is_dir() else kind
            remedy = f"it is no {kind}, cut short or damaged; download it again"
        raise ValueError(f"{path}: cannot be read ({reason(error)}); {remedy}") from error


def _read_blocks(
    stored: Stored, chosen: range, time_stride: int, space_stride: int, path: Path, missing: str
) -> Iterator[np.ndarray]:
    """Yield subsampled blocks (m, t, *s, c) float32, by contiguous reads of `READ_BYTES`."""
    size = max(1, READ_BYTES // max(1, 4 * int(np.prod(stored.shape[1:]))))
    per_read = max(1, (size - 1) // chosen.step + 1)
    space = (slice(None, None, space_stride),) * (len(stored.shape) - 3)
    kept = (slice(None, None, chosen.step), slice(None, None, time_stride), *space)
    for first in range(0, len(chosen), per_read):
        part = chosen[first : first + per_read]
        with _readable(path):
            block = stored.read(part[0], part[-1] + 1)
        with np.errstate(over="ignore"):
            block = block[kept].astype(np.float32)
        check_block(block, np.asarray(part), stored, missing, time_stride=time_stride)
        yield block


def check_block(
    u: np.ndarray, samples: np.ndarray, stored: Stored, missing: str, *, time_stride: int = 1
) -> None:
    """Raise ValueError at the first value of samples u (m, t, *s, c) that cannot be used.

    Padding after the last frame of a trajectory that is not finite is replaced in u.
    """
    inputs, lengths = len(stored.static) + len(stored.forcing), None
    own = strided(stored.lengths, time_stride)
    if own is not None and own.shape == stored.shape[:1]:
        lengths = own[samples]
    check_values(
        u, samples, missing=missing, inputs=inputs, lengths=lengths, time_stride=time_stride
    )
    if lengths is not None:
        fill_padding(u, lengths)
    check_static(u, samples, stored)


def check_strides(
    frames: int, points: tuple[int, ...], *, space_stride: int, time_stride: int
) -> None:
    """Raise ValueError unless the strides keep the periodic grid, and first and last frame."""
    for name, stride in (("space_stride", space_stride), ("time_stride", time_stride)):
        if int(stride) != stride or stride < 1:
            raise ValueError(f"{name} is {stride}; expected a whole number of at least 1")
    for count in points:
        if count % space_stride:
            raise ValueError(
                f"space_stride {space_stride} does not divide {count} points; "
                f"allowed: {_divisors(count)}"
            )
    if frames < 2:
        raise ValueError("trajectories have one frame; expected two frames or more")
    if (frames - 1) % time_stride:
        raise ValueError(
            f"time_stride {time_stride} does not divide the {frames - 1} intervals of {frames} "
            f"frames; allowed: {_divisors(frames - 1)}"
        )


def sample_range(samples: Samples, total: int) -> range:
    """Return samples of `total` as a rising range; ValueError if it is empty or out of range."""
    if isinstance(samples, slice):
        chosen = range(total)[samples]
        inside = all(-total <= x <= total for x in (samples.start or 0, samples.stop or 0))
    else:
        chosen = range(total) if samples is None else samples
        chosen = chosen if isinstance(chosen, range) else range(*chosen)
        inside = len(chosen) == 0 or 0 <= chosen[0] <= chosen[-1] < total
    if not inside or not chosen or chosen.step < 1:
        raise ValueError(
            f"samples {samples} of {total}: expected a rising, non-empty range within (0, {total})"
        )
    return chosen


def file_hash(path: Path) -> str:
    """Return label and 12 hex digits of a file's SHA-256; of size, head and tail if it is large."""
    if path.is_dir():
        return store_hash(path)
    size = path.stat().st_size
    total = sha256()
    with path.open("rb") as file:
        if size <= FULL_HASH_BYTES:
            while block := file.read(2**20):
                total.update(block)
            return f"sha256 {total.hexdigest()[:12]}"
        total.update(str(size).encode() + file.read(END_HASH_BYTES))
        file.seek(-END_HASH_BYTES, os.SEEK_END)
        total.update(file.read(END_HASH_BYTES))
    return f"sha256(size+head+tail) {total.hexdigest()[:12]}"


def _divisors(n: int) -> str:
    return ", ".join(str(k) for k in range(1, n + 1) if n % k == 0)
