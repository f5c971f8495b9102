"""The semilinear family: against exponax's steppers, closed forms, and through the runner."""

from functools import partial

import exponax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from runs import ROOT, summary
from ups_jax.jobs import commands
from ups_jax.pde import PDES
from ups_jax.pde.semilinear import COEFFICIENTS
from ups_jax.pde.symmetries import FLIPS, flipped, random_flip

SCENARIOS = {
    "adv": dict(gamma1=-4.0),
    "diff": dict(gamma2=4.0),
    "adv_diff": dict(gamma1=-4.0, gamma2=4.0),
    "disp": dict(gamma3=4.0),
    "hyp_diff": dict(gamma4=-4.0),
    "burgers": dict(convection=-1.5, gamma2=1.5),
    "kdv": dict(convection=-2.0, gamma3=-14.0, gamma4=-9.0),
    "ks": dict(gradient_norm=-6.0, gamma2=-1.2, gamma4=-15.0),
    "ks_cons": dict(convection=-1.0, gamma2=-2.0, gamma4=-18.0),
    "fisher": dict(quadratic=-0.02, gamma0=0.02, gamma2=0.2),
}
"""Difficulties of APEBench's one-dimensional scenarios."""
FAMILY = dict(
    gamma0=(-0.02, 0.02), gamma1=(-4.0, 4.0), gamma2=(0.0, 4.0), gamma3=(-14.0, 14.0),
    gamma4=(-18.0, -1.0), quadratic=(-0.02, 0.02), convection=(-2.0, 2.0),
    gradient_norm=(-6.0, 6.0),
)  # fmt: skip
"""Ranges in which every term takes part."""


def cond_of(difficulties):
    return np.array([difficulties.get(name, 0.0) for name in COEFFICIENTS], np.float32)


def fields(samples, points=(160,), seed=0):
    """Initial fields of the family: (samples, *s, 1)."""
    pde = PDES["semilinear"](points=points, cells=points)
    draw = jax.jit(jax.vmap(lambda key: pde.initial(key, jnp.zeros(8), pde.cells)))
    return np.asarray(draw(jax.random.split(jax.random.key(seed), samples)))


@pytest.fixture(scope="module")
def family():
    """The family, its compiled step, ten fields and the coefficients of the ten scenarios."""
    pde = PDES["semilinear"](**FAMILY)
    cond = np.stack([cond_of(d) for d in SCENARIOS.values()])
    return pde, jax.jit(pde.step), fields(len(cond)), cond


@jax.numpy_rank_promotion("allow")
def published(name, u, **options):
    """One step of exponax's stepper for a scenario, u (*s, 1)."""
    difficulties, ndim = SCENARIOS[name], u.ndim - 1
    linear = tuple(float(x) for x in cond_of(difficulties)[:5])
    generic, size = exponax.stepper.generic, (ndim, u.shape[0])
    if name in ("burgers", "ks_cons"):
        options = {"single_channel": True, "conservative": True, **options}
        make = partial(
            generic.DifficultyConvectionStepper,
            convection_difficulty=-difficulties["convection"],
            **options,
        )
    elif name in ("kdv", "ks", "fisher"):
        nonlinear = tuple(float(x) for x in cond_of(difficulties)[5:])
        make = partial(generic.DifficultyNonlinearStepper, nonlinear_difficulties=nonlinear)
    else:
        make = generic.DifficultyLinearStepper
    step = jax.jit(partial(make(*size, linear_difficulties=linear)))
    return np.asarray(step(u[None, ..., 0]))[0, ..., None]


def test_every_scenario_is_exponax_in_one_batch(family):
    _, step, u, cond = family
    got = np.asarray(step(u, cond))
    for i, name in enumerate(SCENARIOS):
        np.testing.assert_allclose(got[i], published(name, u[i]), atol=1e-6, err_msg=name)
        assert np.abs(got[i] - u[i]).max() > 1e-4


@pytest.mark.parametrize("name", ["kdv", "ks", "fisher"])
def test_a_single_equation_equals_its_row_of_a_batch(family, name):
    """The unused terms are not computed; leading axes are free."""
    _, step, u, cond = family
    i = list(SCENARIOS).index(name)
    pde = PDES["semilinear"](**SCENARIOS[name])
    np.testing.assert_array_equal(pde.sample_cond(jax.random.key(3)), cond[i])
    alone = jax.jit(pde.step)(u[i], cond[i])
    np.testing.assert_allclose(alone, step(u, cond)[i], atol=1e-6)


