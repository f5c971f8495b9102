"""Darcy flow: the steady pressure in a medium of two permeabilities, by finite volumes."""

from collections.abc import Callable, Sequence
from math import ceil, log, sqrt

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import safe_ratio
from ups_jax.pde.base import PDE, grid_shape
from ups_jax.pde.finite_volume import extend
from ups_jax.pde.symmetries import at_random, isotropic
from ups_jax.types import Array, Key, positive

FIELD_MODES = 64
"""Cosines along each axis of the random field whose sign chooses the permeability."""
MAX_CONTRAST = 1e6
"""Largest ratio of the permeabilities."""
TOLERANCE_OF_SOLUTION = 1e-7
"""Bound on the relative error of the iteration in the energy norm, without rounding."""


def make(
    *,
    points: Sequence[int] = (64, 64),
    cells: Sequence[int] = (64, 64),
    permeability: Sequence[float] = (3.0, 12.0),
    force: float = 1.0,
    tau: float = 3.0,
    alpha: float = 2.0,
) -> PDE:
    """-div(a grad u) = force on the unit square, u = 0 at its boundary: the map from a to u.

    a has the second `permeability` where a Gaussian random field is positive, elsewhere the first.
    The field has covariance (-lap + tau^2)^-alpha and zero normal derivative. FNO, Li et al.
    (2021), app. A.3.2.
    """
    shape, grid = grid_shape(cells, 2, "data.cells"), grid_shape(points, 2, "pde.points")
    for name, value in (("permeability", permeability), ("force", force), ("tau", tau)):
        positive(f"pde.{name}", value)
    if len(permeability) != 2 or permeability[0] > permeability[1] or not alpha > 1:
        raise ValueError(
            f"pde.permeability is {permeability} and pde.alpha {alpha}; expected two rising "
            "permeabilities, and alpha above 1 for fields of finite variance"
        )
    low, high = permeability
    if high > MAX_CONTRAST * low:
        raise ValueError(
            f"pde.permeability is {permeability}; expected a ratio of at most {MAX_CONTRAST:g}, as "
            "the iterations of the solver grow with its root"
        )

    def step(u: Array, cond: Array) -> Array:
        a = u[..., 1]
        return jnp.stack([solve(a, force=force, low=low, high=high), a], -1)

    def initial(key: Key, cond: Array, cells: tuple[int, ...]) -> Array:
        a = jnp.where(random_field(key, cells, tau=tau, alpha=alpha) >= 0, high, low)
        return jnp.stack([jnp.zeros_like(a), a], -1)

    return PDE(
        name="darcy",
        channels=("u",),
        static=("a",),
        cells=shape,
        points=grid,
        extent=(1.0, 1.0),
        dt=1.0,
        params=(),
        initial=initial,
        step=step,
        steady=True,
        symmetries=tuple(map(at_random, isotropic(grid, [(1, 1), (1, 1)]))),
        boundary=("dirichlet", "dirichlet"),
        spec=dict(
            points=points, cells=cells, permeability=permeability, force=force, tau=tau, alpha=alpha
        ),
    )


def random_field(key: Key, cells: tuple[int, ...], *, tau: float, alpha: float) -> Array:
    """Gaussian random field of cosines at the centres of cells (x, y), up to a factor.

    A sample is one function, on every grid.
    """
    k = jnp.arange(FIELD_MODES, dtype=jnp.float32)
    norm = jnp.where(k == 0, 1.0, sqrt(2.0))
    x, y = (
        norm[None] * jnp.cos(jnp.pi * k[None] * (jnp.arange(n)[:, None] + 0.5) / n) for n in cells
    )
    decay = (jnp.pi**2 * (k[:, None] ** 2 + k[None] ** 2) + tau**2) ** (-alpha / 2)
    modes = jax.random.normal(key, (FIELD_MODES, FIELD_MODES)) * decay.at[0, 0].set(0.0)
    return x @ modes @ y.T


def solve(a: Array, *, force: float, low: float, high: float) -> Array:
    """Solution (..., x, y) of a permeability (..., x, y) from `low` to `high`.

    Conjugate gradients, preconditioned by the Laplacian: the number of iterations follows from the
    contrast alone, not from the grid.
    """
    contrast = sqrt(high / low)
    rate = (contrast - 1) / (contrast + 1)
    steps = 1 if rate == 0 else ceil(log(TOLERANCE_OF_SOLUTION / 2) / log(rate))
    apply, precondition = operator(a), inverse_laplacian(a.shape[-2:], a.dtype)

    def dot(p: Array, q: Array) -> Array:
        return jnp.sum(p * q, (-2, -1), keepdims=True)

    def body(_: int, now: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        u, r, p, rz = now
        ap = apply(p)
        size = safe_ratio(rz, dot(p, ap))
        u, r = u + size * p, r - size * ap
        z = precondition(r)
        new = dot(r, z)
        return u, r, z + safe_ratio(new, rz) * p, new

    r = jnp.full_like(a, force)
    z = precondition(r)
    return jax.lax.fori_loop(0, steps, body, (jnp.zeros_like(a), r, z, dot(r, z)))[0]


def operator(a: Array) -> Callable[[Array], Array]:
    """Return u -> -div(a grad u) by finite volumes on the unit square, both (..., x, y).

    Harmonic means of the permeability on faces; u is zero half a cell outside the first point.
    """
    faces = {axis: _harmonic(extend(a, 1, axis, "neumann"), axis) for axis in (-2, -1)}

    def apply(u: Array) -> Array:
        total = jnp.zeros_like(u)
        for axis, transmissibility in faces.items():
            flux = transmissibility * jnp.diff(extend(u, 1, axis, "dirichlet"), axis=axis)
            total = total - jnp.diff(flux, axis=axis) * u.shape[axis] ** 2
        return total

    return apply


def _harmonic(a: Array, axis: int) -> Array:
    n = a.shape[axis]
    left, right = (jax.lax.slice_in_dim(a, i, n - 1 + i, axis=a.ndim + axis) for i in (0, 1))
    return 2 * left * right / (left + right)


def inverse_laplacian(shape: tuple[int, ...], dtype: jnp.dtype) -> Callable[[Array], Array]:
    """Return the solution of -lap u = f, u = 0 at the boundary, in its eigenvectors (x, y)."""
    vectors, values = [], []
    for n in shape:
        k = np.arange(1, n + 1)
        sines = np.sin(np.pi * k[None] * (np.arange(n)[:, None] + 0.5) / n)
        vectors.append(jnp.asarray(sines / np.linalg.norm(sines, axis=0), dtype))
        values.append((2 - 2 * np.cos(np.pi * k / n)) * n**2)
    scale = jnp.asarray(values[0][:, None] + values[1][None], dtype)
    x, y = vectors

    def invert(f: Array) -> Array:
        modes = jnp.einsum("ik,...ij,jl->...kl", x, f, y)
        divisor = scale.reshape((1,) * (f.ndim - 2) + scale.shape)
        return jnp.einsum("ik,...kl,jl->...ij", x, modes / divisor, y)

    return invert
