"""One-dimensional Kuramoto-Sivashinsky: chaos on a periodic interval, by a spectral solver."""

from functools import partial
from math import ceil

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.pde.base import PDE, grid, roll_symmetry, transport_laws
from ups_jax.pde.burgers import at_rest, mirror, reflect
from ups_jax.types import Array, Key

SUBSTEP = 1 / 16
"""Longest substep of `step`: one time unit is then right to a millionth of the field."""

COARSEST = 1.0
"""Largest distance of solver cells: one time unit is then wrong by a thousandth of the field."""

SPACING = 0.5
"""Distance of the points that a spin-up is solved on: what they leave out is below float32."""

SPIN_UP = 50.0
"""Time from random waves to the attractor: spectra stand still after 40, to a few per cent."""

GROWING = 0.8
"""Largest wavenumber of the random waves; all of them grow."""

CONTOUR = 32
"""Points of a contour integral's upper half."""


def make(
    *,
    points: int = 128,
    cells: int | tuple[int, ...] = 128,
    dt: float = 1.0,
    length: float = 64.0,
) -> PDE:
    """u_t + (u^2/2)_x + u_xx + u_xxxx = 0 on a periodic interval. No parameters: `cond` is (n, 0).

    The longer the interval, the more chaotic: at 64, errors grow e-fold in about 11 time units.
    Solved on `cells`, of which `points` are kept. ValueError where the interval is too short for
    any wave to grow, or the cells are more than `COARSEST` apart.
    """
    if not (dt > 0 and length > 2 * np.pi):
        raise ValueError(
            f"pde: dt {dt}, length {length}; dt must be > 0 and length > 2 pi, or all waves decay"
        )
    shape = grid(cells, 1, "data.cells")
    if length / shape[0] > COARSEST:
        raise ValueError(
            f"data.cells is {cells} on a length of {length}; the equation's short waves need cells "
            f"at most {COARSEST} apart: make it at least {ceil(length / COARSEST)}"
        )
    return PDE(
        name="kuramoto",
        channels=("u",),
        cells=shape,
        points=grid(points, 1, "pde.points"),
        extent=(length,),
        dt=dt,
        params=(),
        initial=partial(initial, length=length),
        sample_cond=lambda key: jnp.zeros((0,)),
        step=partial(step, dt=dt, length=length),
        residual=partial(residual, dt=dt, length=length),
        march=partial(march, dt=dt, length=length),
        symmetries=(roll_symmetry(1), reflect),
        mirror=mirror,
        at_rest=partial(at_rest, dt=dt, length=length),
        # Energy is fed to long waves and taken from short ones: only the mean is kept.
        laws={"mass": transport_laws(1)["mass"]},
        spec=dict(points=points, cells=cells, dt=dt, length=length),
    )


