"""Modern U-Net: residual blocks on several grids, with anti-aliased changes of resolution."""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
from flax import nnx

from ups_jax.arrays import spatial_axes
from ups_jax.models.functional import Network
from ups_jax.models.layers import (
    HEAD_SCALE,
    MATMULS,
    NOISE_SCALE,
    Conv,
    Modulation,
    pad,
)
from ups_jax.models.sizes import Sizes, operator
from ups_jax.registry import lookup
from ups_jax.types import Array


def downsample(x: Array, boundary: tuple[str, ...]) -> Array:
    """Halve the grid by the filter (1, 3, 3, 1) / 8, zero at the Nyquist wavenumber. Zhang (2019).

    (..., *s, c) -> (..., *s / 2, c). The filter is symmetric about a coarse cell's centre.
    """
    for axis, name in zip(spatial_axes(len(boundary)), boundary, strict=True):
        wide = jnp.moveaxis(pad(x, axis, 1, 1, boundary=name), axis, -2)
        outer, inner = wide[..., 0:-2:2, :] + wide[..., 3::2, :], wide[..., 1:-1, :]
        mean = 0.125 * outer + 0.375 * (inner[..., ::2, :] + inner[..., 1::2, :])
        x = jnp.moveaxis(mean, -2, axis)
    return x


def upsample(x: Array, boundary: tuple[str, ...]) -> Array:
    """Double the grid by linear interpolation between cell centres: (..., *s, c) -> 2 *s."""
    for axis, name in zip(spatial_axes(len(boundary)), boundary, strict=True):
        wide = jnp.moveaxis(pad(x, axis, 1, 1, boundary=name), axis, -2)
        centre = 0.75 * wide[..., 1:-1, :]
        pair = [centre + 0.25 * wide[..., :-2, :], centre + 0.25 * wide[..., 2:, :]]
        fine = jnp.stack(pair, -2)
        x = jnp.moveaxis(fine.reshape(*fine.shape[:-3], -1, fine.shape[-1]), -2, axis)
    return x


class ResBlock(nnx.Module):
    """Two 3-wide convolutions before which features are activated, and a shortcut."""

    def __init__(
        self, c_in: int, c_out: int, *, params: int, conv: partial[Conv], depth: int, rngs: nnx.Rngs
    ):
        """Create a block; the variances of `depth` blocks in sequence sum to 1."""
        self.first = conv(c_in, c_out, scale=2**0.5)
        self.modulation = Modulation(params, c_out, rngs=rngs) if params else None
        self.last = conv(c_out, c_out, scale=depth**-0.5)
        self.shortcut = conv(c_in, c_out, size=1) if c_in != c_out else None

    def __call__(self, x: Array, cond: Array) -> Array:
        """(..., *s, c_in), (..., p) -> (..., *s, c_out)."""
        h = self.first(nnx.gelu(x))
        h = h if self.modulation is None else self.modulation(h, cond)
        h = self.last(nnx.gelu(h))
        return h + (x if self.shortcut is None else self.shortcut(x))


class UNet(nnx.Module):
    """U-Net. Ronneberger et al. (2015), with residual blocks: Gupta and Brandstetter (2022)."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        *,
        sizes: Sizes,
        width: int,
        channel_mult: Sequence[int],
        blocks: int,
        patch: int,
        matmul: str,
    ):
        """Create `blocks` residual blocks on every grid, downwards and upwards; 5-wide ends."""
        self.boundary, self.factor = sizes.boundary, patch * 2 ** (len(channel_mult) - 1)
        self.patch = patch
        wide = partial(Conv, boundary=sizes.boundary, size=5, rngs=rngs)
        conv = partial(Conv, boundary=sizes.boundary, matmul=matmul, rngs=rngs)
        depth = blocks * (2 * len(channel_mult) - 1)
        block = partial(ResBlock, params=sizes.params, conv=conv, depth=depth, rngs=rngs)
        widths = [width * mult for mult in channel_mult]

        def stack(c_in: int, c_out: int) -> nnx.List:
            return nnx.List([block(c_in if i == 0 else c_out, c_out) for i in range(blocks)])

        self.lift = wide(sizes.inputs, widths[0], fold=patch)
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nnx.List([stack(widths[0], widths[0]), *[stack(a, b) for a, b in pairs]])
        self.up = nnx.List([stack(a + b, a) for a, b in reversed(pairs)])
        self.head = wide(widths[0], sizes.channels, unfold=patch, scale=HEAD_SCALE)
        if sizes.noise:
            self.noise = wide(sizes.noise, widths[0], fold=patch, scale=NOISE_SCALE)

    def __call__(self, u: Array, cond: Array, z: Array | None = None) -> Array:
        """(..., *s, inputs), (..., p), (..., *s, noise) -> (..., *s, c). Raises ValueError."""
        space = u.shape[-1 - len(self.boundary) : -1]
        if any(n % self.factor for n in space):
            raise ValueError(
                f"channel_mult halves the grid {len(self.up)} times, after patch {self.patch}; the "
                f"grid {space} must be a multiple of {self.factor}: shorten channel_mult"
            )
        x = self.lift(u)
        if z is not None:
            x = x + self.noise(z)
        skips = []
        for i, blocks in enumerate(self.down):
            x = downsample(x, self.boundary) if i else x
            for block in blocks:
                x = block(x, cond)
            skips.append(x)
        for blocks, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = jnp.concatenate([upsample(x, self.boundary), skip], -1)
            for block in blocks:
                x = block(x, cond)
        return self.head(nnx.gelu(x))


def unet(
    *,
    ndim: int,
    channels: int,
    params: int,
    width: int = 32,
    channel_mult: Sequence[int] = (1, 2, 4),
    blocks: int = 1,
    patch: int = 1,
    matmul: str = "float32",
    inputs: int | None = None,
    noise: int = 0,
    boundary: Sequence[str] | None = None,
) -> Network:
    """Modern U-Net: a grid for each number of `channel_mult`, each half as fine as the one before.

    A grid has `width` times its number channels, and `blocks` residual blocks downwards and
    upwards. PDE parameters scale and shift the channels in every block. `patch` and `matmul` are
    those of `resnet`. The network commutes with translations by `patch` 2^(grids - 1) points.
    Raises ValueError on sizes below 1, and when that number does not divide the grid.
    """
    lookup(dict.fromkeys(MATMULS), matmul, "matmul")
    if min(width, blocks, patch, *channel_mult) < 1 or not channel_mult:
        raise ValueError(
            f"width {width}, channel_mult {tuple(channel_mult)}, blocks {blocks}, patch {patch}; "
            "expected one multiplier or more, all values at least 1"
        )
    return operator(
        UNet,
        ndim=ndim,
        channels=channels,
        params=params,
        inputs=inputs,
        noise=noise,
        boundary=boundary,
        width=width,
        channel_mult=tuple(channel_mult),
        blocks=blocks,
        patch=patch,
        matmul=matmul,
    )
