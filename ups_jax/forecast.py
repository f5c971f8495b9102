"""Forecasters: every way to continue a field in time, behind one signature."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ups_jax.lookup import lookup
from ups_jax.pde.base import rollout
from ups_jax.simulator import Simulator, operator_step
from ups_jax.types import Array, Key, Params, check_field


class Forecast(NamedTuple):
    """Continued fields `u` (b, t, *s, c); `members` (b, m, t, *s, c) and a `log`, if any."""

    u: Array
    members: Array | None = None
    log: Mapping[str, Array] | None = None


class Forecaster(NamedTuple):
    """`run(sim, params, u0, cond, key, steps=...)`, network calls a step, and a word on kinship."""

    run: Callable[..., Forecast]
    calls: int
    note: str = ""


def persistence(
    sim: Simulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """The given frame again and again."""
    return Forecast(jnp.repeat(u0[:, None], steps, axis=1))


def mean(
    sim: Simulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """The spatial mean of the given frame, which a conservation law keeps."""
    axes = tuple(range(1, 1 + sim.pde.ndim))
    level = jnp.broadcast_to(jnp.mean(u0, axes, keepdims=True), u0.shape)
    return Forecast(jnp.repeat(level[:, None], steps, axis=1))


def solver(
    sim: Simulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """The PDE's own numerical scheme on the grid of the given frame."""
    return Forecast(rollout(sim.pde.step, steps)(u0, cond))


def operator(
    sim: Simulator, params: Params, u0: Array, cond: Array, key: Key, *, steps: int
) -> Forecast:
    """The learned operator, fed with its own output."""
    return Forecast(rollout(partial(operator_step, sim, params), steps)(u0, cond))


FORECASTERS: dict[str, Forecaster] = {
    "mean": Forecaster(mean, 0, "spatial mean of the given frame"),
    "operator": Forecaster(operator, 1, "learned"),
    "persistence": Forecaster(persistence, 0, "the given frame"),
    "solver": Forecaster(solver, 0, "the scheme of regenerated data, on the evaluation grid"),
}


def analysis(sim: Simulator, params: Params, frames: Array, cond: Array, *, gain: float) -> Array:
    """What a forecast after frames (b, t, *s, c) starts from: the operator's way through them.

    It starts at the first frame and is drawn to each later one by `gain`: 1 leaves the last frame
    itself, 0 the operator's forecast of it from the first. -> (b, *s, c). Nudging; Hoke and Anthes
    (1976).
    """
    if gain == 1:
        return frames[:, -1]

    def body(u: Array, seen: Array) -> tuple[Array, None]:
        u = operator_step(sim, params, u, cond)
        return u + gain * (seen - u), None

    return jax.lax.scan(body, frames[:, 0], jnp.moveaxis(frames[:, 1:], 1, 0))[0]


def forecast(
    sim: Simulator,
    params: Params,
    u0: Any,
    cond: Any,
    key: Key,
    *,
    steps: int,
    mode: str,
    **options: Any,
) -> Forecast:
    """Continue u0 (b, *s, c) for `steps` intervals by a mode of FORECASTERS -> u (b, steps, *s, c).

    Physical fields in and out; cond (b, p). ValueError on an unknown mode or a wrong shape.
    """
    lookup(FORECASTERS, mode, "forecaster")
    pde = sim.pde
    check_field(
        u0, ndim=pde.ndim, channels=len(pde.channels), name="u0", cond=cond, params=len(pde.params)
    )
    if steps < 1:
        raise ValueError(f"steps is {steps}; a forecast needs at least one")
    return _compiled(sim, mode, steps, params, jnp.asarray(u0), jnp.asarray(cond), key, **options)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _compiled(
    sim: Simulator,
    mode: str,
    steps: int,
    params: Params,
    u0: Array,
    cond: Array,
    key: Key,
    **options: Any,
) -> Forecast:
    return FORECASTERS[mode].run(sim, params, u0, cond, key, steps=steps, **options)
