"""The only training loop: chunks of optimiser updates on data that live on the device."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ups_jax.data import DiskFields, sample_windows, update_keys, window_loader
from ups_jax.optim import Optimizer
from ups_jax.sharding import (
    Mesh,
    any_process,
    constrain_batch,
    constrain_replicated,
    device_put,
    fsdp_shardings,
    replicate,
    replicated,
)
from ups_jax.types import Array, Interrupted, Key, Params, Stage, Trajectories

Augment = Callable[[Key, Array, Array], tuple[Array, Array]]


class TrainState(NamedTuple):
    """What an update changes: `step` updates done, the trained entries, their average, optax's."""

    step: Array
    params: Params
    ema: Params
    opt: Any


class Progress(NamedTuple):
    """Where a stage stands beside its state: each network's best validation, the seconds it cost.

    `pending` is the row of a chunk whose validation was cut short: it is told once that is done.
    """

    best_step: Sequence[int] = ()
    best_value: Sequence[float] = ()
    train_s: float = 0.0
    compile_s: float = 0.0
    pending: Mapping[str, float] | None = None


class TrainSnapshot(NamedTuple):
    """A stage on its way: its state, the average that validated best so far, where it stands."""

    state: TrainState
    best: Params
    progress: Progress


class FitResult(NamedTuple):
    """Parameters to ship, `best` (the average of lowest validation error), and to go on from."""

    best: Params
    last: Params
    progress: Progress


def init_state(stage: Stage, params: Params, opt: Optimizer) -> TrainSnapshot:
    """Before the first update; averages start as copies, since the state is donated."""
    trained, ema, best = (
        {name: jax.tree.map(jnp.array, params[name]) for name in stage.trains} for _ in range(3)
    )
    state = TrainState(jnp.zeros((), jnp.int32), trained, ema, opt.chain.init(trained))
    return TrainSnapshot(state, best, Progress())


def init_states(stage: Stage, params: Params, opt: Optimizer) -> TrainSnapshot:
    """As `start`, for stacked parameters."""
    state, best = jax.vmap(lambda params: init_state(stage, params, opt)[:2])(params)
    return TrainSnapshot(state, best, Progress())


