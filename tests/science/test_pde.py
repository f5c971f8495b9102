from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ups_jax.emulator import Emulator, network_boundary
from ups_jax.models import Network
from ups_jax.pde import PDES, advection, base, coarse
from ups_jax.pde import finite_volume as fv

SMALL = PDES["burgers"](nu=0.01, points=64, cells=64)
FLAT = PDES["advection"](points=64, cells=64)
PLANE = PDES["advection"](points=(12, 16), cells=(12, 16), velocity=(-1.5, 1.5))


def sines(points, samples, ndim=1, seed=0):
    """Smooth random fields with a mean: (samples, *s, 1) in float64."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in points], indexing="ij")
    fields = []
    for _ in range(samples):
        u = np.full(points, rng.uniform(-0.5, 0.5))
        for _ in range(3):
            k, phase = rng.integers(0, 4, ndim), rng.uniform(0, 2 * np.pi)
            angle = sum(a * b for a, b in zip(axes, k, strict=True))
            u = u + rng.uniform(0.2, 0.8) * np.sin(2 * np.pi * angle + phase)
        fields.append(u[..., None])
    return np.stack(fields)


def problem(pde):
    """Fields (2, 2, *s, 1) and parameters (2, 2, p): one shape, so that `step` compiles once."""
    u = sines(pde.points, 4, pde.ndim).astype(np.float32).reshape(2, 2, *pde.points, 1)
    rng = np.random.default_rng(1)
    low = 0.001 if pde.name == "burgers" else -1.5
    cond = rng.uniform(low, 1.5, (2, 2, len(pde.params)))
    return u, cond.astype(np.float32)


step_of = jax.jit(lambda u, cond, pde: pde.step(u, cond), static_argnums=2)
prolong, restrict = (jax.jit(f, static_argnums=(1, 2)) for f in (fv.prolong, fv.restrict))


def cole_hopf(x, t, nu):
    """Burgers from u0 = .3 + sin(2 pi x) by the Cole-Hopf integral: the trapezoid rule is exact.

    u = int s/t exp(-G / 2 nu) ds / int exp(-G / 2 nu) ds, G = s^2 / 2t + int_0^{x-s} u0.
    """
    reach = max(1.0, 8 * np.sqrt(2 * nu * t) + 1.5 * t)
    s = np.linspace(-reach, reach, 2049)
    y = x[:, None] - s
    potential = 0.3 * y + (1 - np.cos(2 * np.pi * y)) / (2 * np.pi)
    power = -(s**2 / (2 * t) + potential) / (2 * nu)
    weight = np.exp(power - power.max(1, keepdims=True))
    return (weight * s / t).sum(1) / weight.sum(1)


def test_burgers_converges_to_cole_hopf_at_second_order():
    numbers, errors = np.array([0.01, 0.1, 1.0]), []
    for n in (128, 512):
        x = (np.arange(n) + 0.5) / n
        u = np.broadcast_to(0.3 + np.sin(2 * np.pi * x), (3, n))[..., None]
        with jax.enable_x64(True):
            pde = PDES["burgers"](points=n, cells=n, dt=0.1)
            u = np.asarray(step_of(u, numbers[:, None], pde))[..., 0]
        want = np.stack([cole_hopf(x, 0.1, nu / np.pi) for nu in numbers])
        errors.append(np.abs(u - want).mean(1))
    order = np.log2(errors[0] / errors[1]) / 2
    assert np.all(order > 1.8), order
    assert np.all(errors[-1] < [1e-5, 7e-6, 2e-6]), errors[-1]


def test_burgers_converges_to_itself_through_shocks():
    means = []
    for n in (512, 1024, 2048):
        pde = PDES["burgers"](points=n, cells=n, dt=0.4)
        u = sines((n,), 2, seed=1).astype(np.float32)
        u = np.asarray(step_of(u, np.full((2, 1), 1e-3, np.float32), pde), float)
        means.append(u.reshape(2, 512, -1).mean(-1))
    coarse, middle = (np.abs(u - means[-1]).mean() for u in means[:2])
    assert middle < 0.55 * coarse < 1e-3, (coarse, middle)


@pytest.fixture(scope="module")
def long_run():
    """Float32 at 1024 cells over t = 2, Nu = .001, .01 and 1: (4, 41, 1024) in float64."""
    pde = PDES["burgers"]()
    u = sines((1024,), 4, seed=2).astype(np.float32)
    cond = np.array([[1e-3], [1e-3], [0.01], [1.0]], np.float32)
    path = jax.jit(base.rollout(pde.step, 40))(u, cond)
    return np.concatenate([u[:, None], path], 1).astype(float)[..., 0]


def test_burgers_conserves_the_mean_in_float32(long_run):
    mean = long_run.mean(-1)
    assert np.abs(mean - mean[:, :1]).max() < 1e-6


def test_burgers_energy_and_variation_never_grow(long_run):
    energy = (long_run**2).mean(-1)
    variation = np.abs(long_run - np.roll(long_run, 1, -1)).sum(-1)
    for value, rounding in ((energy, 1e-6), (variation, 1e-5)):
        assert (np.diff(value, axis=1) / value[:, :1]).max() < rounding
        assert value[0, -1] < 0.9 * value[0, 0]
    assert (long_run.max(-1) <= long_run[:, 0].max(-1)[:, None] + 1e-5).all()


@pytest.mark.parametrize("pde", [SMALL, PLANE], ids=lambda pde: pde.name)
def test_step_has_free_leading_axes(pde):
    u, cond = problem(pde)
    whole = np.asarray(step_of(u, cond, pde))
    for at in np.ndindex(2, 2):
        alone = step_of(u[at], cond[at], pde)
        np.testing.assert_allclose(alone, whole[at], rtol=1e-5, atol=2e-6)
    assert np.abs(whole - u).max() > 1e-2


@pytest.mark.parametrize("pde", [SMALL, PLANE], ids=lambda pde: pde.name)
def test_march_and_exact_advection_have_free_leading_axes(pde):
    u, cond = problem(pde)
    functions = [jax.jit(lambda u, cond: pde.march(u, cond, 8))]
    if pde is PLANE:
        functions.append(jax.jit(partial(advection.exact, time=0.3, length=1.0)))
    for function in functions:
        whole = np.asarray(function(u, cond))
        assert np.abs(whole - u).max() > 1e-2
        for at in np.ndindex(2, 2):
            np.testing.assert_allclose(function(u[at], cond[at]), whole[at], rtol=1e-5, atol=5e-6)


def test_step_equals_its_jit():
    u, cond = problem(SMALL)
    np.testing.assert_allclose(SMALL.step(u, cond), step_of(u, cond, SMALL), atol=2e-6)


@pytest.mark.parametrize("pde", [SMALL, PLANE], ids=lambda pde: pde.name)
def test_residual_and_laws_have_free_leading_axes(pde):
    prev, cond = problem(pde)
    next = np.roll(prev, 1, 2)

    @jax.jit
    def everything(prev, next, cond):
        values = {name: law.value(prev) for name, law in pde.laws.items()}
        scales = {name + "_scale": law.scale(prev) for name, law in pde.laws.items()}
        return values | scales | {"residual": pde.residual(prev, next, cond)}

    whole = everything(prev, next, cond)
    for at in np.ndindex(2, 2):
        alone = everything(prev[at], next[at], cond[at])
        for name, value in alone.items():
            np.testing.assert_allclose(value, whole[name][at], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("pde", [SMALL, FLAT, PLANE], ids=["burgers", "advection", "plane"])
def test_symmetries_commute_with_step(pde):
    u, cond = problem(pde)
    assert pde.symmetries
    for symmetry in pde.symmetries:
        moved = 0
        for seed in range(6):
            apply = partial(symmetry, jax.random.key(seed))
            turned = np.asarray(apply(u, cond)[0])
            moved += not np.array_equal(turned, u)
            want = apply(step_of(u, cond, pde), cond)[0]
            np.testing.assert_allclose(step_of(turned, cond, pde), want, atol=5e-6)
        assert moved


def test_a_reflection_is_its_own_inverse_and_commutes_with_step():
    u, cond = problem(SMALL)
    assert SMALL.reflection is not None and FLAT.reflection is None
    np.testing.assert_array_equal(SMALL.reflection(SMALL.reflection(u)), u)
    want = SMALL.reflection(step_of(u, cond, SMALL))
    np.testing.assert_allclose(step_of(SMALL.reflection(u), cond, SMALL), want, atol=5e-6)


def test_rollout_is_steps_and_repeat_is_its_last():
    def step(u, cond):
        return 2 * u + cond[..., None]

    for lead in [(), (2,), (2, 3)]:
        u, cond = np.ones((*lead, 5, 1), np.float32), np.full((*lead, 1), 0.5, np.float32)
        path = np.asarray(base.rollout(step, 3)(u, cond))
        want = np.stack([2.5 * u, 5.5 * u, 11.5 * u], len(lead))
        np.testing.assert_array_equal(path, want)
        np.testing.assert_array_equal(base.repeat_step(step, 3)(u, cond), 11.5 * u)


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30])
def test_a_broken_field_returns_and_leaves_the_others_alone(poison):
    u, cond = problem(SMALL)
    want = np.asarray(step_of(u, cond, SMALL))
    u[0, 1, 5] = poison
    got = np.asarray(step_of(u, cond, SMALL))
    np.testing.assert_allclose(got[:, 0], want[:, 0], atol=1e-5)
    np.testing.assert_allclose(got[1], want[1], atol=1e-5)
    assert not np.all(np.abs(got[0, 1]) < 10)


def test_initial_conditions_follow_the_law():
    n, samples = 129, 2000
    pde = PDES["burgers"]()
    keys = jax.random.split(jax.random.key(0), samples)
    draw = jax.jit(jax.vmap(lambda key: pde.initial(key, jnp.ones(1), (n,))))
    u = np.asarray(draw(keys))[..., 0]
    assert np.abs(u).max() <= 4 and np.abs(u).max() > 2
    windowed = (np.abs(u[:, :6]).max(1) < 1e-3) & (np.abs(u[:, -6:]).max(1) < 1e-3)
    assert abs(windowed.mean() - 0.1) < 0.03
    np.testing.assert_allclose(u[~windowed, 0], u[~windowed, -1], atol=2e-5)
    assert abs((u.mean(1) > 0).mean() - 0.5) < 0.04
    assert (np.abs(u.mean(1)) > 0.05).mean() > 0.8
    one_sign = ((u > 0).all(1) | (u < 0).all(1))[~windowed].mean()
    assert 0.1 < one_sign < 0.6, one_sign
    power = np.abs(np.fft.rfft(u[:, :-1])) > 1e-3  # the last centre repeats the first
    few_modes = (power[:, 1:].sum(1) <= 2) & ~power[:, 9:].any(1)
    assert 0.8 < few_modes.mean() < 0.9, few_modes.mean()  # not windowed, no kink from |u|


def test_initial_conditions_do_not_depend_on_the_grid():
    initial = jax.jit(PLANE.initial, static_argnums=2)
    u, fine = (initial(jax.random.key(3), jnp.ones(2), (n, n)) for n in (4, 12))
    assert u.shape == (4, 4, 1)
    np.testing.assert_allclose(u, fine[1::3, 1::3], atol=1e-5)


@pytest.mark.parametrize("ndim, grids", [(1, (64, 128)), (2, (32, 64))])
def test_advection_converges_to_translation(ndim, grids):
    velocity, errors = np.array([[0.5, -0.25][:ndim]]), []
    for n in grids:
        u = sines((n,) * ndim, 1, ndim, seed=3)
        with jax.enable_x64(True):
            pde = PDES["advection"](points=(n,) * ndim, cells=(n,) * ndim, dt=0.5)
            got = np.asarray(step_of(u, velocity, pde))
        want = np.roll(u, (n // 4, -n // 8)[:ndim], (1, 2)[:ndim])
        errors.append(np.abs(got - want).mean())
    assert np.log2(errors[0] / errors[1]) > 1.6, errors
    assert errors[1] < 0.02


def test_exact_advection_of_a_wave():
    x = np.arange(16) / 16
    u = np.stack([np.sin(2 * np.pi * x), np.cos(4 * np.pi * x)]).astype(np.float32)[..., None]
    want = [np.sin(2 * np.pi * (x - 0.15)), np.cos(4 * np.pi * (x + 0.3))]
    got = advection.exact(u, np.array([[0.5], [-1.0]], np.float32), 0.3, length=1.0)
    np.testing.assert_allclose(got[..., 0], want, atol=1e-5)


def test_residual_of_the_exact_solution_falls_with_dt():
    x, nu, sizes = (np.arange(1024) + 0.5) / 1024, np.array([0.1]), []
    for dt in (0.08, 0.04, 0.02):
        pair = [cole_hopf(x, t, 0.1 / np.pi)[:, None] for t in (0.1, 0.1 + dt)]
        with jax.enable_x64(True):
            residual = jax.jit(PDES["burgers"](dt=dt).residual)(*pair, nu)
            sizes.append(np.sqrt(np.mean(np.asarray(residual) ** 2)))
    assert sizes[0] > 3.3 * sizes[1] > 3.3**2 * sizes[2], sizes
    still = np.ones((2, 8, 1), np.float32)
    assert not jnp.any(SMALL.residual(still, still, np.ones((2, 1), np.float32)))


def test_solving_in_the_galilean_frame_equals_solving_in_the_fixed_frame():
    """Galilean invariance, up to the scheme's own error; leading axes are free."""
    pde = PDES["burgers"](nu=0.5, points=256)
    x = np.arange(256) / 256
    u = np.stack([c + np.sin(2 * np.pi * x) for c in (0.0, 0.9, -3.0)])[..., None].astype("f4")
    cond = np.full((3, 1), 0.5, np.float32)
    step = jax.jit(pde.step)

    @jax.jit
    def frames(u, after):
        """The moving field, and a field from its frame, to it, and both."""
        moving, from_frame, to_frame = pde.galilean_frame(u)
        fixed = from_frame(after)
        return moving, fixed, to_frame(after), to_frame(fixed)

    fixed = np.asarray(step(u, cond))
    moving, given, taken, both = map(np.asarray, frames(u, fixed))
    assert np.abs(np.mean(moving, 1)).max() <= 0.5 / 256 / pde.dt + 1e-6
    np.testing.assert_allclose(frames(u, step(moving, cond))[1], fixed, atol=2e-3)
    np.testing.assert_allclose(both, fixed, atol=1e-6)
    assert np.abs(fixed - u)[1:].max() > 0.3
    for i in range(3):
        for alone, whole in zip(frames(u[i], fixed[i]), (moving, given, taken, both), strict=True):
            np.testing.assert_array_equal(alone, whole[i])


