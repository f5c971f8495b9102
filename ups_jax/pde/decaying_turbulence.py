"""Decaying two-dimensional turbulence from random vorticity on a periodic box."""

from collections.abc import Sequence
from math import pi

from ups_jax.pde.base import PDE, check_interval, grid_shape, random_translation
from ups_jax.pde.etdrk import random_field
from ups_jax.pde.symmetries import at_random, isotropic
from ups_jax.pde.vorticity import flow_laws, vorticity_solver
from ups_jax.types import positive

SIZE = 4.0
"""RMS of the initial vorticity."""


def make(
    *,
    points: Sequence[int] = (64, 64),
    cells: Sequence[int] = (128, 128),
    nu: float = 2e-3,
    low: int = 3,
    high: int = 6,
    dt: float = 0.1,
    length: float = 2 * pi,
) -> PDE:
    """w_t + v . grad w = nu lap w, periodic, from Gaussian vorticity of wavenumbers low to high.

    The initial RMS of the vorticity is 4. No parameters: `cond` is (n, 0). Vortices merge while
    enstrophy decays much faster than energy. McWilliams (1984).
    """
    positive("pde.nu", nu)
    shape, grid = grid_shape(cells, 2, "data.cells"), grid_shape(points, 2, "pde.points")
    if not 1 <= low <= high < min(shape) / 3:
        raise ValueError(
            f"pde.low is {low} and pde.high {high}; expected 1 <= low <= high, and high below a "
            f"third of data.cells {shape}"
        )
    # Fluid of speed 6 crosses one cell; speeds stay below 3.
    substep = length / max(shape) / 6
    check_interval(dt, length, substep=substep)
    flow = vorticity_solver(nu=nu, dt=dt, length=length, max_substep=substep)
    # A mirror image changes the sign of a vorticity.
    mirrors = isotropic(grid, [(-1,), (-1,)], transposed=(-1,))
    return PDE(
        name="decaying_turbulence",
        channels=("vorticity",),
        cells=shape,
        points=grid,
        extent=(length, length),
        dt=dt,
        params=(),
        initial=lambda key, cond, cells: random_field(key, cells, low=low, high=high, size=SIZE),
        **flow._asdict(),
        symmetries=(random_translation(2), *map(at_random, mirrors)),
        reflection=mirrors[0],
        mirrors=mirrors,
        laws=flow_laws(length, forced=False),
        spec=dict(points=points, cells=cells, nu=nu, low=low, high=high, dt=dt, length=length),
    )
