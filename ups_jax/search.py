"""Beam search over fields, for any proposal and any reward; each sample is searched separately."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ups_jax.registry import lookup
from ups_jax.types import Array, Key

Propose = Callable[[Array, Key, Array], Array]
"""Candidates of every beam: `propose(u (b, w, *s, c), key, t)` -> (b, w, k, *s, c)."""
TransitionReward = Callable[[Array, Array, Array], Array]
"""Reward of a step: `reward(prev, next, t)`, both (b, w, k, *s, c), -> (b, w, k)."""
Advance = Callable[[Array, Array], Array]
"""Plain step of the lookahead: `advance(u (b, w, k, *s, c), t)` -> like u."""


class SearchResult(NamedTuple):
    """Best path (b, t, *s, c) and the log of the search; see `beam_search`."""

    path: Array
    log: dict[str, Any]


class _Beam(NamedTuple):
    """Last frames and scores of the beams, best first; a score of -inf marks an empty beam."""

    u: Array
    score: Array


class _Step(NamedTuple):
    """Selection of one step: new frames, parent beams, candidates and rewards, all (b, w, ...)."""

    u: Array
    parent: Array
    choice: Array
    reward: Array


def beam_search(
    propose: Propose,
    reward: TransitionReward,
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
    """Search the path with the highest discounted sum of rewards: u0 (b, *s, c) -> SearchResult.

    Candidate 0 of `propose` must be the plain operator's step. Of each sample's w * k continuations
    the w best are kept; ties take the lowest index. One beam of one candidate is the plain rollout,
    bit by bit. A continuation with a non-finite reward is never selected. If a sample has no other,
    its beams take candidate 0 and their scores do not change.

    With `lookahead` h, a continuation is ranked by its reward plus the discounted rewards of h
    further plain steps, past the last step too. Scores and log contain its immediate reward only.
    `cost` as in `calls_per_step`. Good values: 2 to 4 beams.

    log: `reward` and `choice` (b, t) of the path's transitions, `score` (b,) its discounted sum,
    `diversity` (b, t) RMS distance of the selected beams (1 beam: of the candidates) from their
    mean in units of u, `calls` per step. Raises ValueError on numbers out of range before tracing,
    and on functions that return wrong shapes while tracing. Beam: Lowerre (1976). Lookahead is the
    rollout algorithm: Bertsekas, Tsitsiklis and Wu (1997).
    """
    calls = calls_per_step(beams, candidates, lookahead, cost=cost)
    _at_least(1, steps=steps)
    if not 0 < discount <= 1:
        raise ValueError(f"search: discount is {discount}; it must be above 0 and at most 1")
    if lookahead and advance is None:
        raise ValueError(
            f"search: lookahead is {lookahead}, but there is no advance; pass advance=, or set "
            "lookahead to 0"
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
        # Without the barrier, fusion with the reward may round a candidate unlike a rollout.
        after = jax.lax.optimization_barrier(propose(beam.u, key, t))
        _expect("propose", after, (*width, *u0.shape[1:]))
        gain = reward(jnp.broadcast_to(beam.u[:, :, None], after.shape), after, t)
        _expect("reward", gain, width)
        gain = gain.astype(u0.dtype)
        return _select(beam, after, gain, gain + future(after, t), weight)

    # All beams start from one field: only the first is active, else copies would fill the beams.
    start = _Beam(
        jnp.broadcast_to(u0[:, None], (*width[:2], *u0.shape[1:])),
        jnp.full(width[:2], -jnp.inf, u0.dtype).at[:, 0].set(0),
    )
    times = jnp.arange(steps)
    weights = jnp.asarray(discount, u0.dtype) ** times
    keys = jax.random.split(key, steps)
    end, (steps_taken, diversity) = jax.lax.scan(body, start, (times, keys, weights))
    path, log = _backtrack(steps_taken)
    score = end.score[:, 0]
    return SearchResult(path, log | {"score": score, "diversity": diversity.T, "calls": calls})


def _select(
    beam: _Beam, after: Array, gain: Array, value: Array, weight: Array
) -> tuple[_Beam, tuple[_Step, Array]]:
    """Select the best continuations after (b, w, k, *s, c), and compute their spread (b,).

    gain, value (b, w, k): the reward that is scored, and with the lookahead the one that ranks.
    """
    b, w, k = gain.shape
    score = beam.score[..., None]
    rank, total = score + weight * value, score + weight * gain
    valid = jnp.isfinite(rank)
    none_valid = ~jnp.any(valid, (1, 2), keepdims=True)
    plain = jnp.isfinite(score) & (jnp.arange(k).reshape(1, 1, k) == 0)
    valid = jnp.where(none_valid, plain, valid)
    rank, total = (
        jnp.where(valid, jnp.where(none_valid, score, x), -jnp.inf) for x in (rank, total)
    )
    index = jax.lax.top_k(rank.reshape(b, w * k), w)[1]
    flat = after.reshape(b, w * k, *after.shape[3:])
    u, score, reward = (
        _pick(x.reshape(b, w * k, *x.shape[3:]), index) for x in (after, total, gain)
    )
    group = (u, jnp.isfinite(score)) if w > 1 else (flat, valid.reshape(b, k))
    return _Beam(u, score), (_Step(u, index // k, index % k, reward), _spread(*group))


def _lookahead(
    advance: Advance, reward: TransitionReward, u: Array, t: Array, *, discount: float, horizon: int
) -> Array:
    """Sum of the discounted rewards of `horizon` plain steps from u (b, w, k, *s, c) at t + 1."""

    def body(u: Array, i: Array) -> tuple[Array, Array]:
        after = advance(u, t + i)
        return after, reward(u, after, t + i)

    ahead = jnp.arange(1, horizon + 1)
    rewards = jax.lax.scan(body, u, ahead)[1]
    weights = jnp.asarray(discount, rewards.dtype) ** ahead
    return jnp.tensordot(weights, rewards, 1)


def _backtrack(steps: _Step) -> tuple[Array, dict[str, Array]]:
    """Follow the best beam from its end to its start: (t, b, w, ...) -> (b, t, *s, c), log."""

    def body(beam: Array, step: _Step) -> tuple[Array, tuple[Array, Array, Array]]:
        u, parent, choice, reward = (_pick(x, beam) for x in step)
        return parent, (u, choice, reward)

    best = jnp.zeros(steps.parent.shape[1], steps.parent.dtype)
    frames = jax.lax.scan(body, best, steps, reverse=True)[1]
    path, choice, reward = (jnp.moveaxis(x, 0, 1) for x in frames)
    return path, {"choice": choice, "reward": reward}


def _pick(rows: Array, index: Array) -> Array:
    """Index each sample: rows (b, m, ...), index (b,) or (b, w) -> (b, ...) or (b, w, ...)."""
    return jax.vmap(lambda row, i: row[i])(rows, index)


def _spread(u: Array, active: Array) -> Array:
    """RMS distance of active members from their mean: u (b, m, *s, c), active (b, m) -> (b,)."""
    axes = tuple(range(2, u.ndim))
    mask = jnp.expand_dims(active, axes)
    count = jnp.sum(active, 1)
    u = jnp.where(mask, u, 0)
    # Differences from the first member are exactly zero if all members are equal.
    shifted = jnp.where(mask, u - u[:, :1], 0)
    mean = jnp.sum(shifted, 1, keepdims=True) / jnp.expand_dims(count, tuple(range(1, u.ndim)))
    square = jnp.where(active, jnp.mean(jnp.square(shifted - mean), axes), 0)
    return jnp.sqrt(jnp.sum(square, 1) / count)


def calls_per_step(beams: int, candidates: int, lookahead: int = 0, *, cost: int = 1) -> int:
    """Network calls per step and sample: w (1 + (k - 1) cost + k lookahead).

    The plain candidate takes one call, every other one `cost` calls, and the lookahead of every
    candidate `lookahead` calls. Raises ValueError on numbers out of range.
    """
    _at_least(1, beams=beams, candidates=candidates, cost=cost)
    _at_least(0, lookahead=lookahead)
    return beams * (1 + (candidates - 1) * cost + candidates * lookahead)


def max_candidates(calls: int, *, beams: int, lookahead: int = 0, cost: int = 1) -> int:
    """Largest number of candidates per beam whose `calls_per_step` is at most `calls`.

    Raises ValueError with the smallest sufficient budget if `calls` does not allow one candidate.
    """
    least = calls_per_step(beams, 1, lookahead, cost=cost)
    if calls < least:
        raise ValueError(
            f"search: {calls} network calls per step allow no candidate with {beams} beams and "
            f"lookahead {lookahead}; set search.calls_per_step to at least {least}"
        )
    return 1 + (calls - least) // (beams * (cost + lookahead))


def constant(*, steps: int, start: float, end: float) -> Array:
    """Return `start` at every step; `end` is ignored."""
    return jnp.full(steps, start, jnp.float32)


def linear(*, steps: int, start: float, end: float) -> Array:
    """Return equal differences from `start` to `end`."""
    return jnp.linspace(start, end, steps, dtype=jnp.float32)


def geometric(*, steps: int, start: float, end: float) -> Array:
    """Return equal ratios from `start` to `end`, both above 0."""
    if not (start > 0 and end > 0):
        raise ValueError(
            f"temperatures from {start} to {end}: a geometric schedule never reaches 0; set both "
            "above 0, or use 'linear'"
        )
    return jnp.geomspace(start, end, steps, dtype=jnp.float32)


TEMPERATURE_SCHEDULES = {"constant": constant, "geometric": geometric, "linear": linear}


def temperatures(name: str, *, steps: int, start: float, end: float) -> Array:
    """Scale of the proposal's noise at each step, by a name of TEMPERATURE_SCHEDULES: (steps,).

    A single step has `start`. Raises ValueError on an unknown name and on numbers out of range.
    """
    schedule = lookup(TEMPERATURE_SCHEDULES, name, "schedule")
    _at_least(1, steps=steps)
    if not (0 <= start < float("inf") and 0 <= end < float("inf")):
        raise ValueError(f"temperatures from {start} to {end}: both must be finite and at least 0")
    return schedule(steps=steps, start=start, end=end)


def _at_least(least: int, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < least or value != int(value):
            raise ValueError(
                f"search: {name} is {value}; expected a whole number of at least {least}"
            )


def _expect(name: str, got: Array, shape: tuple[int, ...]) -> None:
    if got.shape != shape:
        raise ValueError(f"search: {name} returned shape {got.shape}; expected {shape}")
