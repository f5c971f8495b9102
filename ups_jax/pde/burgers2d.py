"""Viscous Burgers equation for a velocity in two dimensions, two channels, pseudo-spectral."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ups_jax.pde.base import PDE, Law, check_interval, grid_shape, random_translation
from ups_jax.pde.etdrk import Modes, random_field, solver
from ups_jax.pde.symmetries import at_random, isotropic
from ups_jax.types import Array, Key, positive


def make(
    *,
    points: Sequence[int] = (64, 64),
    cells: Sequence[int] = (128, 128),
    nu: float = 5e-3,
    dt: float = 0.05,
    length: float = 1.0,
) -> PDE:
    """(u, v)_t + (u d/dx + v d/dy)(u, v) = nu lap (u, v), periodic, without parameters.

    `cond` is (n, 0). Initial conditions are Gaussian fields of wavenumbers 1 and 2, of RMS 0.5.
    Fronts are about 10 nu wide, which the cells must resolve.
    """
    positive("pde.nu", nu)
    shape, grid = grid_shape(cells, 2, "data.cells"), grid_shape(points, 2, "pde.points")
    # Fluid of speed 4 crosses one cell; speeds stay below 2.5.
    substep = length / max(shape) / 4
    check_interval(dt, length, substep=substep)
    flow = solver(
        lambda k: -nu * (k**2).sum(-1, keepdims=True),
        convection,
        dt=dt,
        extent=(length, length),
        max_substep=substep,
    )
    mirrors = isotropic(grid, [(-1, 1), (1, -1)], order=(1, 0))
    return PDE(
        name="burgers2d",
        channels=("u", "v"),
        cells=shape,
        points=grid,
        extent=(length, length),
        dt=dt,
        params=(),
        initial=initial,
        **flow._asdict(),
        symmetries=(random_translation(2), *map(at_random, mirrors)),
        reflection=mirrors[0],
        mirrors=mirrors,
        laws=velocity_laws(),
        spec=dict(points=points, cells=cells, nu=nu, dt=dt, length=length),
    )


def initial(key: Key, cond: Array, cells: tuple[int, ...]) -> Array:
    """Two independent Gaussian fields of wavenumbers 1 and 2: (x, y, 2)."""
    keys = jax.random.split(key)
    return jnp.concatenate([random_field(k, cells, low=1, high=2, size=0.5) for k in keys], -1)


def convection(w: Array, cond: Array, modes: Modes) -> Array:
    """Modes of -(u d/dx + v d/dy)(u, v) from those of (u, v)."""
    slopes = jnp.concatenate([modes.slope(w, 0), modes.slope(w, 1)], -1)
    fields = modes.to_grid(jnp.concatenate([w, slopes], -1))
    u, v = fields[..., :1], fields[..., 1:2]
    return -modes.to_modes(u * fields[..., 2:4] + v * fields[..., 4:])


def velocity_laws() -> dict[str, Law]:
    """Maximum principle of each component: neither its maximum nor its minimum grows."""

    def largest(w: Array) -> Array:
        return jnp.max(jnp.abs(w), (-3, -2, -1))

    return {"maximum": Law(largest, "bounded", "max_principle_excess", largest, 1e-2)}
