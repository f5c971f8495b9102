from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax import physics
from ups_jax.pde import PDES, kuramoto

PDE = PDES["kuramoto"](points=64, cells=64, length=32.0)
NONE = np.zeros((2, 2, 0), np.float32)

march = jax.jit(kuramoto.march, static_argnums=2, static_argnames=("dt", "length"))
step = jax.jit(PDE.step)
residual = jax.jit(PDE.residual)
balance_of = jax.jit(kuramoto.residual, static_argnames=("dt", "length"))


@pytest.fixture(scope="module")
def drawn():
    """Frames on the attractor: (2, 2, 64, 1)."""
    keys = jax.random.split(jax.random.key(0), 4)
    draw = jax.jit(jax.vmap(lambda key: PDE.initial(key, jnp.zeros(0), PDE.cells)))
    return np.asarray(draw(keys)).reshape(2, 2, 64, 1)


def refined(u, n):
    """u (..., x, 1) on n points, by its Fourier series in float64."""
    return np.fft.irfft(np.fft.rfft(u[..., 0], norm="forward"), n, norm="forward")[..., None]


def test_a_tiny_wave_grows_at_its_own_rate():
    """exp((k^2 - k^4) t): waves that grow, that stand, that die."""
    length, n = 24 * np.pi, 96
    wave = np.array([3, 8, 12, 15])
    k = 2 * np.pi / length * wave
    x = np.arange(n) * length / n
    u = 1e-8 * np.sin(k[:, None] * x + 1.0)[..., None]
    with jax.enable_x64(True):
        got = np.asarray(march(u, np.zeros((4, 0)), 4, dt=2.0, length=length))
    want = u * np.exp(2 * (k**2 - k**4))[:, None, None]
    np.testing.assert_allclose(got, want, atol=1e-15)
    assert want[1].max() > 1.3e-8 and np.isclose(k[2], 1.0) and want[3].max() < 2e-9


def test_substeps_converge_at_fourth_order_and_points_faster(drawn):
    u = refined(drawn.astype(float), 96)
    with jax.enable_x64(True):
        run = partial(march, dt=1.0, length=32.0)
        exact = np.asarray(run(u, NONE, 256))
        errors = [np.abs(run(u, NONE, count) - exact).max() for count in (32, 64)]
        usual = np.asarray(step(u, NONE))
        fine = np.asarray(run(refined(u, 192), NONE, 16))
    assert np.log2(errors[0] / errors[1]) > 3.3, errors
    assert np.abs(usual - exact).max() < 2e-5 < 2e-2 * np.abs(exact - u).max()
    # All that 96 points leave out of a field is its 49th wave and those above, 1e-10 of it.
    np.testing.assert_allclose(fine[..., ::2, :], usual, atol=1e-8)


def test_the_flux_has_no_aliases():
    """-(u^2/2)_x of the highest waves, by hand: products beyond the grid leave nothing behind."""
    n, x = 12, 2 * np.pi * np.arange(12) / 12
    a, b = np.cos(5 * x), np.cos(4 * x)
    with jax.enable_x64(True):
        force = partial(kuramoto._transport, points=n, length=2 * np.pi)
        got = jnp.fft.irfft(force(jnp.fft.rfft(a + b, norm="forward")), n, norm="forward")
    # (a + b)^2 / 2 = (1 + cos x) / 2 + ..., the rest being waves 8, 9 and 10.
    np.testing.assert_allclose(got, 0.5 * np.sin(x), atol=1e-12)


def test_the_mean_is_kept_in_float32(drawn):
    u = drawn + np.array([[0.0], [1.0]], np.float32)[..., None, None]
    path = jax.jit(lambda u: jax.lax.scan(lambda u, _: (PDE.step(u, NONE),) * 2, u, length=60)[1])
    means = np.asarray(path(u), float).mean((-2, -1))
    assert np.abs(means - u.astype(float).mean((-2, -1))).max() < 5e-7


def test_symmetries_commute_with_step(drawn):
    assert len(PDE.symmetries) == 2
    for symmetry in PDE.symmetries:
        moved = 0
        for seed in range(6):
            apply = partial(symmetry, jax.random.key(seed))
            turned = np.asarray(apply(drawn, NONE)[0])
            moved += not np.array_equal(turned, drawn)
            np.testing.assert_allclose(
                step(turned, NONE), apply(step(drawn, NONE), NONE)[0], atol=2e-5
            )
        assert moved


def test_solving_in_the_galilean_frame_equals_solving_in_the_fixed_frame(drawn):
    u = drawn + np.float32(1.7)
    frame = PDE.galilean_frame(u)
    assert float(jnp.abs(jnp.mean(frame.u, -2)).max()) < 0.25 + 1e-5
    fixed = step(u, NONE)
    np.testing.assert_allclose(frame.from_frame(step(frame.u, NONE)), fixed, atol=5e-4)
    assert np.abs(fixed - u).max() > 0.5


