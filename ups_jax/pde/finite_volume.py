"""Finite volumes on periodic grids: limited slopes, fluxes, SSP Runge-Kutta, exact diffusion."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ups_jax.types import Array


def minmod(a: Array, b: Array) -> Array:
    """Smaller of two slopes of equal sign, else zero: the most diffusive TVD limiter."""
    return jnp.maximum(0.0, jnp.minimum(a, b)) + jnp.minimum(0.0, jnp.maximum(a, b))


def monotonized_central(a: Array, b: Array) -> Array:
    """Central slope limited to twice either one-sided slope: sharper. van Leer (1977)."""
    centre = 0.5 * (a + b)
    rising = jnp.minimum(jnp.minimum(2 * a, 2 * b), centre)
    falling = jnp.maximum(jnp.maximum(2 * a, 2 * b), centre)
    return jnp.maximum(0.0, rising) + jnp.minimum(0.0, falling)


LIMITERS = {"minmod": minmod, "mc": monotonized_central}


def face_states(
    u: Array, limiter: Callable[[Array, Array], Array], axis: int
) -> tuple[Array, Array]:
    """MUSCL states at the n+1 faces of n cells along `axis`: left of each face, right of it."""
    n = u.shape[axis]

    def part(v: Array, start: int, stop: int) -> Array:
        return jax.lax.slice_in_dim(v, start, stop, axis=axis % v.ndim)

    v = jnp.concatenate([part(u, n - 2, n), u, part(u, 0, 2)], axis)
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
) -> Array:
    """F_{i+1/2} - F_{i-1/2} of a numerical flux of MUSCL states along `axis`; same shape as u."""
    face = flux(*face_states(u, limiter, axis))
    n, at = u.shape[axis], axis % u.ndim
    return jax.lax.slice_in_dim(face, 1, n + 1, axis=at) - jax.lax.slice_in_dim(face, 0, n, axis=at)


def godunov_burgers(left: Array, right: Array) -> Array:
    """Exact Riemann flux of u^2/2. LeVeque (2002), section 12.2."""
    return 0.5 * jnp.maximum(jnp.maximum(left, 0.0) ** 2, jnp.minimum(right, 0.0) ** 2)


def restrict(u: Array, factor: int, axis: int) -> Array:
    """Mean over every `factor` cells along `axis`."""
    at = axis % u.ndim
    parts = (*u.shape[:at], u.shape[at] // factor, factor, *u.shape[at + 1 :])
    return jnp.mean(u.reshape(parts), at + 1)


def prolong(u: Array, factor: int, axis: int) -> Array:
    """`factor` cells for every one along `axis`, on its limited slope: keeps the mean of each."""
    at = axis % u.ndim
    ahead = jnp.roll(u, -1, at) - u
    slope = jnp.expand_dims(monotonized_central(jnp.roll(ahead, 1, at), ahead), at + 1)
    offset = (jnp.arange(factor) + 0.5) / factor - 0.5
    offset = offset.reshape(*(1,) * (at + 1), factor, *(1,) * (u.ndim - 1 - at))
    fine = jnp.expand_dims(u, at + 1) + slope * offset
    return fine.reshape(*u.shape[:at], u.shape[at] * factor, *u.shape[at + 1 :])


def coarse_march(
    march: Callable[[Array, Array, int], Array],
    *,
    factor: int,
    substeps: int,
    points: tuple[int, ...],
) -> Callable[[Array, Array], Array]:
    """A cheap step: u (..., *s, c) averaged to a grid `factor` coarser, marched, refined again.

    It takes `substeps` on `points`, and on a finer grid as many more as the CFL limit asks for.
    """
    axes = range(-1 - len(points), -1)

    def step(u: Array, cond: Array) -> Array:
        finer = max(-(-u.shape[axis] // points[axis + 1]) for axis in axes)
        for axis in axes:
            u = restrict(u, factor, axis)
        u = march(u, cond, substeps * finer)
        for axis in axes:
            u = prolong(u, factor, axis)
        return u

    return step


def upwind(velocity: Array) -> Callable[[Array, Array], Array]:
    """Exact Riemann flux of linear transport at `velocity`, which broadcasts against the states."""
    return lambda left, right: jnp.where(velocity > 0, velocity * left, velocity * right)


def ssp_increment(rhs: Callable[[Array], Array], u: Array, dt: Array, stages: int) -> Array:
    """u(t + dt) - u(t) by the optimal second-order SSP Runge-Kutta method of `stages` stages.

    `dt` broadcasts against u and may reach `stages - 1` times the forward-Euler limit. Written as
    a sum of right-hand sides, so that it inherits their exact telescoping. Ketcheson (2008), eq. 3.
    """
    total = rhs(u)
    for _ in range(stages - 1):
        total = total + rhs(u + dt / (stages - 1) * total)
    return dt / stages * total


def laplacian_symbol(cells: int, dx: float, dtype: jnp.dtype) -> Array:
    """Fourier symbol (cells // 2 + 1,) of the three-point Laplacian, at most zero."""
    angle = jnp.pi * jnp.arange(cells // 2 + 1, dtype=dtype) / cells
    return -((2.0 / dx * jnp.sin(angle)) ** 2)


def diffusion_increment(u: Array, growth: Array) -> Array:
    """Change of u (..., n) under exact diffusion, `growth` = expm1(nu dt symbol) (..., n // 2 + 1).

    The three-point Laplacian is exponentiated, not the continuous one: its kernel is positive, so
    the maximum principle holds at any dt, and the mean's factor is zero exactly.
    """
    return jnp.fft.irfft(jnp.fft.rfft(u) * growth, n=u.shape[-1])


def compensated_add(u: Array, lost: Array, increment: Array) -> tuple[Array, Array]:
    """u + increment, and the rounding error to take off next time. Kahan (1965)."""
    want = increment - lost
    new = u + want
    return new, (new - u) - want


def substeps(dt: float, rate: Array, cap: int) -> Array:
    """Whole substeps, each at most 1 / rate long, 1 to `cap`; `cap` where rate is not finite."""
    wanted = jnp.where(jnp.isfinite(rate), jnp.ceil(dt * rate), cap)
    return jnp.clip(wanted, 1, cap)
