"""Fourier neural operator."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from ups_jax.arrays import spatial_axes
from ups_jax.models.functional import Network
from ups_jax.models.layers import (
    HEAD_SCALE,
    MLP,
    NOISE_SCALE,
    Conv,
    LayerNorm,
    pad,
)
from ups_jax.models.sizes import Sizes, operator
from ups_jax.types import Array


class SpectralConv(nnx.Module):
    """Linear map of the lowest Fourier modes along each axis. Li et al. (2021), FNO, eq. 4.

    Across a boundary the field is continued to twice the length, to which wavenumbers refer.
    """

    def __init__(
        self, c_in: int, c_out: int, *, boundary: tuple[str, ...], modes: int, rngs: nnx.Rngs
    ):
        """Keep wavenumbers |k| < `modes` on every axis; the last axis is a real transform."""
        self.boundary, self.modes = boundary, modes
        shape = (2, *(2 * modes - 1,) * (len(boundary) - 1), modes, c_in, c_out)
        self.kernel = nnx.Param(
            jax.random.normal(rngs.params(), shape, jnp.float32) / (2 * c_in) ** 0.5
        )

    def __call__(self, x: Array) -> Array:
        """(..., *s, c_in) -> (..., *s, c_out). Raises ValueError if the grid has too few modes."""
        ndim = len(self.boundary)
        axes, points = spatial_axes(ndim), x.shape[-1 - ndim : -1]
        for axis, name in zip(axes, self.boundary, strict=True):
            if name != "periodic":
                x = pad(x, axis, 0, x.shape[axis], boundary=name)
        space = x.shape[-1 - ndim : -1]
        if min(space) // 2 + 1 < self.modes:
            raise ValueError(
                f"modes is {self.modes}, but the shortest axis of the grid {points} has "
                f"only {min(space) // 2 + 1} modes; lower it"
            )
        low = jnp.fft.rfftn(x, axes=axes)[..., : self.modes, :]
        weights = jax.lax.complex(self.kernel[0], self.kernel[1])
        for axis in axes[:-1]:
            low = jnp.concatenate(self._ends(low, axis), axis)
        k = "xyz"[:ndim]
        y = jnp.einsum(f"...{k}i,{k}io->...{k}o", low, weights)
        for axis, n in zip(axes, space[:-1], strict=False):
            first, last = self._ends(y, axis)
            between = [(0, 0)] * y.ndim
            between[axis] = (0, n - y.shape[axis])
            y = jnp.concatenate([jnp.pad(first, between), last], axis)
        # Of the last axis `irfftn` pads the higher wavenumbers.
        y = jnp.fft.irfftn(y, s=space, axes=axes)
        for axis, n in zip(axes, points, strict=True):
            y = jax.lax.slice_in_dim(y, 0, n, axis=axis % y.ndim)
        return y

    def _ends(self, x: Array, axis: int) -> tuple[Array, Array]:
        """Return the wavenumbers from 0 and the negative ones of an axis, below `modes`."""
        n = x.shape[axis]
        part = partial(jax.lax.slice_in_dim, x, axis=axis % x.ndim)
        return part(0, self.modes), part(n - self.modes + 1, n)


class FactorizedConv(nnx.Module):
    """Sum of one spectral convolution along each axis. Tran et al. (2023), F-FNO, eq. 7."""

    def __init__(self, width: int, *, boundary: tuple[str, ...], modes: int, rngs: nnx.Rngs):
        """Keep wavenumbers below `modes` on every axis."""
        conv = partial(SpectralConv, width, width, modes=modes, rngs=rngs)
        self.axes = nnx.List([conv(boundary=(name,)) for name in boundary])

    def __call__(self, x: Array) -> Array:
        """(..., *s, width) -> like x. Raises ValueError if the grid has too few modes."""
        parts = [
            jnp.moveaxis(conv(jnp.moveaxis(x, axis, -2)), -2, axis)
            for axis, conv in zip(spatial_axes(len(self.axes)), self.axes, strict=True)
        ]
        return sum(parts[1:], parts[0])


class FNO(nnx.Module):
    """Fourier neural operator with residual layers. Li et al. (2021), Tran et al. (2023)."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        *,
        sizes: Sizes,
        width: int,
        modes: int,
        layers: int,
        factorized: bool,
        norm: bool,
        projection_channel_ratio: int,
    ):
        """Create `layers` layers of `width` channels and the lowest `modes` wavenumbers."""
        pointwise = partial(Conv, boundary=sizes.boundary, size=1, rngs=rngs)
        self.lift = pointwise(sizes.inputs, width)
        self.modulations = sizes.modulations(layers, width, rngs)
        spectral = partial(FactorizedConv if factorized else SpectralConv, boundary=sizes.boundary)
        widths = (width,) if factorized else (width, width)
        self.spectral = nnx.List([spectral(*widths, modes=modes, rngs=rngs) for _ in range(layers)])
        if factorized:
            self.mlps = nnx.List([MLP(width, ratio=2, conv=pointwise) for _ in range(layers)])
        else:
            self.local = nnx.List([pointwise(width, width) for _ in range(layers)])
        self.norms = nnx.List(
            [LayerNorm(width, ndim=len(sizes.boundary)) for _ in range(layers if norm else 0)]
        )
        if projection_channel_ratio:
            self.widen = pointwise(width, projection_channel_ratio * width)
        self.head = pointwise(
            (projection_channel_ratio or 1) * width, sizes.channels, scale=HEAD_SCALE
        )
        if sizes.noise:
            self.noise = pointwise(sizes.noise, width, size=5, scale=NOISE_SCALE)
        self.layers, self.factorized = layers, factorized
        self.projection = bool(projection_channel_ratio)

    def __call__(self, u: Array, cond: Array, z: Array | None = None) -> Array:
        """(..., *s, inputs), (..., p), (..., *s, noise) -> (..., *s, c)."""
        x = self.lift(u)
        if z is not None:
            x = x + self.noise(z)
        for i in range(self.layers):
            h = self.norms[i](x) if self.norms else x
            h = self.modulations[i](h, cond) if self.modulations else h
            mixed = self.spectral[i](h)
            branch = self.mlps[i](mixed) if self.factorized else nnx.gelu(mixed + self.local[i](h))
            x = x + branch
        return self.head(nnx.gelu(self.widen(x)) if self.projection else x)


