"""What a simulator is, and one interval by each of its networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.data import condition, fit_normalizer, normalize
from ups_jax.diffusion import Noise
from ups_jax.models import Fns
from ups_jax.pde.base import PDE, Frame, Moving
from ups_jax.types import Array, Key, Params, Trajectories

Denoiser = Callable[[Array, Array], Array]
"""A network of the residual with its context bound: x (..., *s, c), level (..., f) -> like x."""


class Diffusion(NamedTuple):
    """How residuals are diffused: noise levels, teacher's sampler and steps, student's calls.

    With `feedback` a residual is what one step from a true frame lacks, and members go on from it;
    without, what the operator's rollout lacks, and members stand about that rollout.
    """

    noise: Noise
    sampler: str
    steps: int
    calls: int
    feedback: bool = False


class Search(NamedTuple):
    """How a path is searched: what draws candidates, how many, how far ahead, and by what reward.

    Noise of the draws is scaled from `start` to `end` by a name of `search.SCHEDULES`; `cost` is
    the network calls of a draw; `reward(prev, next, cond)` (..., *s, c) twice, (..., p) -> (...).
    """

    source: str
    beams: int
    candidates: int
    lookahead: int
    discount: float
    schedule: str
    start: float
    end: float
    cost: int
    reward: Callable[[Array, Array, Array], Array]


@dataclass(frozen=True, eq=False)
class Simulator:
    """Static functions of one task; parameters travel apart, as `stats` and one entry a model.

    The operator adds its increment to the field, or to `base(u, cond)` where there is one: a cheap
    step of the solver, which it then also sees (a hybrid). `galilean` has it see every field in the
    frame that moves with its mean (`PDE.at_rest`). `zero_mean` takes the spatial mean off every
    increment: for data that conserve it. `others` are the networks of the stages after the
    operator's, by the stage's name: operators again, with `noise` channels of noise where they are
    stochastic, or denoisers of the operator's residual, for which `diffusion` stands. `search`
    is for the forecaster `ttc`.
    """

    pde: PDE
    operator: Fns
    zero_mean: bool = False
    galilean: bool = False
    base: Callable[[Array, Array], Array] | None = None
    others: Mapping[str, Fns] = field(default_factory=dict)
    noise: int = 0
    diffusion: Diffusion | None = None
    search: Search | None = None


def identity_stats(sim: Simulator) -> Params:
    """Statistics that leave fields, parameters and residuals as they are."""
    c, p = len(sim.pde.channels), len(sim.pde.params)
    names = ["std", "increment_std"] + ["residual_std"] * bool(sim.diffusion)
    stats = {"mean": np.zeros(c, np.float32), **{n: np.ones(c, np.float32) for n in names}}
    # An array of no numbers cannot be saved.
    own = {"cond_mean": np.zeros(p, np.float32), "cond_std": np.ones(p, np.float32)} if p else {}
    return stats | own


def init(sim: Simulator, key: Key, stats: Mapping[str, Any] | None = None) -> Params:
    """Fresh parameters of every model, with the training split's statistics where given."""
    chosen = identity_stats(sim) | dict(stats or {})
    return {
        "stats": jax.tree.map(jnp.asarray, chosen),
        "operator": sim.operator.init(key),
        **{
            name: fns.init(jax.random.fold_in(key, i))
            for i, (name, fns) in enumerate(sim.others.items())
        },
    }


def operator_step(sim: Simulator, params: Params, u: Array, cond: Array) -> Array:
    """One interval by the operator, in physical units: u (..., *s, c), cond (..., p) -> like u."""
    seen = _frame(sim)(u)
    return seen.back(_predict(sim, params, seen.u, cond))


def model_step(
    sim: Simulator, params: Params, u: Array, cond: Array, z: Array | None = None, *, model: str
) -> Array:
    """One interval by another network of the operator's kind, with noise z (..., *s, noise)."""
    seen = _frame(sim)(u)
    return seen.back(_predict(sim, params, seen.u, cond, z, model=model))


