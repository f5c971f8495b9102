"""Flows and reactions in two dimensions: exact solutions, order, laws, symmetries, leading axes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax.pde import PDES, etdrk, vorticity
from ups_jax.pde.base import sample_keys
from ups_jax.pde.symmetries import images

SIZES = {
    "burgers2d": dict(points=(16, 16), cells=(16, 16), nu=0.05),
    "decaying_turbulence": dict(points=(16, 16), cells=(16, 16), nu=0.05, low=1, high=2),
    "gray_scott": dict(points=(16, 16), cells=(16, 16), length=0.25, warmup=0),
    "kolmogorov": dict(points=(16, 16), cells=(16, 16), nu=0.05, mode=2, dt=0.1),
    "kuramoto2d": dict(points=(16, 16), cells=(16, 16), length=10.0),
    "shallow_water": dict(points=(16, 16), cells=(16, 16)),
}
EVERY = sorted(SIZES)


def sample(pde, i=0):
    """Initial frame (x, y, c) and parameters (p,) of a sample."""
    k_cond, k_initial = sample_keys(jax.random.key(0), jnp.int32(i))
    cond = pde.sample_cond(k_cond)
    u = pde.initial(k_initial, cond, pde.cells)
    if pde.name == "shallow_water":  # without the symmetries of the dam
        u = u * (1 + 0.1 * jax.random.uniform(k_cond, u.shape))
    return u, cond


def grid(n, length=2 * np.pi):
    """Coordinates (x, y, 1) of the points of a periodic box."""
    x = np.arange(n) / n * length
    return np.meshgrid(x, x, indexing="ij")


@pytest.mark.parametrize("name", EVERY)
def test_a_step_has_free_leading_axes_laws_and_symmetries(name):
    pde = replace(PDES[name](**SIZES[name]), warmup=0)
    parts = [sample(pde, i) for i in range(2)]
    u, cond = (jnp.stack(x) for x in zip(*parts, strict=True))
    step = jax.jit(pde.step)
    whole = step(u, cond)
    scale = float(jnp.max(jnp.abs(whole)))
    np.testing.assert_allclose(step(u[0], cond[0]), whole[0], atol=1e-5 * scale)
    for change in pde.symmetries:
        keys = [jax.random.key(i) for i in range(12)]
        key = next(k for k in keys if bool(jnp.any(change(k, u[:1], cond)[0] != u[:1])))
        np.testing.assert_allclose(
            step(change(key, u[:1], cond)[0], cond[:1]),
            change(key, whole[:1], cond)[0],
            atol=1e-4 * scale,
        )
    assert pde.reflection is not None
    mirrored = pde.reflection(u)
    np.testing.assert_allclose(pde.reflection(mirrored), u, atol=1e-6)
    np.testing.assert_allclose(step(mirrored, cond), pde.reflection(whole), atol=1e-4 * scale)
    for to_image, back in images(pde.mirrors):
        np.testing.assert_array_equal(back(to_image(u)), u)
        np.testing.assert_allclose(back(step(to_image(u), cond)), whole, atol=1e-4 * scale)
    # The laws hold in data: `simulate` raises otherwise.
    data = ups.simulate(pde, jax.random.key(0), n=2, steps=4, cache=False)
    if name != "shallow_water":  # a jump has no balance of central differences
        before, after = data.u[:, -2], data.u[:, -1]
        balance = pde.dt * jnp.abs(pde.residual(before, after, jnp.asarray(data.cond)))
        assert float(jnp.mean(balance)) < 0.3 * np.mean(np.abs(after - before))


@pytest.mark.parametrize("name", ["burgers2d", "kolmogorov", "shallow_water"])
def test_a_march_has_a_finite_gradient(name):
    pde = PDES[name](**SIZES[name])
    u, cond = sample(pde)
    count = 4
    gradient = jax.jit(jax.grad(lambda u: jnp.sum(pde.march(u, cond, count) ** 2)))(u)
    assert bool(jnp.all(jnp.isfinite(gradient))) and float(jnp.max(jnp.abs(gradient))) > 0


def test_etdrk4_has_order_four_on_a_scalar_equation():
    # w' = -w + w^2 from 1/2: w = 1 / (1 + exp(t)).
    errors = []
    for count in (4, 8):
        table = jnp.asarray(etdrk.coefficients(np.array([-1.0]), 2.0 / count)[..., None], "float32")
        w = etdrk.etdrk4(jnp.full((1, 1), 0.5), lambda w: w**2, table, count)
        errors.append(abs(float(w[0, 0]) - 1 / (1 + np.exp(2.0))))
    assert errors[0] / errors[1] > 12 and errors[1] < 1e-4


def test_modes_beyond_a_third_of_the_points_are_cut():
    modes = etdrk.Modes((12, 12), (2 * np.pi, 2 * np.pi))
    x, y = grid(12)
    kept, cut = np.cos(3 * x) * np.sin(3 * y), np.cos(4 * x)
    field = jnp.asarray((kept + cut)[..., None], jnp.float32)
    np.testing.assert_allclose(modes.to_grid(modes.to_modes(field))[..., 0], kept, atol=1e-6)
    slope = modes.to_grid(modes.slope(modes.to_modes(field), 0))[..., 0]
    np.testing.assert_allclose(slope, -3 * np.sin(3 * x) * np.sin(3 * y), atol=1e-5)


def test_taylor_green_vortices_decay_exactly():
    nu = 0.05
    pde = PDES["decaying_turbulence"](points=(16, 16), cells=(16, 16), nu=nu, low=1, high=2)
    x, y = grid(16)
    w = jnp.asarray(2 * (np.cos(2 * x) * np.cos(2 * y))[..., None], jnp.float32)
    after = pde.step(w, jnp.zeros((0,)))
    np.testing.assert_allclose(after, w * np.exp(-8 * nu * pde.dt), atol=2e-6)


def test_waves_of_one_wavenumber_are_a_steady_flow_without_viscosity():
    # The stream function is proportional to the vorticity, so that the transport cancels.
    x, y = grid(32)
    w = np.cos(3 * x + 4 * y) + 2 * np.sin(5 * x) - np.cos(4 * x - 3 * y + 1) + 0.5 * np.cos(5 * y)
    modes = etdrk.Modes((32, 32), (2 * np.pi, 2 * np.pi))
    field = modes.to_modes(jnp.asarray(w[..., None], jnp.float32))
    assert float(jnp.max(jnp.abs(vorticity.transport(field, modes)))) < 1e-6
    other = modes.to_modes(jnp.asarray((w + np.cos(x))[..., None], jnp.float32))
    assert float(jnp.max(jnp.abs(vorticity.transport(other, modes)))) > 1e-2
    energy = vorticity.kinetic_energy(jnp.asarray(w[..., None], jnp.float32), length=2 * np.pi)
    np.testing.assert_allclose(energy, np.mean(w**2) / 2 / 25, rtol=1e-5)


def test_the_laminar_kolmogorov_flow_is_steady():
    # Viscosity and drag balance the force: w = -k cos(k y) / (nu k^2 + drag).
    nu, drag, mode = 0.5, 0.1, 2
    pde = PDES["kolmogorov"](points=(16, 16), cells=(16, 16), nu=nu, drag=drag, mode=mode)
    _, y = grid(16)
    w = (-mode * np.cos(mode * y) / (nu * mode**2 + drag))[..., None]
    w = jnp.asarray(w, jnp.float32)
    np.testing.assert_allclose(pde.step(w, jnp.zeros((0,))), w, atol=2e-6)
    residual = pde.residual(w, w, jnp.zeros((0,)))
    assert float(jnp.max(jnp.abs(residual))) < 1e-5


def test_burgers_in_two_dimensions_has_the_solution_of_a_plane_wave():
    # u(x, t) alone: -2 nu psi_x / psi with psi = 2 + exp(-k^2 nu t) cos(k x). Cole (1951).
    nu, n = 0.02, 48
    pde = PDES["burgers2d"](points=(n, n), cells=(n, n), nu=nu, dt=0.1)
    x, _ = grid(n, 1.0)
    k = 2 * np.pi

    def exact(t):
        decay = np.exp(-(k**2) * nu * t)
        u = 2 * nu * k * decay * np.sin(k * x) / (2 + decay * np.cos(k * x))
        return np.stack([u, np.zeros_like(u)], -1)

    after = pde.step(jnp.asarray(exact(0.0), jnp.float32), jnp.zeros((0,)))
    np.testing.assert_allclose(after, exact(0.1), atol=1e-5)


def test_small_waves_of_the_height_grow_at_the_linear_rate():
    pde = PDES["kuramoto2d"](points=(16, 16), cells=(16, 16), length=4 * np.pi, dt=1.0)
    x, y = grid(16, 4 * np.pi)
    wave = 1e-4 * np.cos(0.5 * (x + y))[..., None]
    after = pde.step(jnp.asarray(wave, jnp.float32), jnp.zeros((0,)))
    np.testing.assert_allclose(after, wave * np.exp(0.5 - 0.25), atol=2e-7)


def test_a_uniform_mixture_follows_its_kinetics():
    pde = PDES["gray_scott"](**SIZES["gray_scott"])
    u = jnp.broadcast_to(jnp.array([0.6, 0.3]), (16, 16, 2))
    cond = jnp.array([0.03, 0.06])
    y, h = np.array([0.6, 0.3]), 1e-2
    for _ in range(int(pde.dt / h)):
        turned = y[0] * y[1] ** 2
        y = y + h * np.array([0.03 * (1 - y[0]) - turned, turned - 0.09 * y[1]])
    np.testing.assert_allclose(pde.step(u, cond)[3, 5], y, atol=2e-3)
    with pytest.raises(ValueError, match="as many positive rates"):
        PDES["gray_scott"](feed=(0.01,), kill=(0.05, 0.06))


def test_water_at_rest_stays_at_rest_and_a_dam_break_is_symmetric():
    pde = PDES["shallow_water"](**SIZES["shallow_water"])
    rest = jnp.zeros((16, 16, 3)).at[..., 0].set(1.3)
    np.testing.assert_allclose(jax.jit(pde.step)(rest, jnp.zeros((0,))), rest, atol=1e-8)
    data = ups.simulate(pde, jax.random.key(1), n=2, steps=20, cache=False)
    u = data.u[:, -1]
    np.testing.assert_allclose(u[..., 0], np.swapaxes(u[..., 0], 1, 2), atol=1e-6)
    np.testing.assert_allclose(u[..., 1], np.swapaxes(u[..., 2], 1, 2), atol=1e-6)
    np.testing.assert_allclose(u[..., 1], -u[:, ::-1, :, 1], atol=1e-6)
    assert data.meta["laws"]["volume"] < 5e-7 and np.abs(u[..., 1]).max() > 0.05


def test_a_standing_wave_between_walls_has_its_linear_frequency():
    pde = PDES["shallow_water"](points=(48, 4), cells=(48, 4), length=2.0, dt=0.2)
    k = speed = np.pi / 2  # of a half wave, at height and gravity 1
    x = ((np.arange(48) + 0.5) / 48 * 2.0)[:, None] * np.ones((1, 4))

    def exact(t):
        height = 1 + 1e-3 * np.cos(k * x) * np.cos(speed * t)
        momentum = 1e-3 * np.sin(k * x) * np.sin(speed * t)
        return jnp.asarray(np.stack([height, momentum, 0 * x], -1), jnp.float32)

    after = pde.step(exact(0.0), jnp.zeros((0,)))
    np.testing.assert_allclose(after, exact(0.2), atol=2e-5)
    residual = pde.residual(exact(0.0), exact(0.2), jnp.zeros((0,)))
    assert (
        float(jnp.max(jnp.abs(residual))) < 2e-2 * float(jnp.max(jnp.abs(exact(0.2)[..., 1]))) / 0.2
    )


def test_waves_are_reflected_by_walls_and_leave_through_outflow():
    changes = {}
    for boundary in ("wall", "neumann"):
        pde = PDES["shallow_water"](
            **SIZES["shallow_water"], boundary=boundary, length=2.0, dt=0.2, radius=(0.5, 0.5)
        )
        data = ups.simulate(pde, jax.random.key(1), n=1, steps=20, cache=False)
        changes[boundary] = abs(data.u[0, -1, ..., 0].mean() / data.u[0, 0, ..., 0].mean() - 1)
    assert changes["wall"] < 1e-6 and changes["neumann"] > 0.05


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("kolmogorov", dict(mode=30), "pde.mode 30; expected a drag of at least 0"),
        ("kolmogorov", dict(nu=0.0), "pde.nu is 0.0; it must be positive"),
        ("decaying_turbulence", dict(low=7), "expected 1 <= low <= high"),
        ("kuramoto2d", dict(length=6.0), "pde.length is 6.0 on data.cells"),
        ("shallow_water", dict(boundary="walls"), "unknown pde.boundary 'walls'; did you mean"),
        ("shallow_water", dict(radius=(0.5, 3.0)), "two rising radii"),
        ("burgers2d", dict(points=64), "pde.points is 64; expected 2 axes"),
    ],
)
def test_mistakes_are_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        PDES[name](**arguments)
