"""Forecast and Forecaster types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ups_jax.emulator import Emulator
from ups_jax.types import Array


class Forecast(NamedTuple):
    """Continued fields `u` (b, t, *s, c); `members` (b, m, t, *s, c) and a `log`, if any."""

    u: Array
    members: Array | None = None
    log: Mapping[str, Array] | None = None


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
    """

    run: Callable[..., Forecast]
    stages: tuple[str, ...] = ()
    note: str = ""
    calls: Callable[..., int] = lambda emulator, members: 0
    stochastic: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    selectable: Callable[[tuple[str, ...]], bool] = lambda forecasters: True
    own_rollouts: Callable[[Emulator], bool] = lambda emulator: True


def one_call(emulator: Emulator, members: int) -> int:
    """Return the calls of a forecaster that calls one network a step."""
    return 1
