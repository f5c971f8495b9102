"""Beam search over fields: any proposal, any reward, one choice a sample; no model and no PDE."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ups_jax.registry import lookup
from ups_jax.types import Array, Key

Propose = Callable[[Array, Key, Array], Array]
Score = Callable[[Array, Array, Array], Array]
Advance = Callable[[Array, Array], Array]


class SearchResult(NamedTuple):
    """The best path found (b, t, *s, c), and a log of how it was found; see `beam_search`."""

    path: Array
    log: dict[str, Any]


class _Beam(NamedTuple):
    """Living paths of every sample, best first: a score of -inf marks a dead one."""

    u: Array
    score: Array


class _Step(NamedTuple):
    """What one step chose for every beam: where it came from, and what it took. (b, w, ...)."""

    u: Array
    parent: Array
    choice: Array
    reward: Array


def beam_search(
    propose: Propose,
    reward: Score,
    u0: Array,
    key: Key,
    *,
    steps: int,
    beams: int,
    candidates: int,
    discount: float = 1.0,
    lookahead: int = 0,
    advance: Advance | None = None,
    cost: int = 1,
) -> SearchResult:
    """Path of the highest discounted sum of rewards that a beam finds: u0 (b, *s, c) -> Search.

    `propose(u (b, w, *s, c), key, t)` -> (b, w, k, *s, c), of which candidate 0 must be the plain
    operator's step; `reward(prev, next, t)`, both (b, w, k, *s, c), -> (b, w, k), higher is better.
    The w best of each sample's w * k continuations survive, the lowest index at a tie: 1 beam of 1
    candidate is the plain rollout, bit by bit. A reward that is not finite is never chosen; where a
    sample has no other, its beams take candidate 0 and the step adds nothing to their scores.

    With `lookahead` h a continuation is ranked by its reward plus the discounted rewards of h
    further steps `advance(u (b, w, k, *s, c), t)` -> like u, past the last step too; scores and
    log hold its own reward alone. `cost` as in `calls_per_step`. Good values: 2 to 4 beams.

    log: `reward` and `choice` (b, t) of the path's transitions, `score` (b,) its discounted sum,
    `diversity` (b, t) RMS distance of the surviving beams (1 beam: of the candidates) from their
    mean in units of u, `calls` a step. ValueError before tracing on numbers out of range, while
    tracing on functions that return other shapes. Beam: Lowerre (1976); lookahead, the rollout
    algorithm: Bertsekas, Tsitsiklis and Wu (1997).
    """
    calls = calls_per_step(beams, candidates, lookahead, cost=cost)
    _at_least(1, steps=steps)
    if not 0 < discount <= 1:
        raise ValueError(f"search: discount is {discount}; it must be above 0 and at most 1")
    if lookahead and advance is None:
        raise ValueError(
            f"search: lookahead is {lookahead}, but there is no advance to look with; give one, "
            "or set lookahead to 0"
        )
    if u0.ndim < 3 or not jnp.issubdtype(u0.dtype, jnp.floating):
        raise ValueError(f"u0 is {u0.dtype} of shape {u0.shape}; expected floating (b, *s, c)")
    width = (u0.shape[0], beams, candidates)

    def future(u: Array, t: Array) -> Array:
        if advance is None or not lookahead:
            return jnp.zeros(width, u.dtype)
        return _lookahead(advance, reward, u, t, discount=discount, horizon=lookahead)

    def body(beam: _Beam, now: tuple[Array, Key, Array]) -> tuple[_Beam, tuple[_Step, Array]]:
        t, key, weight = now
        # Fused with its scoring, a candidate may be rounded as no rollout would.
        after = jax.lax.optimization_barrier(propose(beam.u, key, t))
        _expect("propose", after, (*width, *u0.shape[1:]))
        own = reward(jnp.broadcast_to(beam.u[:, :, None], after.shape), after, t)
        _expect("reward", own, width)
        own = own.astype(u0.dtype)
        return _select(beam, after, own, own + future(after, t), weight)

    # All beams begin as one field: were all of them alive, its best candidate would fill the beam.
    start = _Beam(
        jnp.broadcast_to(u0[:, None], (*width[:2], *u0.shape[1:])),
        jnp.full(width[:2], -jnp.inf, u0.dtype).at[:, 0].set(0),
    )
    times = jnp.arange(steps)
    weights = jnp.asarray(discount, u0.dtype) ** times
    keys = jax.random.split(key, steps)
    end, (found, diversity) = jax.lax.scan(body, start, (times, keys, weights))
    path, log = _backtrack(found)
    score = end.score[:, 0]
    return SearchResult(path, log | {"score": score, "diversity": diversity.T, "calls": calls})


def _select(
    beam: _Beam, after: Array, own: Array, value: Array, weight: Array
) -> tuple[_Beam, tuple[_Step, Array]]:
    """The best continuations after (b, w, k, *s, c), and their spread (b,).

    own, value: the reward (b, w, k) that counts, and the one with a future that ranks.
    """
    b, w, k = own.shape
    score = beam.score[..., None]
    rank, total = score + weight * value, score + weight * own
    good = jnp.isfinite(rank)
    lost = ~jnp.any(good, (1, 2), keepdims=True)
    plain = jnp.isfinite(score) & (jnp.arange(k).reshape(1, 1, k) == 0)
    good = jnp.where(lost, plain, good)
    rank, total = (jnp.where(good, jnp.where(lost, score, x), -jnp.inf) for x in (rank, total))

    index = jax.lax.top_k(rank.reshape(b, w * k), w)[1]
    flat = after.reshape(b, w * k, *after.shape[3:])
    u, score, reward = (
        _pick(x.reshape(b, w * k, *x.shape[3:]), index) for x in (after, total, own)
    )
    found = _Step(u, index // k, index % k, reward)
    group = (u, jnp.isfinite(score)) if w > 1 else (flat, good.reshape(b, k))
    return _Beam(u, score), (found, _spread(*group))


def _lookahead(
    advance: Advance, reward: Score, u: Array, t: Array, *, discount: float, horizon: int
) -> Array:
    """Discounted rewards of `horizon` plain steps from u (b, w, k, *s, c) at time t + 1."""

    def body(u: Array, i: Array) -> tuple[Array, Array]:
        after = advance(u, t + i)
        return after, reward(u, after, t + i)

    ahead = jnp.arange(1, horizon + 1)
    rewards = jax.lax.scan(body, u, ahead)[1]
    weights = jnp.asarray(discount, rewards.dtype) ** ahead
    return jnp.tensordot(weights, rewards, 1)


def _backtrack(found: _Step) -> tuple[Array, dict[str, Array]]:
    """From the best beam's end back to its start: found (t, b, w, ...) -> (b, t, *s, c), log."""

    def body(beam: Array, step: _Step) -> tuple[Array, tuple[Array, Array, Array]]:
        u, parent, choice, reward = (_pick(x, beam) for x in step)
        return parent, (u, choice, reward)

    best = jnp.zeros(found.parent.shape[1], found.parent.dtype)
    frames = jax.lax.scan(body, best, found, reverse=True)[1]
    path, choice, reward = (jnp.moveaxis(x, 0, 1) for x in frames)
    return path, {"choice": choice, "reward": reward}


