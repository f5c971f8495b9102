"""Wall time of forecasts and of compilation."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from ups_jax.arrays import as_float32
from ups_jax.evaluate.batches import cond_of, padded_rows
from ups_jax.forecast.base import sample_keys
from ups_jax.sharding import Mesh, any_process, replicate, shard_batch
from ups_jax.types import Array, Interrupted, Key, Params, Trajectories

REPEATS = 3
MAX_SECONDS = 2.0
"""Seconds of timed rollouts after which no further one is started."""
COMPILE_EVENTS = "/jax/core/compile/"


@contextmanager
def compile_seconds() -> Iterator[list[float]]:
    """Collect the seconds that JAX spends on tracing and compiling programs in a block."""
    seconds: list[float] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.startswith(COMPILE_EVENTS):
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def milliseconds(
    function: Callable[[Params, Array, Array, Key], Any],
    params: Params,
    data: Trajectories,
    key: Key,
    *,
    batch: int,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Return the median wall milliseconds a trajectory of `function(params, u, cond, keys)`.

    u (b, t, *s, c) is the first batch. The function has run on such a batch before, so nothing is
    compiled. The median is over three calls, or fewer where they take seconds.
    """
    index = np.minimum(np.arange(padded_rows(mesh, batch)), len(data) - 1)
    fields = (as_float32(data.u[index]), as_float32(cond_of(data)[index]))
    u, cond, keys = shard_batch(mesh, (*fields, sample_keys(key, index)))
    params = replicate(mesh, params)
    times: list[float] = []
    while len(times) < REPEATS and not any_process(mesh, sum(times) >= MAX_SECONDS):
        if stop():
            raise Interrupted("evaluation")
        began = time.perf_counter()
        jax.block_until_ready(function(params, u, cond, keys))
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1e3 / len(u)
