"""Training loop: calls, phases, the average, selection, resume, interruption, divergence."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ups_jax as ups
from ups_jax import optim
from ups_jax.arrays import FLOOR
from ups_jax.data import add_input_noise, fit_normalizer, sample_windows
from ups_jax.emulator import Emulator, init, step
from ups_jax.metrics import losses
from ups_jax.models import OPERATORS
from ups_jax.pde import PDES
from ups_jax.pde.advection import exact
from ups_jax.stages import STAGES, bind, bounded
from ups_jax.train import Hooks, Progress, Recipe, TrainSnapshot, fit, init_state, init_states
from ups_jax.types import BoundStage, Interrupted, Trajectories


@pytest.fixture(scope="module")
def task():
    """Transport on 16 points with its exact solution as data."""
    pde = PDES["advection"](points=16, cells=16, velocity=(1.0, 1.0))
    net = OPERATORS["resnet"](ndim=1, channels=1, params=1, width=8, blocks=1, dilations=(1, 2))
    emulator = Emulator(pde, net)

    @jax.jit
    def solve(key):
        keys = jax.random.split(key, 12)
        cond = jax.vmap(pde.sample_cond)(keys)
        u0 = jax.vmap(lambda k, c: pde.initial(k, c, (16,)))(keys, cond)
        return jnp.stack([exact(u0, cond, i * pde.dt, length=1.0) for i in range(9)], 1), cond

    u, cond = jax.device_get(solve(jax.random.key(0)))
    data = Trajectories(u, cond, pde.dt)
    stats = fit_normalizer(data, pde.features)
    return emulator, jax.jit(partial(init, emulator))(jax.random.key(1), stats), data


HOOKS = ("on_log", "on_save", "stop", "save_every_s")


def recipe(*, phases=((8, 1),), **changes):
    """A short recipe with (updates, unroll) of each phase."""
    steps = sum(n for n, _ in phases)
    fractions = tuple(n / steps for n, _ in phases)
    values = dict(batch=4, warmup=2, ema_decay=0.9, steps_per_call=4, val_every=0, augment=False)
    unroll = tuple(length for _, length in phases)
    return Recipe(steps=steps, unroll=unroll, phase_fractions=fractions, **values | changes)


def operator(emulator):
    return bind(STAGES["operator"], emulator, {})


def train(stage, params, data, key, **changes):
    hooks = Hooks(**{name: changes.pop(name) for name in HOOKS if name in changes})
    rest = {k: changes.pop(k) for k in ("validate", "resume") if k in changes}
    return fit(stage, params, data, key, recipe(**changes), hooks=hooks, **rest)


def run(task, **changes):
    emulator, params, data = task
    stage = changes.pop("stage", None) or operator(emulator)
    return train(stage, params, data, jax.random.key(2), **changes)


@pytest.fixture(scope="module")
def plain(task):
    """The result of the short recipe as it is."""
    return run(task)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_loss_falls_and_the_operator_learns_transport(task):
    emulator, params, data = task
    rows = []
    fitted = run(
        task, phases=((150, 1), (50, 2)), steps_per_call=50, on_log=lambda s, r: rows.append(r)
    )
    assert rows[-1]["loss"] < 0.25 * rows[0]["loss"]
    u, ahead = data.u, jax.jit(partial(step, emulator))
    before = np.mean((u[:, 1] - u[:, 0]) ** 2)
    after = np.mean((np.asarray(ahead(fitted.last, u[:, 0], data.cond)) - u[:, 1]) ** 2)
    assert after < 0.05 * before


def test_the_number_of_updates_a_call_changes_no_bit(task, plain):
    same(run(task, steps_per_call=2).last, plain.last)


def test_one_trace_a_phase(task):
    emulator, *_ = task
    stage, traced = operator(emulator), []

    def loss(params, batch, key):
        traced.append(batch["u"].shape[1] - 1)
        return stage.loss(params, batch, key)

    run(task, stage=BoundStage("operator", loss), phases=((8, 1), (8, 2)))
    assert traced == [1, 2]


@pytest.fixture(scope="module")
def many(task):
    """A function of seeds that returns stacked parameters and the keys of several networks."""
    emulator, params, _ = task

    @jax.jit
    def make(seeds):
        keys = jax.vmap(jax.random.key)(seeds)
        return jax.vmap(lambda key: init(emulator, key, params["stats"]))(keys), keys

    return lambda *seeds: make(np.array(seeds))


@pytest.fixture(scope="module")
def trainings(task, many):
    """A function that trains one network or two from a validation on, and whole ones with saves."""
    emulator, params, data = task

    def go(stacked, first, **changes):
        start, key = many(3, 4) if stacked else (params, jax.random.key(2))
        errors = [[5.0, 3.0, 4.0, 3.0], [1.0, 2.0, 0.5, 3.0]][: 1 + stacked]
        values = iter([row[at] for at in range(first, 4) for row in errors])
        common = dict(phases=((8, 1), (8, 2)), val_every=4, save_every_s=0.0)
        return train(operator(emulator), start, data, key,
                     validate=lambda params: next(values), **common, **changes)  # fmt: skip

    @cache
    def whole(stacked):
        kept = []
        return go(stacked, 0, on_save=lambda now: kept.append(jax.device_get(now))), kept

    return go, whole


@pytest.mark.parametrize("saved, stacked", [(0, False), (1, True), (3, False)])
def test_going_on_from_any_checkpoint_ends_in_the_same_bits(trainings, saved, stacked):
    go, (whole, kept) = trainings[0], trainings[1](stacked)
    best_steps = (8, 12)[: 1 + stacked]
    assert whole.progress.best_step == best_steps
    # Of saves at one step the last one stands.
    last = {int(np.max(now.state.step)): now for now in kept}
    step, now = list(last.items())[saved]
    state, best = jax.tree.map(jnp.asarray, (now.state, now.best))
    again = go(stacked, step // 4, resume=TrainSnapshot(state, best, now.progress))
    same(again.last, whole.last)
    same(again.best, whole.best)
    assert again.progress.best_step == best_steps


def test_networks_side_by_side_are_those_trained_alone(task, many):
    emulator, _, data = task
    params, keys = many(5, 6)
    rows = {}

    @jax.jit
    def validate(params):
        after = step(emulator, params, jnp.asarray(data.u[:, 0]), jnp.asarray(data.cond))
        return jnp.mean((after - data.u[:, 1]) ** 2)

    def train_many(params, key, label):
        log = rows.setdefault(label, [])
        return train(operator(emulator), params, data, key, validate=validate, val_every=4,
                     on_log=lambda s, r: log.append(r))  # fmt: skip

    both = train_many(params, keys, "both")
    params = jax.device_get(params)
    alone = [train_many(jax.tree.map(lambda x, i=i: x[i], params), keys[i], i) for i in (0, 1)]
    for i, one in enumerate(alone):
        jax.tree.map(
            lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-3, atol=1e-5),
            both.best,
            one.best,
        )
        assert both.progress.best_value[i] == pytest.approx(one.progress.best_value[0], rel=1e-4)
    for name in ("loss", "val_nrmse"):
        each = [rows[i][-1][name] for i in (0, 1)]
        assert rows["both"][-1][name] == pytest.approx(np.mean(each), rel=1e-4)
        assert rows["both"][-1][f"{name}_std"] == pytest.approx(np.std(each, ddof=1), rel=1e-2)


def test_the_average_of_the_best_validation_is_selected_the_earliest_on_ties(task):
    seen = []

    def validate(params):
        seen.append(jax.device_get(params["operator"]))
        return 1.0 if len(seen) < 3 else 2.0

    fitted = run(task, phases=((12, 1),), validate=validate, val_every=4)
    same(fitted.best["operator"], seen[0])
    assert fitted.progress.best_step == (4,)


def test_the_average_is_the_warmed_up_one_by_hand(task):
    emulator, params, data = task
    trail = []
    run(task, steps_per_call=1, phases=((3, 1),), save_every_s=0.0,
        on_save=lambda now: trail.append(jax.device_get(now.state)))  # fmt: skip
    states = {int(s.step): s for s in trail}
    expected = states[0].params
    for number in (1, 2, 3):
        w = min(0.9, (1 + number) / (10 + number))
        expected = jax.tree.map(
            lambda a, b, w=w: w * a + (1 - w) * b, expected, states[number].params
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
                 expected, states[3].ema)  # fmt: skip


def test_the_average_starts_as_a_copy(task, many):
    emulator, params, _ = task
    stacked = many(1, 2)[0]
    for begin, given in ((init_state, params), (init_states, stacked)):
        state, best, _ = begin("operator", given, recipe().build_optimizer())
        for copies in zip(*map(jax.tree.leaves, (state.params, state.ema, best)), strict=True):
            assert len({x.unsafe_buffer_pointer() for x in copies}) == 3


def test_a_stop_saves_and_names_the_step(task):
    saves, calls = [], iter([False, True])
    with pytest.raises(Interrupted, match="operator, step 4"):
        run(task, stop=lambda: next(calls), on_save=lambda now: saves.append(int(now.state.step)))
    assert saves[-1] == 4


def test_a_row_is_logged_once_when_its_validation_was_interrupted(task):
    rows, saves = [], []

    def interrupted(params):
        raise Interrupted("validation")

    with pytest.raises(Interrupted):
        run(task, validate=interrupted, val_every=4, on_log=lambda s, r: rows.append(s),
            on_save=lambda now: saves.append(jax.device_get(now)))  # fmt: skip
    assert rows == [] and saves[-1].progress.pending["loss"] > 0
    state, best = jax.tree.map(jnp.asarray, saves[-1][:2])
    log = []
    run(task, validate=lambda p: 1.0, val_every=4, on_log=lambda s, r: log.append((s, dict(r))),
        resume=TrainSnapshot(state, best, saves[-1].progress))  # fmt: skip
    assert [step for step, _ in log] == [4, 8] and log[0][1]["val_nrmse"] == 1.0


def test_divergence_is_logged_saved_and_raised(task):
    rows, saves = [], []

    def loss(params, batch, key):
        return jnp.nan * jnp.sum(params["operator"]["head"]["bias"]), {}

    with pytest.raises(FloatingPointError, match=r"operator: loss is nan within steps \[0, 4\]"):
        run(
            task,
            stage=BoundStage("operator", loss),
            on_log=lambda s, r: rows.append(s),
            on_save=lambda now: saves.append(int(now.state.step)),
        )
    assert rows == [4] and saves[-1] == 4


def test_parameters_whose_validation_error_is_never_finite_are_not_selected(task):
    with pytest.raises(FloatingPointError, match="operator: val_nrmse was never finite"):
        run(task, validate=lambda params: float("inf"), val_every=4)


def test_a_frame_of_zeros_in_validation_does_not_hide_the_best_step(task):
    emulator, _, data = task
    u = np.array(data.u)
    u[3, 5] = 0
    saves = []
    ups.train(
        emulator, data, replace(data, u=u), recipe(val_every=4), key=jax.random.key(2),
        params=task[1], hooks=Hooks(on_save=saves.append), progress=False,
    )  # fmt: skip
    assert saves[-1].progress.best_step[0] > 0 and saves[-1].progress.best_value[0] < 1e4


def test_losses_divide_by_the_floor_at_least():
    true = np.zeros((2, 16, 1), np.float32)
    true[1] = 1
    pred, std = true + np.float32(1e-3), np.full((1, 1), 2, np.float32)
    loss = jax.jit(lambda pred, true, *std: losses.nrmse_loss(pred, true, 1, *std))
    expected = (1e-3 / (FLOOR * 2) + 1e-3) / 2
    assert float(loss(pred, true, std)) == pytest.approx(expected, rel=1e-3)
    assert loss(pred[1:], true[1:], std) == loss(pred[1:], true[1:])


def test_a_relative_loss_has_a_finite_gradient_on_fields_of_zeros_and_far_off():
    true = np.zeros((3, 16, 1), np.float32)
    true[1], true[2] = 1e-30, 1
    loss = jax.jit(jax.value_and_grad(lambda pred, std: losses.nrmse_loss(pred, true, 1, std)))
    for std in (0.0, 0.5):
        for error in (0.0, 1e-30, 1.0, 1e12):
            value, grad = loss(true + np.float32(error), np.full((1, 1), std, np.float32))
            assert np.isfinite(value) and np.isfinite(grad).all()


def test_only_the_named_entries_are_trained(task, plain):
    _, params, _ = task
    same(plain.last["stats"], params["stats"])
    assert not np.array_equal(
        plain.last["operator"]["head"]["kernel"], params["operator"]["head"]["kernel"]
    )


def test_a_learning_rate_factor_equals_a_separate_run(task, plain):
    emulator, params, data = task
    both = jax.tree.map(lambda x: np.stack([x, x]), params)
    keys = jnp.broadcast_to(jax.random.key(2), (2,))

    def parallel(factors):
        return fit(operator(emulator), both, data, keys, recipe(), lr_factors=factors).last

    scaled = jax.device_get(parallel(jnp.array([1.0, 0.5])))
    assert recipe().lr == 3e-3
    for i, alone in enumerate((plain.last, run(task, lr=1.5e-3).last)):
        row = jax.tree.map(lambda x, i=i: x[i], scaled)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), row, alone)
    same(parallel(jnp.ones(2)), parallel(None))


def test_augmentation_draws_exact_symmetries_of_the_window(task):
    emulator, _, data = task

    @jax.jit
    def draw(u, cond):
        windows = sample_windows(jax.random.key(0), u, cond, batch=3, length=4)
        keys = jax.random.split(jax.random.key(1), 3)
        moved, same_cond = jax.vmap(emulator.pde.symmetries[0])(keys, *windows)
        return exact(moved[:, 0], same_cond, emulator.pde.dt, length=1.0), moved[:, 1]

    np.testing.assert_allclose(*draw(data.u, data.cond), atol=1e-5)


def test_input_noise_changes_the_first_frame_by_a_share_of_its_deviation():
    scales = np.array([[[1.0, 100.0]]])
    u = 5 + scales * np.random.default_rng(0).normal(size=(3, 4096, 2))
    u = u.astype(np.float32)
    noisy = np.asarray(jax.jit(add_input_noise)(jax.random.key(1), u, 0.01))
    np.testing.assert_array_equal(noisy[1:], u[1:])
    change = (noisy[0] - u[0]) / scales[0]
    np.testing.assert_allclose(change.std(0), 0.01, rtol=0.05)
    np.testing.assert_allclose(change.mean(0), 0, atol=1e-3)
    schedule = ups.Recipe(steps=100, warmup=10, steps_per_call=10, val_every=10, input_noise=0.01)
    noise = schedule.noise_schedule()
    assert float(noise(10)) == pytest.approx(0.01) and float(noise(100)) < 1e-6
    assert ups.Recipe().noise_schedule() is None and ups.Recipe().input_noises(1, None) == ()


def test_damping_noise_does_not_fall_with_the_learning_rate():
    recipe = ups.Recipe(steps=100, warmup=10, unroll=(1,), damping_noise=0.1, damping_from=3)
    (add,) = recipe.input_noises(1, None)
    u = np.random.default_rng(0).normal(size=(2, 32, 1)).astype(np.float32)
    noisy = jax.jit(add)
    first, last = (np.asarray(noisy(jax.random.key(1), u, step)) for step in (0, 99))
    np.testing.assert_array_equal(first, last)
    assert np.abs(first[0] - u[0]).max() > 1e-4


@pytest.mark.parametrize("name", optim.LR_SCHEDULES)
def test_schedules_warm_up_to_the_peak(name):
    opt = optim.adamw(steps=100, lr=0.5, warmup=10, schedule=name)
    rates = [float(opt.lr(i)) for i in range(101)]
    assert rates[0] == 0 and max(rates) == pytest.approx(0.5) and np.argmax(rates) == 10
    assert rates[100] == pytest.approx(0.5 if name == "constant" else 0.0, abs=1e-6)


def test_muon_turns_hidden_kernels_by_orthogonal_matrices_and_the_rest_by_adam():
    width, lr = 16, 0.5
    rng = np.random.default_rng(0)
    shapes = dict(a=(3, width, width), b=(3, width // 2, width), lift=(5, 1, width))
    shapes |= dict(head=(3, width, width), bias=(width,))
    params = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    grads = jax.tree.map(lambda x: np.cos(7 * x), params)
    chains = [
        make(steps=100, lr=lr, warmup=0, weight_decay=0.0).chain
        for make in (optim.muon, optim.adamw)
    ]
    turned, adam = (
        jax.jit(lambda g, p, c=c: c.update(g, c.init(p), p)[0])(grads, params) for c in chains
    )
    for name in "ab":
        # The first update is the orthogonal factor of the gradient: Newton and Schulz's five steps
        # leave singular values between 0.7 and 1.2, times 0.2 sqrt(rows).
        rows = 3 * shapes[name][1]
        matrix = -np.asarray(turned[name]).reshape(rows, width) / (lr * 0.2 * rows**0.5)
        left, _, right = np.linalg.svd(
            np.asarray(grads[name]).reshape(-1, width), full_matrices=False
        )
        inner = left.T @ matrix @ right.T
        assert np.all((np.diag(inner) > 0.65) & (np.diag(inner) < 1.25))
        np.testing.assert_allclose(inner - np.diag(np.diag(inner)), 0, atol=1e-4)
    for name in ("lift", "head", "bias"):
        np.testing.assert_allclose(turned[name], adam[name], rtol=1e-4)


def test_a_rollout_that_diverges_within_its_window_has_a_finite_gradient(task):
    """Without a bound its fields overflow, and the gradient is NaN from the fourth step on."""
    emulator, params, data = task
    batch = {"u": jnp.asarray(data.u[:, :8]), "cond": jnp.asarray(data.cond)}
    loss = jax.jit(jax.value_and_grad(bind(STAGES["operator"], emulator, {}).loss, has_aux=True))
    for growth in (30.0, 1e3):
        grown = jax.tree.map(lambda x, growth=growth: np.float32(growth) * x, params["operator"])
        (value, _), grads = loss({**params, "operator": grown}, batch, jax.random.key(0))
        assert np.isfinite(value) and value > 10
        for leaf in jax.tree.leaves(grads["operator"]):
            assert np.isfinite(leaf).all()


def test_the_gradient_of_a_clipped_value_is_scaled_as_the_value():
    @jax.jit
    def bound(u, fields):
        grad = jax.grad(lambda u: jnp.sum(bounded(u, {"u": fields})))(u)
        return bounded(u, {"u": fields})[0, :, 0], grad[0, :, 0]

    fields = np.full((1, 2, 4, 1), -2, np.float32)
    u = np.float32([0.5, -2000.0, 4e3, -2e9]).reshape(1, 4, 1)
    want = np.array([0.5, -2000.0, 2000.0, -2000.0])
    value, grad = bound(u, fields)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(grad, [1, 1, 0.5, 1e-6], rtol=1e-6)
    np.testing.assert_allclose(bound(-np.inf * u, fields)[0], 2000 * -np.sign(want))
    assert not np.any(bound(0 * u, 0 * fields)[0])


def test_a_network_that_has_diverged_is_trained_back(task):
    """All of its fields are clipped, and without their gradient its parameters would stay."""
    emulator, params, data = task
    own = jax.tree.map(lambda x: np.float32(1e3) * x, jax.device_get(params["operator"]))
    batch = {"u": jnp.asarray(data.u[:, :2]), "cond": jnp.asarray(data.cond)}
    loss = bind(STAGES["operator"], emulator, {}).loss
    adam = optax.adam(1.0)

    def body(carry, _):
        own, state = carry
        value, grads = jax.value_and_grad(
            lambda own: loss({**params, "operator": own}, batch, jax.random.key(0))[0]
        )(own)
        change, state = adam.update(grads, state)
        return (optax.apply_updates(own, change), state), value

    _, losses = jax.jit(lambda: jax.lax.scan(body, (own, adam.init(own)), length=300))()
    assert losses[0] > 1e3 and losses[-1] < 0.1 * losses[0]


def test_a_perfect_forecast_has_the_least_loss():
    true = np.random.default_rng(0).normal(size=(4, 16, 1)).astype(np.float32)
    loss = jax.jit(lambda pred, true, *more: losses.nrmse_loss(pred, true, 1, *more))
    assert float(loss(true, true)) < 1e-5
    assert float(loss(0 * true, true)) == pytest.approx(1.0, abs=1e-4)
    assert float(loss(2 * true, true)) == pytest.approx(1.0, abs=1e-4)
    faded = np.float32(1e-6) * true
    off = faded + np.float32(1e-2)
    assert float(loss(off, faded)) > 5e3
    assert float(loss(off, faded, 1.0, 0.1)) == pytest.approx(0.1, rel=1e-3)


def test_progress_is_json_ready():
    import json

    assert json.loads(json.dumps(Progress((4,), (0.5,))._asdict()))["best_step"] == [4]
