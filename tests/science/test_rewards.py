from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ups_jax import physics
from ups_jax.pde import PDES
from ups_jax.pde.base import rollout
from ups_jax.rewards import REWARDS, weighted_reward

BURGERS = PDES["burgers"](nu=0.1, points=64, cells=64)
ADVECTION = PDES["advection"](points=(16, 12), cells=(16, 12))
INVISCID = PDES["burgers"](nu=1e-6, points=64, cells=64)
LAWS = ("energy", "total_variation", "maximum_principle", "oleinik")


def score(pde, name, prev, next, cond=None):
    """One reward of one pair: prev, next (x,), or (..., *s, c) as they are."""
    prev, next = (np.asarray(u, np.float32) for u in (prev, next))
    if prev.ndim == 1:
        prev, next = prev[:, None], next[:, None]
    lead = prev.shape[: prev.ndim - 1 - pde.ndim]
    cond = np.full((*lead, len(pde.params)), 0.1, np.float32) if cond is None else cond
    return np.asarray(weighted_reward(pde, [name], [1.0])(prev, next, cond))


@pytest.fixture(scope="module")
def pairs():
    """The Burgers solver's frames, with a shock from the fourth on: (3, 6, 64, 1) twice, cond."""
    x = np.arange(64) / 64 - np.array([[0.2], [0.5], [0.7]])
    u0 = (np.sin(2 * np.pi * x) + 0.5 * np.cos(6 * np.pi * x) + x[:, :1]).astype(np.float32)
    cond = np.full((3, 1), 0.1, np.float32)
    path = np.asarray(jax.jit(rollout(BURGERS.step, 6))(u0[..., None], cond))
    frames = np.concatenate([u0[:, None, :, None], path], 1)
    return frames[:, :-1], frames[:, 1:], np.full((3, 6, 1), 0.1, np.float32)


def every(pde):
    """All rewards of a PDE as one compiled function: prev, next, cond -> name: (...)."""
    names = [name for name in REWARDS if name != "oleinik" or pde.convexity]
    return jax.jit(
        lambda *pair: {name: weighted_reward(pde, [name], [1.0])(*pair) for name in names}
    )


BURGERS_REWARDS = every(BURGERS)


def test_the_solver_breaks_no_law_and_a_corrupted_pair_does(pairs):
    prev, next, cond = pairs
    bad = next.copy()
    bad[1, 2, 5:7, 0] += np.array([5.0, -5.0])
    good, worse = BURGERS_REWARDS(prev, next, cond), BURGERS_REWARDS(prev, bad, cond)
    for name in LAWS:
        assert good[name].shape == (3, 6)
        assert np.all(good[name] <= 0) and np.all(good[name] > -1e-6), name
        change = np.array(worse[name] - good[name])
        assert change[1, 2] < -0.1, name
        change[1, 2] = 0
        np.testing.assert_allclose(change, np.zeros((3, 6)), atol=1e-7, err_msg=name)


def test_the_residual_knows_the_solver_from_other_fields(pairs):
    prev, next, cond = pairs
    good = BURGERS_REWARDS(prev, next, cond)["pde_residual"]
    for other in (prev, 2 * next - prev, np.roll(next, 1, -2), next + 0.3 * np.flip(next, -2)):
        assert np.all(BURGERS_REWARDS(prev, other, cond)["pde_residual"] < good)
    still = np.full((64,), 0.7)
    assert score(BURGERS, "pde_residual", still, still) == 0


@pytest.mark.parametrize(
    "name,next,want",
    [
        ("energy", [0, 4, 0, -4], -3),  # energy 1 -> 4
        ("energy", [0, 1, 0, -1], 0),
        ("total_variation", [0, 3, 0, -3], -0.5),  # 8 -> 12
        ("total_variation", [5, 7, 5, 3], 0),
        ("maximum_principle", [1, 3, 1, -1], -0.25),  # span 4
        ("maximum_principle", [-2, 0, -2, -4], -0.5),
        ("maximum_principle", [0, 3, 0, -4], -0.5),  # the larger excess
        ("maximum_principle", [0, 1, 0, -1], 0),
    ],
)
def test_violations_by_hand(name, next, want):
    np.testing.assert_allclose(score(BURGERS, name, [0, 2, 0, -2], next), want, rtol=1e-6)


