"""PDEBench's reaction-diffusion system against SciPy, and its generator seed by seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from ups_jax.data import simulate
from ups_jax.pde import PDES
from ups_jax.pde.base import rollout

N = 16
PDE = PDES["reaction_diffusion"](points=(N, N), cells=(N, N))
NONE = jnp.zeros((0,))


def reference(seed, *, frames, rtol, n=N):
    """Trajectory (frames + 1, x, y, 2) by SciPy, with a Laplacian of mirrored rows."""
    line = np.diag(np.full(n - 1, 1.0), 1) + np.diag(np.full(n - 1, 1.0), -1)
    line = (line - np.diag(line.sum(1))) / (2 / n) ** 2

    def rhs(_, w):
        u, v = w.reshape(2, n, n)
        lap_u, lap_v = (line @ f + f @ line for f in (u, v))
        return np.stack([1e-3 * lap_u + u - u**3 - 5e-3 - v, 5e-3 * lap_v + u - v]).ravel()

    start = np.random.default_rng(seed).standard_normal(2 * n * n)
    times = 0.05 * np.arange(frames + 1)
    solved = solve_ivp(rhs, (0, times[-1]), start, t_eval=times, rtol=rtol, atol=1e-3 * rtol)
    return np.moveaxis(solved.y.T.reshape(-1, 2, n, n), 1, -1)


def test_trajectories_are_those_of_scipy_seed_by_seed():
    data = simulate(PDE, jax.random.key(3), n=2, steps=40, cache=False)
    for i, u in enumerate(data.u):
        exact = reference(3 + i, frames=40, rtol=1e-9)
        np.testing.assert_array_equal(u[0], exact[0].astype(np.float32))
        norms = np.sqrt(np.mean(exact**2, (1, 2)))
        error = np.sqrt(np.mean((u - exact) ** 2, (1, 2))) / norms
        assert error.max() < 5e-6
        # PDEBench's own tolerance.
        loose = reference(3 + i, frames=40, rtol=1e-3)
        assert np.linalg.norm(u - loose) < 2e-3 * np.linalg.norm(loose)


def test_on_pdebench_s_grid_every_frame_is_that_of_scipy_at_its_default_tolerances():
    n = 128
    pde = PDES["reaction_diffusion"](points=(n, n), cells=(n, n))
    u = simulate(pde, jax.random.key(7), n=1, steps=2, cache=False).u[0]
    # The largest error is that of the first frame after the noise.
    want = reference(7, frames=2, rtol=1e-3, n=n)
    error = np.sqrt(np.mean((u - want) ** 2, (1, 2))) / np.sqrt(np.mean(want**2, (1, 2)))
    assert error.max() < 1e-3


def test_samples_of_two_splits_differ_by_the_seeds_of_their_splits():
    first = simulate(PDE, jax.random.key(0), n=4, steps=1, cache=False).u
    second = simulate(PDE, jax.random.key(2), n=2, steps=1, cache=False).u
    np.testing.assert_array_equal(first[2:], second)


def test_a_step_has_free_leading_axes_and_the_symmetries_of_the_square():
    u = jnp.stack(
        [PDE.initial(PDE.sample_keys(jax.random.key(0), i)[1], NONE, (N, N)) for i in (0, 1)]
    )
    cond = jnp.zeros((2, 0))
    step = jax.jit(PDE.step)
    whole = step(u, cond)
    np.testing.assert_allclose(step(u[0], NONE), whole[0], atol=1e-6)
    assert len(PDE.symmetries) == 3
    for change in PDE.symmetries:
        key = next(
            k for k in map(jax.random.key, range(9)) if bool(jnp.any(change(k, u, cond)[0] != u))
        )
        changed = step(change(key, u, cond)[0], cond)
        np.testing.assert_allclose(changed, change(key, whole, cond)[0], atol=1e-5)


def test_the_residual_of_a_true_step_vanishes_at_second_order_in_time():
    u = simulate(PDE, jax.random.key(0), n=1, steps=20, cache=False).u[0, -1]
    sizes = []
    for dt in (0.05, 0.025):
        pde = PDES["reaction_diffusion"](points=(N, N), cells=(N, N), dt=dt)
        after = rollout(pde.step, 1)(u, NONE)[0]
        sizes.append(float(jnp.max(jnp.abs(pde.residual(u, after, NONE)))))
    assert sizes[0] < 0.02 and sizes[1] < 0.35 * sizes[0]


def test_a_field_outside_the_invariant_square_breaks_the_law():
    law = PDE.laws["bound"]
    inside, outside = jnp.full((N, N, 2), 1.0), jnp.full((N, N, 2), -2.0)
    assert float(law.value(inside)) == pytest.approx(1.44) and float(law.value(outside)) == 2.0
    corner = jnp.array([[[1.44, -1.44]]]) * jnp.ones((4, 4, 1))
    assert float(law.value(PDE.step(corner, NONE))) < 1.44001


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="expected two positive numbers, of u and v"):
        PDES["reaction_diffusion"](diffusion=(1e-3,))
    with pytest.raises(ValueError, match="pde.k is 3"):
        PDES["reaction_diffusion"](k=3.0)
    with pytest.raises(ValueError, match="data.cells is 8; expected 2 axes"):
        PDES["reaction_diffusion"](cells=8)