def test_compensated_sum_loses_nothing():
    def body(_, carry):
        u, lost, plain = carry
        return *fv.compensated_add(u, lost, jnp.float32(1e-5)), plain + jnp.float32(1e-5)

    start = jnp.float32(100.0)
    u, _, plain = jax.lax.fori_loop(0, 10_000, body, (start, jnp.float32(0.0), start))
    np.testing.assert_allclose(u, 100.1, rtol=1e-7)
    assert abs(plain - 100.1) > 0.01


@pytest.mark.parametrize("limiter", fv.LIMITERS.values(), ids=fv.LIMITERS)
def test_limiters_by_hand(limiter):
    a, b = np.array([1.0, -1, 2, -3, 0], np.float32), np.array([3.0, 1, 2, -1, 5], np.float32)
    want = {fv.minmod: [1, 0, 2, -1, 0], fv.monotonized_central: [2, 0, 2, -2, 0]}[limiter]
    np.testing.assert_array_equal(limiter(a, b), want)
    np.testing.assert_array_equal(limiter(-b, -a), -np.array(want, np.float32))


@pytest.mark.parametrize("pde", [SMALL, PLANE], ids=lambda pde: pde.name)
def test_a_march_is_a_step_with_a_gradient(pde):
    u, cond = problem(pde)
    u, cond = u[1, 1], 3 * cond[1, 1] if pde is PLANE else cond[1, 1]
    dx = 1 / np.array(u.shape[:-1])
    speed = np.abs(u).max() / dx[0] if pde is SMALL else (np.abs(cond) / dx).sum()
    # As many substeps as `step` takes give its result, up to its compensation.
    count = int(np.ceil(pde.dt * speed / 1.5))
    step = np.asarray(step_of(u, cond, pde))
    np.testing.assert_allclose(
        jax.jit(pde.march, static_argnums=2)(u, cond, count), step, atol=1e-5
    )
    assert count > 1 and np.abs(step - u).max() > 1e-2

    @jax.jit
    def gradients(u):
        """Of the sum of squares, and of the sum."""
        after, pull = jax.vjp(lambda u: pde.march(u, cond, 4), u)
        return jax.vmap(pull)(jnp.stack([2 * after, jnp.ones_like(after)]))[0]

    # Mass passes whole: the gradient of the sum of all cells is one everywhere.
    grad, mass = np.asarray(gradients(u))
    np.testing.assert_allclose(mass, 1.0, atol=1e-4)
    assert np.isfinite(grad).all() and np.abs(grad - 2 * step).max() > 1e-2