def test_two_dimensions_and_the_other_form_of_convection_are_exponax():
    u = fields(2, (24, 24), seed=1)
    for name in ("ks", "fisher"):
        pde = PDES["semilinear"](points=(24, 24), cells=(24, 24), **SCENARIOS[name])
        step = jax.jit(partial(pde.step, cond=cond_of(SCENARIOS[name])))
        got = np.asarray(step(u[0]))
        np.testing.assert_allclose(got, published(name, u[0]), atol=2e-6, err_msg=name)
        for change in (pde.reflection, partial(np.swapaxes, axis1=0, axis2=1)):
            np.testing.assert_allclose(step(change(u[0])), change(got), atol=2e-6)
        assert len(pde.symmetries) == 3
    line = fields(1, seed=2)[0]
    pde = PDES["semilinear"](**SCENARIOS["burgers"], conservative=False)
    got = jax.jit(pde.step)(line, cond_of(SCENARIOS["burgers"]))
    want = published("burgers", line, single_channel=False, conservative=False)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_substeps_converge_to_the_equation():
    """At second order; at first order with odd derivatives, as the published steps."""
    u = np.asarray(fields(1, (64,), seed=3)[0], np.float64)
    for name, order in (("burgers", 1.8), ("kdv", 0.8)):
        pde = PDES["semilinear"](points=64, cells=64, **SCENARIOS[name])
        with jax.enable_x64(True):
            cond = cond_of(SCENARIOS[name]).astype(float)
            run = jax.jit(pde.march, static_argnums=2)
            first, second, third = (np.asarray(run(u, cond, count)) for count in (4, 8, 16))
        ratio = np.abs(second - first).max() / np.abs(third - second).max()
        assert order < np.log2(ratio) < order + 0.6, (name, ratio)


def test_the_residual_of_a_solution_falls_with_the_interval():
    """Difficulties that are a tenth for a tenth of the interval."""
    u = fields(1, seed=4)
    sizes = []
    for share in (1.0, 0.5):
        small = {k: v * share for k, v in SCENARIOS["burgers"].items()}
        pde, cond = PDES["semilinear"](**small), cond_of(small)[None]
        after = jax.jit(pde.step)(u, cond)
        sizes.append(float(jnp.abs(jax.jit(pde.residual)(u, after, cond)).max()))
    assert sizes[0] < 0.02 and sizes[1] < 0.2 * sizes[0]


def test_flips_commute_with_the_step(family):
    pde, step, _, _ = family
    u = fields(10, seed=5)
    cond = np.asarray(jax.jit(jax.vmap(pde.sample_cond))(jax.random.split(jax.random.key(1), 10)))
    after = np.asarray(step(u, cond))
    for flip, signs in FLIPS.items():
        turned = step(flipped(u, flip=flip, ndim=1), cond * signs.astype(np.float32))
        np.testing.assert_allclose(turned, flipped(after, flip=flip, ndim=1), atol=2e-6)
    window, one = u[:3], cond[0]
    change = jax.jit(partial(random_flip, flip=(True, True)))
    seen = [jax.device_get(change(jax.random.key(i), window, one)) for i in range(6)]
    assert {bool((moved == window).all()) for moved, _ in seen} == {True, False}
    for moved, turned in seen:
        assert bool((moved == window).all()) == bool((turned == one).all())


@pytest.mark.parametrize(
    ("difficulties", "laws", "flips", "reflection"),
    [
        (SCENARIOS["burgers"], 5, [(True, True)], (True, True)),
        (SCENARIOS["kdv"], 1, [], None),
        (SCENARIOS["ks"], 1, [(True, False)], (True, False)),
        (SCENARIOS["fisher"], 0, [(True, False)], (True, False)),
        (SCENARIOS["adv"], 2, [(False, True)], (False, True)),
        (dict(gamma1=(-4.0, 4.0)), 2, list(FLIPS), (False, True)),
        (dict(convection=(-2.0, 2.0), gamma2=(1.0, 4.0)), 5, list(FLIPS), (True, True)),
    ],
)
def test_laws_and_symmetries_hold_for_the_whole_range(difficulties, laws, flips, reflection):
    pde = PDES["semilinear"](**difficulties)
    assert len(pde.laws) == laws
    assert [s.keywords["flip"] for s in pde.symmetries[1:]] == flips
    assert (pde.reflection and pde.reflection.keywords["flip"]) == reflection


