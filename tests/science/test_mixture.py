"""Mixtures of equations: APEBench's arrays, shares of the data, and equations that are held out."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_semilinear import SCENARIOS as DIFFICULTIES
from test_semilinear import cond_of

import ups_jax as ups
from runs import ROOT
from ups_jax import config
from ups_jax.data.parts import part_numbers
from ups_jax.pde import PDES
from ups_jax.pde.mixture import EQUATIONS, TEN, Equation, settings
from ups_jax.pde.symmetries import random_flip

SMALL = dict(points=32, cells=32)
TEST_KEY = 773


def test_data_are_those_of_apebench():
    """Key 773 draws APEBench's test trajectories, after the warm-up too."""
    names = ("fisher", "kdv")
    pde = PDES["mixture"](equations=names)
    data = ups.simulate(pde, jax.random.key(TEST_KEY), n=4, steps=3, cache=False)
    for i, name in enumerate(names):
        part, scenario = pde.parts[i], PDES["apebench"](scenario=f"1d_diff_{name}")

        @jax.jit
        def start(j, part=part, scenario=scenario):
            key = part.sample_keys(jax.random.key(TEST_KEY), j)[0]
            return scenario.initial(key, jnp.zeros(0), (160,))

        step = jax.jit(scenario.step)
        for j in (0, 1):
            want = start(np.int32(j))
            for frame in data.u[i + 2 * j]:
                np.testing.assert_allclose(frame, want, atol=3e-6)
                want = step(want, np.zeros(0, np.float32))


def test_equations_are_the_published_scenarios():
    assert TEN == tuple(DIFFICULTIES)
    for name, difficulties in DIFFICULTIES.items():
        np.testing.assert_array_equal(EQUATIONS[name].settings, cond_of(difficulties)[None])
    warm = [name for name in TEN if EQUATIONS[name].warmup]
    assert warm == ["ks", "ks_cons"] and EQUATIONS["ks"].warmup == 500


@pytest.mark.parametrize(("grid", "total"), [("coarse", 72), ("fine", 688)])
def test_grids_of_ml4ps(grid, total):
    rows = {name: one.settings for name, one in EQUATIONS.items() if name.endswith(grid)}
    assert sum(map(len, rows.values())) == total
    fisher = rows[f"fisher_{grid}"]
    np.testing.assert_array_equal(fisher[:, 0], -fisher[:, 5])
    for name in ("kdv", "ks_cons", "fisher", "adv_diff"):
        family, test = rows[f"{name}_{grid}"], EQUATIONS[name].settings
        assert ((family.min(0) <= test) & (test <= family.max(0))).all()
    pde = PDES["mixture"](equations=tuple(rows))
    for part, (name, family) in zip(pde.parts, rows.items(), strict=True):
        drawn = jax.jit(jax.vmap(part.sample_cond))(
            jax.random.split(jax.random.key(0), 8 * len(family))
        )
        found = {tuple(row) for row in np.asarray(drawn).tolist()}
        assert found <= {tuple(row) for row in family.tolist()}, name
        assert len(found) > 0.95 * len(family)


def test_a_sample_whose_solver_fails_is_drawn_anew():
    """Published keys: sample 1255 of the grid of KdV diverges with APEBench's own step."""
    (part,) = PDES["mixture"](equations=("kdv_coarse",)).parts
    weak = replace(part, sample_cond=lambda key: settings(convection=-2, gamma3=-7, gamma4=-3)[0])
    options = dict(n=64, steps=50, cache=False)
    key = jax.random.key(0)
    u = ups.simulate(weak, key, **options).u
    assert np.isfinite(u).all()
    np.testing.assert_array_equal(ups.simulate(weak, key, **options | {"n": 40}).u, u[:40])
    with pytest.raises(ValueError, match="sample [0-9]+ is not finite"):
        ups.simulate(replace(weak, redraws=0), key, **options)
    # All others are those of the first draw.
    drawn = first_draws(weak, key, 64)
    good = [i for i in range(64) if np.isfinite(drawn[i]).all()]
    assert 56 < len(good) < 64
    for i in good[:3]:
        np.testing.assert_allclose(drawn[i], u[i], atol=1e-4)


def first_draws(pde, key, n):
    @jax.jit
    def start(i):
        k_cond, k_initial = pde.sample_keys(key, i)
        cond = pde.sample_cond(k_cond)
        return pde.initial(k_initial, cond, pde.cells), cond

    starts, step = [start(np.int32(i)) for i in range(n)], jax.jit(pde.step)
    u, cond = (np.stack(values) for values in zip(*starts, strict=True))
    frames = [u]
    for _ in range(50):
        frames.append(np.asarray(step(frames[-1], cond)))
    return np.stack(frames, 1)


def test_shares_of_any_first_samples_are_the_weights():
    numbers = part_numbers((1.0, 2.0, 5.0), 64)
    assert np.bincount(numbers).tolist() == [8, 16, 40]
    np.testing.assert_array_equal(numbers[:13], part_numbers((1.0, 2.0, 5.0), 13))
    assert part_numbers((1.0,) * 3, 6).tolist() == [0, 1, 2, 0, 1, 2]


