import os
import subprocess
import sys
from functools import cache
from math import prod
from pathlib import Path

import exponax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax.config import from_dict, to_dict
from ups_jax.data.simulate import SHARD_SAMPLES, _samples_per_call
from ups_jax.emulator import base_step
from ups_jax.experiment.datasets import eval_steps, split_key
from ups_jax.pde import PDES
from ups_jax.pde.keys import as_before_jax_0_5
from ups_jax.pde.scenarios import SCENARIOS

CONFIG = "configs/apebench.py"
GENERIC = exponax.stepper.generic
# Difficulties as APEBench's classes state them: linear by order; nonlinear: quadratic, convection,
# gradient norm; a number is the convection of the family with a channel for each axis.
PUBLISHED = {
    "1d_diff_adv": ((0, -4.0), None),
    "1d_diff_diff": ((0, 0, 4.0), None),
    "1d_diff_adv_diff": ((0, -4.0, 4.0), None),
    "1d_diff_disp": ((0, 0, 0, 4.0), None),
    "1d_diff_hyp_diff": ((0, 0, 0, 0, -4.0), None),
    "1d_diff_burgers": ((0, 0, 1.5), -1.5),
    "1d_diff_kdv": ((0, 0, 0, -14.0, -9.0), (0, -2.0, 0)),
    "1d_diff_ks": ((0, 0, -1.2, 0, -15.0), (0, 0, -6.0)),
    "1d_diff_ks_cons": ((0, 0, -2.0, 0, -18.0), -1.0),
    "1d_diff_fisher": ((0.02, 0, 0.2), (-0.02, 0, 0)),
}
# Values of apebench 0.1.1 itself on test trajectory 0 at frame 5 and points 0, 53 and 106.
DUMPED = {
    "1d_diff_adv": (0.2253319, -0.08548936, 0.2520559),
    "1d_diff_diff": (-0.3418857, 0.02171354, -0.1337624),
    "1d_diff_adv_diff": (0.07501879, 0.00189113, 0.2648485),
    "1d_diff_disp": (-0.4627312, 0.009722638, -0.06355058),
    "1d_diff_hyp_diff": (-0.4410402, -0.005565548, -0.06827195),
    "1d_diff_burgers": (-0.2015334, 0.02906966, -0.1825254),
    "1d_diff_kdv": (-0.1626212, -0.1237515, -0.4364014),
    "1d_diff_fisher": (0.3108829, 0.5372722, 0.5028343),
}


@jax.numpy_rank_promotion("allow")
def stepper(scenario):
    linear, nonlinear = PUBLISHED[scenario]
    if nonlinear is None:
        return GENERIC.DifficultyLinearStepper(1, 160, linear_difficulties=linear)
    if isinstance(nonlinear, float):
        return GENERIC.DifficultyConvectionStepper(
            1, 160, linear_difficulties=linear, convection_difficulty=-nonlinear, conservative=True
        )
    return GENERIC.DifficultyNonlinearStepper(
        1, 160, linear_difficulties=linear, nonlinear_difficulties=nonlinear
    )


@cache
@jax.numpy_rank_promotion("allow")
@jax.threefry_partitionable(False)
def initial_conditions(*, clamped):
    """Three of APEBench's test split, in exponax's own words, with the draws of JAX in 2024."""
    ic = exponax.ic
    law = ic.RandomTruncatedFourierSeries(1, cutoff=5, offset_range=(0.0, 0.0), max_one=True)
    if clamped:
        waves = ic.RandomTruncatedFourierSeries(1, cutoff=5, offset_range=(-0.5, 0.5))
        law = ic.ClampingICGenerator(waves, limits=(0.0, 1.0))
    law = ic.RandomMultiChannelICGenerator([law])
    key = jax.random.PRNGKey(773)
    return exponax.build_ic_set(law, num_points=160, num_samples=3, key=key)


