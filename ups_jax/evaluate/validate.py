"""Validation errors that select parameters: functions of the parameters alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import as_float32, safe_ratio, spatial_axes
from ups_jax.data import sample_windows
from ups_jax.emulator import Emulator
from ups_jax.evaluate.batches import cond_of, floor_of, initial_states, map_batches
from ups_jax.evaluate.statistics import metrics_of, point_statistics, table_of
from ups_jax.forecast import Forecast, forecast
from ups_jax.metrics import METRICS, crps
from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, fold_in_device, mean_over_samples, replicate, to_host
from ups_jax.types import Array, BoundStage, Interrupted, Key, Params, Trajectories

Validate = Callable[[Params], float]
NUM_WINDOWS = 256
"""Validation windows of a stage that is selected by its own loss."""
AVERAGES = ("mean", "gmean")
"""Averages over trajectories, arithmetic and geometric."""
WORST = 1.0
"""Larger errors, and those that are not finite, count as this in a geometric mean."""
SMALLEST = 1e-9
"""Errors below the precision of float32 count as this in a geometric mean."""


def validator(
    emulator: Emulator,
    data: Trajectories,
    *,
    batch: int,
    forecaster: str = "operator",
    metric: str = "nrmse",
    start: int = 0,
    average: str = "mean",
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    record: Callable[[np.ndarray], None] = lambda errors: None,
    **options: Any,
) -> Validate:
    """Return the error of a learned forecaster after frame `start` of a split; 0 is P1, 9 is P10.

    `options` are those of the forecaster, and `nudging_gain` as in `evaluate`. `record` receives
    the error of each trajectory (n,). With `average` "gmean" it is the geometric mean over
    trajectories, of errors of at most `WORST`: a mean that one diverging forecast cannot decide.

    The function raises Interrupted if `stop()` is true. Raises ValueError on an unknown name.
    """
    lookup(dict.fromkeys(AVERAGES), average, "average")
    lookup(METRICS, metric, "metric")
    measure = metrics_of(emulator, {metric: METRICS[metric]})[metric]

    def validate(params: Params) -> float:
        errors = _errors(
            emulator, params, data,
            metric=metric, forecaster=forecaster, start=start, batch=batch, mesh=mesh, stop=stop,
            **options,
        )  # fmt: skip
        by_sample = measure.by_sample(errors)
        record(by_sample)
        return _geometric(by_sample) if average == "gmean" else _finite(measure.reduce(errors))

    return validate


def per_sample_nrmse(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    *,
    forecaster: str,
    batch: int,
    **options: Any,
) -> np.ndarray:
    """Return the nRMSE of a forecaster on each trajectory (n,), with inf for NaN.

    `options` are those of `validator`. Raises Interrupted if `stop()` is true.
    """
    errors = _errors(emulator, params, data, forecaster=forecaster, batch=batch, **options)
    measure = metrics_of(emulator, {"nrmse": METRICS["nrmse"]})["nrmse"]
    return np.nan_to_num(measure.by_sample(errors), nan=np.inf)


def ensemble_validator(
    emulator: Emulator,
    data: Trajectories,
    *,
    forecaster: str,
    batch: int,
    members: int,
    start: int = 0,
    **options: Any,
) -> Validate:
    """Return a forecaster's fair CRPS over the truth's RMS, mean over a split and its frames.

    `options` are those of `validator`.
    """
    ndim, floor = emulator.pde.ndim, jnp.sqrt(jnp.mean(floor_of(data) ** 2))

    @jax.jit
    def score(paths: Array, u: Array) -> Array:
        true = u[:, start + 1 :, ..., : paths.shape[-1]]
        size = jnp.sqrt(jnp.mean(true**2, (*spatial_axes(ndim), -1)))
        return safe_ratio(crps(paths, true, ndim), size, floor)

    def validate(params: Params) -> float:
        scores = _forecast_scores(
            emulator, params, data, lambda result, u: score(result.members, u),
            forecaster=forecaster, batch=batch, members=members, start=start, **options,
        )  # fmt: skip
        return _finite(np.mean(scores))

    return validate


def loss_validator(
    stage: BoundStage,
    data: Trajectories,
    *,
    batch: int,
    unroll: int,
    start_bias: float,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Validate:
    """Return a stage's own loss on fixed windows of a split, with fixed noise."""
    split = replicate(mesh, (as_float32(data.u), as_float32(cond_of(data))))

    def share(params: Params, key: Key, windows: dict[str, Array]) -> Array:
        return stage.loss(params, windows, fold_in_device(mesh, key))[0]

    @jax.jit
    def loss(params: Params, u: Array, cond: Array, i: int) -> Array:
        k_window, k_loss = jax.random.split(jax.random.fold_in(jax.random.key(0), i))
        windows, conds = sample_windows(
            k_window, u, cond, batch=batch, length=unroll + 1, start_bias=start_bias,
            history=stage.history,
        )  # fmt: skip
        windows = windows if stage.fill is None else stage.fill(windows)
        given = {"u": windows, "cond": conds}
        return mean_over_samples(mesh, share, shared=2)(params, k_loss, given)

    def validate(params: Params) -> float:
        values = []
        for i in range(max(1, NUM_WINDOWS // batch)):
            if stop():
                raise Interrupted(f"validation of {stage.name}")
            values.append(to_host(mesh, loss(replicate(mesh, params), *split, i)))
        return _finite(np.mean(values))

    return validate


def _errors(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    *,
    metric: str = "nrmse",
    start: int = 0,
    mesh: Mesh | None = None,
    **options: Any,
) -> np.ndarray:
    """Return the statistic of a metric of each trajectory's forecast after frame `start`."""
    measures = metrics_of(emulator, {metric: METRICS[metric]})
    table, floor = table_of(measures), replicate(mesh, floor_of(data))

    def score(result: Forecast, u: Array) -> Array:
        values = point_statistics(table, emulator.pde.ndim, start, mesh, floor, result.u, u)
        return values[metric]

    return _forecast_scores(emulator, params, data, score, start=start, mesh=mesh, **options)


def _forecast_scores(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    score: Callable[[Forecast, Array], Array],
    *,
    forecaster: str,
    batch: int,
    start: int = 0,
    nudging_gain: float = 1.0,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> np.ndarray:
    """Return scores of each trajectory's forecast after frame `start`, from `nudged_analysis`."""
    steps, gain = data.u.shape[1] - 1 - start, nudging_gain if start else None
    given: Any = dict(steps=steps, forecaster=forecaster, mesh=mesh, check=False, **options)

    def scores(params: Params, u: Array, cond: Array, keys: Key) -> Array:
        u0 = initial_states(emulator, start, gain, mesh, params, u, cond)
        return score(forecast(emulator, params, u0, cond, keys, **given), u)

    return map_batches(
        scores, params, data, jax.random.key(0), batch=min(batch, len(data)), mesh=mesh, stop=stop,
        name="validation",
    )  # fmt: skip


def _geometric(errors: np.ndarray) -> float:
    """Return the geometric mean of errors (n,) between SMALLEST and WORST."""
    bounded = np.clip(np.nan_to_num(errors, nan=WORST), SMALLEST, WORST)
    return float(np.exp(np.log(bounded).mean()))


def _finite(value: Any) -> float:
    number = float(value)
    return number if np.isfinite(number) else float("inf")
