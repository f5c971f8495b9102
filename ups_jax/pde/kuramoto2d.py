"""Kuramoto-Sivashinsky equation in two dimensions, of a height without mean, pseudo-spectral."""

from collections.abc import Sequence
from typing import Any

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
from ups_jax.pde.etdrk import Modes, random_field, solver
from ups_jax.pde.kuramoto import MAX_SUBSTEP
from ups_jax.pde.symmetries import at_random, isotropic
from ups_jax.types import Array, Key


def make(
    *,
    points: Sequence[int] = (32, 32),
    cells: Sequence[int] = (32, 32),
    dt: float = 0.2,
    length: float = 18.1,
) -> PDE:
    """h_t + |grad h|^2 / 2 + lap h + lap^2 h = mean(|grad h|^2) / 2, periodic, without parameters.

    The right-hand side keeps the mean at zero. `cond` is (n, 0). At the default length 32 points
    have the spacing of APEBench's scenario on 32 points. Kalogirou et al. (2015).
    """
    shape, grid = grid_shape(cells, 2, "data.cells"), grid_shape(points, 2, "pde.points")
    check_interval(dt, length, substep=MAX_SUBSTEP)
    if not 2 * np.pi < length <= min(shape):
        raise ValueError(
            f"pde.length is {length} on data.cells {shape}; expected more than 2 pi, below which "
            "all waves decay, and cells of width 1 at most"
        )
    surface = solver(growth, steepening, dt=dt, extent=(length, length), max_substep=MAX_SUBSTEP)
    mirrors = isotropic(grid, [(1,), (1,)])
    return PDE(
        name="kuramoto2d",
        channels=("h",),
        cells=shape,
        points=grid,
        extent=(length, length),
        dt=dt,
        params=(),
        initial=initial,
        **surface._asdict(),
        warmup=round(50.0 / dt),  # from random waves to the attractor
        symmetries=(random_translation(2), *map(at_random, mirrors)),
        reflection=mirrors[0],
        mirrors=mirrors,
        laws={"mass": transport_laws(2, mass_tolerance=MASS_TOLERANCE)["mass"]},
        spec=dict(points=points, cells=cells, dt=dt, length=length),
    )


def initial(key: Key, cond: Array, cells: tuple[int, ...]) -> Array:
    """Gaussian field of wavenumbers 1 and 2 without mean: (x, y, 1)."""
    return random_field(key, cells, low=1, high=2, size=1.0)


def growth(k: Any) -> Any:
    """Linear growth rates |k|^2 - |k|^4: (*k, 1)."""
    square = (k**2).sum(-1, keepdims=True)
    return square - square**2


def steepening(w: Array, cond: Array, modes: Modes) -> Array:
    """Modes of -|grad h|^2 / 2 without its mean, from those of h."""
    slopes = modes.to_grid(jnp.concatenate([modes.slope(w, 0), modes.slope(w, 1)], -1))
    square = modes.to_modes(-0.5 * jnp.sum(slopes**2, -1, keepdims=True))
    return square.at[..., 0, 0, :].set(0.0)
