"""Array helpers for fields (..., *s, c): channels last, `ndim` space axes, leading axes free."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.types import Array, Key

FLOOR = 1e-4
"""Smallest denominator of a relative quantity, in standard deviations of the data."""


def spatial_axes(ndim: int) -> tuple[int, ...]:
    """Return the negative indices of the space axes of a field."""
    return tuple(range(-1 - ndim, -1))


def rms(u: Array, ndim: int) -> Array:
    """Return the root mean square over space: (..., *s, c) -> (..., c)."""
    return jnp.sqrt(jnp.mean(jnp.square(u), spatial_axes(ndim)))


def safe_ratio(numerator: Array, denominator: Array, floor: Array | float = 0.0) -> Array:
    """Divide by the denominator or `floor`, the larger; by the smallest normal float at least."""
    tiny = jnp.finfo(denominator.dtype).tiny
    return numerator / jnp.maximum(denominator, jnp.maximum(floor_like(denominator, floor), tiny))


def is_floored(denominator: Array, floor: Array | float) -> Array:
    """Return where `safe_ratio` divides by the floor."""
    return denominator < floor_like(denominator, floor)


def as_float32(values: Any) -> Array:
    """Return fields, parameters or statistics in the type of all programs, float32."""
    return jnp.asarray(values, jnp.float32)


def as_key(key: Any) -> Key:
    """Return a key of JAX; a whole number is the seed of one. Raises ValueError on other values."""
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return jax.random.key(int(key))
    got = f"an array of {key.dtype}" if isinstance(key, jax.Array | np.ndarray) else repr(key)
    raise ValueError(f"key is {got}; give a seed such as 0, or jax.random.key(0)")


def expand_like(values: Array, x: Array) -> Array:
    """Append unit axes to `values`, which match the leading axes of x, up to the rank of x."""
    return values.reshape(*values.shape, *(1,) * (x.ndim - values.ndim))


def floor_like(denominator: Array, floor: Array | float) -> Array:
    """Return a floor, a number or one a channel (c,), so that it broadcasts over (..., c)."""
    floor = jnp.asarray(floor, denominator.dtype)
    return per_channel(floor, denominator) if floor.ndim else floor


def per_channel(vector: Array, u: Array) -> Array:
    """Prepend unit axes to a vector (c,), so that it broadcasts over the channels of u."""
    return jnp.reshape(vector, (1,) * (jnp.ndim(u) - 1) + (-1,))


def check_field(
    u: Any, *, ndim: int, channels: int, name: str = "u", cond: Any = None, params: int = 0
) -> None:
    """Raise ValueError unless u is a floating field (..., *s, c) and cond, if given, (..., p)."""
    shape = np.shape(u)
    if len(shape) < ndim + 1 or shape[-1] != channels:
        raise ValueError(
            f"{name} has shape {shape}; expected (..., {'x, y'[: 3 * ndim - 2]}, {channels}): "
            f"{ndim} space axes, then {channels} channels"
        )
    if 0 in shape:
        raise ValueError(f"{name} has shape {shape} and holds nothing; expected one sample")
    # Reading the type must not copy a field from its device.
    dtype = u.dtype if hasattr(u, "dtype") else np.asarray(u).dtype
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} holds {dtype}; expected float32: {name}.astype('float32')")
    if cond is None:
        return
    lead = shape[: len(shape) - ndim - 1]
    if np.shape(cond) != (*lead, params):
        raise ValueError(
            f"cond has shape {np.shape(cond)}; expected {(*lead, params)} for {name} {shape}"
        )
