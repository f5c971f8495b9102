"""Metrics of a deterministic forecast over the observed values of a truth with NaN.

OBSERVED_METRICS has those of METRICS that need no whole field, by the same names. Statistics of a
frame without any observed value are NaN, which reductions leave out; a forecast that is not finite
at an observed value has an infinite error.
"""

from dataclasses import replace
from math import prod

import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import is_floored, safe_ratio, spatial_axes
from ups_jax.metrics.base import Metric, mean_observed
from ups_jax.metrics.point import CORRELATED, METRICS
from ups_jax.types import Array

CORRELATED_POINTS = 3
"""Observed points of a frame without which its correlation says nothing."""


def nrmse(pred: Array, true: Array, ndim: int, *, floor: Array | float = 0.0) -> Array:
    """RMS error over the truth's RMS, both over observed points. (b, t, *s, c) -> (b, t)."""
    return jnp.nanmean(_relative(pred, true, spatial_axes(ndim), floor), -1)


def rel_l2(pred: Array, true: Array, ndim: int, *, floor: Array | float = 0.0) -> Array:
    """L2 norm of the error over that of the truth, over observed points and times. -> (b,)."""
    return jnp.nanmean(_relative(pred, true, spatial_axes(ndim + 1), floor), -1)


def rmse(pred: Array, true: Array, ndim: int) -> Array:
    """Root mean square error, per sample and time. -> (b, t)."""
    return jnp.nanmean(_rms(_error(pred, true), true, spatial_axes(ndim)), -1)


def mse(pred: Array, true: Array, ndim: int) -> Array:
    """Mean square error, per sample and time, mean over channels. -> (b, t)."""
    return jnp.nanmean(_mean(jnp.square(_error(pred, true)), true, spatial_axes(ndim)), -1)


def mae(pred: Array, true: Array, ndim: int) -> Array:
    """Mean absolute error, per sample and time, mean over channels. -> (b, t)."""
    return jnp.nanmean(_mean(jnp.abs(_error(pred, true)), true, spatial_axes(ndim)), -1)


def max_error(pred: Array, true: Array, ndim: int) -> Array:
    """Largest absolute error, per sample and time. -> (b, t)."""
    axes = (*spatial_axes(ndim), -1)
    largest = jnp.max(jnp.abs(_error(pred, true)), axes)
    return jnp.where(jnp.any(~jnp.isnan(true), axes), largest, jnp.nan)


def floored(pred: Array, true: Array, ndim: int, *, floor: Array | float = 0.0) -> Array:
    """1 if a frame and channel of the truth has an RMS below the floor, else 0. -> (b,)."""
    size = _rms(_known(true), true, spatial_axes(ndim))
    return jnp.any(is_floored(size, floor), (-2, -1)).astype(true.dtype)


def correlation(pred: Array, true: Array, ndim: int) -> Array:
    """Centred Pearson correlation over observed points, mean over channels. -> (b, t).

    Constant fields are treated as in `point.correlation`. A channel needs `CORRELATED_POINTS`
    observed points; NaN without one that has them.
    """
    axes, seen = spatial_axes(ndim), ~jnp.isnan(true)
    pairs = [jnp.where(seen, pred, 0), _known(true)]
    means = [jnp.expand_dims(_mean(u, true, axes), axes) for u in pairs]
    centred = [jnp.where(seen, u - m, 0) for u, m in zip(pairs, means, strict=True)]
    stds, sizes = ([_rms(u, true, axes) for u in fields] for fields in (centred, pairs))
    rounding = 4 * jnp.finfo(true.dtype).eps
    flat_p, flat_q = (std <= rounding * size for std, size in zip(stds, sizes, strict=True))
    p, q = (safe_ratio(u, jnp.expand_dims(std, axes)) for u, std in zip(centred, stds, strict=True))
    pearson = _mean(jnp.where(seen, p * q, 0), true, axes)
    of_constants = jnp.where(flat_p & flat_q, 1.0, 0.0)
    values, some = jnp.where(flat_p | flat_q, of_constants, pearson), _correlates(true, axes)
    # A channel that diverged is NaN, and so is the mean; one of too few points is left out.
    return jnp.sum(jnp.where(some, values, 0), -1) / jnp.sum(some, -1)


