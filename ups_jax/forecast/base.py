"""Forecast and Forecaster types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.emulator import Emulator, fill_state, predicted
from ups_jax.types import Array, Key, Params


class Forecast(NamedTuple):
    """Continued fields `u` (b, t, *s, c); `members` (b, m, t, *s, c) and a `log`, if any."""

    u: Array
    members: Array | None = None
    log: Mapping[str, Array] | None = None

    def __repr__(self) -> str:
        parts = {"u": self.u, "members": self.members, **(self.log or {})}
        shapes = [f"{name} {np.shape(x)}" for name, x in parts.items() if x is not None]
        return f"Forecast({', '.join(shapes)})"


@dataclass(frozen=True)
class Forecaster:
    """A function that continues a field in time, and what it needs.

    `run(emulator, params, u0, cond, key, steps=..., **options)` -> Forecast. `stages` train the
    networks that it uses, by their entries of the parameters. `calls(emulator, members)` counts
    the network calls of one step, of all members together; options that change the number are
    further keywords of the same name. A `stochastic` forecaster has members.
    `settings` maps its options to config keys: {"temperature": "ensemble.temperature"}.
    `own_rollouts(emulator)`: each member is a rollout of its own, as antithetic pairs must be.
    `selectable(forecasters)`: validation may select it among these forecasters.
    `solver`: it needs `PDE.step`.
    """

    run: Callable[..., Forecast]
    stages: tuple[str, ...] = ()
    note: str = ""
    calls: Callable[..., int] = lambda emulator, members: 0
    stochastic: bool = False
    solver: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    selectable: Callable[[tuple[str, ...]], bool] = lambda forecasters: True
    own_rollouts: Callable[[Emulator], bool] = lambda emulator: True


def run_each(
    run: Callable[..., Forecast],
    emulator: Emulator,
    params: Params,
    u0: Array,
    cond: Array,
    keys: Key,
    **settings: Any,
) -> Forecast:
    """Run a forecaster on every state u0 (b, *s, c), cond (b, p) with a key of its own, (b,).

    Missing values of u0 are filled. Of the result, the predicted channels are kept. A forecast thus
    depends on no other sample, and devices can share a batch.
    """

    def alone(u0: Array, cond: Array, key: Key) -> Forecast:
        u0 = fill_state(emulator, u0)
        result = run(emulator, params, u0[None], cond[None], key, **settings)
        members = None if result.members is None else predicted(emulator, result.members)
        result = result._replace(u=predicted(emulator, result.u), members=members)
        return jax.tree.map(lambda x: x[0] if jnp.ndim(x) else x, result)

    return jax.vmap(alone)(u0, cond, keys)


def sample_keys(key: Key, samples: Array | np.ndarray) -> Key:
    """Return the key of each sample number (b,) -> (b,)."""
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.asarray(samples))
