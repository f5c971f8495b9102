"""Shallow water over a flat bottom: PDEBench's radial dam break, by our own finite volumes."""

from collections.abc import Sequence
from functools import partial
from math import ceil, sqrt
from typing import Any

import jax
import jax.numpy as jnp

from ups_jax.pde import finite_volume as fv
from ups_jax.pde.base import (
    MASS_TOLERANCE,
    PDE,
    Law,
    check_interval,
    grid_shape,
    spatial_mean,
)
from ups_jax.pde.symmetries import at_random, isotropic
from ups_jax.registry import lookup
from ups_jax.types import Array, Key, positive

SIGNS = ((1.0, -1.0, 1.0), (1.0, 1.0, -1.0))
"""Signs of (h, h u, h v) in a reflection along each axis."""
SHALLOWEST = 1e-3
"""Smallest height that a momentum is divided by; forecasts may be lower."""


def make(
    *,
    points: Sequence[int] = (64, 64),
    cells: Sequence[int] = (128, 128),
    gravity: float = 1.0,
    radius: Sequence[float] = (0.3, 0.7),
    heights: Sequence[float] = (2.0, 1.0),
    boundary: str = "wall",
    dt: float = 0.01,
    length: float = 5.0,
) -> PDE:
    """h_t + div(h v) = 0, (h v)_t + div(h v v) + grad(g h^2 / 2) = 0; no parameters.

    A circular dam in the centre breaks at t = 0: `heights` inside and outside of a `radius` that is
    uniform between two values. `boundary`: "wall", or "neumann" for outflow, as PDEBench has; with
    its values the wave reaches neither within t = 1. MUSCL with the flux of Harten, Lax and van
    Leer: PDEBench's own data are Clawpack's, so these match in law only. PDEBench (2022), D.5.
    """
    shape, grid = grid_shape(cells, 2, "data.cells"), grid_shape(points, 2, "pde.points")
    lookup(dict.fromkeys(("neumann", "wall")), boundary, "pde.boundary")
    for name, value in (("gravity", gravity), ("radius", radius), ("heights", heights)):
        positive(f"pde.{name}", value)
    if len(radius) != 2 or len(heights) != 2 or not radius[0] <= radius[1] < length / 2:
        raise ValueError(
            f"pde.radius is {radius} and pde.heights {heights}; expected two rising radii below "
            f"half of pde.length, {length}, and the heights inside and outside"
        )
    # Twice the speed of the highest waves bounds that of a front, even on dry ground.
    rate = 2 * sqrt(gravity * max(heights)) * sum(n / length for n in shape) / fv.CFL
    check_interval(dt, length, substep=1 / rate)
    solver: Any = dict(dt=dt, length=length, gravity=gravity, boundary=boundary)
    mirrors = isotropic(grid, SIGNS, order=(0, 2, 1))
    return PDE(
        name="shallow_water",
        channels=("h", "hu", "hv"),
        cells=shape,
        points=grid,
        extent=(length, length),
        dt=dt,
        params=(),
        initial=partial(initial, radius=radius, heights=heights, length=length),
        step=lambda w, cond: march(w, cond, ceil(dt * rate), **solver),
        residual=partial(residual, **solver),
        march=partial(march, **solver),
        symmetries=tuple(map(at_random, mirrors)),
        reflection=mirrors[0],
        mirrors=mirrors,
        laws=water_laws(gravity) if boundary == "wall" else {},
        boundary=(boundary, boundary),
        spec=dict(
            points=points, cells=cells, gravity=gravity, radius=radius, heights=heights,
            boundary=boundary, dt=dt, length=length,
        ),
    )  # fmt: skip


def initial(
    key: Key,
    cond: Array,
    cells: tuple[int, ...],
    *,
    radius: Sequence[float],
    heights: Sequence[float],
    length: float,
) -> Array:
    """Water at rest (x, y, 3), higher within a random radius of the centre.

    A cell on the circle has a height in between. With whole cells, few radii would differ, and
    splits would share initial conditions.
    """
    low, high = radius
    limit = jax.random.uniform(key, (), minval=low, maxval=high)
    x, y = ((jnp.arange(n) + 0.5) / n * length - length / 2 for n in cells)
    distance = jnp.sqrt(x[:, None] ** 2 + y[None, :] ** 2)
    inside = jnp.clip((limit - distance) * (min(cells) / length) + 0.5, 0.0, 1.0)
    height = heights[1] + (heights[0] - heights[1]) * inside
    return jnp.stack([height, jnp.zeros(cells), jnp.zeros(cells)], -1)