def fno(
    *,
    ndim: int,
    channels: int,
    params: int,
    width: int = 32,
    modes: int = 16,
    layers: int = 4,
    factorized: bool = False,
    norm: bool = False,
    projection_channel_ratio: int = 2,
    inputs: int | None = None,
    noise: int = 0,
    boundary: Sequence[str] | None = None,
) -> Network:
    """Fourier neural operator. PDEBench uses 12 modes, width 20, 4 layers.

    A layer adds the activated sum of a spectral convolution and a pointwise map. `factorized`
    transforms each axis alone, which needs 2 `modes` times fewer weights in two dimensions, and
    adds two pointwise layers of the sum over axes (F-FNO). `norm` normalises the inputs of a layer
    over space and channels. The head has a hidden layer of `projection_channel_ratio` times `width`
    channels, none for 0. Across a boundary fields are mirrored, or zero if it is "dirichlet".
    Raises ValueError on sizes below 1, and when the grid has fewer than `modes` modes.
    """
    if min(width, modes, layers) < 1 or projection_channel_ratio < 0:
        raise ValueError(
            f"width {width}, modes {modes}, layers {layers}, projection_channel_ratio "
            f"{projection_channel_ratio}; expected all at least 1, the ratio at least 0"
        )
    return operator(
        FNO,
        ndim=ndim,
        channels=channels,
        params=params,
        inputs=inputs,
        noise=noise,
        boundary=boundary,
        any_grid=True,
        width=width,
        modes=modes,
        layers=layers,
        factorized=factorized,
        norm=norm,
        projection_channel_ratio=projection_channel_ratio,
    )
