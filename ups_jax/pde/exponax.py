"""APEBench's Burgers scenario, its data by exponax: an optional extra, imported when it is made.

APEBench asks for exponax 0.1.0, and so does the extra: 0.2 draws other initial conditions.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ups_jax.pde.base import PDE, grid, roll_symmetry, transport_laws
from ups_jax.pde.burgers import mirror, reflect, residual
from ups_jax.types import Array, Key

MODES = 5
"""Wavenumbers of the initial conditions: `fourier;5;true;true` in APEBench."""


def make(
    *,
    points: int = 160,
    cells: int | tuple[int, ...] = 160,
    convection: float = 1.5,
    diffusion: float = 1.5,
) -> PDE:
    """u_t + (u^2/2)_x = nu u_xx on [0, 1), `1d_diff_burgers` of APEBench (Koehler et al., 2024).

    `convection` and `diffusion` are its difficulties delta and gamma_2: in units where the
    convection's coefficient is one, dt = delta / points and nu dt = gamma_2 / (2 points^2). Solved
    pseudo-spectrally by exponax (ETDRK2) on the points themselves, so `cells` must equal `points`;
    `step` keeps to them too. No parameters: `cond` is (n, 0). ValueError without exponax.
    """
    shape = grid(points, 1, "pde.points")
    if grid(cells, 1, "data.cells") != shape:
        raise ValueError(f"data.cells is {cells}; this scenario is solved on pde.points, {points}")
    if not (convection > 0 and diffusion > 0):
        raise ValueError(f"pde: convection {convection}, diffusion {diffusion}; both must be > 0")
    ex = _exponax()
    # exponax lets ranks differ, whatever the caller's setting says: here and where it is called.
    with jax.numpy_rank_promotion("allow"):
        stepper = ex.stepper.generic.DifficultyConvectionStepper(
            1,
            points,
            linear_difficulties=(0.0, 0.0, diffusion),
            convection_difficulty=convection,
            conservative=True,
            order=2,
        )
    dt = convection / points
    nu = diffusion / (2 * points**2 * dt)
    generator = ex.ic.RandomTruncatedFourierSeries(
        1, cutoff=MODES, offset_range=(0.0, 0.0), max_one=True
    )

    def initial(key: Key, cond: Array, cells: tuple[int, ...]) -> Array:
        """Five random modes, zero mean, largest value one: -> (x, 1)."""
        # APEBench draws every channel with a key of its own, the only channel too.
        (own,) = jax.random.split(key, 1)
        with jax.numpy_rank_promotion("allow"):
            return generator(cells[0], key=own)[0, :, None]

    def step(u: Array, cond: Array) -> Array:
        flat = u[..., 0].reshape(-1, 1, points)
        with jax.numpy_rank_promotion("allow"):
            return jax.vmap(stepper)(flat).reshape(u.shape)

    def balance(prev: Array, next: Array, cond: Array) -> Array:
        pdebench = jnp.full((*cond.shape[:-1], 1), nu * jnp.pi, prev.dtype)
        return residual(prev, next, pdebench, dt=dt, length=1.0)

    return PDE(
        name="apebench_burgers",
        channels=("u",),
        cells=shape,
        points=shape,
        extent=(1.0,),
        dt=dt,
        params=(),
        initial=initial,
        sample_cond=lambda key: jnp.zeros((0,)),
        step=step,
        residual=balance,
        sample_keys=_sample_keys,
        symmetries=(roll_symmetry(1), reflect),
        mirror=mirror,
        convexity=1.0,
        laws=transport_laws(1),
        spec=dict(points=points, cells=cells, convection=convection, diffusion=diffusion),
    )


def _sample_keys(key: Key, i: Array) -> tuple[Key, Key]:
    """Keys of sample i as exponax's `build_ic_set` deals them: split off one after another."""
    rest = jax.lax.fori_loop(0, i, lambda _, key: jax.random.split(key)[0], key)
    own = jax.random.split(rest)[1]
    return own, own


def _exponax() -> Any:
    try:
        import exponax
    except ModuleNotFoundError as error:
        raise ValueError(
            f"pde.name 'apebench_burgers' needs exponax ({error}); pip install 'ups_jax[pde]'"
        ) from error
    return exponax
