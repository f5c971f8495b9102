import sys

import exponax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax.experiment.datasets import eval_steps, split_key
from ups_jax.pde import PDES

CONFIG = "configs/apebench_burgers.py"


@pytest.fixture(scope="module")
def pde():
    return PDES["apebench_burgers"]()


@jax.numpy_rank_promotion("allow")
def published(samples, steps, seed):
    """What APEBench does for `1d_diff_burgers`, in exponax's own words: (n, t, x, 1)."""
    stepper = exponax.stepper.generic.DifficultyConvectionStepper(
        1, 160, linear_difficulties=(0, 0, 1.5), convection_difficulty=1.5, conservative=True
    )
    modes = exponax.ic.RandomTruncatedFourierSeries(
        1, cutoff=5, offset_range=(0.0, 0.0), max_one=True
    )
    law = exponax.ic.RandomMultiChannelICGenerator([modes])
    start = exponax.build_ic_set(
        law, num_points=160, num_samples=samples, key=jax.random.PRNGKey(seed)
    )
    paths = jax.vmap(exponax.rollout(stepper, steps, include_init=True))(start)
    return np.moveaxis(paths, 2, -1)


@pytest.mark.parametrize(("name", "seed"), [("train", 0), ("test", 773)])
def test_the_splits_are_the_published_ones(pde, name, seed):
    cfg = ups.load_config(CONFIG)
    data = ups.simulate(pde, split_key(cfg, name), n=4, steps=5, cache=False)
    np.testing.assert_allclose(data.u, published(4, 5, seed), atol=1e-6)
    assert data.cond.shape == (4, 0)


def test_sizes_are_the_published_ones():
    cfg = ups.load_config(CONFIG)
    assert (cfg.data.train, cfg.data.steps) == (50, 50)
    assert (cfg.data.test, eval_steps(cfg)) == (30, 200)
    assert not jnp.array_equal(*(jax.random.key_data(split_key(cfg, n)) for n in ("val", "test")))


def test_units_make_the_equation_that_the_docstring_states(pde):
    u0 = jnp.sin(2 * jnp.pi * jnp.arange(160) / 160)[None, :, None]
    u1 = pde.step(u0, jnp.zeros((1, 0)))
    balance = pde.residual(u0, u1, jnp.zeros((1, 0)))
    # A wrong dt would leave the advection's size, 3; a wrong nu the diffusion's, nu 4 pi^2 = .12.
    assert jnp.max(jnp.abs(balance)) < 0.03


def test_leading_axes_are_free(pde):
    u = np.sin(2 * np.pi * (np.arange(160) / 160 + np.arange(4)[:, None] / 7)).astype("f4")
    u, cond = jnp.asarray(u.reshape(2, 2, 160, 1)), jnp.zeros((2, 2, 0))
    for function in (pde.step, lambda u, cond: pde.residual(u, 2 * u, cond)):
        whole = function(u, cond)
        for at in np.ndindex(2, 2):
            np.testing.assert_allclose(function(u[at], cond[at]), whole[at], rtol=1e-5, atol=1e-5)


def test_other_grids_are_refused():
    with pytest.raises(ValueError, match="must equal pde.points, 160"):
        PDES["apebench_burgers"](cells=(320,))


def test_without_the_extra_the_error_gives_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "exponax", None)
    with pytest.raises(ValueError, match=r"pip install 'ups_jax\[pde\]'"):
        PDES["apebench_burgers"]()


def test_longer_judged_trajectories_are_checked():
    with pytest.raises(ValueError, match="data.eval_steps is 0"):
        ups.load_config(CONFIG, {"data.eval_steps": 0})
    with pytest.raises(ValueError, match="up to data.eval_steps"):
        ups.load_config("configs/burgers.py", {"data.eval_steps": 20})


def test_a_pde_without_parameters_leaves_nothing_empty_to_save(pde):
    emulator = ups.build(ups.load_config(CONFIG))
    params = ups.init(emulator, jax.random.key(0))
    assert all(x.size for x in jax.tree.leaves(params))