@pytest.mark.parametrize(
    "settings",
    [dict(convection=(-2.0, 2.0), gamma2=(1.0, 4.0)), dict(SCENARIOS["ks_cons"], warmup=200)],
    ids=["burgers", "chaos"],
)
def test_data_pass_the_guard(settings):
    pde = PDES["semilinear"](**settings)
    data = ups.simulate(pde, jax.random.key(2), n=16, steps=30, cache=False)
    assert set(data.meta["laws"]) == set(pde.laws) and np.abs(data.u.mean(2)).max() < 1e-6
    size = data.u.std(2).mean(0)[:, 0]
    if "warmup" in settings:
        # On the attractor the size of a field is stationary; it starts from 0.4.
        assert np.all(np.abs(size / size.mean() - 1) < 0.2) and size[0] > 0.6
    else:
        drawn = data.cond[:, [2, 6]]
        assert np.all(np.ptp(drawn, 0) > 1.5) and np.all(np.delete(data.cond, [2, 6], 1) == 0)
        np.testing.assert_allclose(np.abs(data.u[:, 0]).max((1, 2)), 1, atol=1e-6)


def test_initial_fields_are_band_limited_and_bounded():
    pde = PDES["semilinear"](nonnegative=True, modes=3)
    u = np.asarray(jax.jit(pde.initial, static_argnums=2)(jax.random.key(0), jnp.zeros(8), (160,)))
    assert u.min() == 0 and abs(u.max() - 1) < 1e-6
    spectrum = np.abs(np.fft.rfft(u[:, 0]))
    assert spectrum[4:].max() < 1e-4 < spectrum[1:4].min()


def test_the_linear_base_is_the_solver_of_linear_equations(family):
    pde, step, u, cond = family
    base = jax.jit(ups.base_step(pde, "linear"))
    np.testing.assert_allclose(base(u, cond)[:5], step(u, cond)[:5], atol=1e-6)
    difference = np.asarray(base(u, cond)) - np.asarray(step(u, cond))
    assert np.abs(difference)[5:].max((1, 2)).min() > 1e-3


def test_features_are_linear_below_their_unit_and_logarithmic_above():
    pde = PDES["semilinear"]()
    cond = jnp.asarray([[0.001, -4.0, 0.0, -14.0, -0.1, -0.02, 2.0, -600.0]])
    got = np.asarray(pde.features(cond))[0]
    np.testing.assert_allclose(got[[0, 4]], [0.1, -0.1], rtol=2e-3)
    np.testing.assert_allclose(got[7], -np.log(1200.0), rtol=1e-5)
    np.testing.assert_allclose(pde.features(cond[None])[0, 0], got)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(gamma2=(2.0, 1.0)), "pde.gamma2 is .*; expected a number, or two, the lower first"),
        (dict(convection=(1.0, 2.0, 3.0)), "pde.convection is .*; expected a number, or two"),
        (dict(gamma4=1.0), "pde.gamma4 is up to 1 and pde.gamma2 from 0; short waves"),
        (dict(gamma2=-1.0), "short waves must decay"),
        (dict(points=(16, 32)), "difficulties need equal axes"),
        (dict(modes=0), "pde.modes is 0 .*; expected 1 to 79 modes"),
        (dict(warmup=-1), "warm-up of 0 steps or more"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PDES["semilinear"](**arguments)


def test_a_family_is_trained_through_the_runner(tmp_path):
    argv = ["--config", f"{ROOT}/configs/semilinear.py:smoke", "--workdir", str(tmp_path / "run")]
    argv += [
        "--wandb_mode=disabled",
        "--config.report.dpi=40",
        "--config.operator.base=exponential",
    ]
    argv += ["--config.operator.natural_units=True"]
    argv += ["--config.fit.operator.steps=100", "--config.eval.num_figures=0"]
    assert commands.main(argv) == 0
    values = summary(tmp_path / "run")
    assert values["eval/operator/nrmse"] < values["eval/persistence/nrmse"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "knows the equation" in page and "<dt>base step</dt><dd>exponential</dd>" in page
    emulator, _, _ = ups.load(tmp_path / "run")
    assert emulator.pde.spec["gamma3"] == (-20.0, -7.0) and emulator.natural_units
