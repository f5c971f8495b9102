"""Operators: networks from normalised field and PDE features to the increment of one interval.

The emulator gives a factory `ndim`, `channels`, `params`, `inputs` (input channels, if not
`channels`) and `noise` (noise channels). Other arguments are the keys of `cfg.operator`. A network
maps u (..., *s, inputs), cond (..., p) and, with noise channels, z (..., *s, noise) to
(..., *s, c). Except for the layer `noise`, its parameters do not depend on `noise`.
"""

from collections.abc import Sequence
from functools import partial

from flax import nnx

from ups_jax.models.functional import Network, functional
from ups_jax.models.layers import Modulation, PeriodicConv, SpectralConv, fold, unfold
from ups_jax.registry import lookup
from ups_jax.types import Array

MATMULS = ("float32", "bfloat16")
HEAD_SCALE = 1e-3
"""Initial scale of the last layer: the untrained operator is persistence to about 0.1 %."""
NOISE_SCALE = 0.01
"""Initial scale of the noise layer; that of the lift is 1."""


class ResNet(nnx.Module):
    """Dilated periodic residual network. Stachenfeld et al. (2022), without normalisation."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        *,
        ndim: int,
        channels: int,
        inputs: int,
        params: int,
        width: int,
        blocks: int,
        dilations: Sequence[int],
        patch: int,
        matmul: str,
        noise: int,
    ):
        """Create residual blocks with one 3-wide convolution a dilation; 5-wide lift and head."""
        self.patch, self.ndim = patch, ndim
        cells = patch**ndim
        wide = partial(PeriodicConv, ndim=ndim, size=5, rngs=rngs)
        self.lift = wide(inputs * cells, width)
        self.modulations = nnx.List(
            [Modulation(params, width, rngs=rngs) for _ in range(blocks if params else 0)]
        )
        # He scaling; the last layer of a block is damped, so that the blocks' variances sum to 1.
        scales = [2**0.5] * (len(dilations) - 1) + [blocks**-0.5]
        layers = list(zip(dilations, scales, strict=True))
        conv = partial(PeriodicConv, width, width, ndim=ndim, matmul=matmul, rngs=rngs)
        self.blocks = nnx.List(
            [nnx.List([conv(dilation=d, scale=s) for d, s in layers]) for _ in range(blocks)]
        )
        self.head = wide(width, channels * cells, scale=HEAD_SCALE)
        if noise:
            self.noise = wide(noise * cells, width, scale=NOISE_SCALE)

    def __call__(self, u: Array, cond: Array, z: Array | None = None) -> Array:
        """(..., *s, inputs), (..., p), (..., *s, noise) -> (..., *s, c)."""
        x = self.lift(fold(u, self.patch, self.ndim))
        if z is not None:
            x = x + self.noise(fold(z, self.patch, self.ndim))
        for i, block in enumerate(self.blocks):
            h = self.modulations[i](x, cond) if self.modulations else x
            for conv in block:
                h = conv(nnx.gelu(h))
            x = x + h
        return unfold(self.head(nnx.gelu(x)), self.patch, self.ndim)


class FNO(nnx.Module):
    """Fourier neural operator: spectral convolution plus pointwise map. Li et al. (2021)."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        *,
        ndim: int,
        channels: int,
        inputs: int,
        params: int,
        width: int,
        modes: int,
        layers: int,
        noise: int,
    ):
        """Create `layers` layers of `width` channels and the lowest `modes` wavenumbers."""
        pointwise = partial(PeriodicConv, ndim=ndim, size=1, rngs=rngs)
        self.lift = pointwise(inputs, width)
        self.modulations = nnx.List(
            [Modulation(params, width, rngs=rngs) for _ in range(layers if params else 0)]
        )
        self.spectral = nnx.List(
            [SpectralConv(width, width, ndim=ndim, modes=modes, rngs=rngs) for _ in range(layers)]
        )
        self.local = nnx.List([pointwise(width, width) for _ in range(layers)])
        self.widen = pointwise(width, 2 * width)
        self.head = pointwise(2 * width, channels, scale=HEAD_SCALE)
        if noise:
            self.noise = PeriodicConv(noise, width, ndim=ndim, size=5, scale=NOISE_SCALE, rngs=rngs)

    def __call__(self, u: Array, cond: Array, z: Array | None = None) -> Array:
        """(..., *s, inputs), (..., p), (..., *s, noise) -> (..., *s, c)."""
        x = self.lift(u)
        if z is not None:
            x = x + self.noise(z)
        for i, (spectral, local) in enumerate(zip(self.spectral, self.local, strict=True)):
            h = self.modulations[i](x, cond) if self.modulations else x
            x = x + nnx.gelu(spectral(h) + local(h))
        return self.head(nnx.gelu(self.widen(x)))


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
    inputs: int | None = None,
    noise: int = 0,
) -> Network:
    """Dilated periodic ResNet. Good values: 2-3 blocks, width 32-64.

    The receptive field should exceed the distance that information travels in one interval.
    `patch` neighbouring points along each axis form one grid cell of the network, which may then be
    wider at equal cost. `matmul` "bfloat16" rounds the operands of the blocks' convolutions, for
    GPUs; parameters, residual additions, lift and head stay float32.
    """
    lookup(dict.fromkeys(MATMULS), matmul, "matmul")
    if min(width, blocks, patch, *dilations) < 1 or not dilations:
        raise ValueError(
            f"width {width}, blocks {blocks}, dilations {tuple(dilations)}, "
            f"patch {patch}; expected one dilation or more, all values at least 1"
        )

    build = partial(
        ResNet,
        ndim=ndim,
        channels=channels,
        inputs=inputs or channels,
        params=params,
        width=width,
        blocks=blocks,
        dilations=tuple(dilations),
        patch=patch,
        matmul=matmul,
        noise=noise,
    )
    return functional(build, takes=frozenset({"noise"} if noise else ()))


def fno(
    *,
    ndim: int,
    channels: int,
    params: int,
    width: int = 32,
    modes: int = 16,
    layers: int = 4,
    inputs: int | None = None,
    noise: int = 0,
) -> Network:
    """Fourier neural operator. PDEBench uses 12 modes, width 20, 4 layers."""
    if min(width, modes, layers) < 1:
        raise ValueError(f"width {width}, modes {modes}, layers {layers}; expected all at least 1")

    build = partial(
        FNO,
        ndim=ndim,
        channels=channels,
        inputs=inputs or channels,
        params=params,
        width=width,
        modes=modes,
        layers=layers,
        noise=noise,
    )
    return functional(build, takes=frozenset({"noise"} if noise else ()), any_grid=True)
