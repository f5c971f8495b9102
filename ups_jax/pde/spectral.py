"""Fourier space of periodic fields: wave vectors, symbols of derivatives, exact linear steps."""

from collections.abc import Callable, Sequence
from math import factorial, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import spatial_axes
from ups_jax.types import Array

ORDERS = 5
"""Orders of the derivatives of a `DifferentialOperator`, from zero."""
Symbol = Callable[[Array, Array], Array]
"""Growth rate of a wave exp(i k . x), of one sample: k (*k, ndim), cond (p,) -> (*k, c or 1)."""


def integer_waves(points: tuple[int, ...]) -> np.ndarray:
    """Return the waves (*k, ndim) along each axis of every `rfftn` coefficient, in float64."""
    frequencies = [np.fft.fftfreq] * (len(points) - 1) + [np.fft.rfftfreq]
    waves = [frequency(n, 1 / n) for frequency, n in zip(frequencies, points, strict=True)]
    return np.stack(np.meshgrid(*waves, indexing="ij"), -1)


def wavenumber_shells(
    points: tuple[int, ...], *, periodic: Sequence[bool] = ()
) -> tuple[np.ndarray, int]:
    """Return the integer radial wavenumber (*s) of each `fftn` coefficient, and their number.

    In two dimensions a wavenumber is a ring k <= |k| < k + 1, in periods of each axis. Axes that
    are not `periodic` are extended to twice their points; all are periodic by default.
    """
    extended = [1 if free else 2 for free in periodic or (True,) * len(points)]
    waves = [np.fft.fftfreq(n * m, 1 / n) for n, m in zip(points, extended, strict=True)]
    squares = sum(wave**2 for wave in np.meshgrid(*waves, indexing="ij"))
    shell = np.floor(np.sqrt(squares) + 1e-9).astype(int)
    return shell, int(shell.max()) + 1


def wave_vectors(points: tuple[int, ...], extent: tuple[float, ...], dtype: jnp.dtype) -> Array:
    """Return the wave vector (*k, ndim), in radians per length, of each `rfftn` coefficient."""
    return jnp.asarray(integer_waves(points) * (2 * np.pi / np.asarray(extent)), dtype)


