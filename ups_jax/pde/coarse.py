"""Solvers on a coarser grid: a field is restricted to it, advanced there, and brought back."""

from collections.abc import Callable, Sequence

from ups_jax.arrays import spatial_axes
from ups_jax.pde.base import PDE, Step, rollout
from ups_jax.pde.finite_volume import prolong, restrict
from ups_jax.pde.spectral import resample
from ups_jax.types import Array

MIN_CELLS = 4
"""Fewest cells along an axis of a coarser grid."""


def coarse_step(
    march: Callable[[Array, Array, int], Array],
    *,
    factor: int,
    substeps: int,
    points: tuple[int, ...],
    boundary: Sequence[str],
) -> Step:
    """Return a step of u (..., *s, c) that restricts to a coarser grid, marches and prolongs.

    Values are cell means. It takes `substeps` on a grid of `points`; on finer grids their number
    grows with the CFL limit.
    """
    axes = spatial_axes(len(points))

    def step(u: Array, cond: Array) -> Array:
        refinement = max(-(-u.shape[axis] // points[axis + 1]) for axis in axes)
        for axis in axes:
            u = restrict(u, factor, axis)
        u = march(u, cond, substeps * refinement)
        for axis, name in zip(axes, boundary, strict=True):
            u = prolong(u, factor, axis, name)
        return u

    return step


def coarse_rollout(pde: PDE, steps: int, *, factor: int) -> Step:
    """Return a rollout by the PDE's own step on a grid with `factor` points a cell.

    u (..., *s, c), cond (..., p) -> (..., steps, *s, c). Only the given frame is restricted and
    only the result is brought back: by their waves along periodic axes, by cell means between
    boundaries. Raises ValueError as `check_coarsening`.
    """

    def run(u: Array, cond: Array) -> Array:
        axes = spatial_axes(pde.ndim)
        points = tuple(u.shape[axis] for axis in axes)
        check_coarsening(pde, factor, points=points)
        for axis, n, periodic in zip(axes, points, pde.periodic, strict=True):
            u = resample(u, n // factor, axis) if periodic else restrict(u, factor, axis)
        path = rollout(pde.step, steps)(u, cond)
        for axis, n, name in zip(axes, points, pde.boundary, strict=True):
            path = (
                resample(path, n, axis) if name == "periodic" else prolong(path, factor, axis, name)
            )
        return path

    return run


def check_coarsening(
    pde: PDE, factor: int, *, points: tuple[int, ...] = (), key: str = "coarsen"
) -> None:
    """Raise ValueError unless the PDE has a solver for grids of its `points` over `factor`.

    `points` are by default those of the PDE; `key` names the factor in the message.
    """
    points = points or pde.points
    if pde.march is None:
        raise ValueError(
            f"{key} is {factor}, but pde {pde.name!r} has no solver for other grids than its own"
        )
    if factor < 1 or any(n % factor or n // factor < MIN_CELLS for n in points):
        raise ValueError(
            f"{key} is {factor}; it must be at least 1 and divide the points {points} into "
            f"{MIN_CELLS} cells or more"
        )
