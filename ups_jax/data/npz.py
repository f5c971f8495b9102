"""Arrays of npz files; for a description, only the shapes of large ones are read."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ups_jax.data.cache import UNREADABLE, reason
from ups_jax.data.mapped_layout import open_mapped
from ups_jax.data.own_layout import open_own
from ups_jax.data.stored import AXIS_NAMES, FIELDS, Stored
from ups_jax.data.variables import variable


class Unread(NamedTuple):
    """Shape and type of an array whose values are not needed."""

    shape: tuple[int, ...]
    dtype: Any


def open_npz(path: Path, *, datasets: Sequence[str], inputs: Sequence[str], shapes: bool) -> Stored:
    """Return the fields of an npz file, or those that `datasets` name.

    `inputs` names further arrays that are read; with `shapes`, those of fields are not. Raises
    ValueError if the file is damaged, and as `open_own` and `open_mapped`.
    """
    paths = [item.rpartition("=")[2] for item in datasets]
    wanted = (*FIELDS, "t", *AXIS_NAMES, *inputs, *paths)
    arrays = _read_arrays(path, wanted, shapes=shapes)
    if not datasets:
        return open_own(arrays)

    def find(name: str) -> Any:
        if name not in arrays:
            listed = ", ".join(sorted(arrays)) or "none"
            raise ValueError(f"no array {name!r}; arrays: {listed}")
        return variable(name, arrays[name])

    return open_mapped(find, datasets)


def _read_arrays(path: Path, wanted: Sequence[str], *, shapes: bool) -> dict[str, Any]:
    """Return the arrays of an npz file: the `wanted` ones, and the shapes of others.

    With `shapes`, also only the shapes of wanted ones of more than two axes.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("np.savez(path, u=...) makes one")
        with path.open("rb") as raw, np.load(raw) as file:
            members, arrays = file.zip.namelist(), {}
            for name in file.files:
                header = _header(file, name) if f"{name}.npy" in members else None
                if header and _is_unread(name, header, wanted, shapes=shapes):
                    arrays[name] = header
                elif name in wanted:
                    arrays[name] = file[name]
                    if not isinstance(arrays[name], np.ndarray):
                        raise ValueError(f"member {name!r} is no array")
            return arrays
    except UNREADABLE as error:
        raise ValueError(f"not a readable npz file of plain arrays ({reason(error)})") from error


def _is_unread(name: str, header: Unread, wanted: Sequence[str], *, shapes: bool) -> bool:
    ragged = name == "u" and header.dtype.kind == "O"
    return ragged or name not in wanted or (shapes and len(header.shape) > 2)


def _header(file: Any, name: str) -> Unread | None:
    """Return shape and type of an array of an open npz file; None if the member is no array."""
    with file.zip.open(f"{name}.npy") as member:
        if member.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            return None
        member.seek(0)
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0
        read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    return Unread(shape, dtype)
