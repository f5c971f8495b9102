"""Finite volumes: ghost cells, slope limiters, fluxes, SSP Runge-Kutta, exact diffusion."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from ups_jax.arrays import spatial_axes
from ups_jax.types import Array

RK_STAGES = 4
CFL = 0.5 * (RK_STAGES - 1)
"""CFL number of a substep: half of the limit of the SSP Runge-Kutta method."""
MAX_SPEED = 50.0
"""Largest speed for which the number of substeps is not capped; Burgers data stay below 4."""


def minmod(a: Array, b: Array) -> Array:
    """Smaller of two slopes of equal sign, else zero; the most diffusive TVD limiter."""
    return jnp.maximum(0.0, jnp.minimum(a, b)) + jnp.minimum(0.0, jnp.maximum(a, b))


def monotonized_central(a: Array, b: Array) -> Array:
    """Central slope, limited to twice either one-sided slope; less diffusive. van Leer (1977)."""
    centre = 0.5 * (a + b)
    rising = jnp.minimum(jnp.minimum(2 * a, 2 * b), centre)
    falling = jnp.maximum(jnp.maximum(2 * a, 2 * b), centre)
    return jnp.maximum(0.0, rising) + jnp.minimum(0.0, falling)


LIMITERS = {"minmod": minmod, "mc": monotonized_central}


def extend(
    u: Array, width: int, axis: int, boundary: str = "periodic", sign: Array | float = 1.0
) -> Array:
    """Add `width` ghost cells at both ends of `axis`; `boundary` is a name of `base.BOUNDARIES`.

    Beyond a boundary the cells are mirrored, at "dirichlet" with the opposite sign. The mirrored
    cells are multiplied by `sign`: -1 for the normal component of a velocity at a wall.
    """
    n, at = u.shape[axis], axis % u.ndim
    last = jax.lax.slice_in_dim(u, n - width, n, axis=at)
    first = jax.lax.slice_in_dim(u, 0, width, axis=at)
    if boundary == "periodic":
        return jnp.concatenate([last, u, first], at)
    factor = -sign if boundary == "dirichlet" else sign
    return jnp.concatenate([factor * jnp.flip(first, at), u, factor * jnp.flip(last, at)], at)


def laplacian(u: Array, dx: Sequence[float], boundary: Sequence[str]) -> Array:
    """Second differences of u (..., *s, c) along every space axis, over the cell widths squared."""
    total = jnp.zeros_like(u)
    for axis, width, name in zip(spatial_axes(len(dx)), dx, boundary, strict=True):
        slope = jnp.diff(extend(u, 1, axis, name), axis=axis)
        total = total + jnp.diff(slope, axis=axis) / width**2
    return total


def face_states(
    u: Array,
    limiter: Callable[[Array, Array], Array],
    axis: int,
    boundary: str = "periodic",
    sign: Array | float = 1.0,
) -> tuple[Array, Array]:
    """MUSCL states left and right of each of the n+1 faces of n cells along `axis`.

    `boundary` and `sign` are those of `extend`.
    """
    n = u.shape[axis]

    def part(v: Array, start: int, stop: int) -> Array:
        return jax.lax.slice_in_dim(v, start, stop, axis=axis % v.ndim)

    v = extend(u, 2, axis, boundary, sign)
    jump = part(v, 1, n + 4) - part(v, 0, n + 3)
    half = 0.5 * limiter(part(jump, 0, n + 2), part(jump, 1, n + 3))
    cell = part(v, 1, n + 3)
    return part(cell + half, 0, n + 1), part(cell - half, 1, n + 2)


def flux_difference(
    u: Array,
    flux: Callable[[Array, Array], Array],
    *,
    limiter: Callable[[Array, Array], Array] = monotonized_central,
    axis: int = -1,
    boundary: str = "periodic",
    sign: Array | float = 1.0,
) -> Array:
    """F_{i+1/2} - F_{i-1/2} along `axis`, the numerical flux taken of MUSCL states; like u."""
    face = flux(*face_states(u, limiter, axis, boundary, sign))
    n, at = u.shape[axis], axis % u.ndim
    return jax.lax.slice_in_dim(face, 1, n + 1, axis=at) - jax.lax.slice_in_dim(face, 0, n, axis=at)


def godunov_burgers(left: Array, right: Array) -> Array:
    """Exact Riemann flux of u^2/2. LeVeque (2002), section 12.2."""
    return 0.5 * jnp.maximum(jnp.maximum(left, 0.0) ** 2, jnp.minimum(right, 0.0) ** 2)


def restrict(u: Array, factor: int, axis: int) -> Array:
    """Average each group of `factor` cells along `axis`."""
    at = axis % u.ndim
    parts = (*u.shape[:at], u.shape[at] // factor, factor, *u.shape[at + 1 :])
    return jnp.mean(u.reshape(parts), at + 1)


def thin(u: Array, factors: Sequence[int], periodic: Sequence[bool]) -> Array:
    """Return u (..., *s, c) on grids coarser by `factors`: every k-th cell, or means.

    Means are taken along axes that are not periodic, where the first of every two cells would lie
    off the centre between the boundaries.
    """
    strides = [k if free else 1 for k, free in zip(factors, periodic, strict=True)]
    u = u[(..., *(slice(None, None, k) for k in strides), slice(None))]
    for axis, factor, stride in zip(spatial_axes(len(factors)), factors, strides, strict=True):
        u = restrict(u, factor, axis) if factor > stride else u
    return u


def prolong(u: Array, factor: int, axis: int, boundary: str = "periodic") -> Array:
    """Split each cell along `axis` into `factor` cells on its limited slope; keeps cell means."""
    at = axis % u.ndim
    jump = jnp.diff(extend(u, 1, at, boundary), axis=at)
    sides = [jax.lax.slice_in_dim(jump, i, i + u.shape[at], axis=at) for i in (0, 1)]
    slope = jnp.expand_dims(monotonized_central(*sides), at + 1)
    offset = (jnp.arange(factor, dtype=u.dtype) + 0.5) / factor - 0.5
    offset = offset.reshape(*(1,) * (at + 1), factor, *(1,) * (u.ndim - 1 - at))
    fine = jnp.expand_dims(u, at + 1) + slope * offset
    return fine.reshape(*u.shape[:at], u.shape[at] * factor, *u.shape[at + 1 :])


def upwind(velocity: Array) -> Callable[[Array, Array], Array]:
    """Exact Riemann flux of linear advection; `velocity` broadcasts against the states."""
    return lambda left, right: jnp.where(velocity > 0, velocity * left, velocity * right)


def ssp_increment(rhs: Callable[[Array], Array], u: Array, dt: Array) -> Array:
    """u(t + dt) - u(t) by the optimal second-order SSP Runge-Kutta method of `RK_STAGES` stages.

    `dt` broadcasts against u; its limit is `RK_STAGES - 1` times that of forward Euler. The
    increment is a sum of right-hand sides, so it telescopes exactly. Ketcheson (2008), eq. 3.
    """
    total = rhs(u)
    for _ in range(RK_STAGES - 1):
        total = total + rhs(u + dt / (RK_STAGES - 1) * total)
    return dt / RK_STAGES * total


def laplacian_symbol(cells: int, dx: float, dtype: jnp.dtype) -> Array:
    """Fourier symbol (cells // 2 + 1,) of the three-point Laplacian; it is never positive."""
    angle = jnp.pi * jnp.arange(cells // 2 + 1, dtype=dtype) / cells
    return -((2.0 / dx * jnp.sin(angle)) ** 2)


def diffusion_increment(u: Array, growth: Array) -> Array:
    """Increment of u (..., n) by exact diffusion; `growth` = expm1(nu dt symbol) (..., n // 2 + 1).

    The symbol is that of the three-point Laplacian. Its kernel is positive, so the maximum
    principle holds at any dt, and the mean is conserved exactly.
    """
    return jnp.fft.irfft(jnp.fft.rfft(u) * growth, n=u.shape[-1])


def compensated_add(u: Array, error: Array, increment: Array) -> tuple[Array, Array]:
    """Return u + increment - error and the new rounding error. Compensated sum, Kahan (1965)."""
    corrected = increment - error
    total = u + corrected
    return total, (total - u) - corrected


def substeps(dt: float, rate: Array, cap: int) -> Array:
    """Number of equal substeps of dt, each at most 1 / rate: 1 to `cap`, `cap` for inf and NaN."""
    count = jnp.where(jnp.isfinite(rate), jnp.ceil(dt * rate), cap)
    return jnp.clip(count, 1, cap)
