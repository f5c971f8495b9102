"""Trajectories on disk: rows are read when indexed, windows are read ahead of the updates.

Reads an uncompressed copy by position: pages of a memory map would count as process memory.
"""

import os
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import as_float32
from ups_jax.data.cache import open_folder
from ups_jax.data.windows import block_rows, sample_windows, window_index
from ups_jax.files import atomic_path
from ups_jax.sharding import Mesh, global_batch, local_batch
from ups_jax.types import Array, Key, Trajectories


class DiskFields:
    """Fields (n, t, *s, c) float32 in a raw file, or some of its rows, read when indexed.

    `missing` is the rule by which they were checked when they were copied: see `data.missing`.
    """

    dtype = np.dtype(np.float32)
    missing = "refuse"

    def __init__(self, path: Path, shape: tuple[int, ...], rows: np.ndarray | None = None) -> None:
        self.path = path
        self._total = shape[0]
        self._rows = np.arange(shape[0]) if rows is None else rows
        self.shape = (len(self._rows), *shape[1:])
        self.ndim = len(shape)
        self._frame = int(np.prod(shape[2:]))
        self._file = os.open(path, os.O_RDONLY)
        # At the exit of Python, modules may be gone before an object is deleted.
        weakref.finalize(self, os.close, self._file)
        size = os.fstat(self._file).st_size
        if size != self._total * shape[1] * self._frame * self.dtype.itemsize:
            raise ValueError(f"{path} has {size} bytes, not those of shape {shape}; delete it")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return the rows of the first index in memory, indexed by the others."""
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        rows = self._rows[first]
        if np.ndim(rows) == 0:
            return self._read(int(rows), 0, self.shape[1])[rest]
        if rest and isinstance(rest[0], int):
            frames = [self._read(int(row), rest[0] % self.shape[1], 1)[0] for row in rows]
            return self._stack(frames, self.shape[2:])[(slice(None), *rest[1:])]
        fields = self._stack([self._read(int(r), 0, self.shape[1]) for r in rows], self.shape[1:])
        return fields[(slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def rows(self, index: Any) -> "DiskFields":
        """Return some of the rows, still on disk."""
        some = DiskFields(self.path, (self._total, *self.shape[1:]), self._rows[index])
        some.missing = self.missing
        return some

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all rows in order, in blocks."""
        rows = block_rows(self.shape)
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def windows(
        self, sample: np.ndarray, start: np.ndarray, length: int, history: int = 1
    ) -> np.ndarray:
        """Return the frames of each (sample, first frame): (...) -> (..., length, *s, c).

        `history` - 1 more frames precede them, as in `sample_windows`.
        """
        pairs, windows = zip(self._rows[sample].ravel(), start.ravel(), strict=True), []
        for row, first in pairs:
            begin = max(0, int(first) + 1 - history)
            frames = self._read(int(row), begin, int(first) + length - begin)
            missing = length + history - 1 - len(frames)
            windows.append(np.concatenate([*[frames[:1]] * missing, frames]))
        length += history - 1
        shape = (length, *self.shape[2:])
        return self._stack(windows, shape).reshape(*sample.shape, *shape)

    def _read(self, row: int, first: int, count: int) -> np.ndarray:
        size = self._frame * self.dtype.itemsize
        content = os.pread(self._file, count * size, (row * self.shape[1] + first) * size)
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[2:])

    def _stack(self, parts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        return np.stack(parts) if parts else np.empty((0, *shape), self.dtype)


def copy_to_disk(name: str, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> DiskFields:
    """Return fields of `shape` in the data cache, written from blocks of rows if they are missing.

    Raises ValueError if the cache cannot be written.
    """
    folder = open_folder(None, "stored")
    if folder is None:
        raise ValueError("streamed data need a writable cache; set UPS_DATA to a folder")
    path = folder / name
    if not path.exists():
        with atomic_path(path) as scratch, scratch.open("wb") as file:
            for block in blocks:
                file.write(np.ascontiguousarray(block, np.float32).data)
    return DiskFields(path, shape)


def draw_windows(
    key: Key, data: Trajectories, *, batch: int, length: int, start_bias: float, history: int = 1
) -> tuple[Array, Array]:
    """Draw the windows of `sample_windows`, to the bit, from fields in memory or on disk."""
    cond = as_float32(data.cond)
    drawn: Any = dict(batch=batch, length=length, start_bias=start_bias, lengths=data.lengths)
    if not isinstance(data.u, DiskFields):
        return sample_windows(key, as_float32(data.u), cond, **drawn, history=history)
    index = window_index(key, *data.u.shape[:2], **drawn)
    sample, start = (np.asarray(x) for x in index)
    return jnp.asarray(data.u.windows(sample, start, length, history)), cond[sample]


class ArrayFields:
    """Fields (n, t, *s, c) in memory, with the `windows` of `DiskFields`."""

    def __init__(self, u: Any) -> None:
        self._u = np.asarray(u, np.float32)

    def windows(
        self, sample: np.ndarray, start: np.ndarray, length: int, history: int = 1
    ) -> np.ndarray:
        """Return the frames of each (sample, first frame): (...) -> (..., length, *s, c)."""
        frames = start[..., None] + np.arange(1 - history, length)
        return self._u[sample[..., None], np.maximum(frames, 0)]


class WindowLoader:
    """Windows for each chunk of `steps_per_call` updates; a thread reads the next chunk ahead.

    `index(step)` returns samples and first frames of the chunk that begins at update `step`: both
    (steps_per_call, b), or (m, steps_per_call, b) for m stacked networks. Each process reads its
    local batch.
    """

    def __init__(
        self,
        u: DiskFields | ArrayFields,
        cond: Any,
        index: Any,
        *,
        length: int,
        history: int,
        steps_per_call: int,
        mesh: Mesh | None,
    ) -> None:
        self._u, self._index, self._mesh = u, index, mesh
        self._cond = np.asarray(cond, np.float32)
        self._size, self._chunk = (length, history), steps_per_call
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="windows")
        self._next: tuple[int, Future] | None = None

    def __call__(self, step: int) -> tuple[Any, Any]:
        """Return fields (steps_per_call, b, length, *s, c), cond (steps_per_call, b, p)."""
        if self._next is not None and self._next[0] == step:
            windows = self._next[1].result()
        else:
            windows = self._read(step)
        ahead = step + self._chunk
        self._next = (ahead, self._thread.submit(self._read, ahead))
        fields, cond, batch = windows
        put = partial(global_batch, self._mesh, axis=cond.ndim - 2, batch=batch)
        return put(fields), put(cond)

    def close(self) -> None:
        """Stop the thread and drop its windows."""
        self._thread.shutdown(cancel_futures=True)

    def _read(self, step: int) -> tuple[np.ndarray, np.ndarray, int]:
        sample, start = (np.asarray(x) for x in self._index(jnp.asarray(step)))
        batch = sample.shape[-1]
        local = (..., local_batch(self._mesh, batch))
        sample, start = sample[local], start[local]
        return self._u.windows(sample, start, *self._size), self._cond[sample], batch


def window_loader(
    last: WindowLoader | None,
    data: Trajectories,
    key: Key,
    *,
    steps_per_call: int,
    batch: int,
    length: int,
    start_bias: float,
    history: int = 1,
    mesh: Mesh | None = None,
) -> WindowLoader:
    """Return a loader of the windows that updates draw on the device with the same key.

    The `last` loader, with another window length, is closed.
    """
    if last is not None:
        last.close()
    fields = data.u if isinstance(data.u, DiskFields) else ArrayFields(data.u)
    n, frames = data.u.shape[:2]
    chosen: Any = dict(batch=batch, length=length, start_bias=start_bias, lengths=data.lengths)
    draw = partial(window_index, n=n, frames=frames, **chosen)

    def index(key: Key, step: Array) -> tuple[Array, Array]:
        return jax.vmap(lambda i: draw(update_keys(key, step + i)[0]))(jnp.arange(steps_per_call))

    indices = partial(jax.jit(jax.vmap(index, in_axes=(0, None)) if key.ndim else index), key)
    sizes: Any = dict(length=length, history=history, steps_per_call=steps_per_call)
    return WindowLoader(fields, data.cond, indices, **sizes, mesh=mesh)


def update_keys(key: Key, step: Array) -> Array:
    """Return the keys of update `step` for its windows, their augmentation and its loss."""
    return jax.random.split(jax.random.fold_in(key, step), 3)