def march(
    w: Array, cond: Array, count: int, *, dt: float, length: float, gravity: float, boundary: str
) -> Array:
    """Advance w = (h, h u, h v) (..., x, y, 3) by dt in `count` equal substeps."""
    dx = [length / n for n in w.shape[-3:-1]]
    h = jnp.asarray(dt / count, w.dtype)

    def rhs(w: Array) -> Array:
        parts = [
            fv.flux_difference(
                w,
                partial(hll, axis=axis, gravity=gravity),
                axis=axis - 3,
                boundary=boundary,
                sign=_signs(axis, boundary, w),
            )
            / dx[axis]
            for axis in (0, 1)
        ]
        return -parts[0] - parts[1]

    def body(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        w, error = carry
        return fv.compensated_add(w, error, fv.ssp_increment(rhs, w, h)), None

    return jax.lax.scan(body, (w, jnp.zeros_like(w)), None, length=count)[0][0]


def flux(w: Array, axis: int, gravity: float) -> Array:
    """Physical flux of (h, h u, h v) along an axis: (..., 3) -> (..., 3)."""
    height = w[..., :1]
    speed = w[..., axis + 1 : axis + 2] / jnp.maximum(height, SHALLOWEST)
    pressure = 0.5 * gravity * height**2
    along = jnp.arange(3).reshape(*(1,) * (w.ndim - 1), 3) == axis + 1
    return speed * w + jnp.where(along, pressure, 0.0)


def hll(left: Array, right: Array, *, axis: int, gravity: float) -> Array:
    """Approximate Riemann flux of two waves. Harten, Lax and van Leer (1983); Toro (2001), 10.3."""

    def wave(w: Array) -> tuple[Array, Array]:
        height = jnp.maximum(w[..., :1], SHALLOWEST)
        return w[..., axis + 1 : axis + 2] / height, jnp.sqrt(gravity * height)

    (u_left, c_left), (u_right, c_right) = wave(left), wave(right)
    slow = jnp.minimum(jnp.minimum(u_left - c_left, u_right - c_right), 0.0)
    fast = jnp.maximum(jnp.maximum(u_left + c_left, u_right + c_right), 0.0)
    f_left, f_right = flux(left, axis, gravity), flux(right, axis, gravity)
    return (fast * f_left - slow * f_right + slow * fast * (right - left)) / (fast - slow)


def residual(
    prev: Array,
    next: Array,
    cond: Array,
    *,
    dt: float,
    length: float,
    gravity: float,
    boundary: str,
) -> Array:
    """Balance of two frames: trapezoidal rule in time, central in space. -> (..., x, y, 3)."""

    def divergence(w: Array) -> Array:
        total = jnp.zeros_like(w)
        for axis in (0, 1):
            at, n = w.ndim - 3 + axis, w.shape[axis - 3]
            wide = flux(fv.extend(w, 1, at, boundary, _signs(axis, boundary, w)), axis, gravity)
            ahead, behind = (jax.lax.slice_in_dim(wide, i, i + n, axis=at) for i in (2, 0))
            total = total + (ahead - behind) * (n / (2 * length))
        return total

    return (next - prev) / dt + 0.5 * (divergence(prev) + divergence(next))


def water_laws(gravity: float) -> dict[str, Law]:
    """Between walls the volume of water is conserved, and shocks dissipate energy."""

    def volume(w: Array) -> Array:
        return spatial_mean(w[..., :1], 2)

    def energy(w: Array) -> Array:
        height, momentum = w[..., :1], w[..., 1:]
        moving = 0.5 * jnp.sum(momentum**2, -1, keepdims=True) / jnp.maximum(height, SHALLOWEST)
        return spatial_mean(moving + 0.5 * gravity * height**2, 2)

    return {
        "volume": Law(volume, "conserved", "conservation_gap", volume, MASS_TOLERANCE),
        "energy": Law(energy, "decaying", "energy_growth", energy),
    }


def _signs(axis: int, boundary: str, w: Array) -> Array | float:
    """Signs of mirrored cells: the normal momentum changes its sign at a wall."""
    if boundary != "wall":
        return 1.0
    return jnp.asarray(SIGNS[axis], w.dtype).reshape(*(1,) * (w.ndim - 1), 3)
