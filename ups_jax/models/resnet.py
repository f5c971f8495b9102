"""Dilated residual network without normalisation, on a grid of patches."""

from collections.abc import Mapping, Sequence
from functools import partial

from flax import nnx

from ups_jax.models.equivariance import Mirror, mirrors
from ups_jax.models.functional import Network
from ups_jax.models.layers import (
    HEAD_SCALE,
    MATMULS,
    NOISE_SCALE,
    Conv,
)
from ups_jax.models.sizes import Sizes, operator
from ups_jax.registry import lookup
from ups_jax.types import Array


class ResNet(nnx.Module):
    """Dilated residual network. Stachenfeld et al. (2022), without normalisation."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        *,
        sizes: Sizes,
        width: int,
        blocks: int,
        dilations: Sequence[int],
        patch: int,
        matmul: str,
        mirror: Mapping[str, Mirror],
    ):
        """Create residual blocks with one 3-wide convolution a dilation; 5-wide lift and head."""
        wide = partial(Conv, boundary=sizes.boundary, size=5, rngs=rngs)
        self.lift = wide(sizes.inputs, width, fold=patch, mirror=mirror.get("lift"))
        self.modulations = sizes.modulations(blocks, width, rngs, mirrored=bool(mirror))
        # He scaling; the last layer of a block is damped, so that the blocks' variances sum to 1.
        scales = [2**0.5] * (len(dilations) - 1) + [blocks**-0.5]
        layers = list(zip(dilations, scales, strict=True))
        conv = partial(Conv, width, width, boundary=sizes.boundary, matmul=matmul, rngs=rngs)
        conv = partial(conv, mirror=mirror.get("hidden"))
        self.blocks = nnx.List(
            [nnx.List([conv(dilation=d, scale=s) for d, s in layers]) for _ in range(blocks)]
        )
        head = partial(wide, scale=HEAD_SCALE, mirror=mirror.get("head"))
        self.head = head(width, sizes.channels, unfold=patch)
        if sizes.noise:
            noise = partial(wide, scale=NOISE_SCALE, mirror=mirror.get("noise"))
            self.noise = noise(sizes.noise, width, fold=patch)

    def __call__(self, u: Array, cond: Array, z: Array | None = None) -> Array:
        """(..., *s, inputs), (..., p), (..., *s, noise) -> (..., *s, c)."""
        x = self.lift(u)
        if z is not None:
            x = x + self.noise(z)
        for i, block in enumerate(self.blocks):
            h = self.modulations[i](x, cond) if self.modulations else x
            for conv in block:
                h = conv(nnx.gelu(h))
            x = x + h
        return self.head(nnx.gelu(x))


def resnet(
    *,
    ndim: int,
    channels: int,
    params: int,
    width: int = 40,
    blocks: int = 3,
    dilations: Sequence[int] = (1, 2, 4, 8, 2),
    patch: int = 1,
    matmul: str = "float32",
    equivariant: bool = False,
    inputs: int | None = None,
    noise: int = 0,
    boundary: Sequence[str] | None = None,
    signs: Sequence[float] | None = None,
) -> Network:
    """Dilated ResNet. Good values: 2-3 blocks, width 32-64.

    The receptive field should exceed the distance that information travels in one interval.
    `patch` neighbouring points along each axis form one grid cell of the network, which may then be
    wider at equal cost. `matmul` "bfloat16" rounds the operands of the blocks' convolutions, for
    GPUs; parameters, residual additions, lift and head stay float32. With `equivariant` the network
    commutes with the reflection of the one space axis that multiplies channels by `signs`; half of
    its parameters are free then. Raises ValueError on sizes below 1, when `patch` does not divide
    the grid, and as `mirrors`.
    """
    lookup(dict.fromkeys(MATMULS), matmul, "matmul")
    if min(width, blocks, patch, *dilations) < 1 or not dilations:
        raise ValueError(
            f"width {width}, blocks {blocks}, dilations {tuple(dilations)}, "
            f"patch {patch}; expected one dilation or more, all values at least 1"
        )
    pairs = mirrors(signs, inputs=inputs or channels, noise=noise) if equivariant else {}
    network = operator(
        ResNet,
        ndim=ndim,
        channels=channels,
        params=params,
        inputs=inputs,
        noise=noise,
        boundary=boundary,
        width=width,
        blocks=blocks,
        dilations=tuple(dilations),
        patch=patch,
        matmul=matmul,
        mirror=pairs,
    )
    return network._replace(equivariant=equivariant)
