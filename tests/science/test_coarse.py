"""The solver on a coarser grid: interpolation by waves, exact grids, walls, refused factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax.pde import PDES
from ups_jax.pde.base import rollout
from ups_jax.pde.coarse import coarse_rollout, coarse_step
from ups_jax.pde.spectral import resample

FLOW = PDES["kolmogorov"](points=(16, 24), cells=(16, 24), nu=0.05, mode=2, dt=0.1)
NONE = jnp.zeros((0,))


def wave(n, k):
    return np.cos(2 * np.pi * k * np.arange(n) / n + 0.3)


@pytest.mark.parametrize(("few", "many"), [(8, 16), (8, 12), (9, 18), (6, 6)])
def test_waves_of_both_grids_are_interpolated_exactly(few, many):
    for k in range((few + 1) // 2):
        coarse, fine = (jnp.asarray(wave(n, k)[:, None], jnp.float32) for n in (few, many))
        np.testing.assert_allclose(resample(coarse, many, -2), fine, atol=1e-6)
        np.testing.assert_allclose(resample(fine, few, -2), coarse, atol=1e-6)
    u = jnp.asarray(np.random.default_rng(0).normal(size=(3, few, 5, 2)), jnp.float32)
    np.testing.assert_allclose(resample(resample(u, many, -3), few, -3), u, atol=2e-6)
    if many > few + 1:
        cut = jnp.asarray(wave(many, few // 2 + 1)[:, None], jnp.float32)
        np.testing.assert_allclose(resample(cut, few, -2), 0, atol=1e-6)


def test_a_coarse_rollout_is_the_solver_on_the_coarser_grid_from_the_same_waves():
    few = FLOW.initial(jax.random.key(0), NONE, (8, 12))
    u = resample(resample(few, 16, -3), 24, -2)
    path = jax.jit(coarse_rollout(FLOW, 3, factor=2))(u, NONE)
    by_hand = resample(resample(rollout(FLOW.step, 3)(few, NONE), 16, -3), 24, -2)
    np.testing.assert_allclose(path, by_hand, atol=2e-5)
    batch, cond = jnp.stack([u, 2 * u]), jnp.zeros((2, 0))
    np.testing.assert_allclose(coarse_rollout(FLOW, 3, factor=2)(batch, cond)[0], path, atol=2e-5)
    whole = coarse_rollout(FLOW, 3, factor=1)(u, NONE)
    np.testing.assert_allclose(whole, rollout(FLOW.step, 3)(u, NONE), atol=2e-5)


def test_a_coarse_step_of_a_spectral_pde_changes_the_waves_of_the_coarser_grid():
    few = FLOW.initial(jax.random.key(0), NONE, (8, 12))
    u = resample(resample(few, 16, -3), 24, -2)
    # A wave that the coarser grid lacks keeps its place and size.
    short = jnp.asarray(wave(16, 7), jnp.float32)[:, None, None] * jnp.ones((16, 24, 1))
    by_hand = resample(resample(FLOW.march(few, NONE, 3), 16, -3), 24, -2)
    moved = jax.jit(coarse_step(FLOW, factor=2, substeps=3))(u + short, NONE)
    np.testing.assert_allclose(moved, by_hand + short, atol=2e-5)
    np.testing.assert_allclose(moved.mean(), u.mean(), atol=1e-6)


def test_between_walls_cell_means_are_kept():
    pde = PDES["reaction_diffusion"](points=(16, 8), cells=(16, 8))
    u = jnp.broadcast_to(jnp.array([0.2, 0.1]), (16, 8, 2))
    path = coarse_rollout(pde, 2, factor=2)(u, NONE)
    np.testing.assert_allclose(path, rollout(pde.step, 2)(u, NONE), atol=1e-6)


def test_its_forecast_calls_no_network_and_lies_between_solver_and_persistence():
    sizes = dict(points=(24, 24), cells=(24, 24))
    pde = PDES["decaying_turbulence"](**sizes, nu=0.05, low=1, high=2)
    data = ups.simulate(pde, jax.random.key(0), n=2, steps=6, cache=False)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    params = ups.init(emulator, jax.random.key(1))
    names = ("persistence", "solver", "coarse_solver")
    scalars = ups.evaluate(emulator, params, data, forecasters=names).scalars
    errors = [scalars[f"eval/{name}/nrmse"] for name in ("solver", "coarse_solver", "persistence")]
    assert errors[0] < 1e-4 < errors[1] < 0.5 * errors[2]
    assert scalars["eval/coarse_solver/calls"] == 0
    same = dict(forecasters=names[1:], options={"coarse_solver": {"coarsen": 1}})
    finest = ups.evaluate(emulator, params, data, **same).scalars
    assert finest["eval/coarse_solver/nrmse"] < 1e-4


def test_factors_that_do_not_fit_are_named():
    emulator = ups.Emulator(FLOW, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,))
    given = (jnp.zeros((1, 16, 24, 1)), jnp.zeros((1, 0)), jax.random.key(0))
    for factor, message in ((3, "coarsen is 3; it must be"), (0, "coarsen is 0; coarse_solver")):
        with pytest.raises(ValueError, match=message):
            ups.forecast(
                emulator, ups.init(emulator, jax.random.key(1)), *given,
                steps=1, forecaster="coarse_solver", coarsen=factor,
            )  # fmt: skip
    with pytest.raises(ValueError, match="eval.coarsen is 8; it must be at least 1 and divide"):
        ups.build(ups.load_config("kolmogorov:smoke", {"eval.coarsen": 8}))
    lacking = {"eval.forecasters": "coarse_solver,operator"}
    with pytest.raises(ValueError, match="'apebench' has no solver for other grids than its own"):
        ups.build(ups.load_config("apebench:1d_diff_kdv-smoke", lacking))
