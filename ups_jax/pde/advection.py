"""Linear advection at constant velocity in one to three dimensions: the solution is translated."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import expand_like, spatial_axes
from ups_jax.pde import finite_volume as fv
from ups_jax.pde.base import (
    MASS_TOLERANCE,
    PDE,
    check_interval,
    grid_shape,
    random_translation,
    transport_laws,
)
from ups_jax.types import Array, Key


def make(
    *,
    points: int | Sequence[int] = 256,
    cells: int | Sequence[int] = 1024,
    velocity: Sequence[float] = (0.5, 1.5),
    modes: int = 4,
    dt: float = 0.05,
    length: float = 1.0,
) -> PDE:
    """u_t + v . grad u = 0 on a periodic box; `cond` is the velocity (p = number of space axes).

    Each component of v is uniform in `velocity`. Initial conditions are `modes` random sines of
    wavenumber at most 4 along each axis. `points` and `cells`: one number, or one for each axis.
    """
    shape = grid_shape(points, None, "pde.points")
    ndim = len(shape)
    fine = grid_shape(cells, ndim, "data.cells")
    if len(velocity) != 2 or not -np.inf < velocity[0] <= velocity[1] < np.inf:
        raise ValueError(f"pde.velocity is {velocity}; expected two numbers, the lower one first")
    if modes < 1:
        raise ValueError(f"pde.modes is {modes}; expected at least one")
    check_interval(dt, length, substep=fv.CFL * length / max(fine) / ndim / fv.MAX_SPEED)
    low, high = velocity
    return PDE(
        name="advection",
        channels=("u",),
        cells=fine,
        points=shape,
        extent=(length,) * ndim,
        dt=dt,
        params=("vx", "vy", "vz")[:ndim],
        initial=partial(initial, modes=modes),
        sample_cond=lambda key: jax.random.uniform(key, (ndim,), minval=low, maxval=high),
        step=partial(step, dt=dt, length=length),
        residual=partial(residual, dt=dt, length=length),
        march=partial(march, dt=dt, length=length),
        linear_symbol=lambda k, velocity: -1j * (k @ velocity)[..., None],
        symmetries=(random_translation(ndim),),
        laws=transport_laws(ndim, mass_tolerance=MASS_TOLERANCE),
        spec=dict(points=points, cells=cells, velocity=velocity, modes=modes, dt=dt, length=length),
    )


def initial(key: Key, cond: Array, cells: tuple[int, ...], *, modes: int) -> Array:
    """Sum of `modes` plane waves with random integer wavenumbers, amplitudes, phases: (*s, 1)."""
    k_wave, k_amp, k_phase = jax.random.split(key, 3)
    axes = [(jnp.arange(n) + 0.5) / n for n in cells]
    x = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)[..., None, :]
    wave = jax.random.randint(k_wave, (modes, len(cells)), 0, 5)
    phase = jax.random.uniform(k_phase, (modes,), maxval=2 * jnp.pi)
    amp = jax.random.uniform(k_amp, (modes,))
    shape = (1,) * len(cells) + (modes,)
    angle = 2 * jnp.pi * jnp.sum(x * wave.reshape(*shape, -1), -1) + phase.reshape(shape)
    return jnp.sum(jnp.sin(angle) * amp.reshape(shape), -1, keepdims=True)


def step(u: Array, cond: Array, *, dt: float, length: float) -> Array:
    """Advance u (..., *s, 1) by dt with MUSCL-upwind finite volumes in CFL-limited substeps."""
    v = u[..., 0]
    rhs, speeds, dx = _transport(v, cond, length)
    rate = sum((jnp.abs(s) / d for s, d in zip(speeds, dx, strict=True)), jnp.zeros((), v.dtype))
    cap = int(dt * fv.MAX_SPEED * len(dx) / min(dx) / fv.CFL) + 1
    count = fv.substeps(dt, rate / fv.CFL, cap)

    def body(carry):
        i, v, error = carry
        # A finished sample gets no correction: its bits must not depend on the batch.
        running = (i < count).astype(v.dtype)
        increment = fv.ssp_increment(rhs, v, running * dt / count)
        return i + 1, *fv.compensated_add(v, running * error, increment)

    steps = jnp.max(count)
    return jax.lax.while_loop(lambda c: c[0] < steps, body, (0, v, jnp.zeros_like(v)))[1][..., None]


def march(u: Array, cond: Array, count: int, *, dt: float, length: float) -> Array:
    """Advance like `step` in `count` equal substeps, uncompensated, so that a gradient exists."""
    v = u[..., 0]
    rhs, *_ = _transport(v, cond, length)
    h = jnp.asarray(dt / count, v.dtype)

    def body(v: Array, _: None) -> tuple[Array, None]:
        return v + fv.ssp_increment(rhs, v, h), None

    return jax.lax.scan(body, v, None, length=count)[0][..., None]


def _transport(
    v: Array, cond: Array, length: float
) -> tuple[Callable[[Array], Array], list[Array], list[float]]:
    """Return the right-hand side for v (..., *s), the speeds along the axes, the cell widths."""
    ndim = cond.shape[-1]
    dx = [length / n for n in v.shape[-ndim:]]
    speeds = [expand_like(cond[..., i], v) for i in range(ndim)]

    def rhs(v: Array) -> Array:
        parts = [
            fv.flux_difference(v, fv.upwind(speeds[i]), axis=i - ndim) / dx[i] for i in range(ndim)
        ]
        return -sum(parts[1:], parts[0])

    return rhs, speeds, dx


def exact(u: Array, cond: Array, time: float, *, length: float) -> Array:
    """Translate u (..., *s, c) by cond * time in Fourier space; exact for band-limited fields."""
    ndim = cond.shape[-1]
    axes = spatial_axes(ndim)
    angle = jnp.zeros((), u.dtype)
    for i, n in enumerate(u.shape[-1 - ndim : -1]):
        shape = (*(1,) * (cond.ndim - 1 + i), n, *(1,) * (ndim - i))
        wave = jnp.fft.fftfreq(n, length / n, dtype=u.dtype).reshape(shape)
        angle = angle + wave * expand_like(cond[..., i], u)
    shifted = jnp.fft.fftn(u, axes=axes) * jnp.exp(-2j * jnp.pi * angle * time)
    return jnp.fft.ifftn(shifted, axes=axes).real.astype(u.dtype)


def residual(prev: Array, next: Array, cond: Array, *, dt: float, length: float) -> Array:
    """Balance of two frames: trapezoidal rule in time, central in space. -> (..., *s, 1)."""
    ndim = cond.shape[-1]

    def divergence(u: Array) -> Array:
        total = jnp.zeros_like(u)
        for i in range(ndim):
            axis = i - ndim - 1
            dx = length / u.shape[axis]
            speed = expand_like(cond[..., i], u)
            total = total + speed * (jnp.roll(u, -1, axis) - jnp.roll(u, 1, axis)) / (2 * dx)
        return total

    return (next - prev) / dt + 0.5 * (divergence(prev) + divergence(next))
