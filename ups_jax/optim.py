"""AdamW on one flat vector, and learning-rate schedules."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, constrain_replicated
from ups_jax.types import Array, Params

PAD_MULTIPLE = 3072
"""Optimiser vectors are padded to multiples of this, divisible by common numbers of devices."""


class Optimizer(NamedTuple):
    """An optax chain and its learning rate as a function of the update number."""

    chain: optax.GradientTransformationExtraArgs
    lr: Callable[[Array | int], Array]


def cosine(lr: float, steps: int, warmup: int) -> optax.Schedule:
    """Linear warm-up, then a cosine decay to zero at `steps`."""
    return optax.warmup_cosine_decay_schedule(0.0, lr, warmup, steps)


def warmup_stable_decay(lr: float, steps: int, warmup: int) -> optax.Schedule:
    """Linear warm-up, a plateau, and a linear decay over the last fifth of `steps`."""
    decay = max(1, steps // 5)
    parts = [
        optax.linear_schedule(0.0, lr, warmup),
        optax.constant_schedule(lr),
        optax.linear_schedule(lr, 0.0, decay),
    ]
    return optax.join_schedules(parts, [warmup, max(warmup, steps - decay)])


def constant(lr: float, steps: int, warmup: int) -> optax.Schedule:
    """Linear warm-up, then the peak rate."""
    parts = [optax.linear_schedule(0.0, lr, warmup), optax.constant_schedule(lr)]
    return optax.join_schedules(parts, [warmup])


LR_SCHEDULES = {"constant": constant, "cosine": cosine, "wsd": warmup_stable_decay}


def adamw(
    *,
    steps: int,
    lr: float = 3e-3,
    schedule: str = "cosine",
    warmup: int = 500,
    weight_decay: float = 1e-5,
    clip_norm: float = 1.0,
) -> Optimizer:
    """AdamW with a schedule and global-norm clipping. Good values: lr 1e-3 to 3e-3."""
    rate = lookup(LR_SCHEDULES, schedule, "schedule")(lr, steps, warmup)
    chain = optax.chain(
        optax.clip_by_global_norm(clip_norm),
        flatten_padded(optax.adamw(rate, weight_decay=weight_decay)),
    )
    return Optimizer(chain, lambda step: jnp.asarray(rate(step), jnp.float32))


def flatten_padded(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Apply `inner` to all parameters as one vector: a dozen kernels instead of hundreds.

    Like `optax.flatten`, but padded with zeros to a multiple of `PAD_MULTIPLE`, so that the devices
    of a mesh, passed to `update` as `mesh`, can shard the optimiser state.
    """

    def to_vector(tree: Params) -> tuple[Array, Callable[[Array], Params]]:
        flat, unravel = ravel_pytree(tree)
        padded = jnp.pad(flat, (0, -flat.size % PAD_MULTIPLE))
        return padded, lambda vector: unravel(vector[: flat.size])

    def init(params: Params) -> optax.OptState:
        return inner.init(to_vector(params)[0])

    def update(
        updates: Params, state: optax.OptState, params: Params, *, mesh: Mesh | None = None
    ) -> tuple[Params, optax.OptState]:
        vector, to_tree = to_vector(updates)
        inputs = constrain_replicated(mesh, (vector, to_vector(params)[0]))
        vector, state = inner.update(inputs[0], state, inputs[1])
        # Replicate before slicing: a slice of a sharded vector moves every shard.
        return to_tree(constrain_replicated(mesh, vector)), state  # pyright: ignore[reportArgumentType]

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
