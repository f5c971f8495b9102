"""Rewards of a step for search, from physics alone and never from the truth.

Every score is at most 0, which is best, and relative to the scale of the earlier frame.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import NamedTuple

import jax.numpy as jnp

from ups_jax.arrays import rms, safe_ratio
from ups_jax.pde.base import PDE
from ups_jax.pde.laws import law_floor
from ups_jax.registry import lookup
from ups_jax.types import Array


class Reward(NamedTuple):
    """A score and its requirements.

    `score(pde, prev, next, cond)` maps two frames (..., *s, c) and cond (..., p) to (...); if it is
    `relative`, it takes `floor=`, that of `pde.laws.law_floor`. `needs` names the laws that the PDE
    must have; `convex` requires `PDE.convexity` > 0, `residual` a `PDE.residual`.
    """

    score: Callable[..., Array]
    needs: tuple[str, ...] = ()
    convex: bool = False
    residual: bool = False
    relative: bool = False


def pde_residual(
    pde: PDE, prev: Array, next: Array, cond: Array, *, floor: Array | float = 0.0
) -> Array:
    """Minus the RMS of the PDE residual, times dt / RMS of prev: (..., *s, c) -> (...).

    The score of true frames is minus the truncation error of the trapezoidal rule, not zero.
    """
    size = rms(pde.residual(prev, next, cond), pde.ndim) * pde.dt
    return -jnp.mean(safe_ratio(size, rms(prev, pde.ndim), floor), -1)


def energy(pde: PDE, prev: Array, next: Array, cond: Array, *, floor: Array | float = 0.0) -> Array:
    """Minus the growth of energy, relative to prev: (..., *s, c) -> (...)."""
    return -_growth(pde, "energy", prev, next, floor)


def total_variation(
    pde: PDE, prev: Array, next: Array, cond: Array, *, floor: Array | float = 0.0
) -> Array:
    """Minus the growth of total variation, relative to prev: (...). Harten (1983)."""
    return -_growth(pde, "total_variation", prev, next, floor)


def maximum_principle(
    pde: PDE, prev: Array, next: Array, cond: Array, *, floor: Array | float = 0.0
) -> Array:
    """Minus the larger excess over the extremes of prev, relative to its range: (...)."""
    above, below = (_growth(pde, name, prev, next, floor) for name in ("maximum", "minimum"))
    return -jnp.maximum(above, below)


def oleinik(
    pde: PDE, prev: Array, next: Array, cond: Array, *, floor: Array | float = 0.0
) -> Array:
    """Minus the excess of the slope over Oleinik's bound, relative to prev: (..., x, c) -> (...).

    If u_x <= s, then u_x <= s / (1 + a s dt) one interval later, with a the smallest f''; from
    d(u_x)/dt <= -a u_x^2 along the largest slope. Slopes are forward differences. The excess times
    dx is divided by the range of prev, as in `maximum_principle`, so that noise has the same score
    on every grid; a division by s would amplify fields without rises. For an upward jump within
    one cell, the score of the truth can reach about -(dx / (a dt range))^2. Oleinik (1957).
    """
    dx = pde.extent[0] / prev.shape[-2]
    before, after = (jnp.max(jnp.roll(u, -1, -2) - u, (-2, -1)) for u in (prev, next))
    allowed = before / (1 + pde.convexity * pde.dt / dx * before)
    excess = jnp.maximum(0.0, after - allowed)
    law = pde.laws["maximum"]
    return -safe_ratio(excess, law.scale(prev), law_floor(law, prev, floor, pde.ndim))


REWARDS: dict[str, Reward] = {
    "energy": Reward(energy, ("energy",), relative=True),
    "maximum_principle": Reward(maximum_principle, ("maximum", "minimum"), relative=True),
    "oleinik": Reward(oleinik, ("maximum",), convex=True, relative=True),
    "pde_residual": Reward(pde_residual, residual=True, relative=True),
    "total_variation": Reward(total_variation, ("total_variation",), relative=True),
}


def weighted_reward(
    pde: PDE, names: Sequence[str], weights: Sequence[float]
) -> Callable[..., Array]:
    """Weighted sum of REWARDS: prev, next (..., *s, c), cond (..., p), floor=0.0 -> (...).

    Raises ValueError if there is no name, a name is unknown or its requirements are not met, and
    unless there is one finite, non-negative weight for each name, at least one of them positive.
    """
    if not names:
        raise ValueError(f"search.rewards is empty; name at least one of {', '.join(REWARDS)}")
    for name in names:
        check_requirements(pde, name)
    if len(weights) != len(names):
        raise ValueError(
            f"search.weights has {len(weights)} numbers for the {len(names)} names of "
            "search.rewards; give one for each name"
        )
    if not (all(isfinite(w) and w >= 0 for w in weights) and any(weights)):
        raise ValueError(
            f"search.weights is {tuple(weights)}; expected finite numbers of at least 0, "
            "not all of them 0"
        )
    # Zero times an infinite score would be NaN.
    terms = [(w, REWARDS[name]) for name, w in zip(names, weights, strict=True) if w]

    def reward(prev: Array, next: Array, cond: Array, floor: Array | float = 0.0) -> Array:
        parts = []
        for w, term in terms:
            floors = {"floor": floor} if term.relative else {}
            parts.append(w * term.score(pde, prev, next, cond, **floors))
        return sum(parts[1:], parts[0])

    return reward


def check_requirements(pde: PDE, name: str) -> None:
    """Raise ValueError if the PDE lacks what a reward of REWARDS needs."""
    reward = lookup(REWARDS, name, "reward")
    if reward.residual and not pde.has("residual"):
        raise ValueError(
            f"reward {name!r} needs a residual, which pde {pde.name!r} lacks; drop it from "
            "search.rewards"
        )
    for law in reward.needs:
        if law not in pde.laws:
            raise ValueError(
                f"reward {name!r} needs the law {law!r}, but pde {pde.name!r} has "
                f"{', '.join(pde.laws) or 'none'}; drop it from search.rewards"
            )
    if reward.convex and not pde.convexity > 0:
        raise ValueError(
            f"reward {name!r} needs a convex flux, but pde {pde.name!r} has convexity "
            f"{pde.convexity}; drop it from search.rewards"
        )


def _growth(pde: PDE, name: str, prev: Array, next: Array, floor: Array | float) -> Array:
    """Growth of a law's value over the law's scale of prev: (..., *s, c) -> (...)."""
    law = pde.laws[name]
    growth = jnp.maximum(0.0, law.value(next) - law.value(prev))
    return safe_ratio(growth, law.scale(prev), law_floor(law, prev, floor, pde.ndim))
