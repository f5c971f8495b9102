"""The evaluation loop: a function of batches over a whole split."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import FLOOR, as_float32
from ups_jax.data import field_std
from ups_jax.data.missing import MASK
from ups_jax.emulator import Emulator, first_state, with_later_forcing
from ups_jax.forecast import Forecast, forecast, nudged_analysis
from ups_jax.forecast.base import sample_keys
from ups_jax.sharding import Mesh, map_samples, replicate, shard_batch, to_host
from ups_jax.types import Array, Interrupted, Key, Params, Trajectories

Stats = dict[str, np.ndarray]
"""Arrays with samples first."""
Batches = Iterable[tuple[np.ndarray, tuple[Any, Any]]]
"""Samples (k,) of each batch, their statistics, and their fields."""


def map_batches(
    function: Callable[[Params, Array, Array, Key], Any],
    params: Params,
    data: Trajectories,
    key: Key,
    *,
    mesh: Mesh | None = None,
    **options: Any,
) -> Any:
    """Return the results of `function` of all samples, as numpy. Arguments: `each_batch`."""
    parts = [
        jax.tree.map(lambda x, n=index.size: x[:n], to_host(mesh, result))
        for index, result in each_batch(function, params, data, key, mesh=mesh, **options)
    ]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def each_batch(
    function: Callable[[Params, Array, Array, Key], Any],
    params: Params,
    data: Trajectories,
    key: Key,
    *,
    batch: int,
    samples: np.ndarray | None = None,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    name: str = "evaluation",
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield the samples of each batch (k,), and `function(params, u, cond, keys)` of it.

    u (b, t, *s, c), cond (b, p) and keys (b,) are those of all samples, or of `samples`; b is
    `batch`, or the next multiple of the devices, and the last sample fills the last batch.
    `progress(done, n)` runs before the first batch and after every one. Raises Interrupted when
    `stop()` is true.
    """
    samples = np.arange(len(data)) if samples is None else samples
    progress(0, len(samples))
    params, rows = replicate(mesh, params), padded_rows(mesh, batch)
    for begin in range(0, len(samples), batch):
        if stop():
            raise Interrupted(name)
        index = samples[begin : begin + batch]
        padded = np.pad(index, (0, rows - len(index)), mode="edge")
        fields = (as_float32(data.u[padded]), as_float32(cond_of(data)[padded]))
        u, cond, keys = shard_batch(mesh, (*fields, sample_keys(key, padded)))
        yield index, function(params, u, cond, keys)
        progress(begin + len(index), len(samples))


def padded_rows(mesh: Mesh | None, batch: int) -> int:
    """Return the smallest number of samples from `batch` that the devices can share."""
    devices = 1 if mesh is None else mesh.size
    return -(-batch // devices) * devices


def p1_forecast(
    emulator: Emulator, forecaster: str, mesh: Mesh | None, **options: Any
) -> Callable[[Params, Array, Array, Key], Forecast]:
    """Return the function of a batch that continues its first frame to its last one."""

    def run(params: Params, u: Array, cond: Array, keys: Key) -> Forecast:
        more = {"steps": u.shape[1] - 1, "forecaster": forecaster, "mesh": mesh, "check": False}
        return forecast(emulator, params, first_state(emulator, u), cond, keys, **more, **options)

    return run


def join_batches(
    batches: Batches, mesh: Mesh | None, keep: Callable[[np.ndarray], np.ndarray]
) -> tuple[Any, Any]:
    """Return the statistics of all samples, and the fields of those that `keep` selects.

    Fields of a whole split exceed the memory of many machines, so all others are dropped.
    """
    stats, fields = [], []
    for index, (values, paths) in batches:
        stats.append(jax.tree.map(lambda x, n=index.size: x[:n], to_host(mesh, values)))
        rows = np.flatnonzero(keep(index))
        if rows.size:
            host = to_host(mesh, paths)
            fields.append(jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], host))
    joined = [jax.tree.map(lambda *x: np.concatenate(x), *p) if p else {} for p in (stats, fields)]
    return joined[0], joined[1]


def floor_of(data: Trajectories) -> Array:
    """Return the smallest divisor of relative values of a split: `FLOOR` deviations, (c,)."""
    return jnp.asarray(FLOOR * field_std(data))


def cond_of(data: Trajectories) -> Array | np.ndarray:
    """Return the PDE parameters of each trajectory (n, p), which Trajectories always fills in."""
    assert data.cond is not None
    return data.cond


def initial_states(
    emulator: Emulator,
    start: int,
    gain: float | None,
    mesh: Mesh | None,
    params: Params,
    u: Array,
    cond: Array,
) -> Array:
    """Return the initial field of forecasts after frame `start` of u (b, t, *s, c).

    It is `nudged_analysis`. Without missing values, gains None and 1 are one program.
    """
    gain = 1.0 if gain is None and emulator.missing != MASK else gain
    own = {name: params[name] for name in ("stats", "operator") if name in params}
    return _initial_states(emulator, start, gain, mesh, own, u, cond)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _initial_states(
    emulator: Emulator, start: int, gain: float | None, mesh: Mesh | None, *batch: Any
) -> Array:
    def share(params: Params, u: Array, cond: Array) -> Array:
        state = nudged_analysis(emulator, params, u[:, : start + 1], cond, gain=gain)
        return with_later_forcing(emulator, state, u, start)

    return map_samples(mesh, share)(*batch)