def fit(
    stage: Stage,
    params: Params,
    data: Trajectories,
    key: Key,
    *,
    opt: Optimizer,
    phases: Sequence[tuple[int, int]],
    batch_size: int,
    steps_per_call: int,
    ema_decay: float,
    start_bias: float = 1.0,
    augment: Sequence[Augment] = (),
    rates: Array | None = None,
    validate: Callable[[Params], float | None] | None = None,
    val_every: int = 0,
    mesh: Mesh | None = None,
    on_log: Callable[[int, Mapping[str, float]], None] = lambda step, row: None,
    on_save: Callable[[TrainSnapshot], None] = lambda snapshot: None,
    save_every_s: float = 20.0,
    stop: Callable[[], bool] = lambda: False,
    resume: TrainSnapshot | None = None,
) -> FitResult:
    """Train `stage.trains` through `phases` of (updates, unroll), each a multiple of `chunk`.

    A row of keys (m,) trains m networks side by side: every array of `params`, and of what is
    returned, then has that axis in front, and a row of the log is their mean, `<name>_std` beside
    it. `rates` (m,) multiply each one's updates, as if its learning rate were; those that diverge
    are then left out of the log, as long as one lasts. `start_bias` is that of `sample_windows`. The
    devices of a `mesh` share every batch, and over its axis `fsdp` the parameters; of several
    processes each loads its own share of the batch, and `stop` has to answer all alike. `validate`
    gives the error of one network's parameters (None: it was asked to stop); each network's average
    with the lowest is shipped, the earliest on ties. `on_save` is called before every compilation,
    after every validation, every `save_every_s` seconds and when `stop()` answers yes, which raises
    `Interrupted`. FloatingPointError, after `on_log` and `on_save`, on a loss that is not finite.
    """
    frozen = {name: value for name, value in params.items() if name not in stage.trains}
    stored = isinstance(data.u, DiskFields) or (mesh is not None and mesh.is_multi_process)
    given = () if stored else (jnp.asarray(data.u), jnp.asarray(data.cond))
    begin = init_states if key.ndim else init_state
    state, best, at = resume or begin(stage, params, opt)
    places = None
    scales = () if rates is None else (rates,)
    if mesh is not None:
        places = fsdp_shardings(mesh, state, lead=key.ndim)
        state, best = device_put((state, best), (places, places.ema))
    given, frozen, seed, scales = replicate(mesh, (given, frozen, key, scales))
    ends = [int(end) for end in np.cumsum([steps for steps, _ in phases])]
    step, saved_at, saved_step = int(np.ravel(state.step)[0]), time.monotonic(), -1
    compiled, unroll, stream = None, 0, None

    def save() -> None:
        nonlocal saved_at, saved_step
        on_save(TrainSnapshot(state, best, at))
        saved_at, saved_step = time.monotonic(), step

    def settle(row: dict[str, float]) -> None:
        """Validate where that is due, then tell the row and save."""
        nonlocal at, best
        due = step == ends[-1] or bool(val_every) and step % val_every == 0
        if due and validate:
            values = _validate_networks(validate, {**frozen, **state.ema}, key.shape)
            if values is None:
                at = at._replace(pending=row)
                save()
                raise Interrupted(f"{stage.name}, step {step}")
            row = {**row, **_row_entries(f"val_{stage.judged}", values, lasting=bool(scales))}
            best, at = _update_best(best, state.ema, at, values, step)
        at = at._replace(pending=None)
        on_log(step, row)
        _require_finite(stage.name, row["loss"], step - steps_per_call, step, save)
        if due or any_process(mesh, time.monotonic() - saved_at > save_every_s):
            save()

    if at.pending is not None:
        settle(dict(at.pending))
    while step < ends[-1]:
        if stop():
            save()
            raise Interrupted(f"{stage.name}, step {step}")
        wanted = phases[int(np.searchsorted(ends, step, side="right"))][1]
        if wanted != unroll:
            if saved_step != step:
                save()
            began, unroll = time.monotonic(), wanted
            drawn: dict[str, Any] = dict(batch=batch_size, length=unroll + 1, start_bias=start_bias)
            draw = None if stored else partial(sample_windows, **drawn)
            run = partial(
                _chunk, stage.loss, opt, tuple(augment), steps_per_call, draw, ema_decay, mesh
            )
            fields = 0 if stored else None
            axes = (0, 0, fields, fields, 0, *(0 for _ in scales))
            run = jax.vmap(run, in_axes=axes) if key.ndim else run
            if stored:
                stream = window_loader(
                    stream, data, key, steps_per_call=steps_per_call, mesh=mesh, **drawn
                )
                given = stream(step)
            out: dict[str, Any] = (
                {} if mesh is None else {"out_shardings": (places, replicated(mesh))}
            )
            jitted = jax.jit(run, donate_argnums=0, **out)
            compiled = jitted.lower(state, frozen, *given, seed, *scales).compile()
            at = at._replace(compile_s=at.compile_s + time.monotonic() - began)
        assert compiled is not None
        began = time.monotonic()
        given = stream(step) if stream else given
        state, means = compiled(state, frozen, *given, seed, *scales)
        row: dict[str, float] = {}
        for name, values in jax.device_get(means).items():
            row |= _row_entries(name, values, lasting=bool(scales))
        seconds = time.monotonic() - began
        at = at._replace(train_s=at.train_s + seconds)
        step += steps_per_call
        settle({**row, "unroll": unroll, "steps_per_s": steps_per_call / seconds})
    if stream:
        stream.close()
    shipped = {**frozen, **(best if validate else state.ema)}
    return FitResult(shipped, {**frozen, **state.params}, at)


def _validate_networks(
    validate: Callable[[Params], float | None], params: Params, lead: tuple[int, ...]
) -> np.ndarray | None:
    """Validation error of every network, of the shape of the keys; None once stopped."""
    values = np.empty(lead)
    for index in np.ndindex(lead):
        value = validate(jax.tree.map(lambda x, at=index: x[at], params) if lead else params)
        if value is None:
            return None
        values[index] = value
    return values