@jax.numpy_rank_promotion("allow")
def published(scenario, steps):
    """Trajectories as APEBench makes them: (3, t, x, 1)."""
    solver = stepper(scenario)
    start = initial_conditions(clamped=scenario.endswith("fisher"))
    if "_ks" in scenario:
        start = jax.vmap(exponax.repeat(solver, 500))(start)
    paths = jax.vmap(exponax.rollout(solver, steps, include_init=True))(start)
    return np.moveaxis(paths, 2, -1)


def write_arrays(file):
    """Write our data of all published scenarios, and exponax's own, in pairs."""
    pairs = {}
    for scenario in PUBLISHED:
        pde = PDES["apebench"](scenario=scenario)
        data = ups.simulate(pde, jax.random.key(773), n=3, steps=5, cache=False)
        assert data.cond.shape == (3, 0) and (pde.dt, pde.extent) == (1.0, (1.0,))
        pairs[scenario] = np.stack([data.u, published(scenario, 5)])
    np.savez(file, **pairs)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory, request):
    """What `write_arrays` writes in a process of its own, compiled as a user's."""
    here, file = Path(__file__).parent, tmp_path_factory.mktemp("arrays") / "arrays.npz"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_apebench as t; "
    argv = [sys.executable, "-c", f"{code} t.write_arrays(sys.argv[2])", str(here), str(file)]
    # Most scenarios draw alike: their programs are compiled once.
    programs = str(request.config.cache.mkdir("optimized_programs"))
    subprocess.run(argv, check=True, env={**os.environ, "JAX_COMPILATION_CACHE_DIR": programs})
    return np.load(file)


@pytest.mark.parametrize("scenario", PUBLISHED)
def test_arrays_are_the_published_ones(scenario, arrays):
    ours, exponaxs = arrays[scenario]
    np.testing.assert_array_equal(ours, exponaxs)
    # Another machine has other last bits, and chaos amplifies them in the 500 steps of warm-up.
    if scenario in DUMPED:
        np.testing.assert_allclose(ours[0, 5, (0, 53, 106), 0], DUMPED[scenario], atol=2e-6)


def test_splits_and_sizes_are_the_published_ones():
    cfg = ups.load_config(CONFIG)
    assert (cfg.data.train, cfg.data.steps) == (50, 50)
    # GMean100 needs 100 of the 200 steps.
    assert (cfg.data.test, eval_steps(cfg)) == (30, 100)
    for name, seed in (("train", 0), ("test", 773)):
        assert split_key(cfg, name) == jax.random.key(seed)
    assert split_key(cfg, "val") not in (jax.random.key(0), jax.random.key(773))


@pytest.mark.parametrize("scenario", ["1d_diff_disp", "2d_phy_aniso_diff", "3d_phy_mix_hyp"])
def test_the_linear_base_solves_linear_scenarios(scenario):
    pde = PDES["apebench"](scenario=scenario, points=16 if scenario.startswith("3d") else 48)
    none, base = jnp.zeros((1, 0)), base_step(pde, "linear")
    assert base is not None

    @jax.jit
    def both(key):
        key = pde.sample_keys(key, jnp.int32(0))[1]
        u = pde.initial(key, none[0], pde.cells)[None]
        return u, pde.step(u, none), base(u, none)

    u, expected, actual = map(np.asarray, both(jax.random.key(0)))
    np.testing.assert_allclose(actual, expected, atol=2e-6)
    assert np.abs(u - expected).max() > 1e-3


def test_keys_draw_as_before_jax_0_5_also_in_a_traced_function():
    def draw(key):
        a, b = jax.random.split(key)
        return jax.random.uniform(a, (3, 5)), jax.random.uniform(b), jax.random.split(b, 3)

    key = jax.random.key(7)
    with jax.threefry_partitionable(False):
        *numbers, keys = draw(key)
    *now, now_keys = jax.jit(lambda key: draw(as_before_jax_0_5(key)))(key)
    for a, b in zip(numbers, now, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(now_keys))
    assert not np.array_equal(numbers[0], draw(key)[0])
    with pytest.raises(ValueError, match="generator rbg"):
        as_before_jax_0_5(jax.random.key(0, impl="rbg"))


