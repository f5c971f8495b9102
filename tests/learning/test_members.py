"""Stochastic stages and forecasters, and the search: laws of their samples."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ups_jax as ups
from ups_jax import diffusion as noising
from ups_jax import flops, stages
from ups_jax.config import load
from ups_jax.emulator import TRANSFORMS, add_residual, residual, scale_residual, step
from ups_jax.evaluate import ensemble_validator, loss_validator, rollouts
from ups_jax.evaluate.beam_search import analyze_search, rank_correlation
from ups_jax.evaluate.ensembles import added_metrics, evaluate_ensembles
from ups_jax.experiment import schedule
from ups_jax.experiment.build import build
from ups_jax.forecast import FORECASTERS, calls_per_step
from ups_jax.metrics import Metric, crps

TINY = {
    "pde.points": 32,
    "data.cells": (32,),
    "operator.width": 8,
    "operator.dilations": (1,),
    "denoiser.width": 8,
    "denoiser.dilations": (1,),
    "diffusion.steps": 2,
    "search.candidates": 3,
}
STEPS = 5


@pytest.fixture(scope="module")
def task():
    """Every network of the smoke run, untrained but for a shake, and data of its own solver."""
    cfg = load("configs/burgers.py:smoke", TINY)
    emulator = build(cfg)
    data = ups.simulate(emulator.pde, jax.random.key(0), n=6, steps=STEPS, cache=False)
    params = jax.device_get(ups.init(emulator, jax.random.key(1)))
    rng = np.random.default_rng(2)
    shaken = jax.tree.map(lambda x: x + np.float32(0.03 * rng.normal(size=x.shape)), params)
    return cfg, emulator, shaken | {"stats": params["stats"]}, data


def draw(task, mode, key=3, rows=slice(None), **options):
    _, emulator, params, data = task
    u0, cond = data.u[rows, 0], data.cond[rows]
    return ups.forecast(
        emulator, params, u0, cond, jax.random.key(key), steps=STEPS, forecaster=mode, **options
    )


DRAWN = [mode for mode in FORECASTERS if FORECASTERS[mode].stochastic]


@pytest.mark.parametrize("mode", DRAWN)
def test_a_forecast_is_the_mean_of_its_members_and_tells_their_spread(task, mode):
    found = draw(task, mode, members=4)
    assert found.members.shape == (6, 4, STEPS, 32, 1) and found.u.shape == (6, STEPS, 32, 1)
    np.testing.assert_allclose(found.u, found.members.mean(1), atol=1e-6)
    spread = np.sqrt(np.var(found.members, 1, ddof=1).mean((-1, -2)))
    np.testing.assert_allclose(found.log["spread"], spread, rtol=1e-3, atol=1e-7)
    assert np.all(spread > 0)


@pytest.mark.parametrize("mode", DRAWN)
def test_a_member_is_the_same_however_many_there_are(task, mode):
    few, many = (draw(task, mode, members=m).members for m in (2, 4))
    np.testing.assert_allclose(few, many[:, :2], rtol=2e-3, atol=2e-4)
    assert not np.allclose(draw(task, mode, key=4, members=2).members, few, atol=1e-3)


@pytest.mark.parametrize("mode", DRAWN)
def test_without_noise_all_members_are_one(task, mode):
    found = draw(task, mode, members=2, temperature=0.0)
    np.testing.assert_allclose(found.members - found.u[:, None], 0, atol=1e-5)


@pytest.mark.parametrize("mode", ["ensemble", "student"])
def test_every_second_member_is_drawn_in_the_mirror(task, fed, mode):
    """With its own noise it makes of a field what it makes of its image, antithetic."""
    cfg, emulator, params, data = task if mode == "ensemble" else fed
    image = replace(data, u=-np.flip(data.u, -2))
    plain, turned, there = (
        draw((cfg, emulator, params, split), mode, members=2, antithetic=antithetic).members
        for split, antithetic in ((data, False), (data, True), (image, False))
    )
    np.testing.assert_allclose(turned[:, 0], plain[:, 0], atol=1e-5)
    np.testing.assert_allclose(turned[:, 1], -np.flip(there[:, 1], -2), atol=1e-5)
    assert not np.allclose(turned[:, 1], plain[:, 1], atol=1e-3)


def test_members_about_the_operator_leave_its_rollout_alone(task):
    """A residual of nothing leaves the operator; so no draw is fed back."""
    _, emulator, params, data = task
    none = params | {"stats": params["stats"] | {"residual_std": np.full(1, 1e-9, np.float32)}}
    plain = draw(task, "operator").u
    found = ups.forecast(
        emulator,
        none,
        data.u[:, 0],
        data.cond,
        jax.random.key(3),
        steps=STEPS,
        forecaster="diffusion",
        members=2,
    )
    np.testing.assert_allclose(found.members, np.stack([plain] * 2, 1), atol=1e-5)


@pytest.fixture(scope="module")
def fed(task):
    """The same networks, whose residuals are those of single steps and are fed back."""
    cfg, emulator, params, data = task
    assert emulator.diffusion is not None
    return (
        cfg,
        replace(emulator, diffusion=emulator.diffusion._replace(autoregressive=True)),
        params,
        data,
    )


@pytest.mark.parametrize("mode", ["diffusion", "student"])
def test_members_that_are_fed_back_part_from_the_rollout_after_the_first_step(task, fed, mode):
    """Each goes on from itself, as a forecast that begins there does."""
    _, emulator, params, data = fed
    apart = draw(fed, mode, members=2, temperature=0.0).members[:, 0]
    about = draw(task, mode, members=2, temperature=0.0).members[:, 0]
    np.testing.assert_allclose(apart[:, 0], about[:, 0], atol=1e-5)
    assert not np.allclose(apart[:, 1], about[:, 1], atol=1e-3)
    again = ups.forecast(
        emulator, params, np.asarray(apart[:, 0]), data.cond, jax.random.key(3), steps=STEPS,
        forecaster=mode, members=2, temperature=0.0,
    )  # fmt: skip
    np.testing.assert_allclose(again.members[:, 0, 0], apart[:, 1], atol=1e-5)


def test_residuals_that_are_fed_back_are_learnt_from_single_steps_of_the_truth(fed):
    _, emulator, params, data = fed
    seen = stages.rollout_dataset(emulator, params, data, num_rollouts=4)
    u, cond = np.asarray(data.u[:4]), np.asarray(data.cond[:4])
    advance = jax.jit(partial(step, emulator))
    for t in range(STEPS):
        ahead = advance(params, u[:, t], cond)
        np.testing.assert_allclose(seen.u[:, t + 1, :, :1], ahead, atol=1e-6)
    np.testing.assert_array_equal(seen.u[..., 1:], data.u[:4])
    unit = params | {"stats": params["stats"] | {"residual_std": np.ones(1, np.float32)}}

    @jax.jit
    def fitted(batch):
        ready = stages.fit_residual_scales(emulator, params, batch, jax.random.key(0))
        u_next = step(emulator, unit, u[:, 2], cond)
        errors, _ = residual(emulator, unit, u[:, 2], u_next, u[:, 3], cond, models=())
        return ready["stats"]["residual_std"], errors

    std, errors = fitted({"u": seen.u[:, 2:4], "cond": cond})
    np.testing.assert_allclose(std, [np.sqrt(np.mean(np.asarray(errors) ** 2))], rtol=1e-4)


@pytest.mark.parametrize(("mode", "own"), [("diffusion", 2), ("student", 2)])
def test_calls_count_the_operator_once_or_for_each_member(task, fed, mode, own):
    about, apart = (calls_per_step(each[1], mode, members=5) for each in (task, fed))
    assert (about, apart) == (5 * own + 1, 5 * own + 5)


def test_calls_follow_the_options_of_a_forecast(task):
    emulator = task[1]
    count = partial(calls_per_step, emulator, members=2)
    for name, sampler in noising.SAMPLERS.items():
        assert count("diffusion", sampler=name, levels=7) == 2 * sampler.calls(7) + 1
    assert count("student", calls=5, temperature=0.5) == 2 * 5 + 1
    assert count("ttc", beams=3, candidates=2, lookahead=1) == 3 * (1 + emulator.search.cost + 2)


def with_transform(emulator, transform):
    return replace(emulator, diffusion=emulator.diffusion._replace(transform=transform))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_residual_is_what_brings_the_operators_step_to_the_truth(task, transform):
    """In the frame at rest, scaled, and back: adding it to the step gives the truth."""
    _, emulator, params, data = task
    emulator = with_transform(emulator, transform)
    stds = {"residual_std": np.full(1, 0.1, np.float32), "asinh_std": np.full(1, 0.7, np.float32)}
    params = params | {"stats": params["stats"] | stds}

    @jax.jit
    def forth_and_back(u, truth, cond):
        ahead = step(emulator, params, u, cond)
        errors, _ = residual(emulator, params, u, ahead, truth, cond, models=())
        lack = scale_residual(emulator, params["stats"], errors)
        return add_residual(emulator, params, u, ahead, cond, lambda *_: lack, model="diffusion")

    found = forth_and_back(data.u[:, 0], data.u[:, 1], data.cond)
    np.testing.assert_allclose(found, data.u[:, 1], atol=1e-5)


def test_visited_states_are_the_operators_rollouts_beside_the_truth(task):
    _, emulator, params, data = task
    seen = stages.rollout_dataset(emulator, params, data, num_rollouts=4)
    assert seen.u.shape == (4, STEPS + 1, 32, 2) and seen.static == ()
    np.testing.assert_array_equal(seen.u[..., 1:], data.u[:4])
    np.testing.assert_array_equal(seen.u[:, 0, :, :1], data.u[:4, 0])
    rolled = draw(task, "operator", rows=slice(4)).u
    np.testing.assert_allclose(seen.u[:, 1:, :, :1], rolled, atol=1e-5)


def test_a_stage_takes_the_rollouts_of_an_earlier_one_to_the_same_bits(task):
    """A resumed student finds none and computes them: it must train on the same numbers."""
    _, emulator, params, data = task
    shared = rollouts.Rollouts()
    stages.rollout_dataset(emulator, params, data, num_rollouts=6, rollouts=shared)
    later = params | {"stats": params["stats"] | {"residual_std": np.full(1, 0.5, np.float32)}}
    taken, alone = (
        stages.rollout_dataset(emulator, later, data, num_rollouts=4, rollouts=each)
        for each in (shared, rollouts.Rollouts())
    )
    np.testing.assert_array_equal(taken.u, alone.u)
    assert len(shared.known) == 1
    changed = params | {"operator": jax.tree.map(lambda x: 2 * x, params["operator"])}
    stages.rollout_dataset(emulator, changed, data, num_rollouts=4, rollouts=shared)
    assert len(shared.known) == 2


def batch_of(task, stage):
    _, _, params, data = task
    seen = stage.data(params, data)
    return {"u": np.asarray(seen.u[:, :3]), "cond": np.asarray(seen.cond)}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_residuals_have_unit_deviation_after_their_transform(task, transform):
    cfg, emulator, params, _ = task
    emulator = with_transform(emulator, transform)
    stage = schedule.stage_of(emulator, cfg, "diffusion")
    batch = batch_of(task, stage)

    @jax.jit
    def scaled(u, cond):
        ready = stage.prepare(params, {"u": u, "cond": cond}, jax.random.key(0))
        errors, _ = residual(
            emulator, ready, u[:, 0, :, :1], u[:, 1, :, :1], u[:, 1, :, 1:], cond, models=()
        )
        return scale_residual(emulator, ready["stats"], errors)

    values = np.asarray(scaled(batch["u"], batch["cond"]))
    assert np.sqrt(np.mean(values**2)) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("name", ["control", "diffusion", "student", "ensemble"])
def test_a_stage_moves_its_own_parameters_alone(task, name):
    """Teacher, operator and statistics get no gradient from what is trained after them."""
    cfg, emulator, params, _ = task
    stage = schedule.stage_of(emulator, cfg, name)
    batch = batch_of(task, stage)

    def loss(own, ready, batch):
        return stage.loss({**ready, **own}, batch, jax.random.key(1))[0]

    @jax.jit
    def run(params, batch):
        ready = stage.prepare(params, batch, jax.random.key(0))
        return jax.grad(loss)({name: ready[name]}, ready, batch), ready

    grads, ready = run(params, batch)
    sizes = [np.abs(x).max() for x in jax.tree.leaves(grads)]
    assert np.all(np.isfinite(sizes)) and np.mean(np.array(sizes) > 0) > 0.8
    for key in params.keys() - {name, "stats"}:
        jax.tree.map(np.testing.assert_array_equal, ready[key], params[key])


def test_ensembles_start_as_the_operator(task):
    _, emulator, params, _ = task
    key = jax.random.key(1)
    fresh = params | {"ensemble": jax.jit(emulator.networks["ensemble"].init)(key)}
    ready = schedule.stage_of(emulator, task[0], "ensemble").prepare(fresh, {}, jax.random.key(0))
    plain = draw(task, "operator").u
    quiet = ups.forecast(
        emulator,
        ready,
        task[3].u[:, 0],
        task[3].cond,
        jax.random.key(0),
        steps=STEPS,
        forecaster="ensemble",
        members=1,
        temperature=0.0,
    )
    np.testing.assert_allclose(quiet.u, plain, atol=1e-4)


def test_the_crps_loss_is_the_metric_over_the_truths_rms(task):
    rng = np.random.default_rng(0)
    members = rng.normal(size=(3, 4, 32, 1)).astype(np.float32)
    true = rng.normal(size=(4, 32, 1)).astype(np.float32)
    found = jax.jit(lambda *fields: stages.crps_loss(*fields, 1))(members, true)
    scores = jax.jit(lambda *fields: crps(*fields, 1))
    by_sample = np.asarray(scores(np.swapaxes(members, 0, 1)[:, :, None], true[:, None]))[:, 0]
    size = np.sqrt(np.mean(true**2, (1, 2)))
    assert float(found) == pytest.approx(np.mean(by_sample / size), rel=1e-4)


def test_a_control_costs_what_it_is_matched_with(task):
    cfg, emulator, _, _ = task
    assert cfg.fit.control.match_flops_of == "ensemble"
    steps = schedule.recipe_of(emulator, cfg, "control").steps
    asked, got = (schedule.training_flops(emulator, cfg, name) for name in ("ensemble", "control"))
    assert abs(got / asked - 1) <= cfg.fit.control.steps_per_call / steps
    assert schedule.recipe_of(emulator, cfg, "ensemble").steps == cfg.fit.ensemble.steps


def test_flops_multiply_loops_out():
    x = jnp.ones((8, 8))
    once = flops.flops(lambda x: x @ x, x)
    assert once == 2 * 8**3
    looped = flops.flops(
        lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, None, length=10)[0], x
    )
    assert looped == 10 * once


@pytest.mark.parametrize("kind", ["loss", "crps"])
def test_validators_of_a_stage_repeat_themselves(task, kind):
    _, emulator, params, data = task
    stage = schedule.stage_of(emulator, task[0], "ensemble")
    if kind == "loss":
        check = loss_validator(stage, data, batch=4, unroll=1, start_bias=1.0)
    else:
        check = ensemble_validator(emulator, data, batch=4, forecaster="ensemble", members=2)
    assert check(params) == check(params) > 0
    worse = params | {"ensemble": jax.tree.map(lambda x: 3 * x, params["ensemble"])}
    assert check(worse) != check(params)
    if kind == "crps":
        options = dict(batch=4, forecaster="ensemble", members=2)
        later = ensemble_validator(emulator, data, start=3, **options)(params)
        rest = replace(data, u=data.u[:, 3:])
        assert later == pytest.approx(ensemble_validator(emulator, rest, **options)(params))


def test_one_beam_of_one_candidate_is_the_operator(task):
    found = draw(task, "ttc", beams=1, candidates=1)
    np.testing.assert_array_equal(found.u, draw(task, "operator").u)
    assert not np.any(found.log["choice"])


def test_a_search_chooses_for_each_sample_apart(task):
    """With the samples in another order their paths and choices are in that order."""
    order = np.array([3, 0, 5, 1, 4, 2])
    _, emulator, params, data = task
    # Draws hang on a sample's place: what is compared must not, so noise is the same for all.
    same = replace(
        emulator,
        search=emulator.search._replace(
            temperature_start=0.0, temperature_end=0.0, beams=2, candidates=3
        ),
    )

    def run(rows):
        return ups.forecast(
            same, params, data.u[rows, 0], data.cond[rows], jax.random.key(0), steps=STEPS,
            forecaster="ttc",
        )  # fmt: skip

    here, there = run(np.arange(6)), run(order)
    np.testing.assert_allclose(there.u, here.u[order], atol=1e-5)
    np.testing.assert_array_equal(there.log["choice"], here.log["choice"][order])
    assert len({tuple(row) for row in np.asarray(here.log["choice"])}) > 1


def test_rank_correlation_by_hand():
    correlation = jax.jit(partial(rank_correlation, np.float32([[1, 2, 3, 4]])))
    for b, expected in (([10, 20, 30, 40], 1), ([4, 3, 2, 1], -1), ([1, 3, 2, 4], 0.8)):
        assert float(correlation(np.float32([b]))[0]) == pytest.approx(expected)
    assert np.isnan(correlation(np.ones((1, 4), np.float32))[0])


def test_the_search_beside_its_controls(task):
    """The bound is below every row, and whatever has B calls has B of them."""
    _, emulator, params, data = task
    found = analyze_search(emulator, params, data, jax.random.key(0), batch=4)
    error = {row[0]: row[2] for row in found.rows}
    assert set(error) == {"operator", "control", "mean", "random", "ttc", "greedy", "oracle"}
    assert error["oracle"] <= min(error.values())
    by_trajectory = {name: found.curves[name].mean(1) for name in error}
    np.testing.assert_array_equal(by_trajectory.pop("oracle"), np.min([*by_trajectory.values()], 0))
    assert {row[1] for row in found.rows if row[0] in ("ttc", "random", "oracle", "mean")} == {6}
    assert -1 <= found.scalars["eval/ttc/analysis/rank_correlation"] <= 1
    assert f"{error['oracle']:.4g}" in found.verdict
    assert found.curves["choice"].sum() == pytest.approx(1)


def test_ensembles_and_controls_see_the_same_samples(task, monkeypatch):
    _, emulator, params, data = task
    mine = Metric(lambda members, true, ndim: jnp.max(members, (1, 2, 3, 4)), jnp.max, label="top")
    monkeypatch.setitem(ups.ENSEMBLE_METRICS, "highest", mine)
    found = evaluate_ensembles(
        emulator,
        params,
        data,
        jax.random.key(0),
        modes={"ensemble": {}, "student": {"calls": 1}},
        members=3,
        controls=("operator", "control"),
        batch=4,
    )
    s = found.scalars
    assert s["eval/operator/paired/crps"] == pytest.approx(s["eval/operator/paired/mae"], rel=1e-4)
    assert s["eval/ensemble/paired/calls"] == 3 * STEPS
    assert found.curves["ensemble/rank"].shape == (4,)
    assert found.curves["ensemble/rank"].sum() == pytest.approx(1, rel=1e-4)
    assert found.examples["student"].shape == (1, 3, STEPS, 32, 1)
    row = dict(zip(found.columns, found.rows[2], strict=True))
    assert row["forecaster"] == "ensemble" and row["highest"] == s["eval/ensemble/paired/highest"]
    assert added_metrics() == {"highest": "top"}
    one = ups.evaluate(emulator, params, data, jax.random.key(0), forecasters=["operator"], batch=4)
    assert s["eval/operator/paired/nrmse"] == pytest.approx(
        one.scalars["eval/operator/nrmse"], rel=1e-4
    )


@pytest.mark.parametrize(
    ("mode", "options", "message"),
    [
        ("diffusion", {"sampler": "huen"}, "unknown sampler 'huen'; did you mean 'heun'?"),
        ("diffusion", {"temperature": -0.5}, "temperature is -0.5"),
        ("ensemble", {"members": 0}, "members is 0"),
        ("student", {"calls": 0}, "calls is 0"),
        ("operator", {"members": 3}, "forecaster 'operator' has no option 'members'"),
        ("ensemble", {"sampler": "heun"}, "allowed: members, temperature"),
        ("ttc", {"candidates": 0}, "candidates is 0"),
        ("diffusion", {"antithetic": True}, "samples around one rollout"),
    ],
)
def test_what_no_forecaster_can_do_is_refused(task, mode, options, message):
    with pytest.raises(ValueError) as caught:
        draw(task, mode, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_fields_of_half_precision_are_refused(task, dtype):
    _, emulator, params, data = task
    half, key = jnp.asarray(data.u[:2, 0], dtype), jax.random.key(0)
    with pytest.raises(ValueError, match=f"holds {jnp.dtype(dtype)}; expected float32"):
        ups.forecast(emulator, params, half, data.cond[:2], key, steps=1, forecaster="operator")


def test_a_network_that_was_not_trained_is_named(task):
    _, emulator, params, data = task
    few = {name: value for name, value in params.items() if name != "ensemble"}
    with pytest.raises(
        ValueError, match="forecaster 'ensemble' needs stage 'ensemble', which was not"
    ):
        ups.forecast(
            emulator,
            few,
            data.u[:, 0],
            data.cond,
            jax.random.key(0),
            steps=2,
            forecaster="ensemble",
        )
