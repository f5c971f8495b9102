"""Dilated residual network with normalisation."""

from collections.abc import Sequence
from functools import partial

from flax import nnx

from ups_jax.models.functional import Network
from ups_jax.models.layers import (
    HEAD_SCALE,
    NOISE_SCALE,
    Conv,
    LayerNorm,
)
from ups_jax.models.sizes import Sizes, operator
from ups_jax.types import Array


class DilatedResNet(nnx.Module):
    """Dilated residual network. Stachenfeld et al. (2022), as in APEBench (2024)."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        *,
        sizes: Sizes,
        width: int,
        blocks: int,
        dilations: Sequence[int],
    ):
        """Create residual blocks with one norm and 3-wide convolution a dilation."""
        layer = partial(Conv, boundary=sizes.boundary, rngs=rngs)
        self.lift = layer(sizes.inputs, width, size=1)
        self.modulations = sizes.modulations(blocks, width, rngs)
        self.blocks = nnx.List(
            [nnx.List([layer(width, width, dilation=d) for d in dilations]) for _ in range(blocks)]
        )
        norms = [
            [LayerNorm(width, ndim=len(sizes.boundary)) for _ in dilations] for _ in range(blocks)
        ]
        self.norms = nnx.List([nnx.List(norm) for norm in norms])
        self.head = layer(width, sizes.channels, size=1, scale=HEAD_SCALE)
        if sizes.noise:
            self.noise = layer(sizes.noise, width, size=5, scale=NOISE_SCALE)

    def __call__(self, u: Array, cond: Array, z: Array | None = None) -> Array:
        """(..., *s, inputs), (..., p), (..., *s, noise) -> (..., *s, c)."""
        x = self.lift(u)
        if z is not None:
            x = x + self.noise(z)
        for i, (block, norms) in enumerate(zip(self.blocks, self.norms, strict=True)):
            h = self.modulations[i](x, cond) if self.modulations else x
            for conv, norm in zip(block, norms, strict=True):
                h = nnx.gelu(conv(norm(h)))
            x = x + h
        return self.head(x)


def dilated(
    *,
    ndim: int,
    channels: int,
    params: int,
    width: int = 32,
    blocks: int = 2,
    dilations: Sequence[int] = (1, 2, 4, 2, 1),
    inputs: int | None = None,
    noise: int = 0,
    boundary: Sequence[str] | None = None,
) -> Network:
    """Dilated ResNet of APEBench with pointwise lift and head; its "Dil;2;32;2" is the default.

    Fields are normalised over space and channels before every convolution, so that a wave at one
    end of a field affects the other. Raises ValueError on sizes below 1.
    """
    if min(width, blocks, *dilations) < 1 or not dilations:
        raise ValueError(
            f"width {width}, blocks {blocks}, dilations {tuple(dilations)}; expected one dilation "
            "or more, all values at least 1"
        )
    return operator(
        DilatedResNet,
        ndim=ndim,
        channels=channels,
        params=params,
        inputs=inputs,
        noise=noise,
        boundary=boundary,
        width=width,
        blocks=blocks,
        dilations=tuple(dilations),
    )