def test_a_coarse_march_keeps_means_and_leading_axes():
    u = sines((12, 16), 2, 2).astype(np.float32)
    for axis in (-3, -2):
        np.testing.assert_allclose(restrict(prolong(u, 2, axis), 2, axis), u, atol=1e-6)
    line = np.arange(8, dtype=np.float32)[:, None]
    fine = np.asarray(prolong(line, 2, -2))
    np.testing.assert_allclose(fine[2:-2, 0], np.arange(12) / 2 + 0.75)
    u, cond = problem(PLANE)
    step = jax.jit(coarse.coarse_step(PLANE, factor=2, substeps=4))
    whole = np.asarray(step(u, cond))
    np.testing.assert_allclose(whole.mean((2, 3)), u.mean((2, 3)), atol=1e-6)
    for at in np.ndindex(2, 2):
        np.testing.assert_allclose(step(u[at], cond[at]), whole[at], atol=2e-6)


def test_a_coarse_march_takes_more_substeps_on_a_finer_grid():
    u, cond = problem(SMALL)
    points = SMALL.points[0]
    fine = np.asarray(prolong(u, 4, -2))
    for size, factor in ((points, 1), (4 * points, 4)):
        given = fine if factor > 1 else u
        step = jax.jit(coarse.coarse_step(SMALL, factor=2, substeps=9))
        march = jax.jit(SMALL.march, static_argnums=2)
        by_hand = prolong(march(restrict(given, 2, -2), cond, 9 * factor), 2, -2)
        assert given.shape[-2] == size
        np.testing.assert_allclose(step(given, cond), by_hand, atol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="unknown limiter 'minmood'; did you mean 'minmod'"):
        PDES["burgers"](limiter="minmood")
    with pytest.raises(ValueError, match="every viscosity must be positive"):
        PDES["burgers"](nu=(0.1, 0.0))
    with pytest.raises(ValueError, match="data.cells is 8; expected 2 axes"):
        PDES["advection"](points=(8, 8), cells=8)
    with pytest.raises(ValueError, match="unknown boundary 'neuman'; did you mean 'neumann'"):
        replace(PLANE, boundary=("neuman", "periodic"))
    with pytest.raises(ValueError, match="expected one name for each axis"):
        replace(PLANE, boundary=("wall",))


def test_a_network_is_built_with_the_boundary_of_its_pde():
    channel = replace(PLANE, boundary=("periodic", "wall"))
    assert PLANE.boundary == ("periodic", "periodic") and channel.periodic == (True, False)
    given = []

    def identity(*, ndim, channels, params, boundary):
        given.append(boundary)
        return Network(lambda key: {}, lambda params, u, cond: u)

    for pde in (PLANE, channel):
        Emulator(pde, identity)
    assert given == [PLANE.boundary, channel.boundary]

    def without(*, ndim, channels, params):
        return identity(ndim=ndim, channels=channels, params=params, boundary=())

    assert network_boundary(PLANE, without) == {}
    with pytest.raises(ValueError, match="'wall'.*use a network whose factory takes `boundary`"):
        Emulator(channel, without)
