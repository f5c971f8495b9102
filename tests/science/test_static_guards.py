"""Guards of static channels, history and static problems: symmetries, leaks, laws, transfer."""

import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax.config import load_adapted
from ups_jax.data import check_disjoint, check_task
from ups_jax.emulator import fit_statistics
from ups_jax.emulator.states import on_states
from ups_jax.emulator.transfer import transfer
from ups_jax.forecast import nudged_analysis
from ups_jax.pde.base import Law, spatial_mean

RNG = np.random.default_rng(0)
U = RNG.normal(size=(4, 3, 8, 1)).astype(np.float32)
A = RNG.uniform(3, 12, size=(6, 8, 8, 1)).astype(np.float32)


def emulator(pde, **options):
    return ups.Emulator(pde, ups.OPERATORS["resnet"], width=4, blocks=1, dilations=(1,), **options)


def pairs(mean=0.0, **stated):
    given = dict(static=("a",), extent=(1.0, 1.0), boundary=("dirichlet",) * 2, **stated)
    return ups.pairs(A, mean + RNG.normal(size=A.shape).astype(np.float32), **given)


@pytest.mark.parametrize("name, history", [("kuramoto2d", 1), ("darcy", 1), ("gray_scott", 2)])
def test_symmetries_change_each_frame_of_states_side_by_side(name, history):
    size = {"length": 12.0} if name == "kuramoto2d" else {}
    pde = ups.PDES[name](points=(12, 12), cells=(12, 12), **size)
    c, width = len(pde.channels), history * len(pde.channels) + len(pde.static)
    u = np.random.default_rng(0).normal(size=(2, 12, 12, 2 * width)).astype(np.float32)
    changed, none, model = False, np.zeros(0, np.float32), emulator(pde, history=history)
    for symmetry in pde.symmetries:
        of_states, alone = jax.jit(on_states(model, symmetry)), jax.jit(symmetry)
        for key in jax.random.split(jax.random.key(1), 4):
            moved = np.asarray(of_states(key, u, none)[0])
            for start in (0, width):
                state, result = (x[..., start : start + width] for x in (u, moved))
                for j in range(history):
                    pick = [*range(j * c, j * c + c), *range(history * c, width)]
                    want = alone(key, state[..., pick], none)[0]
                    np.testing.assert_array_equal(result[..., pick], want)
            changed |= not np.array_equal(moved, u)
    assert changed


def test_fine_tuning_keeps_the_mean_field_of_its_own_data():
    own, other = pairs(5.0), pairs()
    pde = ups.pde_of(own)
    params, source = (
        ups.init(emulator(pde), jax.random.key(0), fit_statistics(emulator(pde), data))
        for data in (own, other)
    )
    found = transfer(params, source)["stats"]
    np.testing.assert_array_equal(found["mean_field"], params["stats"]["mean_field"])
    np.testing.assert_array_equal(found["std"], source["stats"]["std"])


def test_a_source_whose_inputs_stand_elsewhere_is_refused():
    data = ups.with_static(ups.Trajectories(U, dt=0.5, extent=(2.0,)), mask=U[0, 0, :, 0])
    pde = ups.pde_of(data)
    source = emulator(pde)
    recipe = ups.Recipe(steps=2, batch=2, warmup=0, steps_per_call=2, val_every=2, unroll=(1,))
    wanted = "inputs channel 0 (0 before), static mask, this one channel 0 (0 before), channel 0 (1"
    with pytest.raises(ValueError, match=re.escape(wanted)):
        ups.finetune(
            (source, ups.init(source, jax.random.key(0))), data, data, recipe,
            key=jax.random.key(0), emulator=emulator(pde, history=2),
        )  # fmt: skip


def test_one_initial_condition_with_another_coefficient_is_a_leak():
    plain = ups.Trajectories(U, dt=0.5, extent=(2.0,))
    parts = {
        name: ups.with_static(plain, mask=RNG.normal(size=(4, 8)).astype("f4"))
        for name in ("train", "test")
    }
    with pytest.raises(ValueError, match="same initial condition .4 such pairs"):
        check_disjoint(parts)


def test_pairs_of_one_geometry_differ_by_their_parameters():
    one = pairs(cond=np.arange(6.0)[:, None] + 1, params=("k",))
    same = replace(one, cond=np.arange(6.0)[:, None] + 7)
    check_disjoint({"train": one, "test": same})
    with pytest.raises(ValueError, match="same initial condition"):
        check_disjoint({"train": one, "test": one})


def test_laws_of_a_simulation_do_not_see_static_channels():
    def initial(key, cond, cells):
        u = 1 + jax.random.uniform(key, (*cells, 1))
        return jnp.concatenate([u, jnp.full_like(u, 1e4)], -1)

    law = Law(lambda u: spatial_mean(u, 1), "conserved", "mass_gap", lambda u: spatial_mean(u, 1))
    pde = ups.PDE(
        "leaky", ("u",), (16,), (16,), (1.0,), 0.1, (), initial=initial, static=("a",),
        step=lambda u, cond: u * jnp.array([[[1.002, 1.0]]]), laws={"mass": law},
    )  # fmt: skip
    with pytest.raises(ValueError, match="breaks the law 'mass' .conserved. by 2.0e-03 at frame 1"):
        ups.simulate(pde, jax.random.key(0), n=2, steps=1, cache=False)


def test_data_that_are_no_pairs_do_not_fit_a_steady_pde():
    data = pairs()
    with pytest.raises(ValueError, match="steady False, not True"):
        check_task(replace(data, steady=False), ups.pde_of(data))


def test_a_named_static_pde_takes_a_file(tmp_path):
    ups.save_npz(tmp_path / "pairs.npz", replace(pairs(), pde="darcy"))
    sizes = {"data.train": 4, "data.val": 1, "data.test": 1, "pde.points": (8, 8)}
    given = {**sizes, "data.path": tmp_path / "pairs.npz", "data.cells": (8, 8)}
    given |= {"fit.operator.batch": 4}
    cfg, _ = load_adapted("configs/darcy.py:smoke", given)
    assert cfg.eval.context_frames == 1


def test_two_channels_of_one_name_are_refused():
    data = ups.Trajectories(U, dt=0.5, extent=(2.0,), channels=("q",))
    with pytest.raises(ValueError, match="expected 1 lengths and 2 distinct names"):
        ups.with_static(data, q=U[0, 0, :, 0])


def test_nudging_corrects_each_frame_of_a_state_once():
    data = ups.with_static(ups.Trajectories(U, dt=0.5, extent=(2.0,)), mask=U[0, 0, :, 0])
    still = ups.Network(lambda key: {"w": jnp.zeros(1)}, lambda p, u, cond: 0 * u[..., :1])
    model = ups.Emulator(ups.pde_of(data), still, history=2)
    params, cond = ups.init(model, jax.random.key(0)), np.zeros((4, 0), np.float32)
    found = np.asarray(jax.jit(partial(nudged_analysis, model, gain=0.5))(params, data.u, cond))
    first = (U[:, 0] + U[:, 1]) / 2
    np.testing.assert_allclose(found[..., 1:2], first, atol=1e-6)
    np.testing.assert_allclose(found[..., :1], (first + U[:, 2]) / 2, atol=1e-6)
    np.testing.assert_array_equal(found[..., 2], np.asarray(data.u)[:, 2, :, 1])