def waves(shape):
    """Return a random field (*s, c) of wavenumbers up to five."""
    *space, channels = shape
    generator = np.random.default_rng(0)
    spectrum = np.zeros((*space, channels), complex)
    low = (*(slice(0, 6) for _ in space), slice(None))
    spectrum[low] = generator.normal(size=(*(6,) * len(space), channels, 2)) @ (1, 1j)
    u = np.fft.ifftn(spectrum, axes=range(len(space))).real
    return (u / np.abs(u).max()).astype("f4")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_symmetries_commute_with_the_solver(scenario):
    # Convection makes waves of twenty in a step; at half of the points they have no mirror image.
    few = scenario.startswith("3d") and not scenario.endswith(("kdv", "burgers", "burgers_sc"))
    pde = PDES["apebench"](scenario=scenario, points=16 if few else 48)
    maps, step = SCENARIOS[scenario].maps, jax.jit(pde.step)
    assert len(pde.symmetries) == 1 + len(maps)
    u, none = waves((*pde.points, len(pde.channels))), np.zeros(0, "f4")
    # As many copies as there are changes, so that the solver is compiled once.
    batch, conds = 1 + 2 * len(maps) + 1, np.zeros((2 * len(maps) + 2, 0), "f4")
    window = np.stack([u, np.asarray(step(np.stack([u] * batch), conds))[0]])
    windows = [window, *(change(window) for change in maps)]
    windows += [change(jax.random.key(3), window, none)[0] for change in pde.symmetries]
    if pde.galilean_frame is not None:
        first, later = window[:1] + np.float32(0.3), window - np.float32(0.1)
        windows[0] = pde.galilean_frame(first).from_frame(later)
    pairs = np.stack(windows)
    error = np.abs(step(pairs[:, 0], conds) - pairs[:, 1])
    assert error.max() < 3e-6 * max(1.0, np.abs(window).max())
    moved = pairs[1 : len(maps) + 2] - window
    assert (np.abs(moved).max((1, 2, *range(3, moved.ndim))) > 1e-2).all()
    if pde.reflection is not None:
        np.testing.assert_array_equal(pde.reflection(pde.reflection(window)), window)


def test_units_make_the_equation_that_the_docstring_states():
    pde = PDES["apebench"]()
    x = np.arange(160) / 160
    u0, none = np.sin(2 * np.pi * x).astype("f4")[None, :, None], np.zeros((1, 0), "f4")
    u1 = np.asarray(jax.jit(pde.step)(u0, none))
    # Convection delta / points, diffusion gamma / (2 points^2), dt = length = 1.
    expected = -1.5 / 160 * np.pi * np.sin(4 * np.pi * x) - 1.5 / 320 / 160 * 4 * np.pi**2 * (
        np.sin(2 * np.pi * x)
    )
    np.testing.assert_allclose((u1 - u0)[0, :, 0], expected, atol=2e-3)
    residual = np.abs(jax.jit(pde.residual)(u0, u1, none))
    assert residual.max() < 2e-4 < 1e-2 < np.abs(u1 - u0).max()
    assert pde.convexity == pytest.approx(1.5 / 160)


def test_leading_axes_are_free():
    pde = PDES["apebench"]()
    u = np.sin(2 * np.pi * (np.arange(160) / 160 + np.arange(4)[:, None] / 7)).astype("f4")
    u, cond = u.reshape(2, 2, 160, 1), np.zeros((2, 2, 0), "f4")
    for function in map(jax.jit, (pde.step, lambda u, cond: pde.residual(u, 2 * u, cond))):
        whole = np.asarray(function(u, cond))
        for at in np.ndindex(2, 2):
            np.testing.assert_allclose(function(u[at], cond[at]), whole[at], rtol=1e-5, atol=1e-5)


def test_every_scenario_is_here():
    assert len(SCENARIOS) == 46
    assert [sum(name.startswith(f"{d}d") for name in SCENARIOS) for d in (1, 2, 3)] == [10, 19, 17]
    assert set(PUBLISHED) < set(SCENARIOS)


