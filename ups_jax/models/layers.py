"""Layers on grids of one to three dimensions: (..., *s, c_in) -> (..., *s, c_out)."""

import os
from collections.abc import Sequence
from functools import partial
from math import gcd, prod

import jax
import jax.numpy as jnp
from flax import nnx

from ups_jax.arrays import per_channel, spatial_axes
from ups_jax.models.equivariance import Mirror, exchange_halves
from ups_jax.registry import lookup
from ups_jax.types import Array

HEAD_SCALE = 1e-3
"""Initial scale of the last layer: the untrained operator is persistence to about 0.1 %."""
NOISE_SCALE = 0.01
"""Initial scale of the noise layer; that of the lift is 1."""
MATMULS = ("float32", "bfloat16")
GPU_PRODUCTS = 16
"""Products that share the gradient of a kernel on a GPU."""
EXTENSIONS = {
    "periodic": "wrap",
    "neumann": "symmetric",
    "wall": "symmetric",
    "dirichlet": "constant",
}
"""Mode of `jnp.pad` for a boundary condition: even across a wall, or zero beyond it."""


def axes_boundary(boundary: Sequence[str] | None, ndim: int) -> tuple[str, ...]:
    """Return the boundary condition of each axis, periodic for None. Raises ValueError."""
    names = tuple(boundary or ("periodic",) * ndim)
    for name in names:
        lookup(EXTENSIONS, name, "boundary")
    if len(names) != ndim:
        raise ValueError(f"boundary is {names}; expected one name for each of {ndim} axes")
    return names


def pad(x: Array, axis: int, before: int, after: int, *, boundary: str) -> Array:
    """Continue a field across the two ends of an axis, half a cell outside its points."""
    width = [(before, after) if a == axis % x.ndim else (0, 0) for a in range(x.ndim)]
    return jnp.pad(x, width, mode=EXTENSIONS[boundary])


def extend(x: Array, reach: int, boundary: tuple[str, ...]) -> Array:
    """Continue a field by `reach` points across both ends of every axis that is not periodic."""
    for axis, name in zip(spatial_axes(len(boundary)), boundary, strict=True):
        if name != "periodic" and reach:
            x = pad(x, axis, reach, reach, boundary=name)
    return x


def crop(x: Array, reach: int, boundary: tuple[str, ...]) -> Array:
    """Remove the points that `extend` added."""
    for axis, name in zip(spatial_axes(len(boundary)), boundary, strict=True):
        if name != "periodic" and reach:
            x = jax.lax.slice_in_dim(x, reach, x.shape[axis] - reach, axis=axis % x.ndim)
    return x