def correlation_time(pred: Array, true: Array, ndim: int) -> Array:
    """Number of the first observed frame with correlation below .8 or NaN, from 1. -> (b,).

    If there is no such frame, the value is the number of the last observed one; NaN without any.
    """
    decorrelated, some = _decorrelated(pred, true, ndim)
    first = jnp.argmax(decorrelated, -1) + 1
    last = some.shape[-1] - jnp.argmax(some[..., ::-1], -1)
    frame = jnp.where(jnp.any(decorrelated, -1), first, last).astype(true.dtype)
    return jnp.where(jnp.any(some, -1), frame, jnp.nan)


def correlation_censored(pred: Array, true: Array, ndim: int) -> Array:
    """1 if the correlation falls below .8 in no observed frame, else 0. -> (b,).

    NaN if no frame has a correlation.
    """
    decorrelated, some = _decorrelated(pred, true, ndim)
    censored = 1.0 - jnp.any(decorrelated, -1).astype(true.dtype)
    return jnp.where(jnp.any(some, -1), censored, jnp.nan)


def mean_of_trajectories(values: np.ndarray) -> np.floating:
    """Mean over trajectories of the mean over their observed frames: (n,) or (n, t) -> scalar."""
    return mean_observed(mean_observed(values, 1) if values.ndim > 1 else values)


def largest_observed(values: np.ndarray) -> np.floating:
    """Largest statistic of an observed frame: (n, t) -> scalar."""
    return np.max(np.where(np.isnan(values), -np.inf, values))


def gmean_over_time(values: np.ndarray) -> np.floating:
    """Return `point.gmean_over_time` of observed frames: (n, t) -> scalar."""
    with np.errstate(divide="ignore"):
        return np.exp(mean_observed(np.log(mean_observed(values[:, :100], 0))))


def _known(true: Array) -> Array:
    return jnp.where(jnp.isnan(true), 0, true)


def _error(pred: Array, true: Array) -> Array:
    """Return the error at observed values, zero elsewhere, infinite where pred is not finite."""
    if pred.shape != true.shape:
        raise ValueError(
            f"prediction has shape {pred.shape}, truth {true.shape}; expected equal shapes"
        )
    error = jnp.where(jnp.isnan(true), 0, pred - true)
    return jnp.where(jnp.isnan(error), jnp.inf, error)


def _mean(values: Array, true: Array, axes: tuple[int, ...]) -> Array:
    """Mean of values over observed points, elsewhere they are zero; NaN without any."""
    return jnp.sum(values, axes) / jnp.sum(~jnp.isnan(true), axes)


def _rms(values: Array, true: Array, axes: tuple[int, ...]) -> Array:
    return jnp.sqrt(_mean(jnp.square(values), true, axes))


def _relative(pred: Array, true: Array, axes: tuple[int, ...], floor: Array | float) -> Array:
    error, size = (_rms(u, true, axes) for u in (_error(pred, true), _known(true)))
    return jnp.where(jnp.isnan(size), jnp.nan, safe_ratio(error, size, floor))


def _decorrelated(pred: Array, true: Array, ndim: int) -> tuple[Array, Array]:
    """Return the frames whose correlation is below .8 or NaN, and those that have one: (b, t)."""
    some = jnp.any(_correlates(true, spatial_axes(ndim)), -1)
    return some & ~(correlation(pred, true, ndim) >= CORRELATED), some


def _correlates(true: Array, axes: tuple[int, ...]) -> Array:
    """Return whether a frame's channel has enough observed points, or all of them: (b, t, c)."""
    count = jnp.sum(~jnp.isnan(true), axes)
    return count >= min(CORRELATED_POINTS, prod(true.shape[axis] for axis in axes))


OBSERVED_METRICS: dict[str, Metric] = {
    name: replace(METRICS[name], per_sample=statistic, reduce=reduce, partial=True)
    for name, statistic, reduce in (
        ("nrmse", nrmse, mean_of_trajectories),
        ("nrmse_gmean100", nrmse, gmean_over_time),
        ("rmse", rmse, mean_of_trajectories),
        ("mse", mse, mean_of_trajectories),
        ("mae", mae, mean_of_trajectories),
        ("rel_l2", rel_l2, mean_of_trajectories),
        ("max_error", max_error, largest_observed),
        ("correlation_time", correlation_time, mean_of_trajectories),
        ("correlation_censored", correlation_censored, mean_of_trajectories),
        ("floored", floored, mean_of_trajectories),
    )
}
"""Metrics of METRICS over observed values; all others need whole fields."""
