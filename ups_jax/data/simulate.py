"""Trajectories from a PDE's own solver: sample i depends on the key and i alone."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, as_completed, wait
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.data import cache as store
from ups_jax.data.checks import SolverOutput, check_solver_output
from ups_jax.pde.base import PDE
from ups_jax.sharding import Mesh
from ups_jax.types import Array, Interrupted, Key, Trajectories

SHARD = 512
"""Samples that are drawn, sorted by speed and kept together."""

CHUNK = 32
"""Samples a call on a CPU, where calls run side by side; an accelerator takes a shard a call."""


def simulate(
    pde: PDE,
    key: Key,
    *,
    n: int,
    steps: int,
    cache: bool | str | Path | None = None,
    mesh: Mesh | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trajectories:
    """`n` trajectories of `steps` saved intervals: u (n, steps + 1, *s, c) float32 with frame 0.

    Solved on `pde.cells`, kept at every so many of them (`pde.points`). Sample i is a function of
    `key` and i: neither `n` nor its neighbours change a bit of it. `cache`: None for `$UPS_DATA` or
    `~/.cache/ups_jax/data`, a folder, or False. The devices of a `mesh` that are this process's
    make shards side by side, the same to the bit; several processes begin at shards of their own,
    and find each other's where they share a cache. `progress(done, n)` is called after every chunk,
    `stop()` is asked between chunks. `meta["laws"]` is the largest violation of every law.

    Raises ValueError on sizes that do not fit, and where the solver left a number that is not
    finite or broke a law; `Interrupted` where `stop()` said so, finished shards being cached.
    """
    for name, value in (("n", n), ("steps", steps)):
        if value < 1 or int(value) != value:
            raise ValueError(f"{name} is {value}; expected a whole number of at least 1")
    key = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
    if key.shape:
        raise ValueError(f"key has shape {key.shape}; expected one key, such as jax.random.key(0)")
    solver = _solver(pde, int(steps), str(jax.random.key_impl(key)))
    root = store.open_folder(cache, solver.identity(key)) if cache is not False else None
    out = {
        "u": np.empty((n, steps + 1, *pde.points, len(pde.channels)), np.float32),
        "cond": np.empty((n, len(pde.params)), np.float32),
        "laws": np.empty((n, len(pde.laws)), np.float32),
    }
    shapes = {name: (None, *array.shape[1:]) for name, array in out.items()}
    made: dict[int, int] = {}
    failed: list[BaseException] = []

    def tick(start: int, done: int) -> None:
        made[start] = done
        if progress:
            progress(sum(made.values()), n)

    def make(starts: Sequence[int], device: Any) -> None:
        nonlocal root
        for start in starts:
            if failed:
                return
            count = min(SHARD, n - start)
            path = root / f"{start // SHARD:05d}.npz" if root else None
            shard = store.read(path, shapes) if path else None
            if shard is None or len(shard["u"]) < count:
                shard = _make_shard(solver, device, key, start, count, partial(tick, start), stop)
                if path and not store.write(path, shard):
                    root = None
            else:
                tick(start, count)
            for name, array in out.items():
                array[start : start + count] = shard[name][:count]

    starts = list(range(0, n, SHARD))
    own = jax.process_index() * len(starts) // jax.process_count()
    starts = starts[own:] + starts[:own]
    here = [] if mesh is None else list(mesh.local_devices)[: len(starts)]
    devices = here if len(here) > 1 else [None]
    if len(devices) == 1:
        make(starts, devices[0])
    else:
        with ThreadPoolExecutor(len(devices), "shards") as pool:
            parts = [(starts[i :: len(devices)], device) for i, device in enumerate(devices)]
            for each in as_completed([pool.submit(make, *part) for part in parts]):
                # What one device finds wrong ends the others after their shard.
                failed += filter(None, [each.exception()])
        if failed:
            raise failed[0]
    laws = dict(zip(sorted(pde.laws), out["laws"].max(axis=0).tolist(), strict=True))
    meta = {"cells": pde.cells, "laws": laws}
    return Trajectories(
        out["u"], out["cond"], pde.dt, pde.extent, pde.channels, "regenerated", meta
    )


class _Solver:
    """The programs of one PDE: `draw` a shard, `evolve` a chunk of it."""

    def __init__(self, pde: PDE, steps: int, generator: str) -> None:
        self.pde = pde
        self.on_cpu = jax.default_backend() == "cpu"
        self.chunk = CHUNK if self.on_cpu else SHARD
        self.workers = min(os.cpu_count() or 1, 4) if self.on_cpu else 1
        self.generator = generator
        self.steps = steps
        self._compiled: dict[Any, Any] = {}
        self.lowered_draw, self.lowered = self._lower()

    def _lower(self) -> tuple[Any, Any]:
        """Draw and chunk, traced for the default device."""
        some_key = jax.random.key(0, impl=self.generator)
        draw = jax.jit(_draw(self.pde)).lower(some_key, jnp.arange(SHARD, dtype=jnp.int32))
        cond, u, _ = draw.out_info
        args = (jax.ShapeDtypeStruct((self.chunk, *x.shape[1:]), x.dtype) for x in (u, cond))
        return draw, jax.jit(_evolve(self.pde, self.steps)).lower(*args)

    def on(self, device: Any) -> tuple[Callable[..., Any], Callable[..., SolverOutput]]:
        """The compiled draw and chunk of a device, made when its first shard is missing."""
        if device not in self._compiled:
            parts = (self.lowered_draw, self.lowered)
            if device is not None:
                with jax.default_device(device):
                    parts = self._lower()
            self._compiled[device] = tuple(part.compile() for part in parts)
        return self._compiled[device]

    def identity(self, key: Key) -> str:
        """Folder name that changes with every program, key, version or device kind."""
        program = sha256(self.lowered_draw.as_text().encode())
        program.update(self.lowered.as_text().encode())
        parts = dict(
            program=program.hexdigest(),
            key=np.asarray(jax.random.key_data(key)).tolist(),
            generator=self.generator,
            laws={name: law.kind for name, law in self.pde.laws.items()},
            jax=jax.__version__,
            platform=jax.default_backend(),
        )
        text = json.dumps(parts, sort_keys=True)
        return f"{self.pde.name}-{sha256(text.encode()).hexdigest()[:20]}"


_solver = lru_cache(maxsize=8)(_Solver)
"""One compilation serves the splits of one PDE."""


def _draw(pde: PDE) -> Callable[[Key, Array], tuple[Array, Array, Array]]:
    """Parameters, initial frames and speeds (max |u|) of the samples with the given numbers."""

    def draw(key: Key, index: Array) -> tuple[Array, Array, Array]:
        def sample(i: Array) -> tuple[Array, Array, Array]:
            k_cond, k_initial = pde.sample_keys(key, i)
            cond = pde.sample_cond(k_cond)
            u = pde.initial(k_initial, cond, pde.cells)
            return cond, u, jnp.max(jnp.abs(u))

        return jax.vmap(sample)(index)

    return draw


def _evolve(pde: PDE, steps: int) -> Callable[[Array, Array], SolverOutput]:
    """Initial frames (b, *cells, c) and parameters (b, p) to the saved flow."""
    kept = (..., *(slice(None, None, k) for k in strides(pde)), slice(None))

    def frame(u: Array) -> tuple[Array, dict[str, Array]]:
        return u[kept], {name: law.value(u) for name, law in pde.laws.items()}

    def evolve(u: Array, cond: Array) -> SolverOutput:
        def body(u: Array, _: None) -> tuple[Array, tuple[Array, dict[str, Array]]]:
            u = pde.step(u, cond)
            return u, frame(u)

        later = jax.lax.scan(body, u, None, length=steps)[1]
        frames, values = jax.tree.map(
            lambda first, rest: jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, 1),
            frame(u),
            later,
        )
        return SolverOutput(frames, values, {name: law.scale(u) for name, law in pde.laws.items()})

    return evolve


def strides(pde: PDE) -> tuple[int, ...]:
    """Cells from one saved point to the next along each axis. ValueError where none is whole."""
    if len(pde.cells) != len(pde.points):
        raise ValueError(
            f"cells {pde.cells} and points {pde.points}: expected as many axes of each"
        )
    for cells, points in zip(pde.cells, pde.points, strict=True):
        if points < 1 or cells % points:
            raise ValueError(
                f"{cells} cells cannot be thinned to {points} points; make data.cells a multiple "
                f"of pde.points, such as {max(points, 1) * max(1, round(cells / max(points, 1)))}"
            )
    return tuple(cells // points for cells, points in zip(pde.cells, pde.points, strict=True))


def _make_shard(
    solver: _Solver,
    device: Any,
    key: Key,
    start: int,
    count: int,
    tick: Callable[[int], None],
    stop: Callable[[], bool],
) -> dict[str, np.ndarray]:
    """Samples from `start` on, solved in chunks of like speed: u, cond, laws (violations)."""
    _estimate(stop)
    index = start + np.minimum(np.arange(SHARD), count - 1)
    draw, evolve = solver.on(device)
    cond, u, speed = jax.tree.map(np.asarray, draw(key, np.asarray(index, np.int32)))
    order = np.argsort(speed[:count], kind="stable")
    order = np.concatenate([np.full(-count % solver.chunk, order[0]), order])
    chunks = order.reshape(-1, solver.chunk)
    done, parts = 0, []
    for rows, flow in _side_by_side(solver, evolve, u, cond, chunks[::-1], stop):
        parts.append((rows, flow.u, check_solver_output(solver.pde, flow, start + rows)))
        done += len(np.unique(rows))
        tick(done)
    rows, frames, laws = (np.concatenate(part) for part in zip(*parts, strict=True))
    first = np.unique(rows, return_index=True)[1]
    arrays = {"u": frames[first], "cond": cond[:count], "laws": laws[first]}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _side_by_side(
    solver: _Solver,
    evolve: Callable[..., SolverOutput],
    u: np.ndarray,
    cond: np.ndarray,
    chunks: np.ndarray,
    stop: Callable[[], bool],
) -> Iterator[tuple[np.ndarray, SolverOutput]]:
    """Rows and flow of every chunk, as they finish; the slowest are begun first."""

    def run(rows: np.ndarray) -> tuple[np.ndarray, SolverOutput]:
        return rows, jax.tree.map(np.asarray, evolve(u[rows], cond[rows]))

    pool = ThreadPoolExecutor(solver.workers, "simulate")
    try:
        waiting = {pool.submit(run, rows) for rows in chunks}
        while waiting:
            finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
            if waiting:
                _estimate(stop)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _estimate(stop: Callable[[], bool]) -> None:
    if stop():
        raise Interrupted("simulation stopped; the shards it finished are in the cache")