def taps(x: Array, *, size: int, dilation: int, ndim: int) -> Array:
    """Gather periodic neighbourhoods into channels: (..., *s, c) -> (..., *s, size^ndim c)."""
    reach = dilation * (size // 2)
    for axis in range(x.ndim - 1 - ndim, x.ndim - 1):
        n = x.shape[axis]
        wide = pad(x, axis, reach, reach, boundary="periodic")
        part = partial(jax.lax.slice_in_dim, wide, axis=axis)
        x = jnp.concatenate([part(j * dilation, j * dilation + n) for j in range(size)], -1)
    return x


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def gathered_conv(x: Array, kernel: Array, size: int, dilation: int, ndim: int) -> Array:
    """Periodic convolution as a product of gathered neighbourhoods; kernel (taps, c_in, c_out).

    On a CPU, without a gradient, it is `lax.conv`, which makes batched rollouts 1.5 times faster.
    The gradient of `lax.conv` inside `scan` is about ten times slower there, and the autodiff
    transpose of the gather twice as slow as the two products below.
    """
    if jax.default_backend() == "cpu":
        return native_conv(x, kernel, size, dilation, ndim)
    return _conv_forward(x, kernel, size, dilation, ndim)[0]


def _conv_forward(x, kernel, size, dilation, ndim):
    flat = kernel.reshape(-1, kernel.shape[-1])
    return taps(x, size=size, dilation=dilation, ndim=ndim) @ flat, (x, kernel)


def _conv_backward(size, dilation, ndim, saved, grad):
    x, kernel = saved
    # Both products use the gathered neighbourhoods of the gradient.
    wide = taps(grad, size=size, dilation=dilation, ndim=ndim)
    flipped = jnp.swapaxes(kernel[::-1], 1, 2)
    grad_x = wide @ flipped.reshape(-1, x.shape[-1])
    # Several products, then a sum: XLA's CPU threads do not split one long product, and one of few
    # rows and columns does not fill a GPU.
    on_cpu = jax.default_backend() == "cpu"
    parts = gcd(prod(x.shape[:-1]), os.cpu_count() or 1 if on_cpu else GPU_PRODUCTS)
    products = jnp.einsum(
        "bni,bnk->bik", x.reshape(parts, -1, x.shape[-1]), wide.reshape(parts, -1, wide.shape[-1])
    )
    taps_last = products.sum(0).reshape(x.shape[-1], -1, grad.shape[-1])
    return grad_x, jnp.swapaxes(taps_last, 0, 1)[::-1]


gathered_conv.defvjp(_conv_forward, _conv_backward)


def native_conv(x: Array, kernel: Array, size: int, dilation: int, ndim: int) -> Array:
    """Periodic convolution by `lax.conv_general_dilated`; like `gathered_conv`."""
    lead, space = x.shape[: x.ndim - 1 - ndim], x.shape[x.ndim - 1 - ndim :]
    reach = dilation * (size // 2)
    x = x.reshape(-1, *space)
    x = jnp.pad(x, [(0, 0), *[(reach, reach)] * ndim, (0, 0)], mode="wrap")
    # `taps` gathers the first space axis innermost, so the kernel's tap axes are reversed.
    window = kernel.reshape(*(size,) * ndim, *kernel.shape[1:])
    window = jnp.transpose(window, (*reversed(range(ndim)), ndim, ndim + 1))
    letters = "xyz"[:ndim]
    y = jax.lax.conv_general_dilated(
        x,
        window,
        window_strides=(1,) * ndim,
        padding="VALID",
        rhs_dilation=(dilation,) * ndim,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )
    return y.reshape(*lead, *y.shape[1:])


def fold(x: Array, patch: int, ndim: int) -> Array:
    """Space to depth: (..., *s, c) -> (..., *s / patch, patch^ndim c); `patch` divides the grid."""
    lead, space, c = x.shape[: -1 - ndim], x.shape[-1 - ndim : -1], x.shape[-1]
    require_divisor(patch, space, "patch")
    coarse = tuple(n // patch for n in space)
    x = x.reshape(*lead, *(size for n in coarse for size in (n, patch)), c)
    inner = [len(lead) + 2 * i + 1 for i in range(ndim)]
    x = jnp.moveaxis(x, inner, range(-1 - ndim, -1))
    return x.reshape(*lead, *coarse, patch**ndim * c)


def require_divisor(factor: int, space: tuple[int, ...], key: str) -> None:
    """Raise ValueError, with the name of the factor, unless it divides the grid."""
    if any(n % factor for n in space):
        raise ValueError(f"{key} is {factor}; it must divide the grid, {space}")


def unfold(x: Array, patch: int, ndim: int) -> Array:
    """Depth to space, the inverse of `fold`: (..., *s, patch^ndim c) -> (..., *s patch, c)."""
    lead, coarse = x.shape[: -1 - ndim], x.shape[-1 - ndim : -1]
    x = x.reshape(*lead, *coarse, *(patch,) * ndim, -1)
    inner = [len(lead) + 2 * i + 1 for i in range(ndim)]
    x = jnp.moveaxis(x, range(-1 - ndim, -1), inner)
    return x.reshape(*lead, *(n * patch for n in coarse), x.shape[-1])


class Conv(nnx.Module):
    """Convolution that keeps the grid, or goes to a grid of patches and back."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        boundary: tuple[str, ...],
        size: int = 3,
        dilation: int = 1,
        fold: int = 1,
        unfold: int = 1,
        scale: float = 1.0,
        matmul: str = "float32",
        mirror: Mirror | None = None,
        rngs: nnx.Rngs,
    ):
        """Create odd `size` taps along each axis, `dilation` points apart; `matmul` is a dtype.

        `fold` points along each axis of the input, and `unfold` of the output, form one point of
        the grid of the convolution. `scale` multiplies the LeCun-normal initial kernel.
        With `mirror` the layer commutes with a reflection.
        """
        self.size, self.dilation, self.matmul = size, dilation, matmul
        self.fold, self.unfold, self.boundary, self.mirror = fold, unfold, boundary, mirror
        taps, cells = size ** len(boundary), fold ** len(boundary)
        shape = (taps, c_in * cells, c_out * unfold ** len(boundary))
        std = scale / (taps * c_in * cells) ** 0.5
        kernel = std * jax.random.normal(rngs.params(), shape, jnp.float32)
        # Divided by the root of two, the sum has the variance of one.
        kernel = kernel if mirror is None else (kernel + mirror.kernel(kernel)) / 2**0.5
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros(shape[-1:], jnp.float32))

    def __call__(self, x: Array) -> Array:
        """(..., *s, c_in) -> (..., *s, c_out). Raises ValueError if `fold` does not divide s."""
        ndim, reach = len(self.boundary), self.dilation * (self.size // 2)
        require_divisor(self.fold, x.shape[-1 - ndim : -1], "patch")
        # The field is continued, not the grid of patches: the points of a patch are mirrored too.
        x = fold(extend(x, reach * self.fold, self.boundary), self.fold, ndim)
        # In one dimension cuDNN takes 3 to 16 times as long as the products; in more it is untried.
        gathered = ndim == 1 or jax.default_backend() == "cpu"
        conv = gathered_conv if gathered else native_conv
        kernel, bias = self.kernel[...], self.bias[...]
        if self.mirror is not None:
            kernel, bias = self.mirror.tie(kernel, bias)
        kernel = kernel.astype(self.matmul)
        y: Array = conv(x.astype(self.matmul), kernel, self.size, self.dilation, ndim)  # pyright: ignore[reportAssignmentType]
        y = crop(y, reach, self.boundary).astype(x.dtype)
        y = y + jnp.expand_dims(bias, tuple(range(y.ndim - 1)))
        return unfold(y, self.unfold, ndim)


class MLP(nnx.Module):
    """Two pointwise layers."""

    def __init__(self, width: int, *, ratio: int, conv: partial[Conv], scale: float = 1.0):
        """Create `ratio` times as many hidden channels."""
        self.first = conv(width, ratio * width)
        self.last = conv(ratio * width, width, scale=scale)

    def __call__(self, x: Array) -> Array:
        """(..., *s, width) -> like x."""
        return self.last(nnx.gelu(self.first(x)))


class LayerNorm(nnx.Module):
    """Normalise over channels and space, then scale and shift channels. Ba et al. (2016)."""

    def __init__(self, width: int, *, ndim: int):
        """Normalise over the last `ndim` axes of space: 0 for every point, all for group norm."""
        self.ndim = ndim
        self.scale = nnx.Param(jnp.ones((width,), jnp.float32))
        self.shift = nnx.Param(jnp.zeros((width,), jnp.float32))

    def __call__(self, x: Array) -> Array:
        """(..., *s, width) -> like x."""
        axes = (*spatial_axes(self.ndim), -1)
        x = x - jnp.mean(x, axes, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.mean(x**2, axes, keepdims=True) + 1e-5)
        return x * per_channel(self.scale[...], x) + per_channel(self.shift[...], x)


class Modulation(nnx.Module):
    """Scale and shift channels by the PDE parameters; initially the identity. FiLM (2018)."""

    def __init__(self, params: int, width: int, *, mirrored: bool = False, rngs: nnx.Rngs):
        """Map `params` features through one hidden layer to two coefficients a channel.

        With `mirrored` they are the same in both halves of the channels.
        """
        self.mirrored = mirrored
        hidden = max(8, width // 2)
        self.first = nnx.Linear(params, hidden, rngs=rngs)
        self.last = nnx.Linear(hidden, 2 * width, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Array, cond: Array) -> Array:
        """x (..., *s, width), cond (..., params) -> like x."""
        coefficients = self.last(nnx.gelu(self.first(cond)))
        coefficients = jnp.expand_dims(coefficients, tuple(range(cond.ndim - 1, x.ndim - 1)))
        scale, shift = jnp.split(coefficients, 2, axis=-1)
        if self.mirrored:
            scale, shift = ((a + exchange_halves(a, -1)) / 2 for a in (scale, shift))
        return x * (1 + scale) + shift
