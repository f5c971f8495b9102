import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ups_jax import physics
from ups_jax.pde import PDES, base
from ups_jax.pde.laws import law_floor

BURGERS = PDES["burgers"](nu=0.1, points=64, cells=64)
ADVECTION = PDES["advection"](points=(16, 12), cells=(16, 12))


diagnostics = jax.jit(physics.diagnostics, static_argnums=0)
violation = jax.jit(physics.violation, static_argnums=(0, 3))
spectrum_of = jax.jit(physics.energy_spectrum, static_argnums=1)


def normal(seed, shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def rollout():
    """Six steps of the Burgers solver at 64 cells: given (3, 64, 1), path (3, 6, 64, 1), cond."""
    x = np.arange(64) / 64 - np.array([[0.2], [0.5], [0.7]])
    given = (np.sin(2 * np.pi * x) + 0.5 * np.cos(6 * np.pi * x) + x[:, :1]).astype(np.float32)
    cond, step = np.full((3, 1), 0.1, np.float32), jax.jit(BURGERS.step)
    frames = [given[..., None]]
    for _ in range(6):
        frames.append(np.asarray(step(frames[-1], cond)))
    return frames[0], np.stack(frames[1:], 1), cond


@pytest.mark.parametrize("shape", [(3, 16, 2), (3, 15, 1), (2, 3, 8, 10, 2), (4, 9, 7, 1)])
def test_spectrum_sums_to_the_mean_energy(shape):
    ndim = 1 if len(shape) == 3 else 2
    u = normal(0, shape)
    spectrum = spectrum_of(u, ndim)
    axes = tuple(range(-1 - ndim, -1))
    energy = 0.5 * np.mean(u.astype(float) ** 2, axes).sum(-1)
    assert spectrum.shape[:-1] == energy.shape
    np.testing.assert_allclose(spectrum.sum(-1), energy, rtol=1e-6)


@pytest.mark.parametrize("k", [(5,), (3, 4), (5, 0), (0, 5)])
def test_a_wave_stands_at_its_wavenumber(k):
    axes = np.meshgrid(*[np.arange(24) / 24] * len(k), indexing="ij")
    phase = sum(a * b for a, b in zip(axes, k, strict=True))
    u = (1 + 2 * np.cos(2 * np.pi * phase)).astype(np.float32)[..., None]
    spectrum = spectrum_of(u, len(k))
    want = np.zeros(spectrum.shape)
    want[0], want[5] = 0.5, 1.0
    np.testing.assert_allclose(spectrum, want, atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 1), (8, 12, 1)])
def test_a_translation_breaks_no_law(shape):
    ndim = len(shape) - 1
    given = normal(1, (2, *shape))
    frames = [np.roll(given, i, axis=tuple(range(1, ndim + 1))) for i in (3, 5, 0)]
    path = np.stack(frames, 1)
    for name, law in base.transport_laws(ndim).items():
        value = violation(law, given, path, ndim)
        np.testing.assert_allclose(value, np.zeros((2, 3)), atol=1e-6, err_msg=name)


def test_violations_by_hand():
    given = np.array([0.0, 2, 0, -2], np.float32).reshape(1, 4, 1)  # rms sqrt 2, energy 1, TV 8
    path = np.stack([given / 2, given - 1, 2 * given, given], 1)
    s = np.sqrt(2)
    want = {
        "mass": [0, 1 / s, 0, 0],
        "energy": [0, 1.25, 2.5, 0],  # .25, 1.5, 4, 1: growth on the frame before
        "total_variation": [0, 0, 1, 0],
        "maximum": [0, 0, 0.5, 0],
        "minimum": [0, 0.25, 0.5, 0],
    }
    laws = base.transport_laws(1)
    assert set(want) == set(laws)
    for name, law in laws.items():
        value = violation(law, given, path, 1)
        np.testing.assert_allclose(value, [want[name]], rtol=1e-6, err_msg=name)


def test_zero_scale_is_guarded():
    law = base.transport_laws(1)["mass"]
    zero = np.zeros((1, 4, 1), np.float32)
    np.testing.assert_array_equal(violation(law, zero, zero[:, None], 1), [[0.0]])
    shifted = violation(law, zero, zero[:, None] + np.float32(1e-3), 1)
    assert np.isfinite(shifted) and shifted > 1e30


@pytest.mark.parametrize("shape", [(2, 8, 1), (2, 8, 4, 1)])
def test_a_field_at_rest_is_measured_against_the_floor(shape):
    ndim = len(shape) - 2
    rest, floor = np.zeros(shape, np.float32), np.float32(0.01)
    rest[1] = np.random.default_rng(0).normal(size=shape[1:])
    path = np.stack([rest, rest + np.float32(0.5)], 1)
    laws = base.transport_laws(ndim)
    np.testing.assert_allclose(law_floor(laws["mass"], rest, floor, ndim), 0.01, rtol=1e-5)
    np.testing.assert_allclose(law_floor(laws["energy"], rest, floor, ndim), 5e-5, rtol=1e-5)
    for law in laws.values():
        value = violation(law, rest, path, ndim, floor=floor)
        np.testing.assert_array_equal(value[1], violation(law, rest, path, ndim)[1])
        np.testing.assert_array_less(value[0], 1e4)
    np.testing.assert_allclose(
        violation(laws["mass"], rest, path, ndim, floor=floor)[0], [0, 50], rtol=1e-5
    )


