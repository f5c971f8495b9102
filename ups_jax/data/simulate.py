"""Trajectories from a PDE's solver: sample i depends on the key and i only."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, as_completed, wait
from functools import lru_cache, partial
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.data import cache as store
from ups_jax.data.checks import SolverOutput, valid_samples
from ups_jax.data.parts import simulate_parts
from ups_jax.data.programs import evolution, initial_frames
from ups_jax.pde.base import PDE
from ups_jax.sharding import Mesh, num_threads
from ups_jax.types import Interrupted, Key, Trajectories

SHARD_SAMPLES = 512
"""Samples that are sorted by speed and cached together."""
CPU_CHUNK_SAMPLES = 4
"""Samples per call on a CPU, where calls run in parallel."""
CALL_BYTES = 2**29
"""Largest size of the frames of a call on an accelerator, which solves whole shards of less."""
CPU_DRAWN_SAMPLES = 32
"""Initial conditions per call on a CPU; an accelerator draws those of a whole shard."""


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
    """Return `n` trajectories of `steps` saved intervals: u (n, steps + 1, *s, c) float32.

    Solved on `pde.cells` and saved at `pde.points` by `thin`. Sample i is a function of `key` and
    i, bit by bit, for every `n` and mesh. `cache`: a folder, None for `$UPS_DATA` or
    `~/.cache/ups_jax/data`, or False. The local accelerators of `mesh` solve shards in parallel; on
    a CPU one program runs on all cores, with any mesh. Several processes start at different shards
    and share those in a common cache. `progress(done, n)` is called after every chunk, `stop()`
    between chunks. `meta["laws"]` is the largest violation of every law. The parts of a mixture are
    solved, checked and cached one by one.

    Raises ValueError on sizes that do not match, and if the solver breaks a law or returns a
    non-finite number, for as many draws of a sample as its PDE allows. Raises `Interrupted` after
    `stop()`; the finished shards stay cached.
    """
    for name, value in (("n", n), ("steps", steps)):
        if not 1 <= value < float("inf") or int(value) != value:
            raise ValueError(f"{name} is {value}; expected a whole number of at least 1")
    key = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
    if key.shape:
        raise ValueError(f"key has shape {key.shape}; expected one key, such as jax.random.key(0)")
    n, steps = int(n), int(steps)
    if pde.parts:
        shared = dict(steps=steps, cache=cache, mesh=mesh, stop=stop)
        return simulate_parts(simulate, pde, key, n, progress, shared)
    try:
        out = {
            "u": np.empty((n, steps + 1, *pde.points, len(pde.fields)), np.float32),
            "cond": np.empty((n, len(pde.params)), np.float32),
            "laws": np.empty((n, len(pde.laws)), np.float32),
        }
    except (MemoryError, ValueError) as error:
        raise ValueError(f"n is {n}, steps {steps}: {error}; lower them") from error
    solver = _solver(pde, steps, str(jax.random.key_impl(key)))
    folder = store.open_folder(cache, solver.identity(key)) if cache is not False else None
    done: dict[int, int] = {}

    def tick(start: int, count: int) -> None:
        done[start] = count
        if progress:
            progress(sum(done.values()), n)

    on_cpu = jax.default_backend() == "cpu"
    devices = [] if mesh is None or on_cpu else list(mesh.local_devices)
    _on_devices(devices, n, partial(_fill, out, solver, key, folder, tick), stop)
    laws = dict(zip(sorted(pde.laws), out["laws"].max(axis=0).tolist(), strict=True))
    about: Any = dict(origin="regenerated", params=pde.params, pde=pde.equation or pde.name)
    about |= dict(meta={"cells": pde.cells, "laws": laws}, static=pde.static, steady=pde.steady)
    return Trajectories(out["u"], out["cond"], pde.dt, pde.extent, pde.fields, **about)


def _on_devices(
    devices: list[Any], n: int, fill: Callable[..., None], stop: Callable[[], bool]
) -> None:
    """Call `fill(starts, device, stop)` for the shards of each device; the first error ends all."""
    starts = list(range(0, n, SHARD_SAMPLES))
    first = jax.process_index() * len(starts) // jax.process_count()
    starts = starts[first:] + starts[:first]
    devices = devices[: len(starts)]
    if len(devices) < 2:
        fill(starts, devices[0] if devices else None, stop)
        return
    errors: list[BaseException] = []
    with ThreadPoolExecutor(len(devices), "shards") as pool:
        parts = [(starts[i :: len(devices)], device) for i, device in enumerate(devices)]
        futures = [pool.submit(fill, *part, lambda: bool(errors) or stop()) for part in parts]
        for future in as_completed(futures):
            errors += filter(None, [future.exception()])
    if errors:
        raise errors[0]


def _fill(
    out: dict[str, np.ndarray],
    solver: "_Solver",
    key: Key,
    folder: Path | None,
    tick: Callable[[int, int], None],
    starts: Sequence[int],
    device: Any,
    stop: Callable[[], bool],
) -> None:
    """Fill the shards of `out` that begin at `starts`, from the cache or by the solver."""
    n = len(out["u"])
    shapes = {name: (None, *array.shape[1:]) for name, array in out.items()}
    for start in starts:
        count = min(SHARD_SAMPLES, n - start)
        path = folder / f"{start // SHARD_SAMPLES:05d}.npz" if folder else None
        shard = store.read(path, shapes) if path else None
        if shard is None or len(shard["u"]) < count:
            shard = _make_shard(solver, device, key, start, count, partial(tick, start), stop)
            if path and not store.write(path, shard):
                folder = None
        else:
            tick(start, count)
        for name, array in out.items():
            array[start : start + count] = shard[name][:count]


class _Solver:
    """The compiled programs of one PDE: `draw` a shard, `evolve` a chunk of it."""

    def __init__(self, pde: PDE, steps: int, generator: str) -> None:
        self.pde = pde
        on_cpu = jax.default_backend() == "cpu"
        self.chunk = CPU_CHUNK_SAMPLES if on_cpu else _samples_per_call(pde, steps)
        self.drawn = CPU_DRAWN_SAMPLES if on_cpu else SHARD_SAMPLES
        self.workers = num_threads() if on_cpu else 1
        self.generator, self.steps = generator, steps
        self._compiled: dict[Any, Any] = {}
        self.lowered_draw, self.lowered_evolve = self._lower()

    def _lower(self) -> tuple[Any, Any]:
        """Trace `draw` and `evolve` for the default device, in float32 whatever JAX's default."""
        with jax.enable_x64(False):
            key = jax.random.key(0, impl=self.generator)
            index = jnp.arange(self.drawn, dtype=jnp.int32)
            draw = jax.jit(initial_frames(self.pde)).lower(key, index)
            cond, u, _ = draw.out_info
            args = (jax.ShapeDtypeStruct((self.chunk, *x.shape[1:]), x.dtype) for x in (u, cond))
            return draw, jax.jit(evolution(self.pde, self.steps)).lower(*args)

    def on(self, device: Any) -> tuple[Callable[..., Any], Callable[..., SolverOutput]]:
        """Return `draw` and `evolve` compiled for a device, at its first missing shard."""
        if device not in self._compiled:
            parts = (self.lowered_draw, self.lowered_evolve)
            if device is not None:
                with jax.default_device(device):
                    parts = self._lower()
            self._compiled[device] = tuple(part.compile() for part in parts)
        return self._compiled[device]

    def identity(self, key: Key) -> str:
        """Return a folder name that depends on programs, key, JAX version, platform and flags.

        The programs hold all dtypes, those of 64-bit mode included.
        """
        program = self.lowered_draw.as_text() + self.lowered_evolve.as_text()
        parts = dict(
            program=sha256(program.encode()).hexdigest(),
            key=np.asarray(jax.random.key_data(key)).tolist(),
            generator=self.generator,
            laws={name: law.kind for name, law in self.pde.laws.items()},
            jax=jax.__version__,
            platform=jax.default_backend(),
        )
        if self.pde.redraws:
            parts["redraws"] = str(self.pde.redraws)
        if flags := store.compiler_flags():
            parts["xla_flags"] = flags
        text = json.dumps(parts, sort_keys=True)
        return f"{self.pde.name}-{sha256(text.encode()).hexdigest()[:20]}"


