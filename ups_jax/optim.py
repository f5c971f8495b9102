"""Optimisers and learning-rate schedules from a spec."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, constrain_replicated
from ups_jax.types import Array, Params

PAD_MULTIPLE = 3072
"""Lengths of which an optimiser's vectors are multiples: 2, 3, 4, 6, 8, ... devices can share."""


class Optimizer(NamedTuple):
    """An optax chain, and its learning rate as a function of the update's number."""

    chain: optax.GradientTransformationExtraArgs
    lr: Callable[[Array | int], Array]


def cosine(lr: float, steps: int, warmup: int) -> optax.Schedule:
    """Linear warm-up, then half a cosine down to zero at `steps`."""
    return optax.warmup_cosine_decay_schedule(0.0, lr, warmup, steps)


def warmup_stable_decay(lr: float, steps: int, warmup: int) -> optax.Schedule:
    """Linear warm-up, a plateau, and a linear fall over the last fifth of `steps`."""
    fall = max(1, steps // 5)
    parts = [
        optax.linear_schedule(0.0, lr, warmup),
        optax.constant_schedule(lr),
        optax.linear_schedule(lr, 0.0, fall),
    ]
    return optax.join_schedules(parts, [warmup, max(warmup, steps - fall)])


def constant(lr: float, steps: int, warmup: int) -> optax.Schedule:
    """Linear warm-up, then the peak rate for ever."""
    return optax.join_schedules(
        [optax.linear_schedule(0.0, lr, warmup), optax.constant_schedule(lr)], [warmup]
    )


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
    """AdamW under a schedule, gradients clipped to a global norm. Good values: lr 1e-3 to 3e-3."""
    rate = lookup(LR_SCHEDULES, schedule, "schedule")(lr, steps, warmup)
    chain = optax.chain(
        optax.clip_by_global_norm(clip_norm),
        flatten_padded(optax.adamw(rate, weight_decay=weight_decay)),
    )
    return Optimizer(chain, lambda step: jnp.asarray(rate(step), jnp.float32))


def flatten_padded(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`inner` on all parameters laid end to end: a dozen kernels in place of hundreds.

    As `optax.flatten`, and filled up with noughts to a multiple of `WHOLE`, so that the devices of
    a mesh, given to `update` as `mesh`, can share what the optimiser keeps.
    """

    def lay(tree: Params) -> tuple[Array, Callable[[Array], Params]]:
        flat, back = ravel_pytree(tree)
        wide = jnp.pad(flat, (0, -flat.size % PAD_MULTIPLE))
        return wide, lambda vector: back(vector[: flat.size])

    def start(params: Params) -> optax.OptState:
        return inner.init(lay(params)[0])

    def update(
        updates: Params, state: optax.OptState, params: Params, *, mesh: Mesh | None = None
    ) -> tuple[Params, optax.OptState]:
        flat, back = lay(updates)
        given = constrain_replicated(mesh, (flat, lay(params)[0]))
        flat, state = inner.update(given[0], state, given[1])
        # As a whole before it is cut: a cut through a share moves every piece.
        return back(constrain_replicated(mesh, flat)), state  # pyright: ignore[reportArgumentType]

    return optax.GradientTransformationExtraArgs(start, update)  # pyright: ignore[reportArgumentType]
