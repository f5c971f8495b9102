"""Losses of forecasts against the truth: LOSSES, and OBSERVED_LOSSES where the truth has NaN.

Those of OBSERVED_LOSSES are means over the observed values of each sample, channel and frame. What
has none adds zero, so that a loss is the mean over samples however devices share them.
"""

import jax.numpy as jnp

from ups_jax.arrays import FLOOR, spatial_axes
from ups_jax.types import Array

EPS = 1e-12


def nrmse_loss(
    pred: Array, true: Array, ndim: int, std: Array | float = 0.0, loss_floor: float = 0.0
) -> Array:
    """Mean over samples and channels of the RMS error over the truth's RMS.

    `loss_floor` times the data's deviation `std` is added to that RMS in quadrature; it bounds the
    weight of fields close to zero. The divisor is at least `FLOOR` times `std`.
    """
    error = jnp.mean((pred - true) ** 2, spatial_axes(ndim))
    return jnp.mean(jnp.sqrt((error + EPS) / mean_square(true, ndim, std, loss_floor)))


def mean_square(true: Array, ndim: int, std: Array | float, loss_floor: float) -> Array:
    """Return the square of the divisor of a relative loss: (..., *s, c) -> (..., c)."""
    return _divisor(jnp.mean(true**2, spatial_axes(ndim)), std, loss_floor)


def _divisor(square: Array, std: Array | float, loss_floor: float) -> Array:
    return jnp.maximum(square + (loss_floor * std) ** 2 + EPS, (FLOOR * std) ** 2)


def mse_loss(pred: Array, true: Array, ndim: int, *scales: Array | float) -> Array:
    """Mean square error in physical units; the scales of `nrmse_loss` are not used."""
    return jnp.mean((pred - true) ** 2)


def observed_nrmse_loss(
    pred: Array, true: Array, ndim: int, std: Array | float = 0.0, loss_floor: float = 0.0
) -> Array:
    """Return `nrmse_loss` over observed values: its means over space are those of these points."""
    error, square, some = _observed_squares(pred, true, ndim)
    ratio = jnp.sqrt((error + EPS) / _divisor(square, std, loss_floor))
    return jnp.mean(jnp.where(some, ratio, 0))


def observed_mse_loss(pred: Array, true: Array, ndim: int, *scales: Array | float) -> Array:
    """Mean over samples and channels of the mean square error over observed values."""
    return jnp.mean(_observed_squares(pred, true, ndim)[0])


def _observed_squares(pred: Array, true: Array, ndim: int) -> tuple[Array, Array, Array]:
    """Return mean squares of error and truth over observed points, and where there are any.

    (..., *s, c) -> (..., c); the mean over no point is zero. No gradient passes a missing value.
    """
    axes, seen = spatial_axes(ndim), ~jnp.isnan(true)
    known, count = jnp.where(seen, true, 0), jnp.sum(seen, spatial_axes(ndim))
    error = jnp.where(seen, pred - known, 0)
    size = jnp.maximum(count, 1)
    return jnp.sum(error**2, axes) / size, jnp.sum(known**2, axes) / size, count > 0


LOSSES = {"mse": mse_loss, "nrmse": nrmse_loss}
OBSERVED_LOSSES = {"mse": observed_mse_loss, "nrmse": observed_nrmse_loss}
"""Losses of the same names over observed values; a loss without one needs whole fields."""
