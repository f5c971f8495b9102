"""PDEBench's HDF5 files of one-dimensional Burgers, read and subsampled in blocks."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ups_jax.data.cache import UNREADABLE, errors_named, reason
from ups_jax.data.streaming import copy_to_disk
from ups_jax.types import Trajectories

READ_BYTES = 64 * 2**20
"""Bytes per read, at least one sample."""
FULL_HASH_BYTES = 256 * 2**20
"""Largest file that is hashed completely; of larger ones only head and tail are hashed."""
END_HASH_BYTES = 16 * 2**20
"""Bytes of the head, and of the tail, that are hashed."""
FOREIGN_PARAMETERS = ("beta", "eta", "rho", "zeta")
"""Parameters of PDEBench's other equations in one dimension, as attributes and file names."""
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
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of a PDEBench HDF5 file")
    with _readable(path):
        file = h5py.File(path, "r")
    with file, errors_named(path):
        with _readable(path):
            tensor = _tensor(file, path.name)
            total, frames, points = tensor.shape[:3]
            check_strides(frames, (points,), space_stride=space_stride, time_stride=time_stride)
            chosen = sample_range(samples, total)
            dx = _spacing(_dataset(file, "x-coordinate"), points, spare=0)
            dt = _spacing(_dataset(file, "t-coordinate"), frames, spare=1)
            nu = _viscosity(file, tensor, path.name, nu)
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
    origin = f"{path.name}, {file_hash(path)}"
    return Trajectories(u, cond, dt, (length,), channels, origin, params=("nu",))


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
            remedy = "it is no HDF5 file, cut short or damaged; download it again"
        raise ValueError(f"{path}: cannot be read ({reason(error)}); {remedy}") from error


def _tensor(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the fields of a Burgers file. Raises ValueError on another equation or layout."""
    tensor = _dataset(file, "tensor")
    if tensor.ndim not in (3, 4) or "y-coordinate" in file:
        raise ValueError(
            f"tensor has shape {tensor.shape}; expected one space axis, (sample, time, x) or "
            "(sample, time, x, channel); convert other data with ups_jax.data.save_npz"
        )
    if tensor.dtype.kind != "f" or 0 in tensor.shape:
        raise ValueError(
            f"tensor holds {tensor.shape} {tensor.dtype}; expected floating numbers, at least one"
        )
    words = [*file.attrs, *tensor.attrs, *re.findall(r"_([a-z]+)\d", name, re.IGNORECASE)]
    foreign = [word for word in words if word.lower() in FOREIGN_PARAMETERS]
    if foreign:
        raise ValueError(
            f"the data have a parameter {foreign[0]!r}, which Burgers lacks: another equation; "
            "convert them with ups_jax.data.save_npz and choose its pde"
        )
    return tensor


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset that is stored in the file itself, not linked from elsewhere."""
    # A link or external storage may lead to any file that the user can read.
    link = file.get(name, getlink=True)
    dataset = file.get(name) if isinstance(link, h5py.HardLink) else None
    if isinstance(dataset, h5py.Dataset) and not (dataset.external or dataset.is_virtual):
        return dataset
    if link is not None:
        raise ValueError(
            f"{name!r} is a link, external or no dataset; only data stored in the file itself "
            "are read: copy them there"
        )
    names = sorted(map(str, file))
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise ValueError(
        f"no dataset {name!r}; expected tensor, x-coordinate and t-coordinate, "
        f"found {listed or 'nothing'}"
    )


def _spacing(axis: h5py.Dataset, count: int, *, spare: int) -> float:
    """Return the spacing of `count` equidistant coordinates; the axis may have `spare` more."""
    name = str(axis.name).strip("/")
    if axis.ndim != 1 or not count <= axis.shape[0] <= count + spare:
        allowed = f"({count},)" + (f" or ({count + spare},)" if spare else "")
        raise ValueError(f"{name} has shape {axis.shape}; expected {allowed} as in tensor")
    values = np.asarray(axis[:count], np.float64)
    spacing = (values[-1] - values[0]) / max(count - 1, 1)
    steps = np.diff(values)
    if count < 2 or not spacing > 0 or not np.allclose(steps, spacing, rtol=5e-3, atol=0):
        raise ValueError(
            f"{name} is not evenly spaced and rising (from {values.min():.3g} to "
            f"{values.max():.3g} by {spacing:.3g} on average); resample the data on a uniform grid"
        )
    return float(spacing)


def _viscosity(file: h5py.File, tensor: h5py.Dataset, name: str, given: float | None) -> float:
    """Return Nu: attribute, else file name, else argument; ValueError if the argument differs."""
    attribute = file.attrs.get("Nu", tensor.attrs.get("Nu"))
    named = re.search(r"_Nu(\d+(?:\.\d+)?(?:e-?\d+)?)", name, re.IGNORECASE)
    written = attribute if attribute is not None else named[1] if named else given
    try:
        nu = float(np.asarray(written, np.float64).reshape(()))
    except (TypeError, ValueError):
        nu = float("nan")
    if not 0 < nu < float(np.finfo(np.float32).max):
        raise ValueError(
            f"Nu is {written}; expected a positive attribute 'Nu' or a file name with "
            "'_Nu0.001'; pass nu= (data.nu)"
        )
    if given is not None and not np.isclose(nu, given, rtol=1e-5):
        raise ValueError(f"nu={given} was given, but the file has {nu}; omit nu")
    return nu


def _read_blocks(
    tensor: h5py.Dataset, chosen: range, time_stride: int, space_stride: int, path: Path
) -> Iterator[np.ndarray]:
    """Yield subsampled blocks (m, t, x, c) float32, by contiguous reads of `READ_BYTES`."""
    size = max(1, READ_BYTES // max(1, tensor.nbytes // tensor.shape[0]))
    per_read = max(1, (size - 1) // chosen.step + 1)
    for first in range(0, len(chosen), per_read):
        part = chosen[first : first + per_read]
        with _readable(path):
            block = tensor[part[0] : part[-1] + 1]
        with np.errstate(over="ignore"):
            block = block[:: chosen.step, ::time_stride, ::space_stride].astype(np.float32)
        check_finite(block, np.asarray(part))
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


def check_finite(u: np.ndarray, samples: np.ndarray) -> None:
    """Raise ValueError with the first of `samples` (n,) that is not finite in u (n, ...)."""
    bad = ~np.isfinite(u).all(axis=tuple(range(1, u.ndim)))
    if bad.any():
        raise ValueError(
            f"sample {samples[np.argmax(bad)]} holds NaN or infinity in float32; "
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
