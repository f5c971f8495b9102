"""Arrays cached between runs: one file a shard, written atomically, verified on reading."""

import os
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from lzma import LZMAError
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from ups_jax.files import atomic_path

NEUTRAL_FLAGS = ("--xla_dump", "--xla_force_host_platform_device_count")
"""Flags of XLA that leave the results of one device as they are."""
UNREADABLE = (OSError, ValueError, TypeError, AttributeError, LookupError, EOFError, MemoryError)
UNREADABLE += (
    ArithmeticError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
)
"""Exceptions that NumPy and h5py raise on a damaged file."""


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Begin the message of a ValueError with the path of the file that it is about."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: {error}") from error


def reason(error: BaseException) -> str:
    """Return the message of a library's error as one short line."""
    return shorten(str(error) or type(error).__name__, 160)


def open_folder(cache: bool | str | Path | None, name: str) -> Path | None:
    """Open the writable folder `name` of the cache; None if the cache is off.

    `cache` None or True means `$UPS_DATA`, else `~/.cache/ups_jax/data`; False means off. A folder
    that cannot be written gives one line on stderr and None.
    """
    if cache is False:
        return None
    try:
        if cache is None or cache is True:
            variable = os.environ.get("UPS_DATA")
            root = Path(variable or "~/.cache/ups_jax/data").expanduser()
        else:
            root = Path(cache).expanduser()
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:
        _warn(f"data are not cached: {error}; set UPS_DATA to a folder that can be written")
        return None


def compiler_flags() -> str:
    """Return the flags in `$XLA_FLAGS` that may change the last bits of a program, sorted."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    return " ".join(sorted(flag for flag in flags if not flag.startswith(NEUTRAL_FLAGS)))


def read(path: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, np.ndarray] | None:
    """Read the arrays of `path`; None if there is no such file. None in a shape fits any length.

    A file that is truncated, altered or of other shapes gives one line on stderr and None.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            arrays = {name: file[name] for name in file.files}
        stored = str(arrays.pop("digest"))
        sizes = {name: array.shape for name, array in arrays.items()}
        fits = sizes.keys() == shapes.keys() and all(
            len(sizes[name]) == len(shape)
            and all(want in (None, got) for want, got in zip(shape, sizes[name], strict=True))
            for name, shape in shapes.items()
        )
        problem = "" if fits and stored == digest(arrays) else "its content is not what was written"
    except UNREADABLE as error:
        problem, arrays = reason(error), {}
    if problem:
        _warn(f"cached file {path} is damaged ({problem}); it is made again")
        return None
    return arrays


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Write `arrays` with their digest; on failure print one line on stderr and return False."""
    named: dict[str, Any] = {**arrays, "digest": digest(arrays)}
    try:
        with atomic_path(path) as scratch, scratch.open("wb") as file:
            np.savez(file, **named)
    except (OSError, ValueError) as error:
        _warn(f"data are not cached: {error}")
        return False
    return True


def digest(arrays: Mapping[str, Any]) -> str:
    """Hash named arrays to 32 hex digits: names, types, shapes and bytes.

    Fields on disk are read block by block and give the same digits.
    """
    total = blake2b(digest_size=16)
    for name in sorted(arrays):
        array: Any = arrays[name]
        if not hasattr(array, "blocks"):
            array = np.ascontiguousarray(array)
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        for block in array.blocks() if hasattr(array, "blocks") else [array]:
            total.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _warn(line: str) -> None:
    print(f"ups_jax: {line}", file=sys.stderr, flush=True)
