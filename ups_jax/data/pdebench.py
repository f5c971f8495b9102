"""Trajectories of HDF5 files and Zarr stores, read and subsampled in blocks."""

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
from ups_jax.data.lengths import strided
from ups_jax.data.missing import REFUSE, check_values
from ups_jax.data.named_arrays import open_zarr, store_hash
from ups_jax.data.static import check_static, select_inputs
from ups_jax.data.stored import Stored
from ups_jax.data.streaming import copy_to_disk
from ups_jax.types import Trajectories

ZARR = ".zarr"
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
    """Return the trajectories of an HDF5 file or Zarr store: u (n, t, *s, c) float32, cond (n, p).

    Layouts are those of `layouts.open_layout`, and of `named_arrays.stored_of` in a Zarr store. The
    given samples, every `time_stride`-th frame and every `space_stride`-th point along each axis
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
        raise ValueError(f"{path}: no such file; give the path of an HDF5 file or a Zarr store")
    with errors_named(path), _open(path, nu, datasets) as stored:
        with _readable(path):
            stored = select_inputs(stored, static, forcing)
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
            chosen_names = (*datasets, *stored.static, *stored.forcing)
            # A copy with gaps must not be read where these are refused.
            chosen_names += (f"missing={missing}",) if missing != REFUSE else ()
            named = sha256("|".join(chosen_names).encode()).hexdigest()[:8] if chosen_names else ""
            u = copy_to_disk(f"{name}{named}.f32", shape, blocks)
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
    columns = [np.asarray(x, np.float32)[list(chosen)] for x in stored.cond.values()]
    # Six significant digits, the precision of float32 coordinates.
    dt, *extent = (float(f"{x:.6g}") for x in (stored.dt * time_stride, *stored.extent))
    lengths = strided(stored.lengths, time_stride)
    return Trajectories(
        u,
        np.stack(columns, axis=1) if columns else None,
        dt,
        tuple(extent),
        stored.channels,
        origin,
        meta={"unused": stored.unused} if stored.unused else {},
        params=tuple(stored.cond),
        pde=stored.pde,
        boundary=stored.boundary,
        static=stored.static,
        forcing=stored.forcing,
        steady=stored.steady,
        lengths=None if lengths is None else lengths[list(chosen)],
    )


@contextmanager
def _open(path: Path, nu: float | None, datasets: Sequence[str]) -> Iterator[Stored]:
    """Yield the fields of a Zarr store, or of an HDF5 file."""
    if path.suffix.lower() == ZARR:
        if datasets:
            raise ValueError("data.datasets names datasets of HDF5; rename the store's variables")
        with ExitStack() as stack:
            with _readable(path):
                stored = stack.enter_context(open_zarr(path))
            yield stored
        return
    with _readable(path):
        file = h5py.File(path, "r")
    with file:
        with _readable(path):
            stored = open_layout(file, path, nu=nu, datasets=datasets)
        yield stored


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
            kind = "Zarr store" if path.is_dir() else "HDF5 file"
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
    """Raise ValueError at the first value of samples u (m, t, *s, c) that cannot be used."""
    inputs, lengths = len(stored.static) + len(stored.forcing), None
    # Frames after the last one of a trajectory may have gaps only where gaps are masked.
    own = strided(stored.lengths, time_stride)
    if missing != REFUSE and own is not None and own.shape == stored.shape[:1]:
        lengths = own[samples]
    check_values(
        u, samples, missing=missing, inputs=inputs, lengths=lengths, time_stride=time_stride
    )
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
