"""What validation picks parameters by: functions of parameters alone, None once stopped."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.data import sample_windows
from ups_jax.emulator import Emulator
from ups_jax.evaluate.timing import condition_of
from ups_jax.forecast import forecast
from ups_jax.metrics import METRICS, crps, nrmse
from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, constrain_batch, replicate, shard_batch, to_host
from ups_jax.types import Array, Params, Stage, Trajectories

Validate = Callable[[Params], float | None]
WINDOWS = 256
"""Validation windows whose mean loss judges a stage that no rollout judges."""


def validator(
    emulator: Emulator,
    data: Trajectories,
    *,
    batch: int,
    mode: str = "operator",
    metric: str = "nrmse",
    start: int = 0,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Validate:
    """A mode's error, with its `options`, after frame `start` of a whole split.

    0 is P1, 9 the P10 of a forecast from the last given frame.
    """
    measure = lookup(METRICS, metric, "metric")
    score = jax.jit(measure.per_sample, static_argnums=2)
    rolled = partial(
        _rollout,
        emulator,
        data,
        batch=batch,
        mode=mode,
        start=start,
        mesh=mesh,
        stop=stop,
        **options,
    )

    def validate(params: Params) -> float | None:
        each = rolled(params, lambda found, true: score(found.u, true, emulator.pde.ndim))
        return None if each is None else _finite(measure.reduce(jnp.asarray(each)))

    return validate


def per_sample_nrmse(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    *,
    batch: int,
    mode: str,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> np.ndarray | None:
    """P1 nRMSE of a mode, with its `options`, on each trajectory (n,); None once stopped."""
    rolled = partial(
        _rollout, emulator, data, batch=batch, mode=mode, start=0, mesh=mesh, stop=stop, **options
    )
    each = rolled(params, lambda found, true: nrmse(found.u, true, emulator.pde.ndim))
    return None if each is None else np.nan_to_num(each.mean(1), nan=np.inf)


def ensemble_validator(
    emulator: Emulator,
    data: Trajectories,
    *,
    batch: int,
    mode: str,
    members: int,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Validate:
    """A mode's fair CRPS over the truth's RMS, P1, mean over a split and its frames."""
    axes = tuple(range(-1 - emulator.pde.ndim, 0))

    @jax.jit
    def score(paths: Array, true: Array) -> Array:
        return crps(paths, true, emulator.pde.ndim) / jnp.sqrt(jnp.mean(true**2, axes) + 1e-12)

    rolled = partial(
        _rollout,
        *(emulator, data),
        **dict(batch=batch, mode=mode, start=0, mesh=mesh, stop=stop, members=members),
        **options,
    )

    def validate(params: Params) -> float | None:
        each = rolled(params, lambda found, true: score(found.members, true))
        return None if each is None else _finite(jnp.mean(each))

    return validate


def loss_validator(
    stage: Stage,
    data: Trajectories,
    *,
    batch: int,
    unroll: int,
    start_bias: float,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Validate:
    """A stage's own loss on windows of a split that, with their noise, stay the same."""
    split = replicate(mesh, (jnp.asarray(data.u), jnp.asarray(condition_of(data))))

    @jax.jit
    def loss(params: Params, u: Array, cond: Array, i: int) -> Array:
        k_window, k_loss = jax.random.split(jax.random.fold_in(jax.random.key(0), i))
        found = sample_windows(
            k_window, u, cond, batch=batch, length=unroll + 1, start_bias=start_bias
        )
        found = constrain_batch(mesh, dict(u=found[0], cond=found[1]))
        return stage.loss(params, found, k_loss)[0]

    def validate(params: Params) -> float | None:
        values = []
        for i in range(max(1, WINDOWS // batch)):
            if stop():
                return None
            values.append(to_host(mesh, loss(replicate(mesh, params), *split, i)))
        return _finite(jnp.mean(jnp.stack(values)))

    return validate


def _rollout(
    emulator, data, params, score, *, batch, mode, start, mesh, stop, **options
) -> np.ndarray | None:
    """Scores of each trajectory's forecast after frame `start`; None once stopped."""
    steps, scores = data.u.shape[1] - 1 - start, []
    params = replicate(mesh, params)
    for begin in range(0, len(data), batch):
        if stop():
            return None
        some = slice(begin, begin + batch)
        u, cond = shard_batch(mesh, (data.u[some], condition_of(data)[some]))
        key = replicate(mesh, jax.random.key(begin))
        found = forecast(
            emulator, params, u[:, start], cond, key, steps=steps, mode=mode, **options
        )
        scores.append(to_host(mesh, score(found, u[:, start + 1 :])))
    return np.concatenate(scores)


def _finite(value: Array) -> float:
    found = float(value)
    return found if np.isfinite(found) else float("inf")