@pytest.mark.parametrize("pde", [BURGERS, ADVECTION], ids=lambda pde: pde.name)
def test_a_reward_is_minus_the_metric_of_a_path_of_one_frame(pde):
    prev, next = np.random.default_rng(3).normal(size=(2, 3, *pde.points, 1)).astype(np.float32)
    cond = np.full((3, len(pde.params)), 0.5, np.float32)
    metrics = jax.jit(physics.diagnostics, static_argnums=0)(pde, prev, 2 * next[:, None], cond)
    rewards = every(pde)(prev, 2 * next, cond)
    for name, metric in (
        ("energy", "energy_growth"),
        ("maximum_principle", "max_principle_excess"),
        ("pde_residual", "pde_residual"),
        ("total_variation", "total_variation_growth"),
    ):
        np.testing.assert_allclose(rewards[name], -metrics[metric][:, 0], rtol=1e-5, err_msg=name)


def test_the_residual_by_hand():
    """Nothing moves, so u_t is all: RMS(2 u / dt) dt / RMS(u)."""
    pde = PDES["advection"](points=4, cells=4, dt=0.2)
    prev = np.array([1.0, -1, 1, -1])
    value = score(pde, "pde_residual", prev, 3 * prev, np.zeros(1, np.float32))
    np.testing.assert_allclose(value, -2, rtol=1e-6)


@pytest.mark.parametrize("time", [0.1, 1.0])
def test_an_exact_rarefaction_is_what_oleinik_allows(time):
    """u = (x - 1/2) / t between shocks that stand on the seam: u_x = 1 / t exactly."""
    n, dt = 64, BURGERS.dt
    x = (np.arange(n) + 0.5) / n - 0.5
    prev, next = x / time, x / (time + dt)
    np.testing.assert_allclose(score(BURGERS, "oleinik", prev, next), 0, atol=1e-6)
    # Standing still, every one of its n - 1 rises is too high by a part dt / (t + dt).
    want = -dt / (time + dt) / (n - 1)
    np.testing.assert_allclose(score(BURGERS, "oleinik", prev, prev), want, rtol=1e-4)
    late = score(BURGERS, "oleinik", prev, x / (time + 0.9 * dt))
    assert want < late < -1e-5


def test_a_rarefaction_shock_breaks_oleinik_alone():
    """A jump upwards that stands still: a weak solution, but not the entropy solution."""
    pde = replace(BURGERS, dt=0.05)
    prev = np.repeat(
        [-1.0, 1.0], 4
    )  # rises by 2 in dx = 1 / 8, of which 2 / (1 + 2 * 0.4) may stay
    np.testing.assert_allclose(score(pde, "oleinik", prev, prev), -(2 - 2 / 1.8) / 2, rtol=1e-6)
    for name in ("energy", "total_variation", "maximum_principle"):
        assert score(pde, name, prev, prev) == 0
    taller = score(pde, "oleinik", prev, 1.5 * prev)
    np.testing.assert_allclose(taller, -(3 - 2 / 1.8) / 2, rtol=1e-6)  # over prev's span, 2
    strong = replace(pde, convexity=3.0)
    np.testing.assert_allclose(score(strong, "oleinik", prev, prev), -(2 - 2 / 3.4) / 2, rtol=1e-6)
    fan = np.clip((np.arange(8) - 3.5) / 8 / 0.5, -1, 1)  # after ten dt, a jump down at the seam
    assert score(pde, "oleinik", prev, fan) == 0


def test_a_shock_that_falls_is_free():
    prev = np.repeat([1.0, -1.0, 0.0], [30, 30, 4])
    fallen = np.repeat([0.9, -0.9, 0.0], [30, 30, 4])
    assert score(INVISCID, "oleinik", prev, fallen) < 0  # it rises elsewhere by as much as before
    x = (np.arange(64) + 0.5) / 64 - 0.5
    assert score(INVISCID, "oleinik", 0.2 * x, 0.19 * x) == 0


def test_an_unresolved_jump_scores_the_truth_a_little_below_zero():
    """The exact fan after a jump from -1 to 1: within the docstring's (dx / (dt span))^2."""
    x = (np.arange(64) + 0.5) / 64 - 0.5
    value = score(INVISCID, "oleinik", np.sign(x), np.clip(x / INVISCID.dt, -1, 1))
    assert -((1 / 64 / 0.05 / 2) ** 2) < value < -0.01


