"""What a forecaster is, and what it returns."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ups_jax.emulator import Emulator
from ups_jax.types import Array


class Forecast(NamedTuple):
    """Continued fields `u` (b, t, *s, c); `members` (b, m, t, *s, c) and a `log`, if any."""

    u: Array
    members: Array | None = None
    log: Mapping[str, Array] | None = None


class Forecaster(NamedTuple):
    """`run(emulator, params, u0, cond, key, steps=..., **options)`, its networks, a word on kinship.

    `models` are entries of the parameters, and names of the stages that train them; `calls`
    counts the network calls of one step, all members together; `draws` tells that it has members.
    """

    run: Callable[..., Forecast]
    models: tuple[str, ...] = ()
    note: str = ""
    calls: Callable[[Emulator, int], int] = lambda emulator, members: 0
    draws: bool = False


def one_call(emulator: Emulator, members: int) -> int:
    """One call a step."""
    return 1
