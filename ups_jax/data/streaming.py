"""Trajectories that stay on disk: rows read where they are asked for, windows drawn ahead of time.

Positional reads of an uncompressed copy, not a memory map: pages of a map count as the process's.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.data.cache import open_folder
from ups_jax.data.windows import block_rows, sample_windows, window_index
from ups_jax.files import atomic_path
from ups_jax.sharding import Mesh, global_batch, local_batch
from ups_jax.types import Array, Key, Trajectories


class DiskFields:
    """Fields (n, t, *s, c) float32 in a raw file, or some of its rows; read when indexed."""

    dtype = np.dtype(np.float32)

    def __init__(self, path: Path, shape: tuple[int, ...], rows: np.ndarray | None = None) -> None:
        self.path = path
        self._all = shape[0]
        self._rows = np.arange(shape[0]) if rows is None else rows
        self.shape = (len(self._rows), *shape[1:])
        self.ndim = len(shape)
        self._frame = int(np.prod(shape[2:]))
        self._file = os.open(path, os.O_RDONLY)
        size = os.fstat(self._file).st_size
        if size != self._all * shape[1] * self._frame * self.dtype.itemsize:
            raise ValueError(f"{path} holds {size} bytes, not fields of shape {shape}; delete it")

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """The rows of the first index, in memory, and of them what the other indices ask."""
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        rows = self._rows[first]
        if np.ndim(rows) == 0:
            return self._read(int(rows), 0, self.shape[1])[rest]
        if rest and isinstance(rest[0], int):
            frames = [self._read(int(row), rest[0] % self.shape[1], 1)[0] for row in rows]
            return self._stack(frames, self.shape[2:])[(slice(None), *rest[1:])]
        whole = self._stack([self._read(int(r), 0, self.shape[1]) for r in rows], self.shape[1:])
        return whole[(slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def rows(self, index: Any) -> "DiskFields":
        """Some of the rows, still on disk."""
        return DiskFields(self.path, (self._all, *self.shape[1:]), self._rows[index])

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in their order, some at a time."""
        rows = block_rows(self.shape)
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def windows(self, sample: np.ndarray, start: np.ndarray, length: int) -> np.ndarray:
        """`length` frames from each (sample, first frame): both (...) -> (..., length, *s, c)."""
        pairs = zip(self._rows[sample].ravel(), start.ravel(), strict=True)
        found = [self._read(int(row), int(first), length) for row, first in pairs]
        shape = (length, *self.shape[2:])
        return self._stack(found, shape).reshape(*sample.shape, *shape)

    def _read(self, row: int, first: int, count: int) -> np.ndarray:
        size = self._frame * self.dtype.itemsize
        held = os.pread(self._file, count * size, (row * self.shape[1] + first) * size)
        return np.frombuffer(held, self.dtype).reshape(count, *self.shape[2:])

    def _stack(self, parts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        return np.stack(parts) if parts else np.empty((0, *shape), self.dtype)


def copy_to_disk(name: str, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> DiskFields:
    """Fields of `shape` under the data cache, written from blocks of rows where they are not yet.

    ValueError where the cache cannot be written.
    """
    folder = open_folder(None, "stored")
    if folder is None:
        raise ValueError("data that are streamed need a cache on disk; set UPS_DATA to a folder")
    path = folder / name
    if not path.exists():
        with atomic_path(path) as scratch, scratch.open("wb") as file:
            for block in blocks:
                file.write(np.ascontiguousarray(block, np.float32).data)
    return DiskFields(path, shape)


def draw_windows(
    key: Key, data: Trajectories, *, batch: int, length: int, start_bias: float
) -> tuple[Array, Array]:
    """`sample_windows` of a split that may lie on disk: the same windows, to the bit."""
    cond = jnp.asarray(data.cond)
    if not isinstance(data.u, DiskFields):
        return sample_windows(
            key, jnp.asarray(data.u), cond, batch=batch, length=length, start_bias=start_bias
        )
    n, frames = data.u.shape[:2]
    found = window_index(key, n, frames, batch=batch, length=length, start_bias=start_bias)
    sample, start = (np.asarray(x) for x in found)
    return jnp.asarray(data.u.windows(sample, start, length)), cond[sample]


class ArrayFields:
    """Fields (n, t, *s, c) in the memory of this process, as `Stored` gives windows of them."""

    def __init__(self, u: Any) -> None:
        self._u = np.asarray(u)

    def windows(self, sample: np.ndarray, start: np.ndarray, length: int) -> np.ndarray:
        """`length` frames from each (sample, first frame): both (...) -> (..., length, *s, c)."""
        return self._u[sample[..., None], start[..., None] + np.arange(length)]


class WindowLoader:
    """Windows of a split for chunks of updates; the next steps_per_call's are read meanwhile.

    `index(step)` gives samples and first frames, both (steps_per_call, b) or (m, chunk, b) for networks side
    by side, of the steps_per_call that begins at update `step`. Of several processes each reads its share.
    """

    def __init__(
        self,
        u: DiskFields | ArrayFields,
        cond: Any,
        index: Any,
        *,
        length: int,
        steps_per_call: int,
        mesh: Mesh | None,
    ) -> None:
        self._u, self._cond, self._index, self._mesh = u, np.asarray(cond), index, mesh
        self._length, self._chunk = length, steps_per_call
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="windows")
        self._next: tuple[int, Future] | None = None

    def __call__(self, step: int) -> tuple[Any, Any]:
        """Fields (steps_per_call, b, length, *s, c) and parameters (chunk, b, p) from update `step` on."""
        if self._next is not None and self._next[0] == step:
            found = self._next[1].result()
        else:
            found = self._read(step)
        ahead = step + self._chunk
        self._next = (ahead, self._thread.submit(self._read, ahead))
        fields, cond, batch = found
        return tuple(
            global_batch(self._mesh, x, axis=cond.ndim - 2, batch=batch) for x in (fields, cond)
        )

    def close(self) -> None:
        """Let the thread end; what it has read is dropped."""
        self._thread.shutdown(cancel_futures=True)

    def _read(self, step: int) -> tuple[np.ndarray, np.ndarray, int]:
        sample, start = (np.asarray(x) for x in self._index(jnp.asarray(step)))
        batch = sample.shape[-1]
        own = (..., local_batch(self._mesh, batch))
        sample, start = sample[own], start[own]
        return self._u.windows(sample, start, self._length), self._cond[sample], batch


def window_loader(
    last: WindowLoader | None,
    data: Trajectories,
    key: Key,
    *,
    steps_per_call: int,
    batch: int,
    length: int,
    start_bias: float,
    mesh: Mesh | None = None,
) -> WindowLoader:
    """Windows of `data` that updates would draw of it on the device, with the same keys.

    The `last` feed, whose windows had another length, ends.
    """
    if last is not None:
        last.close()
    fields = data.u if isinstance(data.u, DiskFields) else ArrayFields(data.u)
    n, frames = data.u.shape[:2]
    draw = partial(
        window_index, n=n, frames=frames, batch=batch, length=length, start_bias=start_bias
    )

    def index(key: Key, step: Array) -> tuple[Array, Array]:
        return jax.vmap(lambda i: draw(update_keys(key, step + i)[0]))(jnp.arange(steps_per_call))

    asked = jax.jit(jax.vmap(index, in_axes=(0, None)) if key.ndim else index)
    asked = partial(asked, key)
    return WindowLoader(
        fields, data.cond, asked, length=length, steps_per_call=steps_per_call, mesh=mesh
    )


def update_keys(key: Key, step: Array) -> Array:
    """Keys of update `step`: of its windows, their augmentation, and its loss."""
    return jax.random.split(jax.random.fold_in(key, step), 3)
