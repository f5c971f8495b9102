"""Layers that commute with the reflection of one space axis. Cohen and Welling (2016)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from ups_jax.types import Array

Image = Callable[[Array, int], Array]
"""Mirror image of the features that an axis of an array counts: (array, axis) -> like array."""


def exchange_halves(x: Array, axis: int) -> Array:
    """Mirror hidden features: the first half are the mirror images of the second.

    The last one of an odd number is its own mirror image.
    """
    half = x.shape[axis] // 2
    first, second, last = jnp.split(x, (half, 2 * half), axis)
    return jnp.concatenate([second, first, last], axis)


class FieldImage(NamedTuple):
    """Mirror image of the points of a patch: reversed, each channel times its sign."""

    signs: tuple[float, ...]

    def __call__(self, x: Array, axis: int) -> Array:
        """(..., patch c, ...) -> like x, with c the number of signs."""
        axis %= x.ndim
        points = x.reshape(*x.shape[:axis], -1, len(self.signs), *x.shape[axis + 1 :])
        signs = jnp.asarray(self.signs, x.dtype)
        signs = signs.reshape(*(1,) * (axis + 1), -1, *(1,) * (x.ndim - axis - 1))
        return (jnp.flip(points, axis) * signs).reshape(x.shape)


class Mirror(NamedTuple):
    """Mirror images of a layer's inputs and outputs."""

    inputs: Image
    outputs: Image

    def kernel(self, kernel: Array) -> Array:
        """Return the kernel (taps, c_in, c_out) of the mirrored layer."""
        return self.outputs(self.inputs(jnp.flip(kernel, 0), 1), 2)

    def tie(self, kernel: Array, bias: Array) -> tuple[Array, Array]:
        """Return the mean of a layer's weights and their mirror images."""
        return (kernel + self.kernel(kernel)) / 2, (bias + self.outputs(bias, 0)) / 2


def mirrors(signs: Sequence[float] | None, *, inputs: int, noise: int) -> dict[str, Mirror]:
    """Return the mirrors of layers by name: noise, lift, hidden and head.

    `signs` has one sign for each channel; the inputs are one or more times the channels. Noise
    keeps its sign. Raises ValueError without signs and on other inputs.
    """
    if signs is None or inputs % len(signs):
        raise ValueError(
            "equivariant is true, which needs a PDE with a reflection of its one space axis and "
            "without further inputs; set it to false"
        )
    one = tuple(float(sign) for sign in signs)
    return {
        "noise": Mirror(FieldImage((1.0,) * noise), exchange_halves),
        "lift": Mirror(FieldImage(one * (inputs // len(one))), exchange_halves),
        "hidden": Mirror(exchange_halves, exchange_halves),
        "head": Mirror(exchange_halves, FieldImage(one)),
    }
