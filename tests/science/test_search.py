"""Beam search: plain rollouts, exhaustive search, lookahead, budgets and schedules."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ups_jax.pde import PDES
from ups_jax.pde.base import rollout
from ups_jax.search import (
    TEMPERATURE_SCHEDULES,
    beam_search,
    calls_per_step,
    max_candidates,
    temperatures,
)

KEY = jax.random.key(0)
BURGERS = PDES["burgers"](nu=0.1, points=32, cells=32)
STEPS = 3


def scalars(*values):
    """A batch of fields of one point: (b, 1, 1)."""
    return jnp.asarray(values, jnp.float32).reshape(-1, 1, 1)


def tree(u, key, t, k=3):
    """Every sequence of choices leads to a different number: u -> k u + candidate."""
    return k * u[:, :, None] + jnp.arange(k, dtype=u.dtype).reshape(1, 1, k, 1, 1)


@partial(jax.jit, static_argnames=("beams", "discount"))
def _play(prizes, beams, discount):
    def reward(prev, next, t):
        start, end = (u[..., 0, 0].astype(int) for u in (prev, next))
        prize = jax.vmap(lambda row, i: row[i])(prizes[:, t], end)
        # A path is rewarded only if its last step starts from its own previous number.
        return jnp.where(start == end // 3, prize, jnp.nan)

    u0 = jnp.zeros((len(prizes), 1, 1))
    kw = dict(steps=STEPS, beams=beams, candidates=3, discount=discount)
    return beam_search(tree, reward, u0, KEY, **kw)


def play(prizes, *, beams, discount=1.0):
    """Search for the prizes (b, t, 27) at the ends of every sequence of choices."""
    # Every batch is made as large as the largest, so that few programs are compiled.
    padded = np.zeros((5, STEPS, 27), np.float32)
    padded[: len(prizes)] = prizes
    out = jax.tree.map(np.asarray, _play(padded, beams, discount))
    log = {name: x[: len(prizes)] for name, x in out.log.items() if x.ndim}
    return out._replace(path=out.path[: len(prizes), :, 0, 0], log=log)


def listed(*rows):
    """Prizes that depend on the last choice alone: (t, k) -> (t, 27)."""
    return np.tile(np.asarray(rows, np.float32), (1, 9))


def search(propose, reward, u0, **kw):
    """The search, compiled, as numpy."""
    run = jax.jit(lambda u0, key: beam_search(propose, reward, u0, key, **kw))
    return jax.tree.map(np.asarray, run(u0, KEY))


def test_one_beam_of_one_candidate_is_the_plain_rollout_bit_by_bit():
    x = np.arange(32) / 32
    u0 = np.stack([np.sin(2 * np.pi * x), np.cos(4 * np.pi * x) + 0.3]).astype(np.float32)[
        ..., None
    ]
    cond = np.full((2, 1), 0.1, np.float32)

    def reward(prev, next, t):
        return -jnp.sum(jnp.abs(1.3 * next**2 - prev**2), (-2, -1))

    @jax.jit
    def run(u0, cond):
        def propose(u, key, t):
            return BURGERS.step(u, cond[:, None])[:, :, None]

        return beam_search(propose, reward, u0, KEY, steps=6, beams=1, candidates=1)

    one = jax.tree.map(np.asarray, run(u0, cond))
    np.testing.assert_array_equal(one.path, jax.jit(rollout(BURGERS.step, 6))(u0, cond))
    assert one.path.shape == (2, 6, 32, 1)
    assert not one.log["choice"].any() and not one.log["diversity"].any()
    before = np.concatenate([u0[:, None], one.path[:, :-1]], 1)
    np.testing.assert_allclose(one.log["reward"], reward(before, one.path, 0), rtol=1e-5)
    np.testing.assert_allclose(one.log["score"], one.log["reward"].sum(1), rtol=1e-5)


LOTTERY = np.random.default_rng(0).normal(size=(5, STEPS, 27)).astype(np.float32)


def best(prizes, discount):
    """The best sequence of one sample and its score, out of all 27."""

    def score(choices):
        end = total = 0
        for t, choice in enumerate(choices):
            end = 3 * end + choice
            total += discount**t * prizes[t, end]
        return total

    top = max(itertools.product(range(3), repeat=STEPS), key=score)
    return top, score(top)


@pytest.mark.parametrize("discount", [1.0, 0.6])
def test_a_beam_of_all_sequences_finds_the_best(discount):
    wide = play(LOTTERY, beams=9, discount=discount)
    optimum = [best(prizes, discount) for prizes in LOTTERY]
    assert [tuple(row) for row in wide.log["choice"]] == [choices for choices, _ in optimum]
    np.testing.assert_allclose(wide.log["score"], [score for _, score in optimum], rtol=1e-5)
    weights = discount ** np.arange(STEPS)
    np.testing.assert_allclose(wide.log["reward"] @ weights, wide.log["score"], rtol=1e-5)


def test_a_greedy_search_of_the_lottery_is_suboptimal():
    """A greedy search misses the best of most samples, and a discount changes it in some."""
    greedy = play(LOTTERY, beams=1)
    best_of_all = [best(prizes, 1.0) for prizes in LOTTERY]
    assert sum(greedy.log["score"] < [score - 0.1 for _, score in best_of_all]) >= 3
    assert [choices for choices, _ in best_of_all] != [best(prizes, 0.6)[0] for prizes in LOTTERY]


@pytest.mark.parametrize("beams", [1, 2, 9])
def test_the_path_follows_from_its_choices(beams):
    out = play(LOTTERY, beams=beams)
    assert len(np.unique(out.log["choice"])) == 3
    end = np.zeros(5, int)
    for t in range(STEPS):
        end = 3 * end + out.log["choice"][:, t]
        np.testing.assert_array_equal(out.path[:, t], end)
        np.testing.assert_array_equal(out.log["reward"][:, t], LOTTERY[np.arange(5), t, end])


def noisy(u, key, t):
    """The plain step, and three disturbed ones."""
    noise = jax.random.normal(key, (1, 1, 4, *u.shape[2:])).at[:, :, 0].set(0)
    return 0.9 * u[:, :, None] + 0.3 * noise


def smooth(prev, next, t):
    return -jnp.mean(jnp.abs(next - 0.5), tuple(range(3, next.ndim)))


def test_samples_are_searched_independently():
    u0 = jax.random.normal(jax.random.key(1), (5, 4, 3, 2))
    order = np.array([3, 0, 4, 2, 1])
    kw = dict(steps=5, beams=3, candidates=4, lookahead=1, advance=lambda u, t: 0.9 * u)
    run = jax.jit(lambda u0: beam_search(noisy, smooth, u0, KEY, **kw))
    straight, mixed = run(u0), run(u0[order])
    assert len(np.unique(straight.log["choice"], axis=0)) > 1
    straight.log.pop("calls"), mixed.log.pop("calls")
    for a, b in zip(jax.tree.leaves(straight), jax.tree.leaves(mixed), strict=True):
        np.testing.assert_array_equal(a[order], b)


def test_compiled_and_eager_agree_and_a_key_decides():
    u0 = jax.random.normal(jax.random.key(1), (2, 6, 1))
    kw = dict(steps=3, beams=2, candidates=4, discount=0.9, lookahead=1, cost=3)
    find = partial(beam_search, noisy, smooth, advance=lambda u, t: 0.9 * u, **kw)
    compiled, eager = jax.jit(find), find(u0, KEY)
    assert eager.log["calls"] == calls_per_step(2, 4, 1, cost=3) == 28
    for a, b in zip(jax.tree.leaves(eager), jax.tree.leaves(compiled(u0, KEY)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert not np.array_equal(compiled(u0, jax.random.key(7)).path, eager.path)


def test_copies_of_the_start_do_not_fill_the_beam():
    """Candidate 0 pays at once, candidate 1 later: two beams of one field would see only one."""
    prizes = np.zeros((1, STEPS, 27))
    prizes[0, 0, :3] = 1, 0, -1
    prizes[0, 1, 3:6] = 10
    out = play(prizes, beams=2)
    assert out.log["choice"].tolist() == [[1, 0, 0]] and out.log["score"] == 10
    assert out.log["diversity"][0, 0] == 0.5  # beams 0 and 1


def test_empty_beams_are_never_returned():
    """Nine beams for three continuations: the six empty ones have no cost and must not win."""
    out = play(listed(*STEPS * [[-1, -2, -3]])[None], beams=9)
    assert out.path.tolist() == [[0, 0, 0]] and out.log["score"] == -3
    # Active are beams 0 1 2, then all nine, then the nine of 27 with the smallest cost.
    spread = [np.std(range(3)), np.std(range(9))]
    np.testing.assert_allclose(out.log["diversity"][0, :2], spread, rtol=1e-6)
    assert np.isfinite(out.log["diversity"]).all()


def test_one_candidate_fills_one_beam_only():
    def reward(prev, next, t):
        return -1 - 0 * next[..., 0, 0]

    out = search(partial(tree, k=1), reward, scalars(2, 3), steps=2, beams=4, candidates=1)
    np.testing.assert_array_equal(out.path[..., 0, 0], [[2, 2], [3, 3]])
    np.testing.assert_array_equal(out.log["score"], [-2, -2])
    assert not out.log["choice"].any() and not out.log["diversity"].any()


def test_the_plain_operator_wins_ties():
    """Equal rewards, of either sign of zero, and a tie that a later step breaks."""
    last = [-1, -1, -2]
    cases = [listed([zero, 0, 0], [zero, 0, 0], last) for zero in (0.0, -0.0)]
    cases.append(listed([-1, 0, 0], [-1, -1, -1], [-1, -1, 0]))
    out = play(np.stack(cases), beams=2)
    assert out.log["choice"].tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 2]]


@pytest.mark.parametrize("beams", [1, 2])
def test_a_reward_that_is_not_finite_is_never_selected(beams):
    cases = [
        listed([bad, -9, bad], [-1, bad, -3], [bad, bad, -4]) for bad in (np.nan, np.inf, -np.inf)
    ]
    out = play(np.stack(cases), beams=beams)
    assert out.log["choice"].tolist() == 3 * [[1, 0, 2]]
    assert out.log["score"].tolist() == 3 * [-14]
    assert np.isfinite(out.log["diversity"]).all()


@pytest.mark.parametrize("beams", [1, 2, 9])
def test_without_a_finite_reward_the_plain_operator_is_selected(beams):
    """For that step and sample only, in all beams, without a change of the scores."""
    invalid = listed([-5, -1, -7], 3 * [np.nan], [-4, -4, -3])
    valid = listed([-5, -1, -7], [-2, -1, -2], [-4, -4, -3])
    out = play(np.stack([invalid, valid]), beams=beams)
    assert out.log["choice"].tolist() == [[1, 0, 2], [1, 1, 2]]
    assert out.log["score"].tolist() == [-4, -5]
    assert np.isnan(out.log["reward"][0, 1]) and np.isfinite(out.log["diversity"]).all()


def test_beams_are_kept_if_no_reward_of_a_sample_is_finite_and_dropped_if_others_are():
    prizes = np.stack([listed([-5, -1, -7], [-2, -2, -2], [-4, -4, -3])] * 2)
    prizes[0, 1] = np.nan
    prizes[0, 2, 1] = 100  # below the second best of the first step
    prizes[1, 1, 3:6] = np.nan  # below its best
    out = play(prizes, beams=2)
    assert out.log["choice"].tolist() == [[0, 0, 1], [0, 0, 2]]
    assert out.log["score"].tolist() == [95, -10]


def test_diverged_fields_do_not_enter_the_diversity():
    def propose(u, key, t):
        return tree(u, key, t).at[:, :, 1].set(jnp.nan)

    run = partial(search, propose, lambda prev, next, t: -next[..., 0, 0], scalars(0), candidates=3)
    assert run(steps=1, beams=1).log["diversity"] == 1.0  # candidates 0 and 2
    out = run(steps=2, beams=5)
    np.testing.assert_array_equal(out.path[..., 0, 0], [[0, 0]])
    np.testing.assert_allclose(out.log["diversity"], [[1, np.std([0, 2, 6, 8])]], rtol=1e-6)


def test_lookahead_avoids_a_trap():
    """Candidate 1 pays 1 at once, and costs each sample something one and two steps later."""
    costs = jnp.array([[0.0, 4, 0], [0, 0, 3], [0, 0, 8]])

    def age(u):
        return (u[..., 0, 0] // 100).astype(int)

    def reward(prev, next, t):
        fell = next[..., 0, 0] % 100
        charge = jax.vmap(lambda row, i: row[i])(costs, age(next))
        return fell * jnp.where(age(next) == 0, 1, -charge)

    def propose(u, key, t):
        opening = jnp.arange(2.0).reshape(1, 1, 2, 1, 1)
        return u[:, :, None] + jnp.where(t == 0, opening, 100 + 0 * opening)

    kw = dict(steps=3, beams=1, candidates=2, discount=0.5, advance=lambda u, t: u + 100)
    first = [
        search(propose, reward, scalars(0, 0, 0), lookahead=h, **kw).log["choice"][:, 0].tolist()
        for h in (0, 1, 2)
    ]
    assert first[0] == [1, 1, 1]
    assert first[1] == [0, 1, 1]  # 1 - 4 / 2 < 0
    assert first[2] == [0, 1, 0]  # 1 - 3 / 4 > 0, 1 - 8 / 4 < 0


def test_lookahead_ranks_but_is_not_scored():
    """The score of a beam is the discounted sum of its immediate rewards."""

    def reward(prev, next, t):
        return next[..., 0, 0] - prev[..., 0, 0] + 10.0 * t

    kw = dict(steps=3, beams=2, candidates=2, lookahead=2, advance=lambda u, t: u + t)
    out = search(partial(tree, k=2), reward, scalars(1), discount=0.5, **kw)
    np.testing.assert_array_equal(out.path[0, :, 0, 0], [3, 7, 15])
    np.testing.assert_allclose(out.log["score"], [2 + 0.5 * 14 + 0.25 * 28], rtol=1e-6)


def test_lookahead_steps_have_their_own_times():
    """At time 0 the lookahead evaluates times 1 and 2, when u grows and is rewarded."""

    def reward(prev, next, t):
        return jnp.where(t == 1, -next, jnp.where(t == 2, next, -9 * next))[..., 0, 0]

    def advance(u, t):
        return jnp.where(t == 1, 2 * u, jnp.where(t == 2, 20 * u, 0 * u))

    kw = dict(steps=1, beams=1, candidates=2, lookahead=2, advance=advance)
    out = search(partial(tree, k=2), reward, scalars(1), **kw)
    assert out.log["choice"] == 1  # -9 u - 2 u + 40 u, u 2 or 3
    assert out.log["reward"] == -27


def test_the_largest_number_of_candidates_within_a_budget():
    assert calls_per_step(2, 4) == 8  # every candidate one call
    assert calls_per_step(2, 4, 3) == 8 + 24
    assert calls_per_step(2, 4, 3, cost=5) == 2 * (1 + 3 * 5 + 4 * 3)
    for beams, lookahead, cost in itertools.product((1, 2, 3), (0, 1, 4), (1, 2, 7)):
        least = calls_per_step(beams, 1, lookahead, cost=cost)
        for calls in range(least, least + 60):
            k = max_candidates(calls, beams=beams, lookahead=lookahead, cost=cost)
            assert calls_per_step(beams, k, lookahead, cost=cost) <= calls
            assert calls_per_step(beams, k + 1, lookahead, cost=cost) > calls
        with pytest.raises(ValueError, match=f"{least - 1} network calls .* at least {least}$"):
            max_candidates(least - 1, beams=beams, lookahead=lookahead, cost=cost)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"steps": 0}, "steps is 0; expected a whole number of at least 1"),
        ({"beams": 0}, "beams is 0"),
        ({"candidates": 0}, "candidates is 0"),
        ({"candidates": 1.5}, "candidates is 1.5"),
        ({"lookahead": -1}, "lookahead is -1; expected a whole number of at least 0"),
        ({"lookahead": 1}, "lookahead is 1, but there is no advance"),
        ({"cost": 0}, "cost is 0"),
        ({"discount": 0.0}, "discount is 0.0"),
        ({"discount": 1.1}, "discount is 1.1"),
        ({"discount": np.nan}, "discount is nan"),
    ],
)
def test_numbers_out_of_range_are_refused_before_tracing(change, message):
    def never(*args):
        raise AssertionError("traced")

    kw = dict(steps=2, beams=2, candidates=2) | change
    with pytest.raises(ValueError, match=message):
        beam_search(never, never, jnp.zeros((1, 4, 1)), KEY, **kw)


def test_fields_of_another_kind_or_shape_are_refused():
    kw = dict(steps=2, beams=2, candidates=3)
    with pytest.raises(ValueError, match="u0 is int32 of shape"):
        beam_search(noisy, smooth, jnp.zeros((1, 4, 1), int), KEY, **kw)
    with pytest.raises(ValueError, match=r"float32 of shape \(4, 1\); expected"):
        beam_search(noisy, smooth, jnp.zeros((4, 1)), KEY, **kw)
    with pytest.raises(ValueError, match=r"propose returned shape \(1, 2, 4, 6, 1\); expected"):
        beam_search(noisy, smooth, jnp.zeros((1, 6, 1)), KEY, **kw)
    kw["candidates"] = 4
    with pytest.raises(ValueError, match=r"reward returned shape \(\); expected \(1, 2, 4\)"):
        beam_search(noisy, lambda *a: jnp.mean(a[1]), jnp.zeros((1, 6, 1)), KEY, **kw)


def test_values_of_the_schedules():
    want = {"constant": [2, 2, 2], "linear": [2, 1.25, 0.5], "geometric": [2, 1, 0.5]}
    assert set(want) == set(TEMPERATURE_SCHEDULES)
    for name, values in want.items():
        got = temperatures(name, steps=3, start=2.0, end=0.5)
        np.testing.assert_allclose(got, values, rtol=1e-6)
        np.testing.assert_allclose(temperatures(name, steps=1, start=2.0, end=0.5), [2], rtol=1e-6)
    np.testing.assert_allclose(temperatures("linear", steps=2, start=1.0, end=0.0), [1, 0])


@pytest.mark.parametrize(
    "args,message",
    [
        (("geometrc", 3, 1.0, 1.0), "unknown schedule 'geometrc'; did you mean 'geometric'"),
        (("linear", 0, 1.0, 1.0), "steps is 0"),
        (("linear", 3, -1.0, 1.0), "from -1.0 to 1.0: both must be finite and at least 0"),
        (("constant", 3, 1.0, np.nan), "both must be finite"),
        (("geometric", 3, 1.0, 0.0), "a geometric schedule never reaches 0"),
    ],
)
def test_invalid_schedules_are_refused(args, message):
    name, steps, start, end = args
    with pytest.raises(ValueError, match=message):
        temperatures(name, steps=steps, start=start, end=end)
