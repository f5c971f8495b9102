"""Optimizer updates of one call: a scan over windows, with the average of the parameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ups_jax.data import update_keys
from ups_jax.optim import Optimizer
from ups_jax.sharding import (
    Mesh,
    constrain_replicated,
    fold_in_device,
    max_over_devices,
    mean_over_samples,
)
from ups_jax.types import Array, Key, Params

Augment = Callable[[Key, Array, Array], tuple[Array, Array]]
Batch = Mapping[str, Array]


class TrainState(NamedTuple):
    """State that an update changes: updates done, trained parameters, their EMA, optax's state."""

    step: Array
    params: Params
    ema: Params
    opt: Any


def run_updates(
    loss: Callable[..., Any],
    opt: Optimizer,
    augment: tuple[Augment, ...],
    steps: int,
    draw: Callable[..., tuple[Array, Array]] | None,
    decay: float,
    mesh: Mesh | None,
    state: TrainState,
    frozen: Params,
    fields: tuple[Array, ...],
    key: Key,
    lr_factor: Array | None = None,
    *,
    noises: tuple[Callable[[Key, Array, Array], Array], ...] = (),
    fill: Callable[[Array], Array] | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """Run `steps` updates in one scan -> state, and means of the log's quantities over them.

    `draw` samples windows from the fields u, cond and, where trajectories are drawn with unequal
    probabilities, their cumulative sums; without it, u and cond hold one batch an update. Update i
    uses a key of its own number. `noises` change the given frames of a window, see
    `Recipe.input_noises`; `fill` fills the missing values of these frames.
    Devices draw the loss's noise of their own; each computes the loss of its samples: followed and
    logged is their mean, of the loss's other scalars the largest.
    """

    def share(params: Params, frozen: Params, key: Key, batch: Batch) -> Any:
        key = fold_in_device(mesh, key)

        def objective(trained: Params) -> tuple[Array, dict[str, Array]]:
            value, extra = loss({**frozen, **trained}, batch, key)
            return value, max_over_devices(mesh, jax.lax.stop_gradient(extra))

        return jax.value_and_grad(objective, has_aux=True)(params)

    gradient = mean_over_samples(mesh, share, shared=3)

    def update(
        state: TrainState, window: tuple[Array, ...] | None
    ) -> tuple[TrainState, dict[str, Array]]:
        k_window, k_augment, k_loss = update_keys(key, state.step)
        batch_u, batch_cond = draw(k_window, *fields) if draw else window  # pyright: ignore[reportGeneralTypeIssues]
        batch_u = batch_u if fill is None else fill(batch_u)
        for i, symmetry in enumerate(augment):
            keys = jax.random.split(jax.random.fold_in(k_augment, i), len(batch_u))
            batch_u, batch_cond = jax.vmap(symmetry)(keys, batch_u, batch_cond)
        for i, add in enumerate(noises, len(augment)):
            keys = jax.random.split(jax.random.fold_in(k_augment, i), len(batch_u))
            batch_u = jax.vmap(add, (0, 0, None))(keys, batch_u, state.step)
        batch = {"u": batch_u, "cond": batch_cond}
        params = constrain_replicated(mesh, state.params)
        (value, extra), grads = gradient(params, frozen, k_loss, batch)
        updates, opt_state = opt.chain.update(grads, state.opt, params, mesh=mesh)
        if lr_factor is not None:
            updates = jax.tree.map(lambda change: lr_factor * change, updates)
        trained: Params = optax.apply_updates(params, constrain_replicated(mesh, updates))  # pyright: ignore[reportAssignmentType]
        done = state.step + 1
        weight = jnp.minimum(decay, (1 + done) / (10 + done)).astype(jnp.float32)
        average = jax.tree.map(lambda a, b: weight * a + (1 - weight) * b, state.ema, trained)
        row = {"loss": value, "grad_norm": optax.tree.norm(grads), **extra}
        return TrainState(done, trained, average, opt_state), row

    state, rows = jax.lax.scan(update, state, None if draw else fields, length=steps)
    means = {name: jnp.mean(value) for name, value in rows.items()}
    return state, {**means, "lr": opt.lr(state.step - 1)}
