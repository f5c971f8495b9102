"""Exponential Runge-Kutta methods for w_t = L w + N(w) in Fourier space, on periodic grids."""

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import spatial_axes
from ups_jax.pde.spectral import integer_waves, phi_functions
from ups_jax.types import Array, Key

CONTOUR_POINTS = 32
"""Quadrature points on the upper half of the contour of the coefficients."""
CIRCLE_POINTS = 16
"""Quadrature points on the circle of `quadrature_phi`."""


def coefficients(rates: np.ndarray, h: float) -> np.ndarray:
    """Coefficients of a substep h for real growth rates (...): (6, ...) in float64.

    The formulas cancel near zero, so they are averaged over a circle about each h L; the upper half
    suffices for real values. Kassam and Trefethen (2005), section 2.
    """
    z = h * rates
    t = z[..., None] + np.exp(1j * np.pi * (np.arange(CONTOUR_POINTS) + 0.5) / CONTOUR_POINTS)
    inner = np.expm1(t / 2) / t
    first = (-4 - t + np.exp(t) * (4 - 3 * t + t**2)) / t**3
    middle = (2 + t + np.exp(t) * (t - 2)) / t**3
    last = (-4 - 3 * t - t**2 + np.exp(t) * (4 - t)) / t**3
    means = [h * part.mean(-1).real for part in (inner, first, middle, last)]
    return np.stack([np.exp(z), np.exp(z / 2), *means])


def etdrk4(w: Array, nonlinear: Callable[[Array], Array], table: Array, count: int) -> Array:
    """Advance w (...) by `count` substeps; `table` (6, ...) broadcasts against (6, *w.shape).

    The linear part is integrated exactly and the rest by a fourth-order Runge-Kutta method. Cox and
    Matthews (2002), eq. 26-29.
    """
    full, half, inner, first, middle, last = table

    def body(w: Array, _: None) -> tuple[Array, None]:
        at_w = nonlinear(w)
        a = half * w + inner * at_w
        at_a = nonlinear(a)
        at_b = nonlinear(half * w + inner * at_a)
        at_c = nonlinear(half * a + inner * (2 * at_b - at_w))
        return full * w + first * at_w + 2 * middle * (at_a + at_b) + last * at_c, None

    return jax.lax.scan(body, w, None, length=count)[0]


class Modes:
    """Fourier modes of fields (..., *s, c) on one grid, with the 2/3 rule for products.

    `k` (*k, ndim) is the wave vector of each `rfftn` coefficient in radians per length. `kept`
    (*k, 1) is 1 where every wavenumber is below a third of the points, else 0: a product of two
    such fields has no aliases among such modes. Orszag (1971).
    """

    def __init__(self, points: tuple[int, ...], extent: tuple[float, ...]) -> None:
        """Tabulate the wave vectors in float64."""
        self.points, self.axes = tuple(points), spatial_axes(len(points))
        waves = integer_waves(points)
        self.k = waves * (2 * np.pi / np.asarray(extent))
        self.kept = np.all(3 * np.abs(waves) < np.asarray(points), -1, keepdims=True).astype(float)

    def to_modes(self, u: Array) -> Array:
        """Transform a field (..., *s, c) to its kept coefficients (..., *k, c)."""
        return jnp.fft.rfftn(u, axes=self.axes, norm="forward") * _cast(self.kept, u)

    def to_grid(self, w: Array) -> Array:
        """Transform coefficients (..., *k, c) to the field (..., *s, c)."""
        return jnp.fft.irfftn(w, self.points, self.axes, norm="forward")

    def slope(self, w: Array, axis: int) -> Array:
        """Differentiate coefficients (..., *k, c) along a space axis, counted from 0."""
        return w * jax.lax.complex(0.0, 1.0) * _cast(self.k[..., axis, None], w.real)


class Solver(NamedTuple):
    """`step(u, cond)`, `march(u, cond, count)`, `residual(prev, next, cond)`, symbol of a `PDE`."""

    step: Callable[[Array, Array], Array]
    march: Callable[[Array, Array, int], Array]
    residual: Callable[[Array, Array, Array], Array]
    linear_symbol: Callable[[Array, Array], Array]
    spectral: bool = True


