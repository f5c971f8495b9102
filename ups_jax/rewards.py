"""Scores of a transition from physics alone, never from the truth: what a search may go by.

Every score is at most 0, which is best, and relative to the earlier frame's own scale.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import NamedTuple

import jax.numpy as jnp

from ups_jax.arrays import rms, safe_ratio
from ups_jax.pde.base import PDE
from ups_jax.registry import lookup
from ups_jax.types import Array


class Reward(NamedTuple):
    """`score(pde, prev, next, cond)`: (..., *s, c) twice, (..., p) -> (...), and when it holds.

    `needs` names the laws that a PDE must have, `convex` asks for a flux with `PDE.convexity`.
    """

    score: Callable[[PDE, Array, Array, Array], Array]
    needs: tuple[str, ...] = ()
    convex: bool = False


def pde_residual(pde: PDE, prev: Array, next: Array, cond: Array) -> Array:
    """Minus the RMS of the PDE's residual times dt over prev's RMS: (..., *s, c) -> (...).

    The true pair's own score is not zero but the truncation error of the trapezoid rule.
    """
    parts = safe_ratio(rms(pde.residual(prev, next, cond), pde.ndim) * pde.dt, rms(prev, pde.ndim))
    return -jnp.mean(parts, -1)


def energy(pde: PDE, prev: Array, next: Array, cond: Array) -> Array:
    """Minus the growth of energy over prev's energy: (..., *s, c) -> (...)."""
    return -_growth(pde, "energy", prev, next)


def total_variation(pde: PDE, prev: Array, next: Array, cond: Array) -> Array:
    """Minus the growth of total variation over prev's: (..., *s, c) -> (...). Harten (1983)."""
    return -_growth(pde, "total_variation", prev, next)


def maximum_principle(pde: PDE, prev: Array, next: Array, cond: Array) -> Array:
    """Minus the larger excess over prev's extremes, over prev's span: (..., *s, c) -> (...)."""
    above, below = (_growth(pde, name, prev, next) for name in ("maximum", "minimum"))
    return -jnp.maximum(above, below)


def oleinik(pde: PDE, prev: Array, next: Array, cond: Array) -> Array:
    """Minus the rise beyond what a convex flux leaves, over prev's span: (..., x, c) -> (...).

    Where u_x <= s, it is at most s / (1 + a s dt) one interval later, a the least f''; slopes are
    forward differences. Their excess times dx is the height that a cell rises too far, which over
    the span is a part of the field's range as in `maximum_principle`: noise scores the same on
    every grid, and fields that hardly rise are not blown up, as they would be over s.
    A jump upwards within one cell is steeper than its difference: the truth then scores down to
    about -(dx / (a dt span))^2. Oleinik (1957); along the largest slope, d(u_x)/dt <= -a u_x^2.
    """
    dx = pde.extent[0] / prev.shape[-2]
    before, after = (jnp.max(jnp.roll(u, -1, -2) - u, (-2, -1)) for u in (prev, next))
    allowed = before / (1 + pde.convexity * pde.dt / dx * before)
    excess = jnp.maximum(0.0, after - allowed)
    return -safe_ratio(excess, pde.laws["maximum"].scale(prev))


REWARDS: dict[str, Reward] = {
    "energy": Reward(energy, ("energy",)),
    "maximum_principle": Reward(maximum_principle, ("maximum", "minimum")),
    "oleinik": Reward(oleinik, ("maximum",), convex=True),
    "pde_residual": Reward(pde_residual),
    "total_variation": Reward(total_variation, ("total_variation",)),
}


def weighted_reward(
    pde: PDE, names: Sequence[str], weights: Sequence[float]
) -> Callable[[Array, Array, Array], Array]:
    """Weighted sum of REWARDS as one function: prev, next (..., *s, c), cond (..., p) -> (...).

    ValueError at once on no name, an unknown one, one that does not hold for the PDE, and on
    weights that are not one a name, finite, at least 0 and somewhere above.
    """
    if not names:
        raise ValueError(f"search.rewards is empty; name at least one of {', '.join(REWARDS)}")
    for name in names:
        _require(pde, name, lookup(REWARDS, name, "reward"))
    if len(weights) != len(names):
        raise ValueError(
            f"search.weights has {len(weights)} numbers for the {len(names)} names of "
            "search.rewards; give one each"
        )
    if not (all(isfinite(w) and w >= 0 for w in weights) and any(weights)):
        raise ValueError(
            f"search.weights is {tuple(weights)}; finite numbers of at least 0, not all of them 0"
        )
    # A weight of zero times an infinite score would be no number.
    used = [(w, REWARDS[name].score) for name, w in zip(names, weights, strict=True) if w]

    def score(prev: Array, next: Array, cond: Array) -> Array:
        parts = [w * one(pde, prev, next, cond) for w, one in used]
        return sum(parts[1:], parts[0])

    return score


def _require(pde: PDE, name: str, reward: Reward) -> None:
    for law in reward.needs:
        if law not in pde.laws:
            raise ValueError(
                f"reward {name!r} needs the law {law!r}, but pde {pde.name!r} has "
                f"{', '.join(pde.laws) or 'none'}; drop it from search.rewards"
            )
    if reward.convex and not pde.convexity > 0:
        raise ValueError(
            f"reward {name!r} holds for convex fluxes, but pde {pde.name!r} has convexity "
            f"{pde.convexity}; drop it from search.rewards"
        )


def _growth(pde: PDE, name: str, prev: Array, next: Array) -> Array:
    """How far a law's value grows, over the law's scale of prev: (..., *s, c) -> (...)."""
    law = pde.laws[name]
    return safe_ratio(jnp.maximum(0.0, law.value(next) - law.value(prev)), law.scale(prev))
