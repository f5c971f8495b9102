"""Array helpers for fields (..., *s, c): channels last, `ndim` space axes, leading axes free."""

import jax.numpy as jnp

from ups_jax.types import Array


def spatial_axes(ndim: int) -> tuple[int, ...]:
    """Return the negative indices of the space axes of a field."""
    return tuple(range(-1 - ndim, -1))


def rms(u: Array, ndim: int) -> Array:
    """Return the root mean square over space: (..., *s, c) -> (..., c)."""
    return jnp.sqrt(jnp.mean(jnp.square(u), spatial_axes(ndim)))


def safe_ratio(numerator: Array, denominator: Array) -> Array:
    """Divide; a denominator of zero is replaced by the smallest normal number."""
    tiny = jnp.finfo(denominator.dtype).tiny
    return numerator / jnp.where(denominator == 0, tiny, denominator)


def expand_like(values: Array, x: Array) -> Array:
    """Append unit axes to `values`, which match the leading axes of x, up to the rank of x."""
    return values.reshape(*values.shape, *(1,) * (x.ndim - values.ndim))


def per_channel(vector: Array, u: Array) -> Array:
    """Prepend unit axes to a vector (c,), so that it broadcasts over the channels of u."""
    return jnp.reshape(vector, (1,) * (jnp.ndim(u) - 1) + (-1,))
