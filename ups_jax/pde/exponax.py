"""APEBench's Burgers scenario with data from exponax, an optional extra imported by `make`.

APEBench and the extra require exponax 0.1.0; version 0.2 draws other initial conditions. So does
JAX since 0.5, from the same keys: `jax_threefry_partitionable` is on. So the data equal those of
exponax on the same JAX, but not the arrays that were published in 2024.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ups_jax.pde.base import (
    MASS_TOLERANCE,
    PDE,
    grid_shape,
    random_translation,
    transport_laws,
)
from ups_jax.pde.burgers import random_reflection, reflection, residual
from ups_jax.types import Array, Key, positive

INITIAL_MODES = 5
"""Wavenumbers of the initial conditions: `fourier;5;true;true` in APEBench."""


def make(
    *,
    points: int = 160,
    cells: int | tuple[int, ...] = 160,
    convection: float = 1.5,
    diffusion: float = 1.5,
) -> PDE:
    """u_t + (u^2/2)_x = nu u_xx on [0, 1), `1d_diff_burgers` of APEBench (Koehler et al., 2024).

    `convection` and `diffusion` are the difficulties delta and gamma_2. With a convection
    coefficient of one, dt = delta / points and nu dt = gamma_2 / (2 points^2). The solver is
    exponax's pseudo-spectral ETDRK2 on the points, so `cells` must equal `points`, and `step`
    takes this grid alone. No parameters: `cond` is (n, 0). Raises ValueError without exponax.
    """
    shape = grid_shape(points, 1, "pde.points")
    if grid_shape(cells, 1, "data.cells") != shape:
        raise ValueError(f"data.cells is {cells}; it must equal pde.points, {points}")
    positive("pde.convection", convection)
    positive("pde.diffusion", diffusion)
    ex = _exponax()
    # exponax relies on rank promotion, here and in each call.
    # Coefficients of the data's type, float32, whatever JAX's default.
    with jax.numpy_rank_promotion("allow"), jax.enable_x64(False):
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
        1, cutoff=INITIAL_MODES, offset_range=(0.0, 0.0), max_one=True
    )

    def initial(key: Key, cond: Array, cells: tuple[int, ...]) -> Array:
        """Five random modes with zero mean and largest value one: (x, 1)."""
        # APEBench splits the key by channel, also for a single channel.
        (channel_key,) = jax.random.split(key, 1)
        with jax.numpy_rank_promotion("allow"):
            return generator(cells[0], key=channel_key)[0, :, None]

    def step(u: Array, cond: Array) -> Array:
        flat = u[..., 0].reshape(-1, 1, points)
        with jax.numpy_rank_promotion("allow"):
            return jax.vmap(stepper)(flat).reshape(u.shape)

    def balance(prev: Array, next: Array, cond: Array) -> Array:
        pdebench_nu = jnp.full((*cond.shape[:-1], 1), nu * jnp.pi, prev.dtype)
        return residual(prev, next, pdebench_nu, dt=dt, length=1.0)

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
        symmetries=(random_translation(1), random_reflection),
        reflection=reflection,
        linear_symbol=lambda k, cond: -nu * k**2,
        convexity=1.0,
        laws=transport_laws(1, mass_tolerance=MASS_TOLERANCE),
        spec=dict(points=points, cells=cells, convection=convection, diffusion=diffusion),
    )


def _sample_keys(key: Key, i: Array) -> tuple[Key, Key]:
    """Return the keys of sample i as in exponax's `build_ic_set`, which splits them in sequence."""
    rest = jax.lax.fori_loop(0, i, lambda _, key: jax.random.split(key)[0], key)
    sample_key = jax.random.split(rest)[1]
    return sample_key, sample_key


def _exponax() -> Any:
    try:
        import exponax
    except ModuleNotFoundError as error:
        raise ValueError(
            f"pde 'apebench_burgers' needs exponax ({error}); run pip install 'ups_jax[pde]'"
        ) from error
    return exponax