def test_mistakes_are_named():
    make = PDES["apebench"]
    with pytest.raises(
        ValueError, match=r"unknown pde.scenario.*mean '1d_diff_kdv'.*known: 1d_diff"
    ):
        make(scenario="1d_diff_kvd")
    with pytest.raises(ValueError, match="must equal pde.points, 160"):
        make(cells=(320,))
    with pytest.raises(ValueError, match="as many points along each axis"):
        make(scenario="2d_diff_ks", points=(32, 16))
    with pytest.raises(ValueError, match=r"known: 1d_diff_ adv") as caught:
        ups.load_config(f"{CONFIG}:1d_diff_nothing")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"expected SCENARIO\[-POINTS\] and any of -constrained"):
        ups.load_config(f"{CONFIG}:1d_diff_kdv-constraint")


def test_without_the_extra_the_error_gives_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "exponax", None)
    with pytest.raises(ValueError, match=r"pip install 'ups_jax\[pde\]'"):
        PDES["apebench"](points=48)


def test_longer_judged_trajectories_are_checked():
    with pytest.raises(ValueError, match="data.eval_steps is 0"):
        ups.load_config(CONFIG, {"data.eval_steps": 0})
    with pytest.raises(ValueError, match="up to data.eval_steps"):
        ups.load_config("configs/burgers.py", {"data.eval_steps": 20})


@pytest.mark.parametrize("variant", ["2d_diff_ks-32", "1d_diff_fisher-constrained"])
def test_variants_of_the_config(variant):
    cfg = ups.load_config(f"{CONFIG}:{variant}")
    assert cfg.pde.scenario == variant.partition("-")[0]
    assert cfg.operator.zero_mean == ("ks" in variant)
    assert prod(cfg.data.cells) == (32**2 if "ks" in variant else 160)
    fit = cfg.fit.operator
    if variant.endswith("constrained"):
        assert (fit.steps, fit.batch, fit.lr, fit.warmup) == (10000, 20, 1e-3, 2000)
        assert fit.unroll == (1,) and not fit.augment


def test_configs_of_the_former_name_load():
    old = to_dict(ups.load_config(CONFIG))
    pde = dict(name="apebench_burgers", points=160, convection=1.5, diffusion=1.5)
    old |= {"pde": pde, "eval": old["eval"] | {"horizons": [0.9375, 1.875]}}
    cfg = from_dict(old)
    assert (cfg.pde.name, cfg.pde.scenario) == ("apebench", "1d_diff_burgers")
    assert cfg.eval.horizons == (100.0, 200.0)
    old["pde"]["diffusion"] = 2.0
    with pytest.raises(ValueError, match="no longer available"):
        from_dict(old)


def test_a_pde_without_parameters_leaves_nothing_empty_to_save():
    emulator = ups.build(ups.load_config(CONFIG))
    params = ups.init(emulator, jax.random.key(0))
    assert all(x.size for x in jax.tree.leaves(params))


def test_an_accelerator_solves_as_many_samples_as_fit():
    line, plane = (PDES["apebench"](scenario=f"{d}_diff_disp") for d in ("1d", "2d"))
    assert _samples_per_call(line, 50) == SHARD_SAMPLES
    # 51 frames of 160 x 160 numbers are 5.2 MB.
    assert [_samples_per_call(plane, n) for n in (50, 200, 10**6)] == [64, 16, 1]


def test_data_of_another_scenario_of_the_same_sizes_are_refused():
    kdv, ks = (PDES["apebench"](scenario=f"1d_diff_{name}", points=32) for name in ("kdv", "ks"))
    data = ups.simulate(kdv, jax.random.key(0), n=1, steps=1, cache=False)
    ups.data.check_task(data, kdv)
    with pytest.raises(ValueError, match="equation 1d_diff_kdv, not 1d_diff_ks"):
        ups.data.check_task(data, ks)