def initial(key: Key, cond: Array, cells: tuple[int, ...], *, length: float) -> Array:
    """Random long waves, about as energetic as the attractor's, after `SPIN_UP`: (x, 1), no mean.

    Solved on points of its own, so that every grid of `cells` samples one and the same field.
    """
    n = 2 * ceil(length / SPACING / 2)
    waves = int(length * GROWING / (2 * np.pi)) or 1
    parts = 0.8 / length**0.5 * jax.random.normal(key, (2, waves))
    spectrum = jnp.pad(jax.lax.complex(parts[0], parts[1]), (1, n // 2 - waves))
    u = jnp.fft.irfft(spectrum, n, norm="forward")[:, None]
    u = march(u, cond, ceil(SPIN_UP / (4 * SUBSTEP)), dt=SPIN_UP, length=length)
    spectrum = jnp.fft.rfft(u[:, 0], norm="forward")
    return jnp.fft.irfft(spectrum, cells[0], norm="forward")[:, None]


def step(u: Array, cond: Array, *, dt: float, length: float) -> Array:
    """Advance u (..., x, 1) by dt, in equal substeps of at most `SUBSTEP`."""
    return march(u, cond, ceil(dt / SUBSTEP), dt=dt, length=length)


def march(u: Array, cond: Array, count: int, *, dt: float, length: float) -> Array:
    """Advance u (..., x, 1) by dt in `count` equal substeps; has a gradient.

    Exponential time differencing, fourth order: -u_xx - u_xxxx is integrated exactly, the flux by
    Runge-Kutta. Cox & Matthews (2002), eq. 26-29.
    """
    v = u[..., 0]
    table = jnp.asarray(_etdrk4(v.shape[-1], dt / count, length), v.dtype)
    full, half, inner, first, middle, last = table.reshape(6, *(1,) * (v.ndim - 1), -1)
    force = partial(_transport, points=v.shape[-1], length=length)

    def body(w: Array, _: None) -> tuple[Array, None]:
        at_w = force(w)
        a = half * w + inner * at_w
        at_a = force(a)
        at_b = force(half * w + inner * at_a)
        at_c = force(half * a + inner * (2 * at_b - at_w))
        return full * w + first * at_w + 2 * middle * (at_a + at_b) + last * at_c, None

    start = jnp.fft.rfft(v, norm="forward")
    end = jax.lax.scan(body, start, None, length=count)[0]
    # The change has no mean, to the last bit: half the drift of a field's transform and back.
    return u + jnp.fft.irfft(end - start, v.shape[-1], norm="forward")[..., None]


def residual(prev: Array, next: Array, cond: Array, *, dt: float, length: float) -> Array:
    """Balance of a frame pair by the trapezoid rule in time, spectral in space. (..., x, 1)."""
    n = prev.shape[-2]

    def tendency(u: Array) -> Array:
        w = jnp.fft.rfft(u[..., 0], norm="forward")
        growth = jnp.asarray(_growth(n, length), u.dtype).reshape(*(1,) * (w.ndim - 1), -1)
        change = growth * w + _transport(w, points=n, length=length)
        return jnp.fft.irfft(change, n, norm="forward")[..., None]

    return (next - prev) / dt - 0.5 * (tendency(prev) + tendency(next))


def _transport(w: Array, *, points: int, length: float) -> Array:
    """Transform of -(u^2/2)_x from that of u, (..., k), without aliases: by the 3/2 rule."""
    wave = np.arange(points // 2 + 1)
    kept = 2 * wave < points  # the highest wave of an even grid has no slope
    shape = (*(1,) * (w.ndim - 1), -1)
    mask = jnp.asarray(kept, w.real.dtype).reshape(shape)
    slope = jnp.asarray(-1j * np.pi / length * wave * kept, w.dtype).reshape(shape)
    fine = jnp.fft.irfft(mask * w, ceil(1.5 * points), norm="forward")
    return slope * jnp.fft.rfft(fine**2, norm="forward")[..., : points // 2 + 1]


def _growth(points: int, length: float) -> np.ndarray:
    """Linear growth rate k^2 - k^4 of every wave (points // 2 + 1,)."""
    wave = 2 * np.pi / length * np.arange(points // 2 + 1)
    return wave**2 - wave**4


def _etdrk4(points: int, h: float, length: float) -> np.ndarray:
    """Coefficients of one substep h: (6, points // 2 + 1) in float64.

    Means over a circle about each h (k^2 - k^4), as the formulas cancel near zero; the upper half
    suffices for what is real. Kassam & Trefethen (2005), section 2.
    """
    z = h * _growth(points, length)
    t = z[:, None] + np.exp(1j * np.pi * (np.arange(CONTOUR) + 0.5) / CONTOUR)
    inner = np.expm1(t / 2) / t
    first = (-4 - t + np.exp(t) * (4 - 3 * t + t**2)) / t**3
    middle = (2 + t + np.exp(t) * (t - 2)) / t**3
    last = (-4 - 3 * t - t**2 + np.exp(t) * (4 - t)) / t**3
    means = [h * part.mean(-1).real for part in (inner, first, middle, last)]
    return np.stack([np.exp(z), np.exp(z / 2), *means])
