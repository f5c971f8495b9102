"""What a simulator is, and one interval by each of its networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import per_channel, spatial_axes
from ups_jax.data import condition, fit_normalizer, normalize
from ups_jax.diffusion import NoiseSchedule
from ups_jax.models import Network
from ups_jax.pde.base import PDE, GalileanFrame, ToFrame
from ups_jax.types import Array, Key, Params, Trajectories

Denoiser = Callable[[Array, Array], Array]
"""A network of the residual with its context bound: x (..., *s, c), level (..., f) -> like x."""


class DiffusionSpec(NamedTuple):
    """How residuals are diffused: noise levels, teacher's sampler and steps, student's calls.

    With `autoregressive` a residual is what one step from a true frame lacks, and members go on from it;
    without, what the operator's rollout lacks, and members stand about that rollout.
    """

    noise: NoiseSchedule
    sampler: str
    steps: int
    student_steps: int
    autoregressive: bool = False


class SearchSpec(NamedTuple):
    """How a path is searched: what draws candidates, how many, how far ahead, and by what reward.

    Noise of the draws is scaled from `temperature_start` to `temperature_end` by a name of `search.SCHEDULES`; `cost` is
    the network calls of a draw; `reward(prev, next, cond)` (..., *s, c) twice, (..., p) -> (...).
    """

    source: str
    beams: int
    candidates: int
    lookahead: int
    discount: float
    temperature_schedule: str
    temperature_start: float
    temperature_end: float
    cost: int
    reward: Callable[[Array, Array, Array], Array]


@dataclass(frozen=True, eq=False)
class Emulator:
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
    operator: Network
    zero_mean: bool = False
    galilean: bool = False
    base: Callable[[Array, Array], Array] | None = None
    others: Mapping[str, Network] = field(default_factory=dict)
    noise: int = 0
    diffusion: DiffusionSpec | None = None
    search: SearchSpec | None = None


def identity_stats(emulator: Emulator) -> Params:
    """Statistics that leave fields, parameters and residuals as they are."""
    c, p = len(emulator.pde.channels), len(emulator.pde.params)
    names = ["std", "increment_std"] + ["residual_std"] * bool(emulator.diffusion)
    stats = {"mean": np.zeros(c, np.float32), **{n: np.ones(c, np.float32) for n in names}}
    # An array of no numbers cannot be saved.
    own = {"cond_mean": np.zeros(p, np.float32), "cond_std": np.ones(p, np.float32)} if p else {}
    return stats | own


def init(emulator: Emulator, key: Key, stats: Mapping[str, Any] | None = None) -> Params:
    """Fresh parameters of every model, with the training split's statistics where given."""
    chosen = identity_stats(emulator) | dict(stats or {})
    return {
        "stats": jax.tree.map(jnp.asarray, chosen),
        "operator": emulator.operator.init(key),
        **{
            name: fns.init(jax.random.fold_in(key, i))
            for i, (name, fns) in enumerate(emulator.others.items())
        },
    }


def step(
    emulator: Emulator,
    params: Params,
    u: Array,
    cond: Array,
    z: Array | None = None,
    *,
    model: str = "operator",
) -> Array:
    """Advance u (..., *s, c) by one interval with a network, in physical units.

    cond: (..., p); z: noise (..., *s, noise) of a stochastic network; model: its entry of params.
    """
    seen = _galilean_frame(emulator)(u)
    return seen.back(_predict(emulator, params, seen.u, cond, z, model=model))


def add_residual(
    emulator: Emulator,
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
    seen = _galilean_frame(emulator)(u)
    still = seen.there(ahead)
    residual = draw(_bind_denoiser(emulator, params, seen.u, still, cond, model=model))
    residual = residual * per_channel(params["stats"]["residual_std"], u)
    return seen.back(still + _remove_mean(emulator, residual))


def residual_target(
    emulator: Emulator,
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
    seen = _galilean_frame(emulator)(u)
    still = seen.there(ahead)
    lack = (seen.there(truth) - still) / per_channel(params["stats"]["residual_std"], u)
    networks = tuple(_bind_denoiser(emulator, params, seen.u, still, cond, model=m) for m in models)
    return _remove_mean(emulator, lack), networks


def _predict(
    emulator: Emulator,
    params: Params,
    u: Array,
    cond: Array,
    z: Array | None = None,
    *,
    model: str = "operator",
) -> Array:
    """The field one interval later, both in the operator's frame."""
    stats, network = params["stats"], emulator.others.get(model, emulator.operator)
    start, given = u, normalize(stats, u)
    if emulator.base is not None:
        start = emulator.base(u, cond)
        given = jnp.concatenate([given, normalize(stats, start)], -1)
    told = condition(stats, emulator.pde.features(cond))
    noise = () if z is None else (z,)
    increment = network.apply(params[model], given, told, *noise)
    increment = increment * per_channel(stats["increment_std"], u)
    return start + _remove_mean(emulator, increment)


def _bind_denoiser(
    emulator: Emulator, params: Params, u: Array, ahead: Array, cond: Array, *, model: str
) -> Denoiser:
    """The network of a residual, bound to the two fields and to the parameters that it corrects."""
    stats = params["stats"]
    beside = jnp.concatenate([normalize(stats, u), normalize(stats, ahead)], -1)
    told = condition(stats, emulator.pde.features(cond))

    def network(x: Array, level: Array) -> Array:
        return emulator.others[model].apply(
            params[model], x, beside, jnp.concatenate([told, level], -1)
        )

    return network


def _remove_mean(emulator: Emulator, increment: Array) -> Array:
    if not emulator.zero_mean:
        return increment
    axes = spatial_axes(emulator.pde.ndim)
    return increment - jnp.mean(increment, axes, keepdims=True)


def _galilean_frame(emulator: Emulator) -> ToFrame:
    """The frame in which the operator works."""
    if not emulator.galilean:
        return lambda u: GalileanFrame(u, lambda v: v, lambda v: v)
    assert emulator.pde.at_rest is not None
    return emulator.pde.at_rest


def fit_statistics(emulator: Emulator, train: Trajectories) -> Params:
    """Scales of the training split in the operator's frame, for `init`; see `fit_normalizer`."""
    frame = _galilean_frame(emulator)

    def guess(u: Array, cond: Array) -> Array:
        seen = frame(u)
        return seen.back(seen.u if emulator.base is None else emulator.base(seen.u, cond))

    plain = emulator.base is None and not emulator.galilean
    return fit_normalizer(
        train,
        emulator.pde.features,
        guess=None if plain else guess,
        seen=(lambda u: frame(u).u) if emulator.galilean else None,
    )


def num_params(tree: Any) -> int:
    """Number of scalars in a tree of arrays."""
    return sum(int(np.size(x)) for x in jax.tree.leaves(tree))