def test_weights_are_equal_or_those_of_the_settings_or_given():
    names = ("kdv_coarse", "fisher_coarse", "burgers")
    weights = {"equal": (1, 1, 1), (): (1, 1, 1), "size": (27, 9, 1), (2.0, 1.0, 0.5): (2, 1, 0.5)}
    for given, expected in weights.items():
        pde = PDES["mixture"](equations=names, weights=given, **SMALL)
        assert pde.weights == expected and pde.spec["weights"] == given
    assert PDES["mixture"](equations=names, **SMALL).weights == (1, 1, 1)


def test_weights_in_a_config_are_words_or_numbers():
    def shares(*overrides):
        cfg = ups.load_config("universal:ml4ps", [f"pde.{pair}" for pair in overrides])
        return ups.build(config.from_dict(config.to_dict(cfg))).pde.weights

    assert shares() == (27, 27, 9, 9)
    assert shares("weights=equal") == (1, 1, 1, 1)
    assert shares("weights=1,2,3,4") == (1, 2, 3, 4)
    for text in ("sise", "1,size"):
        with pytest.raises(ValueError, match="must be 'equal' or 'size' or a list of finite num"):
            shares(f"weights={text}")


def test_samples_depend_on_their_number_alone_and_are_of_their_equation():
    pde = PDES["mixture"](equations=("diff", "burgers", "fisher"), weights=(1, 1, 2), **SMALL)
    key = jax.random.key(0)
    many, few = (ups.simulate(pde, key, n=n, steps=2, cache=False) for n in (12, 5))
    np.testing.assert_array_equal(many.u[:5], few.u)
    assert many.pde == "mixture" and many.meta["laws"]["mass"] < 1e-6
    numbers = part_numbers(pde.weights, 12)
    np.testing.assert_array_equal(pde.part_of(many.cond), numbers)
    # The same waves start every equation.
    first = [np.flatnonzero(numbers == i)[0] for i in (0, 1)]
    np.testing.assert_array_equal(many.u[first[0], 0], many.u[first[1], 0])


def test_a_held_out_equation_is_in_the_test_split_alone():
    pde = PDES["mixture"](equations=("fisher",), test_equations=("fisher", "burgers"), **SMALL)
    splits = ups.simulate_splits(pde, train=9, val=3, test=4, steps=2)
    burgers = EQUATIONS["burgers"].settings != 0
    for data, expected in zip(splits, (0, 0, 2), strict=True):
        assert ((data.cond != 0) == burgers).all(1).sum() == expected
    np.testing.assert_array_equal(pde.test.part_of(splits.test.cond), [0, 1, 0, 1])


def test_the_number_of_an_equation_is_that_of_the_smallest_range_that_contains_it():
    names = ("adv_diff_coarse", "diff", "kdv_coarse", "kdv")
    pde = PDES["mixture"](equations=names)
    rows = {name: EQUATIONS[name].settings for name in names}
    for i, name in enumerate(names):
        np.testing.assert_array_equal(pde.part_of(rows[name][:1]), [i])
    near = PDES["mixture"](equations=("diff", "burgers", "disp"))
    for i, part in enumerate(near.parts):
        np.testing.assert_array_equal(near.part_of(EQUATIONS[part.name].settings[0] * 1.1), i)


def test_flips_keep_samples_within_the_equations():
    pde = PDES["mixture"](equations=("adv", "adv_diff_coarse", "burgers"), **SMALL)
    flips = [s for s in pde.symmetries if getattr(s, "func", None) is random_flip]
    cond = np.concatenate([EQUATIONS[part.name].settings for part in pde.parts])
    cond = np.tile(cond, (8, 1)).astype(np.float32)
    u = np.random.default_rng(0).normal(size=(len(cond), 2, 32, 1)).astype(np.float32)
    changed, step = np.zeros(3, bool), jax.jit(pde.step)
    after = np.stack([step(u[:, i], cond) for i in (0, 1)], 1)
    keys = jax.random.split(jax.random.key(1), len(cond))
    for flip in flips:
        change = jax.jit(jax.vmap(flip))
        v, new = map(np.asarray, change(keys, u, cond))
        np.testing.assert_array_equal(pde.part_of(new), pde.part_of(cond))
        flipped = np.asarray(change(keys, after, cond)[0])
        np.testing.assert_allclose(step(v[:, 0], new), flipped[:, 0], atol=1e-5)
        moved = (v != u).any((1, 2, 3))
        changed |= np.bincount(np.asarray(pde.part_of(cond)), moved, 3) > 0
    assert changed.all()