def test_a_channel_at_rest_has_finite_diagnostics(rollout):
    given, path, cond = rollout
    rest = 0 * given
    values = diagnostics(BURGERS, rest, path, cond, floor=np.array([1e-4], np.float32))
    assert all(np.isfinite(value).all() for value in values.values())
    assert np.all(values["floored"] == 1)
    assert not np.any(diagnostics(BURGERS, given, path, cond, floor=1e-4)["floored"])


def test_diagnostics_of_the_solver_and_of_a_corrupted_path(rollout):
    given, path, cond = rollout
    good = diagnostics(BURGERS, given, path, cond)
    laws = {law.metric for law in BURGERS.laws.values()}
    assert set(good) == laws | {"boundary_jump", "pde_residual", "floored"}
    assert all(value.shape == (3, 6) for value in good.values())
    for name in laws:
        assert jnp.max(good[name]) < 1e-6, name
    bad = path.copy()
    bad[:, 3, 0] += 8
    worse = diagnostics(BURGERS, given, bad, cond)
    for name in set(good) - {"floored"}:
        assert jnp.all(worse[name][:, 3] > good[name][:, 3] + 1e-3), name
        np.testing.assert_allclose(worse[name][:, :3], good[name][:, :3], atol=1e-6)


def test_laws_with_one_metric_share_its_largest_value():
    given = np.array([0.0, 2, 0, -2], np.float32).reshape(1, 4, 1)
    path = np.stack([given - 1, given + 2], 1)
    out = diagnostics(BURGERS, given, path, np.full((1, 1), 0.1, np.float32))
    np.testing.assert_allclose(out["max_principle_excess"], [[0.25, 0.5]], rtol=1e-6)


def test_boundary_jump_by_hand():
    given = np.array([3.0, 0, 0, 4], np.float32).reshape(1, 4, 1)  # rms 2.5
    path = np.stack([given, 0 * given + 7], 1)
    np.testing.assert_allclose(physics.boundary_jump(given, path, 1), [[0.4, 0]], rtol=1e-6)
    two = np.zeros((1, 3, 2, 1), np.float32)
    two[0, 0, 0] = 6.0  # rms sqrt 6; seam in x: (6, 0), in y: (6, 0, 0)
    want = (np.sqrt(18) + np.sqrt(12)) / 2 / np.sqrt(6)
    np.testing.assert_allclose(physics.boundary_jump(two, two[:, None], 2), [[want]], rtol=1e-6)


def test_residual_is_relative_to_the_given_frame():
    given = np.array([1.0, -1, 1, -1], np.float32).reshape(1, 4, 1)
    path = np.stack([given, 3 * given], 1)
    still = PDES["advection"](points=4, cells=4, dt=0.2)
    value = physics.pde_residual(still, given, path, np.zeros((1, 1), np.float32))
    np.testing.assert_allclose(value, [[0, 2]], atol=1e-6)  # v = 0: rms(u_t) dt / rms(given)


def test_law_values_are_those_of_every_frame(rollout):
    path = rollout[1]
    values = physics.law_values(BURGERS, path)
    assert set(values) == set(BURGERS.laws)
    np.testing.assert_allclose(values["mass"], np.mean(path, (2, 3)), atol=1e-6)
    np.testing.assert_allclose(values["energy"], 0.5 * np.mean(path**2, (2, 3)), rtol=1e-5)


@pytest.mark.parametrize("pde", [BURGERS, ADVECTION], ids=lambda pde: pde.name)
def test_leading_axes_are_free(pde):
    @jax.jit
    def everything(given, path, cond):
        spectrum = {"spectrum": physics.energy_spectrum(path, pde.ndim)}
        values = physics.law_values(pde, path)
        return spectrum | values | physics.diagnostics(pde, given, path, cond)

    given, path = normal(2, (4, *pde.points, 1)), normal(3, (4, 3, *pde.points, 1))
    cond = np.full((4, len(pde.params)), 0.5, np.float32)
    whole = everything(*(a.reshape(2, 2, *a.shape[1:]) for a in (given, path, cond)))
    single = [everything(given[i], path[i], cond[i]) for i in range(4)]
    for name, value in whole.items():
        apart = np.stack([one[name] for one in single])
        np.testing.assert_allclose(
            value.reshape(apart.shape), apart, rtol=2e-5, atol=1e-6, err_msg=name
        )