def _pick(rows: Array, index: Array) -> Array:
    """Each sample's own rows: rows (b, m, ...), index (b,) or (b, w) -> (b, ...) or (b, w, ...)."""
    return jax.vmap(lambda row, i: row[i])(rows, index)


def _spread(u: Array, alive: Array) -> Array:
    """RMS distance to their mean of the living: u (b, m, *s, c), alive (b, m) -> (b,)."""
    axes = tuple(range(2, u.ndim))
    mask = jnp.expand_dims(alive, axes)
    count = jnp.sum(alive, 1)
    u = jnp.where(mask, u, 0)
    # Differences from the first member are exactly zero where all are the same.
    apart = jnp.where(mask, u - u[:, :1], 0)
    centre = jnp.sum(apart, 1, keepdims=True) / jnp.expand_dims(count, tuple(range(1, u.ndim)))
    square = jnp.where(alive, jnp.mean(jnp.square(apart - centre), axes), 0)
    return jnp.sqrt(jnp.sum(square, 1) / count)


def calls_per_step(beams: int, candidates: int, lookahead: int = 0, *, cost: int = 1) -> int:
    """Network calls of one step of a sample: w (1 + (k - 1) cost + k lookahead).

    The plain candidate is one call, every other one `cost` calls beyond it, and every candidate is
    looked after for `lookahead` plain steps. ValueError on less than one beam, candidate or call,
    or a lookahead below 0.
    """
    _at_least(1, beams=beams, candidates=candidates, cost=cost)
    _at_least(0, lookahead=lookahead)
    return beams * (1 + (candidates - 1) * cost + candidates * lookahead)


def max_candidates(calls: int, *, beams: int, lookahead: int = 0, cost: int = 1) -> int:
    """Most candidates a beam for which `calls_per_step` stays within `calls`; all as there.

    ValueError where not even one fits, which names the calls that it takes.
    """
    least = calls_per_step(beams, 1, lookahead, cost=cost)
    if calls < least:
        raise ValueError(
            f"search: a budget of {calls} network calls a step holds no candidate at {beams} beams "
            f"and lookahead {lookahead}; the smallest that does is {least}"
        )
    return 1 + (calls - least) // (beams * (cost + lookahead))


def constant(*, steps: int, start: float, end: float) -> Array:
    """`start` at every step; `end` is not read."""
    return jnp.full(steps, start, jnp.float32)


def linear(*, steps: int, start: float, end: float) -> Array:
    """Equal differences from `start` to `end`."""
    return jnp.linspace(start, end, steps, dtype=jnp.float32)


def geometric(*, steps: int, start: float, end: float) -> Array:
    """Equal ratios from `start` to `end`, both above 0."""
    if not (start > 0 and end > 0):
        raise ValueError(
            f"temperatures from {start} to {end}: a geometric schedule never reaches 0; set both "
            "above 0, or take 'linear'"
        )
    return jnp.geomspace(start, end, steps, dtype=jnp.float32)


TEMPERATURE_SCHEDULES = {"constant": constant, "geometric": geometric, "linear": linear}


def temperatures(name: str, *, steps: int, start: float, end: float) -> Array:
    """Scale of a proposal's noise at every step of a search, by a name of SCHEDULES -> (steps,).

    One step has `start`. ValueError on an unknown name, no step, or a negative or infinite number.
    """
    schedule = lookup(TEMPERATURE_SCHEDULES, name, "schedule")
    _at_least(1, steps=steps)
    if not (0 <= start < float("inf") and 0 <= end < float("inf")):
        raise ValueError(f"temperatures from {start} to {end}: both must be finite and at least 0")
    return schedule(steps=steps, start=start, end=end)


def _at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least or value != int(value):
            raise ValueError(f"search: {name} is {value}; a whole number of at least {least}")


def _expect(name: str, got: Array, shape: tuple[int, ...]) -> None:
    if got.shape != shape:
        raise ValueError(f"search: {name} returned shape {got.shape}; expected {shape}")
