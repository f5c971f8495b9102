"""The smallest size of fields that a violation of a law is divided by."""

from math import sqrt

import jax.numpy as jnp

from ups_jax.arrays import floor_like
from ups_jax.pde.base import Law
from ups_jax.types import Array


def law_floor(law: Law, like: Array, floor: Array | float, ndim: int) -> Array:
    """Return the law's scale of a wave whose RMS is the floor, on the grid of `like` (..., *s, c).

    A floor is a number, or one a channel (c,): the smallest RMS that a relative value is divided
    by, `FLOOR` times the data's deviation. A law that has no scale there has the floor 0.
    """
    axis = -1 - ndim
    phase = 2 * jnp.pi * jnp.arange(like.shape[axis], dtype=like.dtype) / like.shape[axis]
    sine = jnp.broadcast_to(phase.reshape(-1, *(1,) * ndim), like.shape[axis:])
    wave = sqrt(2.0) * jnp.sin(sine)
    return jnp.nan_to_num(law.scale(wave * floor_like(wave, floor)))