def refined(
    sim: Simulator,
    params: Params,
    u: Array,
    ahead: Array,
    cond: Array,
    draw: Callable[[Denoiser], Array],
    *,
    model: str,
) -> Array:
    """The operator's step from u to ahead, and a residual that `draw` samples by a model's network.

    u, ahead (..., *s, c), cond (..., p) -> like u, or with leading axes of the draw's own. The
    network's function takes x (..., *s, c) and noise features (..., f), its context bound.
    """
    seen = _frame(sim)(u)
    still = seen.there(ahead)
    residual = draw(_denoiser(sim, params, seen.u, still, cond, model=model))
    residual = residual * _beside(params["stats"]["residual_std"], u)
    return seen.back(still + _without_mean(sim, residual))


def residual(
    sim: Simulator,
    params: Params,
    u: Array,
    ahead: Array,
    truth: Array,
    cond: Array,
    *,
    models: Sequence[str],
) -> tuple[Array, tuple[Denoiser, ...]]:
    """What the operator's step from u to ahead lacks of the truth, scaled to a deviation of one.

    All (..., *s, c), cond (..., p) -> like u, and the function of each model as `refined` has it.
    """
    seen = _frame(sim)(u)
    still = seen.there(ahead)
    lack = (seen.there(truth) - still) / _beside(params["stats"]["residual_std"], u)
    networks = tuple(_denoiser(sim, params, seen.u, still, cond, model=m) for m in models)
    return _without_mean(sim, lack), networks


def _predict(
    sim: Simulator,
    params: Params,
    u: Array,
    cond: Array,
    z: Array | None = None,
    *,
    model: str = "operator",
) -> Array:
    """The field one interval later, both in the operator's frame."""
    stats, network = params["stats"], sim.others.get(model, sim.operator)
    start, given = u, normalize(stats, u)
    if sim.base is not None:
        start = sim.base(u, cond)
        given = jnp.concatenate([given, normalize(stats, start)], -1)
    told = condition(stats, sim.pde.features(cond))
    noise = () if z is None else (z,)
    increment = network.apply(params[model], given, told, *noise)
    increment = increment * _beside(stats["increment_std"], u)
    return start + _without_mean(sim, increment)


def _denoiser(
    sim: Simulator, params: Params, u: Array, ahead: Array, cond: Array, *, model: str
) -> Denoiser:
    """The network of a residual, bound to the two fields and to the parameters that it corrects."""
    stats = params["stats"]
    beside = jnp.concatenate([normalize(stats, u), normalize(stats, ahead)], -1)
    told = condition(stats, sim.pde.features(cond))

    def network(x: Array, level: Array) -> Array:
        return sim.others[model].apply(params[model], x, beside, jnp.concatenate([told, level], -1))

    return network


def _without_mean(sim: Simulator, increment: Array) -> Array:
    if not sim.zero_mean:
        return increment
    axes = tuple(range(-1 - sim.pde.ndim, -1))
    return increment - jnp.mean(increment, axes, keepdims=True)


def _beside(vector: Array, u: Array) -> Array:
    return vector.reshape((1,) * (u.ndim - 1) + (-1,))


def _frame(sim: Simulator) -> Frame:
    """The frame in which the operator works."""
    if not sim.galilean:
        return lambda u: Moving(u, lambda v: v, lambda v: v)
    assert sim.pde.at_rest is not None
    return sim.pde.at_rest


def statistics(sim: Simulator, train: Trajectories) -> Params:
    """Scales of the training split in the operator's frame, for `init`; see `fit_normalizer`."""
    frame = _frame(sim)

    def guess(u: Array, cond: Array) -> Array:
        seen = frame(u)
        return seen.back(seen.u if sim.base is None else sim.base(seen.u, cond))

    plain = sim.base is None and not sim.galilean
    return fit_normalizer(
        train,
        sim.pde.features,
        guess=None if plain else guess,
        seen=(lambda u: frame(u).u) if sim.galilean else None,
    )


def count(tree: Any) -> int:
    """Number of scalars in a tree of arrays."""
    return sum(int(np.size(x)) for x in jax.tree.leaves(tree))
