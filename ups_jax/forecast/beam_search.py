"""The forecaster that searches at test time: a path for each sample, by physics alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ups_jax import search
from ups_jax.emulator import Search, Simulator, operator_step
from ups_jax.forecast.base import Forecast
from ups_jax.forecast.ensembles import Draw, crps_draw, distilled_draw
from ups_jax.types import Array, Key, Params

Reward = Callable[[Array, Array, Array, Array], Array]
"""prev, next (..., *s, c), cond (..., p), step t -> (...); higher is better."""


def ttc(
    sim: Simulator,
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
    """The path whose transitions the simulator's rewards like best, by beam search.

    Candidate 0 is the plain operator's step: one beam of one candidate is the operator. The
    numbers default to the simulator's. The log is that of `search.beam_search`.
    """
    spec = with_numbers(sim, beams=beams, candidates=candidates, lookahead=lookahead)

    def reward(prev: Array, after: Array, cond: Array, t: Array) -> Array:
        return spec.reward(prev, after, cond)

    return searched(sim, params, u0, cond, key, steps=steps, spec=spec, reward=reward)


def with_numbers(sim: Simulator, **numbers: int | None) -> Search:
    """The simulator's search with some of its numbers replaced. ValueError where it has none."""
    if sim.search is None:
        raise ValueError(
            "forecaster 'ttc' has nothing to draw candidates from; train stage crps or distill"
        )
    return sim.search._replace(**{k: v for k, v in numbers.items() if v is not None})


def searched(
    sim: Simulator,
    params: Params,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    steps: int,
    spec: Search,
    reward: Reward,
) -> Forecast:
    """Beam search with any reward, one that knows the truth among them: for bounds and controls."""
    warm = search.temperatures(spec.schedule, steps=steps, start=spec.start, end=spec.end)

    def beside(u: Array) -> Array:
        lead = u.shape[: u.ndim - 1 - sim.pde.ndim]
        shape = (cond.shape[0], *(1,) * (len(lead) - 1), cond.shape[-1])
        return jnp.broadcast_to(cond.reshape(shape), (*lead, cond.shape[-1]))

    def propose(u: Array, key: Key, t: Array) -> Array:
        return candidates_of(sim, params, u, beside(u), key, spec=spec, temperature=warm[t])

    found = search.beam_search(
        propose,
        lambda prev, after, t: reward(prev, after, beside(after), t),
        u0,
        key,
        steps=steps,
        beams=spec.beams,
        candidates=spec.candidates,
        discount=spec.discount,
        lookahead=spec.lookahead,
        advance=lambda u, t: operator_step(sim, params, u, beside(u)),
        cost=spec.cost,
    )
    return Forecast(found.path, None, found.log)


def candidates_of(
    sim: Simulator,
    params: Params,
    u: Array,
    cond: Array,
    key: Key,
    *,
    spec: Search,
    temperature: Array | float,
) -> Array:
    """The plain step and draws beside it: u (b, w, *s, c), cond (b, w, p) -> (b, w, k, *s, c)."""
    plain = operator_step(sim, params, u, cond)[:, :, None]
    if spec.candidates == 1:
        return plain
    draw = SOURCES[spec.source](sim, params, temperature=temperature)
    keys = jax.random.split(key, spec.candidates - 1)
    others = jax.vmap(lambda k: draw(u, cond, k), out_axes=2)(keys)
    return jnp.concatenate([plain, others], 2)


SOURCES: dict[str, Callable[..., Draw]] = {"crps": crps_draw, "distilled": distilled_draw}


def calls(sim: Simulator, members: int = 1) -> int:
    """Network calls of one step of the search."""
    spec = with_numbers(sim)
    return search.calls_per_step(spec.beams, spec.candidates, spec.lookahead, cost=spec.cost)
