"""Wall time of a forecast."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ups_jax.arrays import as_float32
from ups_jax.emulator import Emulator
from ups_jax.evaluate.batches import cond_of
from ups_jax.forecast import forecast
from ups_jax.forecast.base import sample_keys
from ups_jax.sharding import Mesh, any_process, replicate, shard_batch
from ups_jax.types import Interrupted, Key, Params, Trajectories

REPEATS = 3
MAX_SECONDS = 2.0
"""Seconds of timed rollouts after which no further one is started."""


def milliseconds(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    key: Key,
    *,
    forecaster: str,
    batch: int,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> float:
    """Return the median wall milliseconds a trajectory of a warm, batched P1 rollout.

    All members count; the median is over three rollouts, or fewer where they take seconds.
    """
    u0, cond = data.u[:batch, 0], cond_of(data)[:batch]
    keys = sample_keys(key, np.arange(len(u0)))
    u0, cond, keys = shard_batch(mesh, (as_float32(u0), as_float32(cond), keys))
    params = replicate(mesh, params)
    steps, times = data.u.shape[1] - 1, []
    while len(times) <= REPEATS and not any_process(mesh, sum(times[1:]) >= MAX_SECONDS):
        if stop():
            raise Interrupted("evaluation")
        began = time.perf_counter()
        result = forecast(
            emulator, params, u0, cond, keys, steps=steps, forecaster=forecaster, mesh=mesh,
            **options,
        )  # fmt: skip
        jax.block_until_ready(result.u)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:])) * 1e3 / len(u0)
