"""Transformer on patches, with attention along each axis and rotary positions."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ups_jax.arrays import spatial_axes
from ups_jax.models.functional import Network
from ups_jax.models.layers import (
    HEAD_SCALE,
    MATMULS,
    MLP,
    NOISE_SCALE,
    Conv,
    LayerNorm,
)
from ups_jax.models.sizes import Sizes, operator
from ups_jax.registry import lookup
from ups_jax.types import Array


def rotate(x: Array, *, boundary: str) -> Array:
    """Rotate pairs of channels in proportion to the position: (..., n, heads, c) -> like x.

    Products of two rotated vectors depend on their distance. Wavenumbers are integers, so that the
    distance on a periodic axis is the one around it; another axis counts as half of a period. RoPE,
    Su et al. (2021).
    """
    n, half = x.shape[-3], x.shape[-1] // 2
    period = n if boundary == "periodic" else 2 * n
    waves = np.round(np.geomspace(1, max(1, period // 2), half))
    angles = 2 * np.pi / period * np.outer(np.arange(n), waves)[:, None]
    shape = (1,) * (x.ndim - 3) + angles.shape
    cos, sin = (jnp.asarray(f(angles).reshape(shape), x.dtype) for f in (np.cos, np.sin))
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


class AxialAttention(nnx.Module):
    """Attention of every point to the points on its line along one axis. Ho et al. (2019)."""

    def __init__(
        self, width: int, *, axis: int, heads: int, conv: partial[Conv], boundary: str, scale: float
    ):
        """Attend along `axis` of (..., *s, width)."""
        self.axis, self.heads, self.boundary = axis, heads, boundary
        self.qkv = conv(width, 3 * width)
        self.out = conv(width, width, scale=scale)

    def __call__(self, x: Array) -> Array:
        """(..., *s, width) -> like x."""
        qkv = jnp.moveaxis(self.qkv(x), self.axis, -2)
        split = qkv.reshape(-1, qkv.shape[-2], 3, self.heads, x.shape[-1] // self.heads)
        q, k = (rotate(split[:, :, i], boundary=self.boundary) for i in range(2))
        y = jax.nn.dot_product_attention(q, k, split[:, :, 2])
        y = y.reshape(*qkv.shape[:-1], x.shape[-1])
        return self.out(jnp.moveaxis(y, -2, self.axis))


class Transformer(nnx.Module):
    """Transformer with normalised inputs of each layer. Peebles and Xie (2023), without gates."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        *,
        sizes: Sizes,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: int,
        patch: int,
        matmul: str,
    ):
        """Create layers of attention along each axis and an MLP; 5-wide lift and head."""
        wide = partial(Conv, boundary=sizes.boundary, size=5, rngs=rngs)
        conv = partial(Conv, boundary=sizes.boundary, size=1, matmul=matmul, rngs=rngs)
        axes = list(zip(spatial_axes(len(sizes.boundary)), sizes.boundary, strict=True))
        # The last map of a branch is damped, so that the branches' variances sum to 1.
        scale = (layers * (len(axes) + 1)) ** -0.5
        attention = partial(AxialAttention, width, heads=heads, conv=conv, scale=scale)
        self.lift = wide(sizes.inputs, width, fold=patch)
        branches = []
        for _ in range(layers):
            branches += [attention(axis=axis, boundary=name) for axis, name in axes]
            branches.append(MLP(width, ratio=mlp_ratio, conv=conv, scale=scale))
        self.branches = nnx.List(branches)
        self.norms = nnx.List([LayerNorm(width, ndim=0) for _ in [*branches, None]])
        self.modulations = sizes.modulations(len(branches), width, rngs)
        self.head = wide(width, sizes.channels, unfold=patch, scale=HEAD_SCALE)
        if sizes.noise:
            self.noise = wide(sizes.noise, width, fold=patch, scale=NOISE_SCALE)

    def __call__(self, u: Array, cond: Array, z: Array | None = None) -> Array:
        """(..., *s, inputs), (..., p), (..., *s, noise) -> (..., *s, c)."""
        x = self.lift(u)
        if z is not None:
            x = x + self.noise(z)
        for i, branch in enumerate(self.branches):
            h = self.norms[i](x)
            x = x + branch(self.modulations[i](h, cond) if self.modulations else h)
        return self.head(self.norms[-1](x))


def transformer(
    *,
    ndim: int,
    channels: int,
    params: int,
    width: int = 64,
    layers: int = 4,
    heads: int = 4,
    mlp_ratio: int = 2,
    patch: int = 4,
    matmul: str = "float32",
    inputs: int | None = None,
    noise: int = 0,
    boundary: Sequence[str] | None = None,
) -> Network:
    """Transformer with axial attention: a token for each patch of `patch` points along each axis.

    Every layer has attention along each axis, over all of its patches, and an MLP with `mlp_ratio`
    times `width` hidden channels. The network commutes with translations by a patch along periodic
    axes. `matmul` is that of `resnet`. Raises ValueError on sizes below 1, when `patch` does not
    divide the grid, and when `width` is no multiple of twice `heads`.
    """
    lookup(dict.fromkeys(MATMULS), matmul, "matmul")
    if min(width, layers, heads, mlp_ratio, patch) < 1 or width % (2 * heads):
        raise ValueError(
            f"width {width}, layers {layers}, heads {heads}, mlp_ratio {mlp_ratio}, patch {patch}; "
            "expected all at least 1, and width a multiple of twice heads"
        )
    return operator(
        Transformer,
        ndim=ndim,
        channels=channels,
        params=params,
        inputs=inputs,
        noise=noise,
        boundary=boundary,
        width=width,
        layers=layers,
        heads=heads,
        mlp_ratio=mlp_ratio,
        patch=patch,
        matmul=matmul,
    )