def test_scores_have_no_units():
    """Fields twice as large on a box twice as long, in the same time, are the same solution."""
    draw = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    big = PDES["burgers"](nu=0.4, points=64, cells=64, length=2.0)
    for name in REWARDS:
        here = score(BURGERS, name, *draw)
        there = score(big, name, *(2 * draw), cond=np.full(1, 0.4, np.float32))
        assert here < -1e-3
        np.testing.assert_allclose(there, here, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("pde", [BURGERS, ADVECTION], ids=lambda pde: pde.name)
def test_leading_axes_are_free(pde):
    run = every(pde)
    draw = np.random.default_rng(2).normal(size=(2, 4, *pde.points, 1)).astype(np.float32)
    draw[1] *= 2
    pair = (*draw, np.full((4, len(pde.params)), 0.5, np.float32))
    whole = run(*(a.reshape(2, 2, *a.shape[1:]) for a in pair))
    apart = [run(*(a[i] for a in pair)) for i in range(4)]
    for name, value in whole.items():
        assert value.shape == (2, 2) and np.all(value < 0), name
        single = np.stack([one[name] for one in apart]).reshape(2, 2)
        np.testing.assert_allclose(value, single, rtol=2e-5, err_msg=name)


def test_rewards_never_call_the_solver(pairs):
    def never(*args):
        raise AssertionError("a search by its own solver")

    blind = replace(BURGERS, step=never, march=never, initial=never)
    jax.eval_shape(weighted_reward(blind, list(REWARDS), [1.0] * len(REWARDS)), *pairs)


def test_weights_add_up(pairs):
    prev, next, cond = pairs
    bad = 2 * next
    parts = BURGERS_REWARDS(prev, bad, cond)
    assert np.max(parts["energy"]) < 0 and np.max(parts["oleinik"]) < 0
    both = weighted_reward(BURGERS, ["energy", "oleinik"], [0.5, 2.0])(prev, bad, cond)
    np.testing.assert_allclose(both, 0.5 * parts["energy"] + 2 * parts["oleinik"], rtol=1e-5)


def test_a_weight_of_zero_silences_even_an_infinite_score():
    prev, next = np.zeros((64, 1), np.float32), np.full((64, 1), 1e4, np.float32)
    cond = np.full(1, 0.1, np.float32)
    assert not np.isfinite(score(BURGERS, "energy", prev, next))
    quiet = weighted_reward(BURGERS, ["energy", "total_variation"], [0.0, 1.0])(prev, next, cond)
    assert quiet == 0


def test_scores_have_gradients(pairs):
    total = weighted_reward(BURGERS, list(REWARDS), [1.0] * len(REWARDS))
    prev, next, cond = pairs
    grad = jax.jit(jax.grad(lambda u: jnp.sum(total(prev, u, cond))))(next + 0.1)
    assert np.all(np.isfinite(grad)) and np.any(grad != 0)


KURAMOTO = replace(ADVECTION, name="kuramoto", laws={"mass": ADVECTION.laws["mass"]})


@pytest.mark.parametrize(
    "pde,names,weights,message",
    [
        (BURGERS, [], [], "search.rewards is empty; name at least one of energy, "),
        (BURGERS, ["enrgy"], [1.0], "unknown reward 'enrgy'; did you mean 'energy'"),
        (
            KURAMOTO,
            ["pde_residual", "energy"],
            [1.0, 1.0],
            "reward 'energy' needs the law 'energy', but pde 'kuramoto' has mass; "
            "drop it from search.rewards",
        ),
        (KURAMOTO, ["maximum_principle"], [1.0], "needs the law 'maximum'"),
        (KURAMOTO, ["oleinik"], [1.0], "needs the law 'maximum'"),
        (replace(KURAMOTO, laws={}), ["energy"], [1.0], "has none; drop it"),
        (
            ADVECTION,
            ["oleinik"],
            [1.0],
            "reward 'oleinik' needs a convex flux, but pde 'advection' has convexity 0.0; "
            "drop it from search.rewards",
        ),
        (BURGERS, ["energy"], [1.0, 2.0], "search.weights has 2 numbers for the 1 names"),
        (BURGERS, ["energy", "oleinik"], [1.0, -1.0], "finite numbers of at least 0"),
        (BURGERS, ["energy"], [float("nan")], "finite numbers of at least 0"),
        (BURGERS, ["energy"], [float("inf")], "finite numbers of at least 0"),
        (BURGERS, ["energy", "oleinik"], [0.0, 0.0], "not all of them 0"),
    ],
)
def test_what_does_not_fit_is_refused(pde, names, weights, message):
    with pytest.raises(ValueError, match=message):
        weighted_reward(pde, names, weights)


def test_the_convexity_and_laws_of_a_pde_decide_its_rewards():
    assert BURGERS.convexity == 1.0 and ADVECTION.convexity == 0.0
    kuramoto = PDES["kuramoto"](points=64, cells=64)
    weighted_reward(kuramoto, ["pde_residual"], [1.0])
    for name in LAWS:
        with pytest.raises(ValueError, match=f"reward '{name}' needs the law"):
            weighted_reward(kuramoto, [name], [1.0])