_solver = lru_cache(maxsize=32)(_Solver)
"""Cached, so that the splits of one PDE share a compilation."""


def _samples_per_call(pde: PDE, steps: int) -> int:
    """Return the samples that an accelerator solves together, a power of two."""
    size = 4 * (steps + 1) * prod(pde.points) * len(pde.fields)
    return min(SHARD_SAMPLES, 1 << max(0, (CALL_BYTES // size).bit_length() - 1))


def _make_shard(
    solver: _Solver,
    device: Any,
    key: Key,
    start: int,
    count: int,
    tick: Callable[[int], None],
    stop: Callable[[], bool],
) -> dict[str, np.ndarray]:
    """Solve `count` samples from `start`, some in several draws: u, cond, law violations."""
    samples, redraws = start + np.arange(count), solver.pde.redraws
    shard, valid = _solve(solver, device, key, samples, tick, stop, strict=not redraws)
    for attempt in range(1, redraws + 1):
        if not len(rows := np.flatnonzero(~valid)):
            break
        args = (jax.random.fold_in(key, attempt), samples[rows], lambda done: None, stop)
        again, valid[rows] = _solve(solver, device, *args, strict=attempt == redraws)
        for name, array in again.items():
            shard[name][rows] = array
    return shard


def _solve(
    solver: _Solver,
    device: Any,
    key: Key,
    samples: np.ndarray,
    tick: Callable[[int], None],
    stop: Callable[[], bool],
    *,
    strict: bool,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Solve samples in chunks of similar speed; return a shard and whether each is valid.

    Raises ValueError on one that is not, if `strict`.
    """
    _check_stop(stop)
    draw, evolve = solver.on(device)
    count = len(samples)
    index = np.pad(samples, (0, -count % solver.drawn), mode="edge")
    batches = np.asarray(index, np.int32).reshape(-1, solver.drawn)
    drawn = [jax.tree.map(np.asarray, draw(key, batch)) for batch in batches]
    cond, u, speed = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    order = np.argsort(speed[:count], kind="stable")
    order = np.concatenate([np.full(-count % solver.chunk, order[0]), order])
    chunks = order.reshape(-1, solver.chunk)
    done, parts = 0, []
    for rows, output in _run_chunks(solver, evolve, u, cond, chunks[::-1], stop):
        laws, valid = valid_samples(solver.pde, output, samples[rows], strict=strict)
        parts.append((rows, output.u, laws, valid))
        done += len(np.unique(rows))
        tick(done)
    rows, frames, laws, valid = (np.concatenate(part) for part in zip(*parts, strict=True))
    first = np.unique(rows, return_index=True)[1]
    arrays = {"u": frames[first], "cond": cond[:count], "laws": laws[first]}
    return {name: array.astype(np.float32) for name, array in arrays.items()}, valid[first]


def _run_chunks(
    solver: _Solver,
    evolve: Callable[..., SolverOutput],
    u: np.ndarray,
    cond: np.ndarray,
    chunks: np.ndarray,
    stop: Callable[[], bool],
) -> Iterator[tuple[np.ndarray, SolverOutput]]:
    """Yield rows and output of the chunks as they finish; the slowest start first."""

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
                _check_stop(stop)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_stop(stop: Callable[[], bool]) -> None:
    if stop():
        raise Interrupted("simulation stopped; its finished shards are in the cache")