def test_a_user_adds_an_equation_with_ranges(monkeypatch):
    ends = np.concatenate([settings(gamma2=1.0), settings(gamma2=2.0)])
    monkeypatch.setitem(EQUATIONS, "mine", Equation(ends, uniform=True))
    pde = PDES["mixture"](equations=("mine",), **SMALL)
    data = ups.simulate(pde, jax.random.key(0), n=8, steps=1, cache=False)
    drawn = np.asarray(data.cond)[:, 2]
    assert 1 <= drawn.min() < drawn.max() <= 2
    with pytest.raises(ValueError, match="'mine' has ranges of coefficients and no number"):
        PDES["mixture"](equations=("kdv_coarse", "mine"), weights="size", **SMALL)
    monkeypatch.setitem(EQUATIONS, "bad", Equation(settings(gamma2=-1.0)))
    with pytest.raises(ValueError, match="bad.gamma4 is up to 0 and bad.gamma2 from -1"):
        PDES["mixture"](equations=("bad",))


def test_the_equations_of_the_page_are_recorded_with_a_run(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "equations.md").read_text()
    file, before = tmp_path / "my_equations.py", dict(EQUATIONS)
    file.write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)))
    monkeypatch.chdir(tmp_path)
    try:
        overrides = ["imports=my_equations.py", "pde.equations=diff,my_burgers,my_kdv"]
        saved = config.to_dict(ups.load_config("universal:smoke", overrides))
        assert [entry.partition("#")[0] for entry in saved["imports"]] == [str(file)]
        assert len(EQUATIONS["my_burgers"].settings) == 9 and EQUATIONS["my_kdv"].uniform
        EQUATIONS.clear()
        EQUATIONS.update(before)
        pde = ups.build(config.from_dict(saved)).pde
        assert [part.name for part in pde.parts] == ["diff", "my_burgers", "my_kdv"]
    finally:
        EQUATIONS.clear()
        EQUATIONS.update(before)


def test_a_config_states_coefficient_ranges_of_its_own():
    overrides = ["pde.equations=diff,own", "pde.gamma2=1,2", "pde.convection=-1"]
    cfg = ups.load_config("universal:smoke", overrides)
    emulator = ups.build(config.from_dict(config.to_dict(cfg)))
    data = ups.simulate(emulator.pde, jax.random.key(0), n=8, steps=1, cache=False)
    np.testing.assert_array_equal(emulator.pde.part_of(data.cond), [0, 1] * 4)
    own = {name: data.cond[1::2, i] for i, name in enumerate(emulator.pde.params)}
    assert 1 <= own["gamma2"].min() < own["gamma2"].max() <= 2
    assert set(own["convection"].tolist()) == {-1.0} and not own["gamma3"].any()
    # A single point of a range is no equation unseen.
    test = dict(test_equations=("burgers", "kdv"), **SMALL)
    ranges = dict(convection=(-2, -1), gamma2=(1, 2))
    assert PDES["mixture"](equations=("own",), **ranges, **test).held_out == ("kdv",)
    remade = PDES["mixture"](**emulator.pde.spec)
    assert remade.spec == emulator.pde.spec


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(equations=("kvd",)), "did you mean 'kdv'"),
        (
            dict(equations=("kdv", "kvd"), test_equations=("kdv", "burgers")),
            "unknown equation in pde.equations: 'kvd'; did you mean 'kdv'",
        ),
        (
            dict(equations=("kdv",), test_equations=("burger",)),
            "unknown equation in pde.test_equations: 'burger'; did you mean 'burgers'",
        ),
        (
            dict(equations=("kdv", "kvd"), weights=(1.0,)),
            "unknown equation in pde.equations: 'kvd'",
        ),
        (
            dict(equations=("kdv",), test_equations=("burgers", "burgers")),
            "pde.test_equations is .* each once",
        ),
        (dict(equations=()), "expected one name or more, each once"),
        (dict(equations=("kdv", "kdv")), "expected one name or more, each once"),
        (dict(equations=("kdv",), weights=(1.0, 2.0)), "a positive number for each of the 1"),
        (dict(equations=("kdv",), weights=(0.0,)), "a positive number for each of the 1"),
        (dict(equations=("kdv",), weights="sizes"), "'sizes'; expected 'equal', 'size', or a pos"),
        (dict(points=(16, 32)), "equal axes"),
        (dict(equations=("diff", "own")), "equation 'own' has no coefficients; add one, such as"),
        (dict(gamma2=(1, 2)), "pde.gamma2 is .1, 2., which no equation has; add 'own' to"),
        (dict(warmup=3), "pde.warmup is 3, which no equation has"),
        (dict(equations=("own",), gamma2=-1.0), "own.gamma4 is up to 0 and own.gamma2 from -1"),
        (dict(equations=("own",), gamma2=(2, 1)), "pde.gamma2 is .2, 1.; expected a number, or"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PDES["mixture"](**arguments)


def test_the_coefficients_tell_which_equations_conserve_their_mean():
    pde = ups.PDES["mixture"](points=48, cells=48)
    cond = np.stack([part.sample_cond(jax.random.key(0)) for part in pde.parts])
    u = np.random.default_rng(1).normal(0.3, 0.2, (len(cond), 48, 1)).astype(np.float32)
    drift = np.abs(np.mean(jax.jit(pde.step)(u, cond) - u, (1, 2)))
    np.testing.assert_array_equal(pde.conserves_mean(cond), drift < 1e-6)
    assert [part.name for part, kept in zip(pde.parts, drift < 1e-6, strict=True) if not kept] == [
        "fisher"
    ]
