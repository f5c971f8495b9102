"""The solver on a coarser grid: interpolation by waves, exact grids, walls, refused factors."""

from functools import partial

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
NONE = np.zeros(0, np.float32)


@partial(jax.jit, static_argnums=(1, 2))
def resampled(u, points, axis):
    return resample(u, points, axis)


def on_the_fine_grid(few):
    return np.asarray(resampled(resampled(few, 16, -3), 24, -2))


def coarse_start():
    return np.asarray(jax.jit(lambda key: FLOW.initial(key, NONE, (8, 12)))(jax.random.key(0)))


def wave(n, k):
    return np.cos(2 * np.pi * k * np.arange(n) / n + 0.3).astype(np.float32)


@pytest.mark.parametrize(("few", "many"), [(8, 16), (8, 12), (9, 18), (6, 6)])
def test_waves_of_both_grids_are_interpolated_exactly(few, many):
    for k in range((few + 1) // 2):
        coarse, fine = (wave(n, k)[:, None] for n in (few, many))
        np.testing.assert_allclose(resampled(coarse, many, -2), fine, atol=1e-6)
        np.testing.assert_allclose(resampled(fine, few, -2), coarse, atol=1e-6)
    u = np.random.default_rng(0).normal(size=(3, few, 5, 2)).astype(np.float32)
    np.testing.assert_allclose(resampled(resampled(u, many, -3), few, -3), u, atol=2e-6)
    if many > few + 1:
        cut = wave(many, few // 2 + 1)[:, None]
        np.testing.assert_allclose(resampled(cut, few, -2), 0, atol=1e-6)


def test_a_coarse_rollout_is_the_solver_on_the_coarser_grid_from_the_same_waves():
    few, cond = coarse_start(), np.zeros((2, 0), np.float32)
    u, run = on_the_fine_grid(few), jax.jit(coarse_rollout(FLOW, 3, factor=2))
    path, solved = run(u, NONE), jax.jit(rollout(FLOW.step, 3))
    np.testing.assert_allclose(path, on_the_fine_grid(solved(few, NONE)), atol=2e-5)
    np.testing.assert_allclose(np.asarray(run(np.stack([u, 2 * u]), cond))[0], path, atol=2e-5)
    whole = jax.jit(coarse_rollout(FLOW, 3, factor=1))(u, NONE)
    np.testing.assert_allclose(whole, solved(u, NONE), atol=2e-5)


def test_a_coarse_step_of_a_spectral_pde_changes_the_waves_of_the_coarser_grid():
    few = coarse_start()
    u = on_the_fine_grid(few)
    # A wave that the coarser grid lacks keeps its place and size.
    short = wave(16, 7)[:, None, None] * np.ones((16, 24, 1), np.float32)
    by_hand = on_the_fine_grid(jax.jit(FLOW.march, static_argnums=2)(few, NONE, 3))
    moved = np.asarray(jax.jit(coarse_step(FLOW, factor=2, substeps=3))(u + short, NONE))
    np.testing.assert_allclose(moved, by_hand + short, atol=2e-5)
    np.testing.assert_allclose(moved.mean(), u.mean(), atol=1e-6)


def test_between_walls_cell_means_are_kept():
    pde = PDES["reaction_diffusion"](points=(16, 8), cells=(16, 8))
    u = np.broadcast_to(np.float32([0.2, 0.1]), (16, 8, 2))
    path = jax.jit(coarse_rollout(pde, 2, factor=2))(u, NONE)
    np.testing.assert_allclose(path, jax.jit(rollout(pde.step, 2))(u, NONE), atol=1e-6)


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
