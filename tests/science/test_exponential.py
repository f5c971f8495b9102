"""Exponential Runge-Kutta steps with a learned nonlinear part, and an equation's own units."""

from dataclasses import replace
from functools import cache, partial
from math import factorial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ups_jax as ups
from ups_jax.arrays import per_channel
from ups_jax.emulator import fit_statistics, operator_calls, step
from ups_jax.emulator.base_steps import LINEAR_PART
from ups_jax.forecast import calls_per_step
from ups_jax.models import Network
from ups_jax.pde import PDES
from ups_jax.pde.etdrk import quadrature_phi
from ups_jax.pde.spectral import phi_functions

SIZE = dict(points=64, cells=64)
# Burgers, Korteweg-de Vries, Kuramoto-Sivashinsky, Fisher and diffusion, by nonzero coefficients.
ROWS = np.zeros((5, 8), np.float32)
ROWS[0, [2, 6]] = 1.5, -1.5
ROWS[1, [3, 4, 6]] = -14, -9, -2
ROWS[2, [2, 4, 7]] = -1.2, -15, -6
ROWS[3, [0, 2, 5]] = 0.02, 0.2, -0.02
ROWS[4, 2] = 4.0


@cache
def family():
    """All five equations as one PDE, a field of each, and its coefficients."""
    names = ("gamma0", "gamma1", "gamma2", "gamma3", "gamma4", "quadratic", "convection")
    ends = zip((*names, "gradient_norm"), ROWS.min(0), ROWS.max(0), strict=True)
    ranges = {name: (float(low), float(high)) for name, low, high in ends}
    ranges["gamma4"], ranges["gamma2"] = (-15.0, -1e-6), (-1.2, 4.0)
    pde = PDES["semilinear"](**SIZE, **ranges)
    keys = jax.random.split(jax.random.key(3), len(ROWS))
    draw = jax.vmap(lambda key: pde.initial(key, jnp.zeros(8), pde.points))
    return pde, np.asarray(jax.jit(draw)(keys)), ROWS


def emulator_of(pde, **options):
    sizes = dict(width=6, blocks=1, dilations=(1, 2))
    return ups.Emulator(pde, ups.OPERATORS["resnet"], **sizes, **options)


