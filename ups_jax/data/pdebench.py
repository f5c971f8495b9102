"""PDEBench's HDF5 files of one-dimensional Burgers, read and subsampled in blocks."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ups_jax.data.streaming import copy_to_disk
from ups_jax.types import Trajectories

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
) -> Trajectories:
    """Return the trajectories of a PDEBench Burgers file: u (n, t, x, c) float32, cond (n, 1) = Nu.

    `tensor` is (N, T, X) or (N, T, X, c). The given samples, every `time_stride`-th frame and every
    `space_stride`-th point are kept. `t-coordinate` may have T + 1 entries, as in the official
    files. Nu is the attribute, else the number in the file name, else `nu`. With `stream`, the
    first call copies the selection to the data cache, and `DiskFields` reads rows and windows.

    Raises ValueError on a file that is missing, damaged or of another layout, on invalid strides
    and samples, and on non-finite values. PDEBench (2022), app. D.
    """
    path = Path(path)
    with _open(path) as file:
        tensor = _dataset(file, "tensor", path)
        if tensor.ndim not in (3, 4) or "y-coordinate" in file:
            raise ValueError(
                f"{path}: tensor has shape {tensor.shape}; expected one space axis, (sample, time, "
                "x) or (sample, time, x, channel); convert other data with ups_jax.data.save_npz"
            )
        if tensor.dtype.kind != "f":
            raise ValueError(f"{path}: tensor holds {tensor.dtype}; expected floating numbers")
        total, frames, points = tensor.shape[:3]
        check_strides(frames, (points,), space_stride=space_stride, time_stride=time_stride)
        chosen = sample_range(samples, total)
        dx = _spacing(_dataset(file, "x-coordinate", path), points, path, spare=0)
        dt = _spacing(_dataset(file, "t-coordinate", path), frames, path, spare=1)
        nu = _viscosity(file, tensor, path, nu)
        shape = (len(chosen), (frames - 1) // time_stride + 1, points // space_stride)
        shape += tensor.shape[3:] or (1,)
        blocks = _read_blocks(tensor, chosen, time_stride, space_stride, path)
        u: Any
        if stream:
            digits = file_hash(path).rpartition(" ")[2]
            suffix = f"{chosen.start}-{chosen.stop}-{chosen.step}-{time_stride}-{space_stride}"
            u = copy_to_disk(f"{path.stem}-{digits}-{suffix}.f32", shape, blocks)
        else:
            u, first = np.empty(shape, np.float32), 0
            for block in blocks:
                u[first : first + len(block)] = block
                first += len(block)
    channels = ("u",) if u.shape[-1] == 1 else ()
    cond = np.full((len(u), 1), nu, np.float32)
    # Six significant digits, the precision of float32 coordinates.
    dt, length = (float(f"{value:.6g}") for value in (dt * time_stride, dx * points))
    return Trajectories(u, cond, dt, (length,), channels, f"{path.name}, {file_hash(path)}")


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of a PDEBench HDF5 file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path}: not an HDF5 file, or cut short ({_line(error)}); download it again"
        ) from error
    with file:
        yield file


def _dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    dataset = file.get(name)
    if isinstance(dataset, h5py.Dataset):
        return dataset
    names = sorted(file)
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise ValueError(
        f"{path}: no dataset {name!r}; expected tensor, x-coordinate and t-coordinate, "
        f"found {listed or 'nothing'}"
    )


def _spacing(axis: h5py.Dataset, count: int, path: Path, *, spare: int) -> float:
    """Return the spacing of `count` equidistant coordinates; the axis may have `spare` more."""
    name = str(axis.name).strip("/")
    if axis.ndim != 1 or not count <= axis.shape[0] <= count + spare:
        allowed = f"({count},)" + (f" or ({count + spare},)" if spare else "")
        raise ValueError(f"{path}: {name} has shape {axis.shape}; expected {allowed} as in tensor")
    values = np.asarray(axis[:count], np.float64)
    spacing = (values[-1] - values[0]) / max(count - 1, 1)
    steps = np.diff(values)
    if count < 2 or not spacing > 0 or not np.allclose(steps, spacing, rtol=5e-3, atol=0):
        raise ValueError(
            f"{path}: {name} is not evenly spaced and rising (from {values.min():.3g} to "
            f"{values.max():.3g} by {spacing:.3g} on average); resample the data on a uniform grid"
        )
    return float(spacing)


def _viscosity(file: h5py.File, tensor: h5py.Dataset, path: Path, given: float | None) -> float:
    """Return Nu: attribute, else file name, else argument; ValueError if the argument differs."""
    attribute = file.attrs.get("Nu", tensor.attrs.get("Nu"))
    named = re.search(r"_Nu(\d+(?:\.\d+)?(?:e-?\d+)?)", path.name, re.IGNORECASE)
    written = attribute if attribute is not None else named[1] if named else given
    try:
        nu = float(np.asarray(written, np.float64).reshape(()))
    except (TypeError, ValueError):
        nu = float("nan")
    if not 0 < nu < float("inf"):
        raise ValueError(
            f"{path}: Nu is {written}; expected a positive attribute 'Nu' or a file name with "
            "'_Nu0.001'; pass nu= (data.nu)"
        )
    if given is not None and not np.isclose(nu, given, rtol=1e-5):
        raise ValueError(f"{path}: nu={given} was given, but the file has {nu}; omit nu")
    return nu


def _read_blocks(
    tensor: h5py.Dataset, chosen: range, time_stride: int, space_stride: int, path: Path
) -> Iterator[np.ndarray]:
    """Yield subsampled blocks (m, t, x, c) float32, by contiguous reads of `READ_BYTES`."""
    size = max(1, READ_BYTES // max(1, tensor.nbytes // tensor.shape[0]))
    per_read = max(1, (size - 1) // chosen.step + 1)
    for first in range(0, len(chosen), per_read):
        part = chosen[first : first + per_read]
        try:
            block = tensor[part[0] : part[-1] + 1]
        except OSError as error:
            raise ValueError(
                f"{path}: samples {part[0]} to {part[-1]} cannot be read ({_line(error)}); "
                "the file is damaged, download it again"
            ) from error
        block = block[:: chosen.step, ::time_stride, ::space_stride].astype(np.float32)
        check_finite(block, np.asarray(part), path)
        yield block if block.ndim == 4 else block[..., None]


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
    if frames < 2 or (frames - 1) % time_stride:
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


def check_finite(u: np.ndarray, samples: np.ndarray, path: Path) -> None:
    """Raise ValueError with the first of `samples` (n,) that is not finite in u (n, ...)."""
    bad = ~np.isfinite(u).reshape(len(u), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{path}: sample {samples[np.argmax(bad)]} holds NaN or infinity; "
            "exclude it with samples=, or repair the file"
        )


def file_hash(path: Path) -> str:
    """Return label and 12 hex digits of a file's SHA-256; of size, head and tail if it is large."""
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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
