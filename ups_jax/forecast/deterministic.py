"""Deterministic forecasters: baselines, the solver, the operator and its control."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from ups_jax.emulator import Emulator, last_frame, seen, step
from ups_jax.forecast.base import Forecast
from ups_jax.pde.base import rollout
from ups_jax.pde.coarse import coarse_rollout
from ups_jax.pde.symmetries import images
from ups_jax.types import Array, Key, Params


def persistence(
    emulator: Emulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """Repeat the given frame."""
    return Forecast(jnp.repeat(u0[:, None], steps, axis=1))


def mean(
    emulator: Emulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """Repeat the spatial mean of the given frame, which a conservation law preserves."""
    axes = tuple(range(1, 1 + emulator.pde.ndim))
    level = jnp.broadcast_to(jnp.mean(u0, axes, keepdims=True), u0.shape)
    return Forecast(jnp.repeat(level[:, None], steps, axis=1))


def mean_field(
    emulator: Emulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """Repeat the mean solution of the training split, which steady data have."""
    field = params["stats"].get("mean_field")
    if field is None:
        raise ValueError("forecaster 'mean_field' needs pairs of a static problem; use 'mean'")
    shape = (*u0.shape[1:-1], field.shape[-1])
    field = field if field.shape == shape else jax.image.resize(field, shape, "linear")
    return Forecast(jnp.broadcast_to(field, (len(u0), steps, *shape)))


def solver(
    emulator: Emulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """Run the PDE's numerical scheme on the grid of the given frame."""
    return Forecast(rollout(emulator.pde.step, steps)(last_frame(emulator, u0), cond))


def coarse_solver(
    emulator: Emulator,
    params: Params,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    steps: int,
    coarsen: int = 2,
) -> Forecast:
    """Run the PDE's numerical scheme with `coarsen` points a cell, and interpolate its frames.

    Raises ValueError if the PDE has no solver for that grid.
    """
    run = coarse_rollout(emulator.pde, steps, factor=coarsen)
    return Forecast(run(last_frame(emulator, u0), cond))


def operator(
    emulator: Emulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """Roll out the operator."""
    return _rolled_out(emulator, params, u0, cond, steps=steps, model="operator")


def symmetrized(
    emulator: Emulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """Roll out the operator's mean over the mirror images of the field, an equivariant step.

    The images are those by the PDE's mirrors, or its reflection: a network call for each. Group
    averaging; Puny et al. (2022). Raises ValueError if the PDE has no reflection, and for states
    of several frames.
    """
    mirrors = mirrors_of(emulator)
    if not mirrors or emulator.history > 1:
        raise ValueError(
            f"forecaster 'symmetrized' needs a reflection, but pde {emulator.pde.name!r} has none, "
            "or operator.history is above 1; use 'operator'"
        )
    advance = partial(step, emulator, params, model="operator")

    def average(u: Array, cond: Array) -> Array:
        nexts = [back(advance(to_image(u), cond)) for to_image, back in images(mirrors)]
        return sum(nexts[1:], nexts[0]) / len(nexts)

    return Forecast(rollout(average, steps)(u0, cond))


def mirrors_of(emulator: Emulator) -> Sequence[Callable[[Array], Array]]:
    """Return the maps whose products give the mirror images of a symmetrized forecast."""
    pde = emulator.pde
    return pde.mirrors or (() if pde.reflection is None else (pde.reflection,))


def control(
    emulator: Emulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """Roll out the control, the operator trained for longer."""
    return _rolled_out(emulator, params, u0, cond, steps=steps, model="control")


def _rolled_out(
    emulator: Emulator, params: Params, u0: Array, cond: Array, *, steps: int, model: str
) -> Forecast:
    advance = partial(step, emulator, params, model=model)
    return Forecast(rollout(advance, steps, keep=partial(seen, emulator))(u0, cond))
