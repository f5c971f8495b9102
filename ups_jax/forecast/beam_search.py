"""Forecaster of test-time search: a path for each sample, selected by rewards of physics."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ups_jax import search
from ups_jax.arrays import FLOOR
from ups_jax.emulator import DiffusionSpec, Emulator, SearchSpec, step
from ups_jax.forecast.base import Forecast
from ups_jax.forecast.ensembles import StochasticStep, ensemble_step, student_step
from ups_jax.types import Array, Key, Params

Reward = Callable[[Array, Array, Array, Array], Array]
"""prev, next (..., *s, c), cond (..., p), step t -> (...); higher is better."""


def ttc(
    emulator: Emulator,
    params: Params,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    steps: int,
    beams: int | None = None,
    candidates: int | None = None,
    lookahead: int | None = None,
) -> Forecast:
    """Return the path with the highest reward among those of a beam search.

    Candidate 0 is the operator's step, so one beam with one candidate is the operator. Sizes
    default to the emulator's. The log is that of `search.beam_search`.
    """
    spec = search_spec(emulator, beams=beams, candidates=candidates, lookahead=lookahead)
    floor = FLOOR * params["stats"]["std"]

    def reward(prev: Array, after: Array, cond: Array, t: Array) -> Array:
        return spec.reward(prev, after, cond, floor)

    return search_forecast(emulator, params, u0, cond, key, steps=steps, spec=spec, reward=reward)


def search_spec(emulator: Emulator, **numbers: int | None) -> SearchSpec:
    """Return the emulator's search with some sizes replaced. Raises ValueError if it has none."""
    if emulator.search is None:
        raise ValueError(
            "forecaster 'ttc' has no source of candidates; train stage 'ensemble' or 'student'"
        )
    return emulator.search._replace(**{k: v for k, v in numbers.items() if v is not None})


def search_forecast(
    emulator: Emulator,
    params: Params,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    steps: int,
    spec: SearchSpec,
    reward: Reward,
) -> Forecast:
    """Return a beam search with any reward; bounds and controls may use one that sees the truth."""
    temperatures = search.temperatures(
        spec.temperature_schedule,
        steps=steps,
        start=spec.temperature_start,
        end=spec.temperature_end,
    )

    def cond_like(u: Array) -> Array:
        lead = u.shape[: u.ndim - 1 - emulator.pde.ndim]
        shape = (cond.shape[0], *(1,) * (len(lead) - 1), cond.shape[-1])
        return jnp.broadcast_to(cond.reshape(shape), (*lead, cond.shape[-1]))

    def propose(u: Array, key: Key, t: Array) -> Array:
        return propose_candidates(
            emulator, params, u, cond_like(u), key, spec=spec, temperature=temperatures[t]
        )

    result = search.beam_search(
        propose,
        lambda prev, after, t: reward(prev, after, cond_like(after), t),
        u0,
        key,
        steps=steps,
        beams=spec.beams,
        candidates=spec.candidates,
        discount=spec.discount,
        lookahead=spec.lookahead,
        advance=lambda u, t: step(emulator, params, u, cond_like(u)),
        cost=spec.cost,
    )
    return Forecast(result.path, None, result.log)


def propose_candidates(
    emulator: Emulator,
    params: Params,
    u: Array,
    cond: Array,
    key: Key,
    *,
    spec: SearchSpec,
    temperature: Array | float,
) -> Array:
    """Return the operator's step, then samples: u (b, w, *s, c) -> (b, w, k, *s, c)."""
    plain = step(emulator, params, u, cond)[:, :, None]
    if spec.candidates == 1:
        return plain
    advance = PROPOSALS[spec.source].step(emulator, params, temperature=temperature)
    keys = jax.random.split(key, spec.candidates - 1)
    samples = jax.vmap(lambda k: advance(u, cond, k), out_axes=2)(keys)
    return jnp.concatenate([plain, samples], 2)


class Proposal(NamedTuple):
    """A source of candidates: `step(emulator, params, temperature=...)`, and its network calls.

    `cost` maps the diffusion settings, if the emulator has any, to the calls of one candidate.
    """

    step: Callable[..., StochasticStep]
    cost: Callable[[DiffusionSpec | None], int] = lambda spec: 1


def _student_cost(spec: DiffusionSpec | None) -> int:
    assert spec is not None
    return spec.student_steps


PROPOSALS: dict[str, Proposal] = {
    "ensemble": Proposal(ensemble_step),
    "student": Proposal(student_step, _student_cost),
}


def search_calls(
    emulator: Emulator,
    members: int = 1,
    *,
    beams: int | None = None,
    candidates: int | None = None,
    lookahead: int | None = None,
) -> int:
    """Return the network calls of one step of the search."""
    spec = search_spec(emulator, beams=beams, candidates=candidates, lookahead=lookahead)
    return search.calls_per_step(spec.beams, spec.candidates, spec.lookahead, cost=spec.cost)
