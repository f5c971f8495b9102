"""Kolmogorov flow: two-dimensional turbulence driven by a sinusoidal force, with drag."""

from collections.abc import Sequence
from functools import partial
from math import pi

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.pde.base import PDE, check_interval, grid_shape
from ups_jax.pde.etdrk import Modes, random_field
from ups_jax.pde.vorticity import flow_laws, vorticity_solver
from ups_jax.types import Array, Key, positive

INITIAL_WAVENUMBER = 6
"""Largest wavenumber of the random vorticity."""


def make(
    *,
    points: Sequence[int] = (64, 64),
    cells: Sequence[int] = (64, 64),
    nu: float = 1e-2,
    drag: float = 0.1,
    mode: int = 4,
    dt: float = 0.2,
    length: float = 2 * pi,
) -> PDE:
    """w_t + v . grad w = nu lap w - drag w - k cos(k y), k = 2 pi mode / length, periodic.

    The force on the velocity is sin(k y) along x. No parameters: `cond` is (n, 0). The first frame
    is in developed turbulence. Chandler and Kerswell (2013); Kochkov et al. (2021).
    """
    positive("pde.nu", nu)
    shape, grid = grid_shape(cells, 2, "data.cells"), grid_shape(points, 2, "pde.points")
    # Fluid of speed 4 crosses one cell; speeds stay below 3.
    substep = length / max(shape) / 4
    check_interval(dt, length, substep=substep)
    if not drag >= 0 or not 1 <= mode < min(shape) / 3:
        raise ValueError(
            f"pde.drag is {drag} and pde.mode {mode}; expected a drag of at least 0, and a mode "
            f"of at least 1 and below a third of data.cells {shape}"
        )
    flow = vorticity_solver(
        nu=nu, drag=drag, dt=dt, length=length, max_substep=substep,
        forcing=partial(force, mode=mode, length=length),
    )  # fmt: skip
    return PDE(
        name="kolmogorov",
        channels=("vorticity",),
        cells=shape,
        points=grid,
        extent=(length, length),
        dt=dt,
        params=(),
        initial=initial,
        **flow._asdict(),
        warmup=round(30.0 / dt),  # from random vorticity to developed turbulence
        symmetries=(partial(random_symmetry, mode=mode),),
        reflection=rotation,
        laws=flow_laws(length, forced=True),
        spec=dict(points=points, cells=cells, nu=nu, drag=drag, mode=mode, dt=dt, length=length),
    )


def initial(key: Key, cond: Array, cells: tuple[int, ...]) -> Array:
    """Random vorticity (x, y, 1) of RMS 2, at large scales."""
    return random_field(key, cells, low=1, high=INITIAL_WAVENUMBER, size=2.0)


def force(modes: Modes, like: Array, *, mode: int, length: float) -> Array:
    """Curl of the force on the velocity, on the grid: (1, y, 1)."""
    k = 2 * np.pi * mode / length
    y = np.arange(modes.points[1]) / modes.points[1] * length
    return jnp.broadcast_to(
        jnp.asarray(-k * np.cos(k * y), like.dtype).reshape(*(1,) * (like.ndim - 2), -1, 1),
        (*(1,) * (like.ndim - 3), *modes.points, 1),
    )


def rotation(w: Array) -> Array:
    """Map (x, y) -> (-x, -y) by grid points from the first one; the vorticity keeps its sign.

    The force is even in y, so that this is a symmetry.
    """
    return jnp.roll(jnp.flip(w, (-3, -2)), 1, (-3, -2))


def random_symmetry(key: Key, w: Array, cond: Array, *, mode: int) -> tuple[Array, Array]:
    """Translate along x, shift by whole and half periods of the force along y, and reflect x.

    w (t, x, y, 1). Half a period changes the sign of the force, and so does a reflection of x,
    which also changes the sign of the vorticity: their product is a symmetry.
    """
    k_x, k_y, k_turn = jax.random.split(key, 3)
    nx, ny = w.shape[-3:-1]
    shifts = int(np.gcd(2 * mode, ny))  # by whole points
    w = jnp.roll(w, jax.random.randint(k_x, (), 0, nx, jnp.int32), -3)
    count = jax.random.randint(k_y, (), 0, shifts, jnp.int32)
    shifted = jnp.roll(w, count * (ny // shifts), -2)
    odd = (count * (2 * mode // shifts)) % 2 == 1
    w = jnp.where(odd, -jnp.flip(shifted, -3), shifted)
    return jnp.where(jax.random.bernoulli(k_turn, jnp.float32(0.5)), rotation(w), w), cond