def test_step_residual_and_laws_have_free_leading_axes(drawn):
    after = np.asarray(step(drawn, NONE))
    assert np.abs(after - drawn).max() > 0.1
    mass = PDE.laws["mass"]
    for at in np.ndindex(2, 2):
        np.testing.assert_allclose(step(drawn[at], NONE[at]), after[at], atol=1e-5)
        alone = residual(drawn[at], after[at], NONE[at])
        np.testing.assert_allclose(alone, residual(drawn, after, NONE)[at], atol=2e-4)
        for part in (mass.value, mass.scale):
            np.testing.assert_allclose(part(drawn[at]), part(drawn)[at], atol=1e-6)
    np.testing.assert_allclose(PDE.step(drawn, NONE), after, atol=1e-5)


def test_residual_falls_with_the_square_of_dt_and_tells_wrong_frames(drawn):
    sizes = []
    with jax.enable_x64(True):
        # One interval rids the frames of float32's noise, which k^4 would blow up.
        u = step(drawn.astype(float), NONE)
        for dt in (0.4, 0.2, 0.1):
            after = march(u, NONE, 32, dt=dt, length=32.0)
            balance = balance_of(u, after, NONE, dt=dt, length=32.0)
            sizes.append(float(jnp.sqrt(jnp.mean(balance**2))))
    assert sizes[0] > 3.7 * sizes[1] > 3.7**2 * sizes[2], sizes
    after = np.asarray(step(drawn, NONE))
    true = float(jnp.std(residual(drawn, after, NONE)))
    for wrong in (drawn, np.roll(after, 1, -2), -after, 1.1 * after):
        assert float(jnp.std(residual(drawn, wrong, NONE))) > 5 * true


def test_march_has_a_gradient(drawn):
    u = drawn[0, 0].astype(float)
    nudge = 1e-4 * np.sin(np.arange(64) * np.pi / 16)[:, None]
    with jax.enable_x64(True):
        part = jax.jit(lambda u: jnp.sum(PDE.march(u, NONE[0, 0], 8)[:8] ** 2))
        slope = np.sum(np.asarray(jax.jit(jax.grad(part))(u)) * nudge)
        change = float(part(u + nudge) - part(u - nudge)) / 2
    assert abs(slope - change) < 1e-6 * abs(change)


def test_initial_is_one_field_whatever_the_batch_and_the_grid(drawn):
    keys, none = jax.random.split(jax.random.key(0), 4), jnp.zeros(0)
    many = jax.jit(jax.vmap(lambda key: PDE.initial(key, none, PDE.cells)))
    others = jax.random.split(jax.random.key(1), 4)
    mixed = many(jnp.concatenate([others[:1], keys[1:2], others[2:]]))
    np.testing.assert_array_equal(mixed[1], drawn[0, 1])
    draw = jax.jit(PDE.initial, static_argnums=2)
    alone, fine = (np.asarray(draw(keys[1], none, (n,))) for n in (64, 128))
    np.testing.assert_allclose(fine[::2], alone, atol=1e-5)
    # Another program rounds otherwise, and chaos makes some hundred times as much of it.
    np.testing.assert_allclose(alone, drawn[0, 1], atol=2e-2)
    assert np.abs(drawn[0, 1] - drawn[0, 0]).max() > 1


def test_data_begin_on_the_attractor_and_stay_there():
    pde = PDES["kuramoto"](points=64, cells=64)
    data = ups.simulate(pde, jax.random.key(1), n=64, steps=20, cache=False)
    assert data.u.shape == (64, 21, 64, 1)
    assert data.meta["laws"]["mass"] < 5e-7 and np.abs(data.u.mean(2)).max() < 5e-7
    size = data.u.std((0, 2, 3))
    assert np.all(np.abs(size - 1.31) < 0.1) and np.abs(data.u).max() < 4.5
    spectra = [physics.energy_spectrum(jnp.asarray(data.u[:, t]), 1).mean(0) for t in (0, 20)]
    np.testing.assert_allclose(spectra[0][2:16], spectra[1][2:16], rtol=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dt": 0.0}, "pde.dt is 0.0; it must be positive"),
        ({"length": 6.0}, "must exceed 2 pi, as all waves decay"),
        ({"cells": 32, "points": 32}, "data.cells is 32 for pde.length 64.0; .* at least 64"),
        ({"points": (8, 8)}, "pde.points is .8, 8.; expected one axis"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PDES["kuramoto"](**arguments)


@pytest.mark.parametrize("variant", ["default", "smoke"])
def test_the_config_builds_an_operator_that_keeps_the_mean(variant):
    cfg = ups.load_config(f"configs/kuramoto.py:{variant}")
    emulator = ups.build(cfg)
    assert (
        emulator.pde.name == "kuramoto"
        and emulator.zero_mean
        and emulator.pde.cells == emulator.pde.points
    )
