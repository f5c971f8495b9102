"""Arrays kept between runs: one file a shard, written whole or not at all, proved on reading."""

import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np


def open_folder(cache: bool | str | Path | None, name: str) -> Path | None:
    """Writable folder `name` under the cache, or None where it is off.

    `cache` None or True means `$UPS_DATA`, else `~/.cache/ups_jax/data`; False means off. A folder
    that cannot be written is answered with one line on stderr and None.
    """
    if cache is False:
        return None
    try:
        if cache is None or cache is True:
            given = os.environ.get("UPS_DATA")
            root = Path(given) if given else Path.home() / ".cache" / "ups_jax" / "data"
        else:
            root = Path(cache)
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:
        _warn(f"data are not cached: {error}; set UPS_DATA to a folder that can be written")
        return None


def read(path: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, np.ndarray] | None:
    """Arrays of `path`, or None where there is none. None in a shape fits any length.

    A file that is truncated, altered or of other shapes: one line on stderr, and None.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            arrays = {name: file[name] for name in file.files}
        found = str(arrays.pop("digest"))
        fits = arrays.keys() == shapes.keys() and all(
            len(arrays[name].shape) == len(shape)
            and all(
                want in (None, got) for want, got in zip(shape, arrays[name].shape, strict=True)
            )
            for name, shape in shapes.items()
        )
        problem = "" if fits and found == digest(arrays) else "its content is not what was written"
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        NotImplementedError,
        zipfile.BadZipFile,
    ) as error:
        problem, arrays = str(error) or type(error).__name__, {}
    if problem:
        _warn(f"cached file {path} is damaged ({' '.join(problem.split())}); making it again")
        return None
    return arrays


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Store `arrays` with their digest; False, after one line on stderr, where that failed."""
    named: dict[str, Any] = {**arrays, "digest": digest(arrays)}
    try:
        write_atomic(path, lambda file: np.savez(file, **named))
    except OSError as error:
        _warn(f"data are not cached: {error}")
        return False
    return True


def write_atomic(path: Path, save: Callable[[IO[bytes]], object]) -> None:
    """Let `save` fill a temporary file beside `path`, then give it that name in one move."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w+b") as file:
            save(file)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def digest(arrays: Mapping[str, Any]) -> str:
    """Content of named arrays in 32 hex digits: names, types, shapes and bytes.

    What lies on disk is read block by block, to the same digits.
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
