"""Viscous Burgers equation in one dimension, with PDEBench's viscosity and initial conditions."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.pde import finite_volume as fv
from ups_jax.pde.base import (
    MASS_TOLERANCE,
    PDE,
    GalileanFrame,
    check_interval,
    grid_shape,
    random_translation,
    transport_laws,
)
from ups_jax.registry import lookup
from ups_jax.types import Array, Key


def make(
    *,
    nu: float | Sequence[float] = 1e-3,
    points: int | Sequence[int] = 256,
    cells: int | Sequence[int] = 1024,
    dt: float = 0.05,
    length: float = 1.0,
    limiter: str = "mc",
) -> PDE:
    """u_t + (u^2/2)_x = (nu/pi) u_xx on a periodic interval. `cond` is (nu,), as in PDEBench.

    Several values of `nu` are drawn with equal probability. The solver uses `cells` cells, the data
    keep `points` of them; `limiter` is a name of `finite_volume.LIMITERS`. PDEBench (2022), D.2.
    """
    with np.errstate(over="ignore", under="ignore"):
        values = jnp.asarray(np.atleast_1d(nu).astype(np.float32))
    if values.size == 0 or not bool(jnp.all((values > 0) & jnp.isfinite(values))):
        raise ValueError(f"pde.nu is {nu}; every viscosity must be positive and finite in float32")
    shape = grid_shape(cells, 1, "data.cells")
    check_interval(dt, length, substep=fv.CFL * length / shape[0] / fv.MAX_SPEED)
    solver = dict(dt=dt, length=length, limiter=lookup(fv.LIMITERS, limiter, "limiter"))
    return PDE(
        name="burgers",
        channels=("u",),
        cells=shape,
        points=grid_shape(points, 1, "pde.points"),
        extent=(length,),
        dt=dt,
        params=("nu",),
        initial=partial(initial, length=length),
        sample_cond=lambda key: jax.random.choice(key, values, (1,)),
        step=partial(step, **solver),
        residual=partial(residual, dt=dt, length=length),
        march=partial(march, **solver),
        features=jnp.log10,
        linear_symbol=lambda k, nu: -nu[0] / jnp.pi * k**2,
        symmetries=(random_translation(1), random_reflection),
        reflection=reflection,
        galilean_frame=partial(galilean_frame, dt=dt, length=length),
        convexity=1.0,
        laws=transport_laws(1, mass_tolerance=MASS_TOLERANCE),
        spec=dict(nu=nu, points=points, cells=cells, dt=dt, length=length, limiter=limiter),
    )


def initial(key: Key, cond: Array, cells: tuple[int, ...], *, length: float) -> Array:
    """PDEBench's initial condition: two of four sine modes, random |u|, sign, window. -> (*s, 1).

    A mode drawn twice has twice its wavenumber. A mode not drawn adds a constant, so the mean is
    not zero. Wavenumbers refer to the distance between the first and the last cell centre.
    """
    (n,) = cells
    k_mode, k_amp, k_phase, k_abs, k_sign, k_win, k_left, k_right = jax.random.split(key, 8)
    x = (jnp.arange(n) + 0.5) / n * length
    drawn = jax.random.randint(k_mode, (2,), 0, 4)
    count = jnp.sum(jax.nn.one_hot(drawn, 4), axis=0)
    wave = 2 * jnp.pi * jnp.arange(1, 5) * count / (length * (1 - 1 / n))
    amp = jax.random.uniform(k_amp, (4, 1))
    phase = jax.random.uniform(k_phase, (4, 1), maxval=2 * jnp.pi)
    u = jnp.sum(amp * jnp.sin(wave[:, None] * x[None, :] + phase), axis=0)
    u = jnp.where(jax.random.bernoulli(k_abs, 0.1), jnp.abs(u), u)
    u = jnp.where(jax.random.bernoulli(k_sign), u, -u)
    left = jax.random.uniform(k_left, minval=0.1, maxval=0.45) * length
    right = jax.random.uniform(k_right, minval=0.55, maxval=0.9) * length
    width = 0.01 * length
    window = 0.5 * (jnp.tanh((x - left) / width) - jnp.tanh((x - right) / width))
    return jnp.where(jax.random.bernoulli(k_win, 0.1), u * window, u)[:, None]


def step(u: Array, cond: Array, *, dt: float, length: float, limiter) -> Array:
    """Advance u (..., x, 1) by dt: Strang splitting of MUSCL-Godunov transport and exact diffusion.

    The number of substeps depends on the speed of each sample. A finished sample takes substeps of
    length zero until the last sample of the batch finishes.
    """
    v = u[..., 0]
    n = v.shape[-1]
    dx = length / n
    reach = fv.CFL * dx
    cap = int(dt * fv.MAX_SPEED / reach) + 1
    count = fv.substeps(dt, jnp.max(jnp.abs(v), -1, keepdims=True) / reach, cap)
    h = dt / count
    rhs, half, full = _splitting(v, cond, h, dx, limiter)

    def body(carry):
        i, v, error = carry
        # A finished sample gets no correction: its bits must not depend on the batch.
        running = (i < count).astype(v.dtype)
        increment = fv.ssp_increment(rhs, v, running * h)
        v, error = fv.compensated_add(v, running * error, increment)
        growth = running * jnp.where(i + 1 < count, full, half)
        return i + 1, *fv.compensated_add(v, error, fv.diffusion_increment(v, growth))

    start = fv.compensated_add(v, jnp.zeros_like(v), fv.diffusion_increment(v, half))
    steps = jnp.max(count)
    v = jax.lax.while_loop(lambda carry: carry[0] < steps, body, (0, *start))[1]
    return v[..., None]


def march(u: Array, cond: Array, count: int, *, dt: float, length: float, limiter) -> Array:
    """Advance like `step` in `count` equal substeps, uncompensated, so that a gradient exists."""
    v = u[..., 0]
    h = jnp.asarray(dt / count, v.dtype)
    rhs, half, full = _splitting(v, cond, h, length / v.shape[-1], limiter)

    def body(v: Array, growth: Array) -> tuple[Array, None]:
        v = v + fv.ssp_increment(rhs, v, h)
        return v + fv.diffusion_increment(v, growth), None

    v = v + fv.diffusion_increment(v, half)
    growths = jnp.stack([full] * (count - 1) + [half])
    return jax.lax.scan(body, v, growths)[0][..., None]


def _splitting(
    v: Array, cond: Array, h: Array, dx: float, limiter
) -> tuple[Callable[[Array], Array], Array, Array]:
    """Return the transport right-hand side for v (..., x), diffusion growth over h / 2 and h."""
    symbol = fv.laplacian_symbol(v.shape[-1], dx, v.dtype)
    decay = cond[..., :1] / jnp.pi * symbol.reshape((1,) * (v.ndim - 1) + (-1,))

    def rhs(v: Array) -> Array:
        return -fv.flux_difference(v, fv.godunov_burgers, limiter=limiter) / dx

    return rhs, jnp.expm1(0.5 * h * decay), jnp.expm1(h * decay)


def residual(prev: Array, next: Array, cond: Array, *, dt: float, length: float) -> Array:
    """Flux balance of two frames: trapezoidal rule in time, central in space. -> (..., x, 1)."""
    dx = length / prev.shape[-2]
    nu = cond[..., None, :1] / jnp.pi

    def divergence(u: Array) -> Array:
        ahead = jnp.roll(u, -1, -2)
        flux = 0.25 * (u**2 + ahead**2) - nu * (ahead - u) / dx
        return (flux - jnp.roll(flux, 1, -2)) / dx

    return (next - prev) / dt + 0.5 * (divergence(prev) + divergence(next))


def galilean_frame(u: Array, *, dt: float, length: float) -> GalileanFrame:
    """Return u (..., x, 1) in the frame moving with its mean (Galilean invariance).

    If u(x, t) is a solution, so is u(x - c t, t) + c. The speed c is rounded to an integer number
    of points per interval, so that no field is interpolated.
    """
    n = u.shape[-2]
    point = length / n / dt
    count = jnp.round(jnp.mean(u, -2, keepdims=True) / point)
    index = jnp.arange(n).reshape((1,) * (u.ndim - 2) + (n, 1))
    shift = count.astype(int)

    def from_frame(v: Array) -> Array:
        return jnp.take_along_axis(v, (index - shift) % n, -2) + count * point

    def to_frame(v: Array) -> Array:
        return jnp.take_along_axis(v, (index + shift) % n, -2) - count * point

    return GalileanFrame(u - count * point, from_frame, to_frame)


def random_reflection(key: Key, u: Array, cond: Array) -> tuple[Array, Array]:
    """Reflect all frames of one window (t, x, 1) with probability one half."""
    return jnp.where(jax.random.bernoulli(key, jnp.float32(0.5)), reflection(u), u), cond


def reflection(u: Array) -> Array:
    """Map (x, u) -> (-x, -u) for a field (..., x, 1)."""
    return -jnp.flip(u, -2)
