"""The evaluation loop: a function of batches over a whole split."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.sharding import Mesh, replicate, shard_batch, to_host
from ups_jax.types import Array, Interrupted, Key, Params, Trajectories

Stats = dict[str, np.ndarray]
"""Arrays with samples first."""


def map_batches(
    function: Callable[[Params, Array, Array, Key], Any],
    params: Params,
    data: Trajectories,
    key: Callable[[int], Key],
    *,
    batch: int,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    name: str = "evaluation",
) -> Any:
    """Return the results of `function(params, u, cond, key(begin))` of all samples, as numpy.

    u (b, t, *s, c) and cond (b, p) are batches that start at sample `begin`; the last one is
    padded with its last sample, and the results of the padding are dropped. Raises Interrupted
    when `stop()` is true.
    """
    params, parts = replicate(mesh, params), []
    for begin in range(0, len(data), batch):
        if stop():
            raise Interrupted(name)
        index = np.arange(begin, min(begin + batch, len(data)))
        padded = np.pad(index, (0, batch - len(index)), mode="edge")
        u, cond = shard_batch(mesh, (data.u[padded], cond_of(data)[padded]))
        batch_key = replicate(mesh, key(begin))
        result = to_host(mesh, function(params, jnp.asarray(u), jnp.asarray(cond), batch_key))
        parts.append(jax.tree.map(lambda x, n=index.size: x[:n], result))
        progress(begin + len(index), len(data))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def cond_of(data: Trajectories) -> Array | np.ndarray:
    """Return the PDE parameters of each trajectory (n, p), which Trajectories always fills in."""
    assert data.cond is not None
    return data.cond
