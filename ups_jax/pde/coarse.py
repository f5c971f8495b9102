"""Solvers on a coarser grid: a field is restricted to it, advanced there, and brought back."""

from collections.abc import Sequence

from ups_jax.arrays import spatial_axes
from ups_jax.pde.base import PDE, Step, rollout
from ups_jax.pde.finite_volume import prolong, restrict
from ups_jax.pde.spectral import resample
from ups_jax.types import Array

MIN_CELLS = 4
"""Fewest cells along an axis of a coarser grid."""


def coarse_step(pde: PDE, *, factor: int, substeps: int) -> Step:
    """Return a step of u (..., *s, c) that restricts to a coarser grid, marches and prolongs.

    Of a spectral PDE, the waves of the coarser grid change and all others stay; of the others,
    values are cell means. It takes `substeps` on a grid of the PDE's points; on finer grids their
    number grows with the CFL limit.
    """
    axes, march = spatial_axes(pde.ndim), pde.march
    assert march is not None

    def step(u: Array, cond: Array) -> Array:
        sizes = [u.shape[axis] for axis in axes]
        count = substeps * max(-(-n // m) for n, m in zip(sizes, pde.points, strict=True))
        if pde.spectral:
            low = _resampled(u, [n // factor for n in sizes])
            return u + _resampled(march(low, cond, count) - low, sizes)
        for axis in axes:
            u = restrict(u, factor, axis)
        u = march(u, cond, count)
        for axis, name in zip(axes, pde.boundary, strict=True):
            u = prolong(u, factor, axis, name)
        return u

    return step


def _resampled(u: Array, sizes: Sequence[int]) -> Array:
    """Interpolate a periodic field (..., *s, c) to a grid of these sizes, by its waves."""
    for axis, n in zip(spatial_axes(len(sizes)), sizes, strict=True):
        u = resample(u, n, axis)
    return u


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