def derivative_symbol(k: Array, coefficients: Sequence[float] | Array) -> Array:
    """Return the symbol (*k, 1) of the sum over orders j and axes x of a_j (d/dx)^j.

    k (*k, ndim), `coefficients` a (orders,). Order 0 counts once an axis, as in exponax.
    """
    real, imaginary = jnp.zeros_like(k[..., :1]), jnp.zeros_like(k[..., :1])
    for j, a in enumerate(coefficients):
        signed = (-1) ** (j // 2) * a * jnp.sum(k**j, -1, keepdims=True)
        real, imaginary = (real, imaginary + signed) if j % 2 else (real + signed, imaginary)
    return jax.lax.complex(real, imaginary)


def resample(u: Array, points: int, axis: int) -> Array:
    """Interpolate a periodic axis of u (..., *s, c) to another number of points, by its waves.

    Waves above the highest one of the new grid are cut. That of an even grid is one wave there and
    two of opposite sign on a finer grid, so that a field on the coarser grid returns exactly.
    """
    old, at = u.shape[axis], axis % u.ndim
    shared = min(old, points)
    waves = jax.lax.slice_in_dim(jnp.fft.rfft(u, axis=at), 0, shared // 2 + 1, axis=at)
    if shared % 2 == 0 and points != old:
        weight = np.append(np.ones(shared // 2), 0.5 if points > old else 2.0)
        shape = (*(1,) * at, -1, *(1,) * (u.ndim - 1 - at))
        waves = waves * jnp.asarray(weight, u.dtype).reshape(shape)
    return jnp.fft.irfft(waves, points, axis=at) * (points / old)


def phi_functions(z: Array) -> tuple[Array, Array]:
    """Return phi_1(z) = (e^z - 1) / z and phi_2(z) = (phi_1(z) - 1) / z, complex, like z."""
    small = jnp.abs(z) < 1
    safe = jnp.where(small, 1, z)
    ratio, near = jnp.expm1(safe) / safe, jnp.where(small, z, 0)
    # Near zero the quotients cancel; there the series converge within rounding.
    first, second = (
        jnp.polyval(jnp.asarray([1 / factorial(n + j) for n in range(10, -1, -1)]), near)
        for j in (1, 2)
    )
    return jnp.where(small, first, ratio), jnp.where(small, second, (ratio - 1) / safe)


def linear_step(
    symbol: Symbol, *, dt: float, extent: tuple[float, ...]
) -> Callable[[Array, Array], Array]:
    """Return the exact step of u_t = L u, L with this symbol: u (..., *s, c), cond (..., p).

    Where the symbol is zero at k = 0, the step conserves the mean exactly. It is exact for fields
    without the highest wave of an even grid, which has no odd derivative.
    """
    axes = spatial_axes(len(extent))

    def step(u: Array, cond: Array) -> Array:
        points = tuple(u.shape[axis] for axis in axes)
        k = wave_vectors(points, extent, u.dtype)
        # An increment: the transform of the field itself would add a rounding error to its mean.
        growth = jax.vmap(lambda cond: jnp.expm1(dt * symbol(k, cond)))
        fields = u.reshape(-1, *u.shape[axes[0] :])
        growths = growth(cond.astype(u.dtype).reshape(len(fields), -1))
        change = growths * jnp.fft.rfftn(fields, axes=axes)
        return u + jnp.fft.irfftn(change, points, axes).reshape(u.shape)

    return step


class ExponentialStep(NamedTuple):
    """Exponential Runge-Kutta step of u_t = L u + N(u). Cox and Matthews (2002), eq. 22.

    With z = dt L and n(u) the increment dt N(u) of a tendency held constant, it is
    a + phi_2(z) (n(a) - n(u)), a = e^z u + phi_1(z) n(u). Without N it is `linear_step`.
    """

    symbol: Symbol
    phi: Callable[[Array], tuple[Array, Array]]
    dt: float
    extent: tuple[float, ...]

    def __call__(self, u: Array, cond: Array) -> Array:
        """Return the exact step of the linear part: u (..., *s, c), cond (..., p) -> like u."""
        return linear_step(self.symbol, dt=self.dt, extent=self.extent)(u, cond)

    def advance(self, u: Array, cond: Array, nonlinear: Callable[[Array], Array]) -> Array:
        """Return the step with n `nonlinear`, which is called twice: like u (..., *s, c)."""
        axes = spatial_axes(len(self.extent))
        points = tuple(u.shape[axis] for axis in axes)
        k, samples = wave_vectors(points, self.extent, u.dtype), u.shape[: axes[0]]
        conds = cond.astype(u.dtype).reshape(prod(samples), -1)
        weights = jax.vmap(lambda cond: self.phi(self.dt * self.symbol(k, cond)))(conds)

        def filtered(weight: Array, v: Array) -> Array:
            spectrum = jnp.fft.rfftn(v, axes=axes)
            weight = weight.reshape(*samples, *weight.shape[1:])
            return jnp.fft.irfftn(weight * spectrum, points, axes)

        first = nonlinear(u)
        stage = self(u, cond) + filtered(weights[0], first)
        return stage + filtered(weights[1], nonlinear(stage) - first)


class DifferentialOperator(NamedTuple):
    """A linear differential operator up to the fourth order, affine in the parameters of a PDE.

    Its `weights` (p + 1, 5) map parameters (p,) and one to the coefficients of the orders, in units
    of a point and an interval: those of order j are times (extent / points)^j / (2^(j-1) ndim dt).
    """

    dt: float
    extent: tuple[float, ...]
    points: tuple[int, ...]

    def symbol(self, weights: Array) -> Symbol:
        """Return the symbol. Its growth in an interval is at most e: others are of no data."""
        point = np.mean(np.asarray(self.extent) / np.asarray(self.points))
        scales = [point**j / (2 ** (j - 1) * len(self.points) * self.dt) for j in range(ORDERS)]

        def symbol(k: Array, cond: Array) -> Array:
            known = jnp.append(cond, jnp.ones((), cond.dtype))
            # A product of matrices would be rounded to TF32 on a GPU.
            coefficients = jnp.sum(known[:, None] * weights, 0)
            rate = derivative_symbol(k, coefficients * jnp.asarray(scales, cond.dtype))
            return jax.lax.complex(jnp.minimum(rate.real, 1 / self.dt), rate.imag)

        return symbol