def exact_terms(u, cond):
    """The nonlinear terms of fields (b, x, 1) with 2/3 of their waves, by NumPy's rules in JAX."""
    n = u.shape[-2]
    k = np.arange(n // 2 + 1)
    low = k < 2 / 3 * (n // 2) - 1 + 1e-6
    lead = (1,) * (u.ndim - 2)
    wave = jnp.asarray(2j * np.pi * k, jnp.complex64).reshape(*lead, -1)
    w = jnp.fft.rfft(u[..., 0]) * low.reshape(*lead, -1)
    v, slope = (jnp.fft.irfft(x, n) for x in (w, wave * w))
    quadratic, convection, gradient = cond[..., 5], cond[..., 6] / n, cond[..., 7] / n**2
    source = quadratic[..., None] * v * v
    norm = slope**2 - jnp.mean(slope**2, -1, keepdims=True)
    flux = jnp.fft.irfft(wave * jnp.fft.rfft(v * v), n)
    total = source + 0.5 * convection[..., None] * flux + 0.5 * gradient[..., None] * norm
    return total[..., None]


def test_phi_functions_are_accurate_near_and_far_from_zero():
    r = np.random.default_rng(0)
    parts = r.normal(size=(2, 500)) * 10.0 ** r.uniform(-4, 1, (2, 500))
    z = parts[0] + 1j * parts[1]
    big = z.astype(np.clongdouble)
    far = [(np.exp(big) - 1) / big, (np.exp(big) - 1 - big) / big**2]
    near = [sum(big**n / factorial(n + j) for n in range(30)) for j in (1, 2)]
    want = [np.where(np.abs(z) < 1, a, b) for a, b in zip(near, far, strict=True)]
    phi, z = jax.jit(phi_functions), z.astype(np.complex64)
    for one, other, real in zip(phi(z), want, jax.jit(quadrature_phi)(z), strict=True):
        error = np.abs(np.asarray(one) - other) / np.abs(other)
        assert error.max() < 1e-5
        np.testing.assert_allclose(real, other.real, rtol=1e-4, atol=1e-5 * np.abs(other).max())
    np.testing.assert_allclose(phi(np.zeros(1, np.complex64)), [[1], [0.5]])
    # A point of the quadrature's circle about z, where its quotients cancel.
    node = np.array([-np.exp(1j * np.pi / 16) * (1 + 1e-6)], np.complex64)
    exact = (np.exp(np.complex128(node[0])) - 1) / np.complex128(node[0])
    assert abs(np.asarray(phi(node)[0])[0] - exact) < 1e-6
    # Gradients are finite where a wave decays at once.
    grad = jax.jit(jax.grad(lambda x: phi_functions(jax.lax.complex(x, x))[1].real))
    for z in (0.0, 0.5, -1e4):
        assert np.isfinite(grad(np.float32(z)))


def test_with_the_exact_nonlinear_terms_the_step_is_the_solver():
    pde, u, cond = family()
    base = ups.base_step(pde, "exponential")
    advance = jax.jit(lambda u, c: base.advance(u, c, lambda v: exact_terms(v, c)))
    want, linear = (np.asarray(jax.jit(f)(u, cond)) for f in (pde.step, partial(base)))
    np.testing.assert_allclose(advance(u, cond), want, atol=2e-6)
    assert np.abs(linear - want)[:4].max((1, 2)).min() > 1e-3
    np.testing.assert_allclose(linear[4], want[4], atol=2e-6)
    for at in range(5):
        np.testing.assert_allclose(advance(u[at], cond[at]), want[at], atol=4e-6)


@pytest.mark.parametrize("natural_units", [False, True])
def test_an_operator_that_knows_the_nonlinear_terms_is_the_solver(natural_units):
    """In units of the equation too, whose coefficients the network then receives."""
    pde, u, cond = family()
    units = np.array([0.01, 1, 1, 1, 1, 0.01, 1, 1], np.float32)

    def apply(params, inputs, features):
        return exact_terms(inputs, jnp.sinh(features) * per_channel(units, features))

    network = Network(lambda key: {}, apply)
    options = dict(base="exponential", natural_units=natural_units)
    emulator = ups.Emulator(pde, network, **options)
    params = ups.init(emulator, jax.random.key(0))
    got = jax.jit(partial(step, emulator))(params, u, cond)
    np.testing.assert_allclose(got, jax.jit(pde.step)(u, cond), atol=1e-5)
    assert operator_calls(emulator) == calls_per_step(emulator, "operator") == 2
    plain = ups.Emulator(pde, network)
    assert operator_calls(plain) == calls_per_step(plain, "operator") == 1


def test_units_make_the_nonlinear_terms_of_size_one():
    pde, u, cond = family()
    units = jax.jit(pde.natural_units)
    unit, scaled = map(np.asarray, units(cond))
    np.testing.assert_allclose(unit, [1 / 1.5, 0.5, 1 / 6, 0.5, 1], rtol=1e-6)
    np.testing.assert_array_equal(scaled[:, :5], cond[:, :5])
    np.testing.assert_allclose(np.abs(scaled[:, 5:]).sum(1), [1, 1, 1, 0.01, 0], rtol=1e-6)
    # The quotient of fields and unit solves the equation of the new coefficients.
    by = unit[:, None, None]
    advance = jax.jit(pde.step)
    moved = np.asarray(advance(u / by, scaled)) * by
    np.testing.assert_allclose(moved, advance(u, cond), atol=2e-6)
    # Nonlinear terms of the other sign belong to fields of the other sign.
    other, same = units(np.where(np.arange(8) < 5, cond, -cond))
    np.testing.assert_array_equal(same, scaled)
    np.testing.assert_array_equal(other, unit * np.where((cond[:, 5:] != 0).any(1), -1, 1))


def test_an_operator_in_natural_units_scales_with_its_equation():
    pde, u, cond = family()
    emulator, plain = emulator_of(pde, natural_units=True), emulator_of(pde)
    frames = np.stack([u, jax.jit(pde.step)(u, cond)], 1)
    data = ups.Trajectories(frames, cond, pde.dt)
    unit, scaled = (np.asarray(x) for x in jax.jit(pde.natural_units)(cond))
    by = unit[:, None, None, None]
    quotient = replace(data, u=frames / by, cond=scaled)
    stats, want = fit_statistics(emulator, data), fit_statistics(plain, quotient)
    for name, value in want.items():
        np.testing.assert_allclose(stats[name], value, rtol=1e-5, atol=1e-6)
    params = ups.init(emulator, jax.random.key(0), stats)
    params["operator"] = jax.tree.map(lambda x: np.asarray(x) + np.float32(0.1), params["operator"])
    advance = jax.jit(partial(step, emulator))
    moved = np.asarray(advance(params, u, cond))
    # Diffusion has no nonlinear term, so its fields keep their unit.
    for by in np.float32([3, -3]):
        same = advance(params, by * u, np.where(np.arange(8) < 5, cond, cond / by))
        np.testing.assert_allclose(np.asarray(same)[:4] / by, moved[:4], atol=1e-4)
    assert np.abs(moved - u).max() > 1e-2


def test_a_learned_linear_part_with_the_true_weights_is_the_exact_one():
    """Weights are then one at each order's own difficulty; of a field the step is exact then."""
    pde, u, cond = family()
    emulator = emulator_of(pde, base="learned")
    params = ups.init(emulator, jax.random.key(0))
    linear = params["operator"][LINEAR_PART]
    assert linear["weights"].shape == (9, 5)

    @jax.jit
    def advance(weights):
        operator = {**params["operator"], LINEAR_PART: {"weights": weights}}
        return emulator.base.bind(operator).advance(u, cond, jnp.zeros_like)

    assert linear.keys() == {"weights"}
    np.testing.assert_allclose(advance(linear["weights"]), u, atol=1e-6)
    # Difficulties of order 0 are rates themselves, the others have the scales of the orders.
    weights = np.diag([0.5, 1, 1, 1, 1, 0, 0, 0, 0])[:, :5].astype("f4")
    exact = jax.jit(ups.base_step(pde, "linear"))(u, cond)
    np.testing.assert_allclose(advance(weights), exact, atol=2e-6)
    # Whatever the weights, no wave grows by more than e in an interval.
    moved = np.asarray(advance(np.full((9, 5), 3, "f4")))
    sizes = [np.abs(np.fft.rfft(x[..., 0])).sum(-1) for x in (u, moved)]
    assert (sizes[1] / sizes[0]).max() <= np.e * (1 + 1e-4)
    with pytest.raises(ValueError, match="'reaction_diffusion' has boundary .*; use 'identity'"):
        ups.base_step(PDES["reaction_diffusion"](points=(16, 16), cells=(16, 16)), "learned")


def test_a_linear_part_is_learned_from_pairs_of_frames():
    """Of diffusion at several coefficients; then it holds between them and beyond them."""
    pde = PDES["semilinear"](**SIZE, gamma2=(1.0, 4.0))
    data = ups.simulate(pde, jax.random.key(0), n=16, steps=1, cache=False)
    u, after, cond = data.u[:, 0], data.u[:, 1], data.cond
    base = ups.base_step(pde, "learned")

    @jax.jit
    def error(weights, u, after, cond):
        linear = base.bind({LINEAR_PART: {"weights": weights}})
        moved = linear.advance(u, cond, jnp.zeros_like)
        return jnp.mean((moved - after) ** 2) / jnp.mean((after - u) ** 2)

    adam, weights = optax.adam(optax.cosine_decay_schedule(0.1, 300)), jnp.zeros((9, 5))

    def body(carry, _):
        weights, state = carry
        change, state = adam.update(jax.grad(error)(weights, u, after, cond), state)
        return (weights + change, state), None

    (weights, _), _ = jax.jit(
        lambda: jax.lax.scan(body, (weights, adam.init(weights)), length=300)
    )()
    others = np.zeros((16, 8), "f4")
    others[:, 2] = np.linspace(2.5, 6.0, 16)
    assert error(weights, u, jax.jit(pde.step)(u, others), others) < 1e-2


@pytest.mark.parametrize("base", ["exponential", "learned"])
def test_a_saved_emulator_keeps_its_base_step_and_units(tmp_path, base):
    pde, u, cond = family()
    emulator = emulator_of(pde, base=base, natural_units=True)
    params = ups.init(emulator, jax.random.key(0))
    params = jax.tree.map(lambda x: np.asarray(x) + np.float32(0.01), params)
    ups.save(tmp_path / "saved", emulator, params)
    again, values, _ = ups.load(tmp_path / "saved")
    got = jax.jit(partial(step, again))(values, u, cond)
    np.testing.assert_array_equal(got, jax.jit(partial(step, emulator))(params, u, cond))


def test_what_does_not_fit_is_refused():
    pde, _, _ = family()
    with pytest.raises(ValueError, match="history is 2; with an exponential base step"):
        emulator_of(pde, base="exponential", history=2)
    burgers = PDES["burgers"](points=32, cells=32)
    with pytest.raises(ValueError, match="natural_units is true, but pde 'burgers' has none"):
        ups.Emulator(burgers, ups.OPERATORS["resnet"], width=4, natural_units=True)
    search = {"operator.base": "exponential", "operator.galilean": False}
    with pytest.raises(ValueError, match="has no search with .* or an exponential base"):
        ups.build(ups.load_config("configs/burgers.py:smoke", search))
