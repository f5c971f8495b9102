"""Kuramoto-Sivashinsky equation in one dimension: periodic, chaotic, solved by ETDRK4."""

from functools import partial
from math import ceil

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.pde.base import (
    MASS_TOLERANCE,
    PDE,
    check_interval,
    grid_shape,
    random_translation,
    transport_laws,
)
from ups_jax.pde.burgers import galilean_frame, random_reflection, reflection
from ups_jax.pde.etdrk import coefficients, etdrk4
from ups_jax.types import Array, Key

MAX_SUBSTEP = 1 / 16
"""Longest substep of `step`; the relative error after one time unit is about 1e-6."""
MAX_SPACING = 1.0
"""Largest cell width of the solver; the relative error after one time unit is about 1e-3."""
SPIN_UP_SPACING = 0.5
"""Grid spacing of the spin-up; the truncated spectrum is below float32 precision."""
SPIN_UP_TIME = 50.0
"""Time from random waves to the attractor; spectra are stationary to a few per cent after 40."""
MAX_INITIAL_WAVENUMBER = 0.8
"""Largest wavenumber of the random waves; all of them grow."""


def make(
    *, points: int = 128, cells: int | tuple[int, ...] = 128, dt: float = 1.0, length: float = 64.0
) -> PDE:
    """u_t + (u^2/2)_x + u_xx + u_xxxx = 0 on a periodic interval. No parameters: `cond` is (n, 0).

    Longer intervals are more chaotic: at 64, errors grow e-fold in about 11 time units. The solver
    uses `cells` cells, the data keep `points` of them. Raises ValueError if no wave can grow on
    the interval, or if the cell width exceeds `MAX_SPACING`.
    """
    check_interval(dt, length, substep=MAX_SUBSTEP)
    if length <= 2 * np.pi:
        raise ValueError(
            f"pde.length is {length}; it must exceed 2 pi, as all waves decay on shorter intervals"
        )
    shape = grid_shape(cells, 1, "data.cells")
    if length / shape[0] > MAX_SPACING:
        raise ValueError(
            f"data.cells is {cells} for pde.length {length}; a cell may be at most {MAX_SPACING} "
            f"wide: set data.cells to at least {ceil(length / MAX_SPACING)}"
        )
    return PDE(
        name="kuramoto",
        channels=("u",),
        cells=shape,
        points=grid_shape(points, 1, "pde.points"),
        extent=(length,),
        dt=dt,
        params=(),
        initial=partial(initial, length=length),
        step=partial(step, dt=dt, length=length),
        residual=partial(residual, dt=dt, length=length),
        march=partial(march, dt=dt, length=length),
        symmetries=(random_translation(1), random_reflection),
        reflection=reflection,
        spectral=True,
        linear_symbol=lambda k, cond: k**2 - k**4,
        galilean_frame=partial(galilean_frame, dt=dt, length=length),
        # Long waves gain energy and short waves lose it: only the mean is conserved.
        laws={"mass": transport_laws(1, mass_tolerance=MASS_TOLERANCE)["mass"]},
        spec=dict(points=points, cells=cells, dt=dt, length=length),
    )


def initial(key: Key, cond: Array, cells: tuple[int, ...], *, length: float) -> Array:
    """Zero-mean field (x, 1) near the attractor: random long waves, solved for `SPIN_UP_TIME`.

    The grid of the spin-up does not depend on `cells`, so that all grids sample the same field.
    """
    n = 2 * ceil(length / SPIN_UP_SPACING / 2)
    waves = int(length * MAX_INITIAL_WAVENUMBER / (2 * np.pi)) or 1
    parts = 0.8 / length**0.5 * jax.random.normal(key, (2, waves))
    spectrum = jnp.pad(jax.lax.complex(parts[0], parts[1]), (1, n // 2 - waves))
    u = jnp.fft.irfft(spectrum, n, norm="forward")[:, None]
    u = march(u, cond, ceil(SPIN_UP_TIME / (4 * MAX_SUBSTEP)), dt=SPIN_UP_TIME, length=length)
    spectrum = jnp.fft.rfft(u[:, 0], norm="forward")
    return jnp.fft.irfft(spectrum, cells[0], norm="forward")[:, None]


def step(u: Array, cond: Array, *, dt: float, length: float) -> Array:
    """Advance u (..., x, 1) by dt, in equal substeps of at most `MAX_SUBSTEP`."""
    return march(u, cond, ceil(dt / MAX_SUBSTEP), dt=dt, length=length)


def march(u: Array, cond: Array, count: int, *, dt: float, length: float) -> Array:
    """Advance u (..., x, 1) by dt in `count` equal substeps of ETDRK4; differentiable.

    -u_xx - u_xxxx is integrated exactly.
    """
    v = u[..., 0]
    rates = coefficients(_growth(v.shape[-1], length), dt / count)
    table = jnp.asarray(rates, v.dtype).reshape(6, *(1,) * (v.ndim - 1), -1)
    start = jnp.fft.rfft(v, norm="forward")
    nonlinear = partial(_transport, points=v.shape[-1], length=length)
    end = etdrk4(start, nonlinear, table, count)
    # The increment has exactly zero mean; transforming u itself would double the drift.
    return u + jnp.fft.irfft(end - start, v.shape[-1], norm="forward")[..., None]


def residual(prev: Array, next: Array, cond: Array, *, dt: float, length: float) -> Array:
    """Balance of two frames: trapezoidal rule in time, spectral in space. -> (..., x, 1)."""
    n = prev.shape[-2]

    def tendency(u: Array) -> Array:
        w = jnp.fft.rfft(u[..., 0], norm="forward")
        growth = jnp.asarray(_growth(n, length), u.dtype).reshape(*(1,) * (w.ndim - 1), -1)
        change = growth * w + _transport(w, points=n, length=length)
        return jnp.fft.irfft(change, n, norm="forward")[..., None]

    return (next - prev) / dt - 0.5 * (tendency(prev) + tendency(next))


def _transport(w: Array, *, points: int, length: float) -> Array:
    """Transform of -(u^2/2)_x from that of u, (..., k), dealiased by the 3/2 rule."""
    wave = np.arange(points // 2 + 1)
    kept = 2 * wave < points  # the Nyquist mode of an even grid has no derivative
    shape = (*(1,) * (w.ndim - 1), -1)
    mask = jnp.asarray(kept, w.real.dtype).reshape(shape)
    slope = jnp.asarray(-1j * np.pi / length * wave * kept, w.dtype).reshape(shape)
    fine = jnp.fft.irfft(mask * w, ceil(1.5 * points), norm="forward")
    return slope * jnp.fft.rfft(fine**2, norm="forward")[..., : points // 2 + 1]


def _growth(points: int, length: float) -> np.ndarray:
    """Linear growth rates k^2 - k^4 of the waves: (points // 2 + 1,)."""
    wave = 2 * np.pi / length * np.arange(points // 2 + 1)
    return wave**2 - wave**4
