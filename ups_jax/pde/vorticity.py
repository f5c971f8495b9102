"""Two-dimensional incompressible flow in vorticity form on a periodic box, pseudo-spectral."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import numpy as np

from ups_jax.pde.base import MASS_TOLERANCE, Law, spatial_mean
from ups_jax.pde.etdrk import Modes, Solver, solver
from ups_jax.types import Array


def vorticity_solver(
    *,
    nu: float,
    dt: float,
    length: float,
    max_substep: float,
    drag: float = 0.0,
    forcing: Callable[[Modes, Array], Array] | None = None,
) -> Solver:
    """Return the solver of w_t + v . grad w = nu lap w - drag w + f, w = v_x - u_y (..., x, y, 1).

    `forcing(modes, like)` is f on the grid (x, y, 1).
    """

    def tendency(w: Array, cond: Array, modes: Modes) -> Array:
        change = transport(w, modes)
        return change if forcing is None else change + modes.to_modes(forcing(modes, w.real))

    return solver(
        lambda k: -nu * (k**2).sum(-1, keepdims=True) - drag,
        tendency,
        dt=dt,
        extent=(length, length),
        max_substep=max_substep,
    )


def transport(w: Array, modes: Modes) -> Array:
    """Modes of -v . grad w of an incompressible flow, as a divergence: it has no mean."""
    vorticity, velocity = modes.to_grid(w), velocity_modes(w, modes)
    # Both components in one transform.
    flux = modes.to_modes(modes.to_grid(velocity) * vorticity)
    return -modes.slope(flux[..., :1], 0) - modes.slope(flux[..., 1:], 1)


def velocity_modes(w: Array, modes: Modes) -> Array:
    """Modes of the velocity (u, v) without mean flow from those of the vorticity (..., *k, 1)."""
    square = np.sum(modes.k**2, -1, keepdims=True)
    inverse = np.divide(1.0, square, out=np.zeros_like(square), where=square > 0)
    stream = w * jnp.asarray(inverse, w.real.dtype).reshape(*(1,) * (w.ndim - 3), *square.shape)
    return jnp.concatenate([modes.slope(stream, 1), -modes.slope(stream, 0)], -1)


def kinetic_energy(w: Array, *, length: float) -> Array:
    """Mean of |v|^2 / 2 of a vorticity field: (..., x, y, 1) -> (...)."""
    modes = Modes(w.shape[-3:-1], (length, length))
    coefficients = jnp.fft.rfftn(w, axes=modes.axes, norm="forward")
    velocity = modes.to_grid(velocity_modes(coefficients, modes))
    return jnp.mean(jnp.sum(velocity**2, -1) / 2, (-2, -1))


def enstrophy(w: Array) -> Array:
    """Mean of w^2 / 2: (..., x, y, 1) -> (...)."""
    return 0.5 * spatial_mean(w**2, 2)


def flow_laws(length: float, *, forced: bool) -> dict[str, Law]:
    """Laws of a flow: the mean vorticity is zero; without forcing energy and enstrophy decay."""
    mean = partial(spatial_mean, ndim=2)

    def size(w: Array) -> Array:
        return jnp.sqrt(2 * enstrophy(w))

    laws = {"circulation": Law(mean, "conserved", "conservation_gap", size, MASS_TOLERANCE)}
    if forced:
        return laws
    energy = partial(kinetic_energy, length=length)
    return laws | {
        "energy": Law(energy, "decaying", "energy_growth", energy),
        "enstrophy": Law(enstrophy, "decaying", "enstrophy_growth", enstrophy),
    }
