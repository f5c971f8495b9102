"""Files that xarray opens: Zarr stores, and NetCDF-3."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from ups_jax.data.cache import UNREADABLE, reason
from ups_jax.data.named_arrays import stored_of
from ups_jax.data.stored import Stored

PICKLE = re.compile(r'"(?:id|name)":\s*"(?:numcodecs\.)?pickle"')
"""Codec of arrays of Python objects: decoding one runs what the store says."""


@contextmanager
def open_zarr(path: Path) -> Iterator[Stored]:
    """Yield the fields of a Zarr store, a folder; versions 2 and 3.

    Raises ValueError without xarray and zarr, on a folder that is no store, and on links and
    arrays of Python objects in it.
    """
    xarray = _import_xarray("Zarr stores need xarray and zarr")
    for file in store_files(path):
        if file.name in (".zarray", "zarr.json") and PICKLE.search(file.read_text()):
            raise ValueError(
                f"{file.relative_to(path)} holds pickled Python objects, whose decoding may run "
                "any program; write the arrays as numbers"
            )
    try:
        # Metadata of each array are read: those of a whole store may be out of date.
        # Times are decoded as those of NetCDF, which needs no further library for a calendar.
        dataset = xarray.open_zarr(path, chunks=None, consolidated=False, decode_times=False)
    except UNREADABLE as error:
        raise ValueError(
            f"cannot be read ({reason(error)}); the store is cut short or damaged: copy it again"
        ) from error
    with dataset:
        # Folders are listed in any order.
        yield stored_of(dataset[sorted(map(str, dataset.data_vars))])


@contextmanager
def open_netcdf3(path: Path) -> Iterator[Stored]:
    """Yield the fields of a NetCDF file of version 3. Raises ValueError without xarray."""
    xarray = _import_xarray("files of NetCDF-3 need xarray")
    # Of a damaged file, SciPy would leave open what it opened itself.
    with path.open("rb") as raw:
        try:
            dataset = xarray.open_dataset(raw, engine="scipy", decode_times=False)
        except UNREADABLE as error:
            raise ValueError(
                f"cannot be read ({reason(error)}); it is no NetCDF file, cut short or damaged: "
                "download it again"
            ) from error
        with dataset:
            yield stored_of(dataset)


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


def _import_xarray(need: str) -> Any:
    try:
        import xarray
        import zarr as zarr
    except ImportError as error:
        raise ValueError(f"{need}; pip install 'ups_jax[xarray]'") from error
    return xarray
