"""Selection of parameters by validation: errors of the networks, and the best of each so far."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.types import Array, Params

Validate = Callable[[Params], float]
"""Validation error of one network's parameters; raises Interrupted if stopped."""


class Progress(NamedTuple):
    """Best validation step and value of each network, and the seconds spent so far.

    `compile_s` includes the programs of validation, `validation_s` does not. `pending` is the row
    of a call whose validation was interrupted; it is logged after validation. `equations` are the
    last validation errors of a mixture's equations, where these determine how windows are drawn.
    """

    best_step: Sequence[int] = ()
    best_value: Sequence[float] = ()
    train_s: float = 0.0
    compile_s: float = 0.0
    validation_s: float = 0.0
    pending: Mapping[str, float] | None = None
    equations: Sequence[float] = ()


def validate_networks(validate: Validate, params: Params, networks: tuple[int, ...]) -> np.ndarray:
    """Return the validation error of every network, in the shape of the keys."""
    if not networks:
        return np.asarray(validate(params))
    errors = [validate(jax.tree.map(lambda x, i=i: x[i], params)) for i in range(networks[0])]
    return np.asarray(errors)


def update_best(
    best: Params, ema: Params, progress: Progress, values: np.ndarray, step: int
) -> tuple[Params, Progress]:
    """Take the EMA of those networks whose error is their lowest so far."""
    errors = values.ravel()
    lowest = np.asarray(progress.best_value or [np.inf] * errors.size)
    lower = errors < lowest
    mask = lower.reshape(values.shape)

    def pick(new: Array, old: Array) -> Array:
        return jnp.where(mask.reshape(*mask.shape, *(1,) * (new.ndim - mask.ndim)), new, old)

    best_step = np.where(lower, step, progress.best_step or -1)
    progress = progress._replace(
        best_step=tuple(best_step.tolist()),
        best_value=tuple(np.where(lower, errors, lowest).tolist()),
    )
    return jax.tree.map(pick, ema, best), progress
