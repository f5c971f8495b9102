"""Optimisers and learning-rate schedules from a spec."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax

from ups_jax.lookup import lookup
from ups_jax.types import Array


class Optimizer(NamedTuple):
    """An optax chain, and its learning rate as a function of the update's number."""

    chain: optax.GradientTransformation
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


SCHEDULES = {"constant": constant, "cosine": cosine, "wsd": warmup_stable_decay}


def adamw(
    *,
    steps: int,
    lr: float = 3e-3,
    schedule: str = "cosine",
    warmup: int = 500,
    weight_decay: float = 1e-5,
    clip: float = 1.0,
) -> Optimizer:
    """AdamW under a schedule, gradients clipped to a global norm. Good values: lr 1e-3 to 3e-3."""
    rate = lookup(SCHEDULES, schedule, "schedule")(lr, steps, warmup)
    # Flattened into one vector: a dozen kernels instead of hundreds, to compile and to run.
    chain = optax.chain(
        optax.clip_by_global_norm(clip),
        optax.flatten(optax.adamw(rate, weight_decay=weight_decay)),
    )
    return Optimizer(chain, lambda step: jnp.asarray(rate(step), jnp.float32))