def solver(
    rates: Callable[[Any], Any],
    nonlinear: Callable[[Array, Array, Modes], Array],
    *,
    dt: float,
    extent: tuple[float, ...],
    max_substep: float,
) -> Solver:
    """Return the pseudo-spectral solver of w_t = L w + N(w), of fields u (..., *s, c).

    `rates` maps wave vectors (*k, ndim) to the real diagonal of L (*k, c or 1). `nonlinear(w, cond,
    modes)` maps coefficients (..., *k, c) and parameters (..., p) to those of N; it is dealiased
    here. A step takes equal substeps of at most `max_substep`. Modes beyond the 2/3 rule vanish
    after the first step.
    """

    def tendency(modes: Modes, cond: Array) -> Callable[[Array], Array]:
        return lambda w: nonlinear(w, cond, modes) * _cast(modes.kept, w.real)

    def march(u: Array, cond: Array, count: int) -> Array:
        modes = Modes(u.shape[-1 - len(extent) : -1], extent)
        table = _cast(coefficients(rates(modes.k), dt / count), u, axes=1)
        start = jnp.fft.rfftn(u, axes=modes.axes, norm="forward")
        end = etdrk4(start * _cast(modes.kept, u), tendency(modes, cond), table, count)
        # The increment has the mean of the sources alone; u itself would add a rounding error.
        return u + modes.to_grid(end - start)

    def residual(prev: Array, next: Array, cond: Array) -> Array:
        modes = Modes(prev.shape[-1 - len(extent) : -1], extent)
        growth = rates(modes.k)

        def change(u: Array) -> Array:
            w = modes.to_modes(u)
            return modes.to_grid(_cast(growth, u) * w + tendency(modes, cond)(w))

        return (next - prev) / dt - 0.5 * (change(prev) + change(next))

    def step(u: Array, cond: Array) -> Array:
        return march(u, cond, ceil(dt / max_substep))

    return Solver(step, march, residual, lambda k, cond: rates(k))


def random_field(key: Key, cells: tuple[int, ...], *, low: int, high: int, size: float) -> Array:
    """Gaussian random field (x, y, 1) of the wavenumbers `low` to `high`, of RMS `size`.

    The numbers do not depend on the grid, so that all grids sample the same field.
    """
    side = 2 * high + 1
    index = np.stack(np.meshgrid(*[np.arange(-high, high + 1)] * 2, indexing="ij"), -1)
    radius = np.sqrt(np.sum(index**2, -1))
    inside = (radius >= low) & (radius < high + 1)
    parts = jax.random.normal(key, (2, side, side)) * jnp.asarray(inside[None], jnp.float32)
    spectrum = jnp.zeros(cells, jnp.complex64)
    spectrum = spectrum.at[index[..., 0], index[..., 1]].set(jax.lax.complex(parts[0], parts[1]))
    field = jnp.fft.ifftn(spectrum, norm="forward").real[..., None]
    return field * (size / jnp.sqrt(jnp.mean(field**2)))


def _cast(values: np.ndarray, like: Array, axes: int = 0) -> Array:
    """Return values in the type of `like`, of its rank; `axes` leading axes stay in front."""
    lead, rest = values.shape[:axes], values.shape[axes:]
    return jnp.asarray(values, like.dtype).reshape(*lead, *(1,) * (like.ndim - len(rest)), *rest)


def real_phi(z: Array) -> tuple[Array, Array]:
    """Return the real parts of phi_1(z) and phi_2(z), each like z."""
    first, second = phi_functions(z)
    return first.real, second.real


def quadrature_phi(z: Array) -> tuple[Array, Array]:
    """Return `real_phi` (*k) as exponax 0.1.0 computes it. Kassam and Trefethen (2005).

    The functions cancel near zero, so they are averaged over a circle about z. exponax, and with it
    APEBench, keeps their real parts alone: odd derivatives are then of first order in time. Where
    the circle meets zero, near |z| = 1, the average has large rounding errors.
    """
    angle = 2 * np.pi * (np.arange(1, CIRCLE_POINTS + 1) - 0.5) / CIRCLE_POINTS
    t = z[..., None] + jnp.asarray(np.exp(1j * angle), z.dtype).reshape(*(1,) * z.ndim, -1)
    growth = jnp.exp(t) - 1
    return jnp.mean(growth / t, -1).real, jnp.mean((growth - t) / t**2, -1).real
