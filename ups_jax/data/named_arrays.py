"""Arrays with named dimensions: datasets of xarray, in memory or in a Zarr store."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax.data.cache import UNREADABLE, reason
from ups_jax.data.static import select_inputs
from ups_jax.data.stored import Stored, require_numbers, side_by_side, spacing

PICKLE = re.compile(r'"(?:id|name)":\s*"(?:numcodecs\.)?pickle"')
"""Codec of arrays of Python objects: decoding one runs what the store says."""


@contextmanager
def open_zarr(path: Path) -> Iterator[Stored]:
    """Yield the fields of a Zarr store, a folder; versions 2 and 3.

    Raises ValueError without xarray and zarr, on a folder that is no store, and on links and
    arrays of Python objects in it.
    """
    xarray = _import_xarray(f"{path}: Zarr stores")
    for file in store_files(path):
        if file.name in (".zarray", "zarr.json") and PICKLE.search(file.read_text()):
            raise ValueError(
                f"{file.relative_to(path)} holds pickled Python objects, whose decoding may run "
                "any program; write the arrays as numbers"
            )
    try:
        # Metadata of each array are read: those of a whole store may be out of date.
        dataset = xarray.open_zarr(path, chunks=None, consolidated=False)
    except UNREADABLE as error:
        raise ValueError(
            f"cannot be read ({reason(error)}); the store is cut short or damaged: copy it again"
        ) from error
    with dataset:
        # Folders are listed in any order.
        yield stored_of(dataset[sorted(map(str, dataset.data_vars))])


def store_files(path: Path) -> list[Path]:
    """Return the files of a store in order of their names. ValueError on links and if it is none.

    A link may lead to any file that the user can read.
    """
    found = sorted(path.rglob("*"))
    links = [file for file in found if file.is_symlink()]
    if links:
        raise ValueError(
            f"{links[0].relative_to(path)} is a link; only data stored in the folder itself are "
            "read: copy them there"
        )
    if not any((path / name).is_file() for name in (".zgroup", "zarr.json")):
        raise ValueError("no Zarr group: .zgroup or zarr.json is missing; give the store's folder")
    return [file for file in found if file.is_file()]


def store_hash(path: Path) -> str:
    """Return label and 12 hex digits of the SHA-256 of the names and contents of a store."""
    total = sha256()
    for file in store_files(path):
        total.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size} ".encode())
        with file.open("rb") as content:
            while block := content.read(2**20):
                total.update(block)
    return f"sha256 {total.hexdigest()[:12]}"


def stored_of(dataset: Any, static: Sequence[str] = (), forcing: Sequence[str] = ()) -> Stored:
    """Return an xarray Dataset as stored fields.

    Channels are the variables with the dimensions (sample, time, x) or (sample, time, x, y) of the
    first of the most dimensions, whatever their names. Their coordinates give dt and extent, else
    spacings are 1; times of a calendar count in seconds. Variables (sample,) are PDE parameters,
    others without time may become static channels, and those (sample, time) or (sample, time, any)
    forcing. Raises ValueError if no variable has such dimensions.
    """
    named = {str(name): dataset[name] for name in dataset.data_vars}
    # A field without time (sample, x, y) has as many dimensions as one of (sample, time, x).
    candidates = [field for field in named.values() if field.ndim in (3, 4)]
    first = max(candidates, key=lambda field: field.ndim, default=None)
    if first is None:
        dims = ", ".join(f"{name} {field.dims}" for name, field in named.items()) or "none"
        raise ValueError(
            "no variable has dimensions (sample, time, x) or (sample, time, x, y); variables: "
            f"{dims}; dataset.expand_dims and transpose add and order dimensions"
        )
    sample, time, *space = first.dims
    fields = {name: field for name, field in named.items() if field.dims == first.dims}
    rows = {k: field for k, field in named.items() if field.dims == (sample,)}
    still = (tuple(space), (sample, *space))
    further = {
        name: field
        for name, field in named.items()
        if field.dims in still or (field.dims[:2] == (sample, time) and name not in fields)
    }

    def step(dim: Any) -> float:
        return spacing(_numbers(dataset[dim]), first.sizes[dim]) if dim in dataset.coords else 1.0

    for row in rows.values():
        require_numbers(row)
    stored = Stored(
        read=side_by_side(fields, len(space)),
        shape=(*first.shape, len(fields)),
        dt=step(time),
        extent=tuple(first.sizes[dim] * step(dim) for dim in space),
        channels=tuple(fields),
        cond={name: np.asarray(row) for name, row in sorted(rows.items())},
        unused=tuple(name for name in named if name not in {*fields, *rows}),
        further=further,
    )
    return select_inputs(stored, static, forcing)


def _numbers(axis: Any) -> Any:
    """Return coordinates as numbers: times of a calendar, and intervals, in seconds."""
    if axis.dtype.kind not in "mM":
        return axis
    return axis.copy(data=(axis.values - axis.values[0]) / np.timedelta64(1, "s"))


def _import_xarray(subject: str) -> Any:
    try:
        import xarray
        import zarr as zarr
    except ImportError as error:
        raise ValueError(
            f"{subject} need xarray and zarr; pip install 'ups_jax[xarray]'"
        ) from error
    return xarray