def _update_best(
    best: Params, ema: Params, at: Progress, values: np.ndarray, step: int
) -> tuple[Params, Progress]:
    """Take the averages of those networks whose error is their lowest yet."""
    each = values.ravel()
    before = np.asarray(at.best_value or [np.inf] * each.size)
    lower = each < before
    mask = lower.reshape(values.shape)

    def pick(new: Array, old: Array) -> Array:
        return jnp.where(mask.reshape(*mask.shape, *(1,) * (new.ndim - mask.ndim)), new, old)

    steps = np.where(lower, step, at.best_step or -1)
    found = at._replace(
        best_step=tuple(steps.tolist()), best_value=tuple(np.where(lower, each, before).tolist())
    )
    return jax.tree.map(pick, ema, best), found


def _row_entries(name: str, values: np.ndarray, *, lasting: bool = False) -> dict[str, float]:
    """A row's entries of one quantity: its value, or mean and standard deviation over networks.

    With `lasting`, over those whose value is finite, if there are any.
    """
    if not np.ndim(values):
        return {name: float(values)}
    finite = np.isfinite(values)
    values = values[finite] if lasting and finite.any() else values
    row = {name: float(np.mean(values))}
    if name != "lr":
        row[f"{name}_std"] = float(np.std(values, ddof=min(1, values.size - 1)))
    return row


def _require_finite(
    name: str, loss: float, first: int, last: int, save: Callable[[], None]
) -> None:
    if not np.isfinite(loss):
        save()
        raise FloatingPointError(
            f"{name}: loss is {loss} within steps [{first}, {last}]; lower fit.{name}.lr"
        )


def _chunk(
    loss: Callable[..., Any],
    opt: Optimizer,
    augment: tuple[Augment, ...],
    steps_per_call: int,
    draw: Callable[..., tuple[Array, Array]] | None,
    decay: float,
    mesh: Mesh | None,
    state: TrainState,
    frozen: Params,
    u: Array,
    cond: Array,
    key: Key,
    rate: Array | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """`chunk` updates in one scan, each with the key of its own number; means over the chunk.

    Windows are drawn by `draw` from u and cond, or are what these hold, one batch an update.
    """

    def update(
        state: TrainState, given: tuple[Array, Array] | None
    ) -> tuple[TrainState, dict[str, Array]]:
        k_window, k_augment, k_loss = update_keys(key, state.step)
        batch_u, batch_cond = draw(k_window, u, cond) if draw else given  # pyright: ignore[reportGeneralTypeIssues]
        for i, symmetry in enumerate(augment):
            keys = jax.random.split(jax.random.fold_in(k_augment, i), len(batch_u))
            batch_u, batch_cond = jax.vmap(symmetry)(keys, batch_u, batch_cond)
        batch = constrain_batch(mesh, {"u": batch_u, "cond": batch_cond})

        def objective(trained: Params) -> tuple[Array, dict[str, Array]]:
            return loss({**frozen, **trained}, batch, k_loss)

        params = constrain_replicated(mesh, state.params)
        (value, extra), grads = jax.value_and_grad(objective, has_aux=True)(params)
        grads = constrain_replicated(mesh, grads)
        updates, opt_state = opt.chain.update(grads, state.opt, params, mesh=mesh)
        if rate is not None:
            updates = jax.tree.map(lambda change: rate * change, updates)
        trained: Params = optax.apply_updates(params, constrain_replicated(mesh, updates))  # pyright: ignore[reportAssignmentType]
        done = state.step + 1
        weight = jnp.minimum(decay, (1 + done) / (10 + done))
        average = jax.tree.map(lambda a, b: weight * a + (1 - weight) * b, state.ema, trained)
        row = {"loss": value, "grad_norm": optax.tree.norm(grads), **extra}
        return TrainState(done, trained, average, opt_state), row

    state, rows = jax.lax.scan(update, state, None if draw else (u, cond), length=steps_per_call)
    means = {name: jnp.mean(value) for name, value in rows.items()}
    return state, {**means, "lr": opt.lr(state.step - 1)}
