"""Metrics of a deterministic forecast: METRICS.

Each channel is scored separately, then channels are averaged. Shapes are (b, t, *s, c) with free
leading axes for `b`. Definitions follow PDEBench (Takamoto et al., 2022), appendix B, without the
two deviations of its code that `pdebench_compat` reproduces, except for `max_error`. A relative
error takes `floor`, the smallest denominator of each channel: `FLOOR` times the data's deviation.
"""

from functools import partial
from math import prod

import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import is_floored, rms, safe_ratio, spatial_axes
from ups_jax.metrics.base import BANDS, Metric
from ups_jax.pde.spectral import wavenumber_shells
from ups_jax.types import Array

CORRELATED = 0.8
"""Pearson correlation below which a forecast is decorrelated from the truth."""


def nrmse(pred: Array, true: Array, ndim: int, *, floor: Array | float = 0.0) -> Array:
    """RMS error over the truth's RMS, per sample and time. (b, t, *s, c) -> (b, t)."""
    size = rms(true, ndim)
    return jnp.mean(safe_ratio(rms(_error(pred, true), ndim), size, floor), -1)


def per_sample_nrmse(pred: Array, true: Array, ndim: int, *, floor: Array | float = 0.0) -> Array:
    """Mean of `nrmse` over time, for medians and percentiles of a split. -> (b,)."""
    return jnp.mean(nrmse(pred, true, ndim, floor=floor), -1)


def floored(pred: Array, true: Array, ndim: int, *, floor: Array | float = 0.0) -> Array:
    """1 if a frame and channel of the truth has an RMS below the floor, else 0. -> (b,)."""
    _check_shapes(pred, true)
    return jnp.any(is_floored(rms(true, ndim), floor), (-2, -1)).astype(true.dtype)


def rmse(pred: Array, true: Array, ndim: int) -> Array:
    """Root mean square error in physical units, per sample and time. -> (b, t)."""
    return jnp.mean(rms(_error(pred, true), ndim), -1)


def mse(pred: Array, true: Array, ndim: int) -> Array:
    """Mean square error, per sample and time. -> (b, t)."""
    return jnp.mean(jnp.square(_error(pred, true)), (*spatial_axes(ndim), -1))


def mae(pred: Array, true: Array, ndim: int) -> Array:
    """Mean absolute error, per sample and time. -> (b, t)."""
    return jnp.mean(jnp.abs(_error(pred, true)), (*spatial_axes(ndim), -1))


def rel_l2(pred: Array, true: Array, ndim: int, *, floor: Array | float = 0.0) -> Array:
    """L2 norm of the error over that of the truth, both jointly over space and time. -> (b,)."""
    error, size = rms(_error(pred, true), ndim + 1), rms(true, ndim + 1)
    return jnp.mean(safe_ratio(error, size, floor), -1)


def max_error(pred: Array, true: Array, ndim: int) -> Array:
    """Largest absolute error, per sample and time. -> (b, t).

    `METRICS` reports the largest over samples, times and channels. PDEBench averages the largest of
    each batch over batches, times and channels, which depends on the size of its batches.
    """
    return jnp.max(jnp.abs(_error(pred, true)), (*spatial_axes(ndim), -1))


def mean_error_squared(pred: Array, true: Array, ndim: int) -> Array:
    """Squared error of the spatial mean, for `cRMSE`. -> (b, t, c)."""
    return jnp.square(jnp.mean(_error(pred, true), spatial_axes(ndim)))


def brmse(pred: Array, true: Array, ndim: int) -> Array:
    """RMS error over the first and last slices along every space axis. -> (b, t).

    PDEBench defines it so for periodic axes too, where these slices are no boundary. In two
    dimensions all 2 (nx + ny) boundary points have equal weight, so corners count twice.
    """
    squares = jnp.square(_error(pred, true))
    total, count = 0.0, 0
    for axis in spatial_axes(ndim):
        edges = jnp.take(squares, jnp.array([0, squares.shape[axis] - 1]), axis)
        total = total + jnp.sum(edges, spatial_axes(ndim))
        count += 2 * prod(squares.shape[-1 - ndim : -1]) // squares.shape[axis]
    return jnp.mean(jnp.sqrt(total / count), -1)


def spectral_error_squared(
    pred: Array, true: Array, ndim: int, *, band: tuple[int, int | None]
) -> Array:
    """Power of the error at each integer wavenumber k of a band, for `fRMSE`. -> (b, t, k, c).

    Coefficients are divided by the number of points, and a wave and its conjugate count once, as in
    `rfft`. In two dimensions the power is summed over the ring k <= |k| < k + 1 of the whole plane;
    PDEBench sums over one quadrant. A band beyond the grid is empty, and its `fRMSE` is NaN.
    """
    error = _error(pred, true)
    points = error.shape[-1 - ndim : -1]
    power = jnp.square(jnp.abs(jnp.fft.fftn(error, axes=spatial_axes(ndim)) / prod(points)))
    power = power.reshape(*power.shape[: -1 - ndim], -1, power.shape[-1])
    index = zip(np.indices(points), points, strict=True)
    self_conjugate = np.all([2 * i % n == 0 for i, n in index], axis=0)
    weight = np.where(self_conjugate, 1.0, 0.5).reshape((1,) * (power.ndim - 2) + (-1, 1))
    power = power * weight.astype(power.dtype)
    shell, count = wavenumber_shells(points)
    rings = jnp.zeros((*power.shape[:-2], count, power.shape[-1]), power.dtype)
    return rings.at[..., shell.ravel(), :].add(power)[..., slice(*band), :]


