"""One-step networks: normalised field and PDE features -> normalised increment over one interval.

Every factory takes `ndim`, `channels`, `params`, `inputs` (channels seen, where they are others
than `channels`) and `noise` (channels of noise seen, if any) from the simulator; its other
arguments are the keys of `cfg.operator`. A network maps u (..., *s, inputs), cond (..., p) and,
where it takes noise, z (..., *s, noise) to (..., *s, c). But for the layer `noise`, the parameters
of a network with noise are those of one without.
"""

from collections.abc import Sequence

from flax import nnx

from ups_jax.models.functional import Network, functional
from ups_jax.models.layers import Modulation, PeriodicConv, SpectralConv, fold, unfold
from ups_jax.registry import lookup
from ups_jax.types import Array

MATMULS = ("float32", "bfloat16")
HEAD_SCALE = 1e-3
"""Initial size of the last layer: untrained, the operator is persistence to a thousandth."""
NOISE_SCALE = 0.01
"""Initial size of the layer that noise enters by: a tenth of what the field itself brings in."""


class ResNet(nnx.Module):
    """Dilated periodic residual network. Stachenfeld et al. (2022), without normalisation."""

    def __init__(
        self,
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
        rngs: nnx.Rngs,
    ):
        """`blocks` residual blocks of a 3-wide convolution a dilation; 5-wide lift and head."""
        self.patch, self.ndim = patch, ndim
        sites = patch**ndim
        self.lift = PeriodicConv(inputs * sites, width, ndim=ndim, size=5, rngs=rngs)
        self.modulations = nnx.List(
            [Modulation(params, width, rngs=rngs) for _ in range(blocks if params else 0)]
        )
        # He's factor for the activations; a block's last is damped, so that depth adds up to 1.
        self.blocks = nnx.List(
            [
                nnx.List(
                    [
                        PeriodicConv(
                            width,
                            width,
                            ndim=ndim,
                            dilation=d,
                            scale=2**0.5 if i + 1 < len(dilations) else blocks**-0.5,
                            matmul=matmul,
                            rngs=rngs,
                        )
                        for i, d in enumerate(dilations)
                    ]
                )
                for _ in range(blocks)
            ]
        )
        self.head = PeriodicConv(
            width, channels * sites, ndim=ndim, size=5, scale=HEAD_SCALE, rngs=rngs
        )
        if noise:
            self.noise = PeriodicConv(
                noise * sites, width, ndim=ndim, size=5, scale=NOISE_SCALE, rngs=rngs
            )

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
    """Fourier neural operator: spectral convolution beside a pointwise map. Li et al. (2021)."""

    def __init__(
        self,
        *,
        ndim: int,
        channels: int,
        inputs: int,
        params: int,
        width: int,
        modes: int,
        layers: int,
        noise: int,
        rngs: nnx.Rngs,
    ):
        """`layers` layers of `width` channels that mix the lowest `modes` wavenumbers."""
        self.lift = PeriodicConv(inputs, width, ndim=ndim, size=1, rngs=rngs)
        self.modulations = nnx.List(
            [Modulation(params, width, rngs=rngs) for _ in range(layers if params else 0)]
        )
        self.spectral = nnx.List(
            [SpectralConv(width, width, ndim=ndim, modes=modes, rngs=rngs) for _ in range(layers)]
        )
        self.local = nnx.List(
            [PeriodicConv(width, width, ndim=ndim, size=1, rngs=rngs) for _ in range(layers)]
        )
        self.widen = PeriodicConv(width, 2 * width, ndim=ndim, size=1, rngs=rngs)
        self.head = PeriodicConv(
            2 * width, channels, ndim=ndim, size=1, scale=HEAD_SCALE, rngs=rngs
        )
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
    """Dilated periodic ResNet. Good values: 2-3 blocks, width 32-64, a reach beyond the CFL's.

    `patch` neighbouring points an axis share one site of the network, which then is that much
    shorter and may be wider at equal cost. `matmul` "bfloat16" rounds the operands of the blocks'
    convolutions, for GPUs; parameters, residual additions, lift and head stay float32.
    """
    lookup(dict.fromkeys(MATMULS), matmul, "operator.matmul")
    if min(width, blocks, patch, *dilations) < 1 or not dilations:
        raise ValueError(
            f"operator: width {width}, blocks {blocks}, dilations {tuple(dilations)}, "
            f"patch {patch}; each must be at least 1"
        )

    def build(rngs: nnx.Rngs) -> nnx.Module:
        return ResNet(
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
            rngs=rngs,
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
    """Fourier neural operator; PDEBench's official size is 12 modes, width 20, 4 layers."""
    if min(width, modes, layers) < 1:
        raise ValueError(
            f"operator: width {width}, modes {modes}, layers {layers}; each must be at least 1"
        )

    def build(rngs: nnx.Rngs) -> nnx.Module:
        return FNO(
            ndim=ndim,
            channels=channels,
            inputs=inputs or channels,
            params=params,
            width=width,
            modes=modes,
            layers=layers,
            noise=noise,
            rngs=rngs,
        )

    return functional(build, takes=frozenset({"noise"} if noise else ()))