def correlation(pred: Array, true: Array, ndim: int) -> Array:
    """Centred Pearson correlation over space, mean over channels. -> (b, t).

    A field is constant if its deviation is within a few rounding errors of its RMS. Two constant
    fields have correlation 1, a constant and a variable field 0.
    """
    _check_shapes(pred, true)
    axes = spatial_axes(ndim)
    p, q = (u - jnp.mean(u, axes, keepdims=True) for u in (pred, true))
    std_p, std_q = rms(p, ndim), rms(q, ndim)
    rounding = 4 * jnp.finfo(p.dtype).eps
    flat_p, flat_q = std_p <= rounding * rms(pred, ndim), std_q <= rounding * rms(true, ndim)
    p, q = (safe_ratio(x, jnp.expand_dims(s, axes)) for x, s in ((p, std_p), (q, std_q)))
    pearson = jnp.mean(p * q, axes)
    of_constants = jnp.where(flat_p & flat_q, 1.0, 0.0)
    return jnp.mean(jnp.where(flat_p | flat_q, of_constants, pearson), -1)


def correlation_time(pred: Array, true: Array, ndim: int) -> Array:
    """Number of the first frame with correlation below .8 or NaN, counted from 1. -> (b,).

    If there is no such frame, the value is the number of frames.
    """
    decorrelated = _decorrelated(pred, true, ndim)
    first = jnp.argmax(decorrelated, -1) + 1
    return jnp.where(jnp.any(decorrelated, -1), first, decorrelated.shape[-1]).astype(true.dtype)


def correlation_censored(pred: Array, true: Array, ndim: int) -> Array:
    """1 if the correlation never falls below .8 within the forecast, else 0. -> (b,)."""
    return 1.0 - jnp.any(_decorrelated(pred, true, ndim), -1).astype(true.dtype)


def root_over_samples(squares: np.ndarray) -> np.floating:
    """Mean of the root of the sample mean: squares (n, ...) -> scalar; NaN if there are none."""
    if squares.size == 0:
        return np.float32(np.nan)
    return np.mean(np.sqrt(np.mean(squares, 0)))


def gmean_over_time(values: np.ndarray) -> np.floating:
    """Geometric mean of the sample mean over the first 100 frames: (n, t) -> scalar. APEBench."""
    with np.errstate(divide="ignore"):
        return np.exp(np.mean(np.log(np.mean(values[:, :100], 0))))


def pdebench_compat(value: float, *, batches: int, frames: int = 41, context: int = 10) -> float:
    """Convert a metric to the value that PDEBench's code before October 2024 reports.

    That code divides the sum over batches by their number minus one, and its mean over time counts
    the copied context frames as exact. Raises ValueError for fewer than two batches.
    """
    if batches < 2:
        raise ValueError(f"batches is {batches}; expected at least 2: PDEBench divides by n - 1")
    return value * (frames - context) / frames * batches / (batches - 1)


def _error(pred: Array, true: Array) -> Array:
    _check_shapes(pred, true)
    return pred - true


def _check_shapes(pred: Array, true: Array) -> None:
    if pred.shape != true.shape:
        raise ValueError(
            f"prediction has shape {pred.shape}, truth {true.shape}; expected equal shapes"
        )
    for name, u in (("prediction", pred), ("truth", true)):
        if u.dtype not in (jnp.float32, jnp.float64):
            raise ValueError(
                f"{name} holds {u.dtype}; expected float32 or float64: u.astype('float32')"
            )


def _decorrelated(pred: Array, true: Array, ndim: int) -> Array:
    return ~(correlation(pred, true, ndim) >= CORRELATED)


METRICS: dict[str, Metric] = {
    "nrmse": Metric(nrmse, np.mean, label="nRMSE", relative=True),
    "nrmse_gmean100": Metric(nrmse, gmean_over_time, label="GMean100", relative=True),
    "rmse": Metric(rmse, np.mean, label="RMSE"),
    "mse": Metric(mse, np.mean, label="MSE"),
    "mae": Metric(mae, np.mean, label="MAE"),
    "rel_l2": Metric(rel_l2, np.mean, label="relL2", relative=True),
    "crmse": Metric(mean_error_squared, root_over_samples, label="cRMSE"),
    "max_error": Metric(max_error, np.max, label="max error"),
    "brmse": Metric(brmse, np.mean, label="bRMSE"),
    **{
        f"frmse_{name}": Metric(
            partial(spectral_error_squared, band=band), root_over_samples, label=f"fRMSE {name}"
        )
        for name, band in BANDS.items()
    },
    "correlation_time": Metric(
        correlation_time, np.mean, "frames", higher_is_better=True, label="correlation time"
    ),
    "correlation_censored": Metric(
        correlation_censored, np.mean, higher_is_better=True, label="never below .8"
    ),
    "floored": Metric(
        floored, np.mean, higher_is_better=None, label="share floored", relative=True
    ),
}
"""Metrics of a deterministic forecast by report key. To add one, write a function and a line."""
