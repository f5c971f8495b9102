"""Scales of the training split, and windows of it drawn on the device."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import per_channel
from ups_jax.types import Array, Key, Trajectories

ROWS, BYTES = 256, 2**26
"""Trajectories that are looked at in one go: so many, or fewer where they take more bytes."""


def block_rows(shape: tuple[int, ...]) -> int:
    """Trajectories of float32 fields (n, t, *s, c) to look at in one go."""
    return max(1, min(ROWS, BYTES // (4 * int(np.prod(shape[1:])))))


def fit_normalizer(
    train: Trajectories,
    features: Callable[[Array], Array],
    *,
    guess: Callable[[Array, Array], Array] | None = None,
    seen: Callable[[Array], Array] | None = None,
) -> dict[str, np.ndarray]:
    """Statistics of the training split, float32: of u, of its increments, of features(cond).

    `mean`, `std`, `increment_std` (c,) and, where there are parameters, `cond_mean`, `cond_std`
    (p,), taken over samples, frames and space in float64. A deviation of zero is given as one. An
    increment is what a frame adds to `guess(u, cond)` of the frame before, or to that frame itself;
    `mean` and `std` are those of `seen(u)`, or of u itself.
    """
    n, c = train.u.shape[0], train.u.shape[-1]
    if train.u.shape[1] < 2:
        raise ValueError(f"u has shape {train.u.shape}; increments need two frames")

    rows = block_rows(train.u.shape)

    def fields() -> Iterable[np.ndarray]:
        for i in range(0, n, rows):
            yield np.asarray(train.u[i : i + rows])

    look = jax.jit(seen) if seen else lambda u: u

    def increments() -> Iterable[np.ndarray]:
        ahead = jax.jit(guess) if guess else None
        for i, u in enumerate(fields()):
            before, cond = u[:, :-1], np.asarray(train.cond)[i * rows : i * rows + len(u)]
            if ahead:
                conds = np.repeat(cond[:, None], before.shape[1], axis=1)
                before = np.stack([ahead(*pair) for pair in zip(before, conds, strict=True)])
            yield (u[:, 1:].astype(np.float64) - before).reshape(-1, c)

    mean, std = _accumulate_moments(np.asarray(look(u)).reshape(-1, c) for u in fields())
    _, increment_std = _accumulate_moments(increments())
    stats = dict(mean=mean, std=std, increment_std=increment_std)
    told = np.asarray(features(jnp.asarray(train.cond)))
    if told.shape[-1]:
        stats["cond_mean"], stats["cond_std"] = _accumulate_moments([told])
    return {name: value.astype(np.float32) for name, value in stats.items()}


def _accumulate_moments(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the columns of blocks (m, k), merged by Chan, Golub, LeVeque (1979)."""
    count, mean, square = 0, np.zeros(1), np.zeros(1)
    for block in blocks:
        block = block.astype(np.float64)
        m, here = len(block), block.mean(axis=0)
        delta = here - mean
        square = square + ((block - here) ** 2).sum(axis=0) + delta**2 * (count * m / (count + m))
        mean = mean + delta * (m / (count + m))
        count += m
    std = np.sqrt(square / count)
    return mean, np.where(std > 0, std, 1.0)


def normalize(stats: Mapping[str, Any], u: Array) -> Array:
    """(u - mean) / std, channel by channel: (..., *s, c) -> (..., *s, c)."""
    return (u - per_channel(stats["mean"], u)) / per_channel(stats["std"], u)


def condition(stats: Mapping[str, Any], features: Array) -> Array:
    """Features of the PDE's parameters as a network sees them: (..., p) -> (..., p)."""
    if not features.shape[-1]:
        return features
    return (features - per_channel(stats["cond_mean"], features)) / per_channel(
        stats["cond_std"], features
    )


def sample_windows(
    key: Key, u: Array, cond: Array, *, batch: int, length: int, start_bias: float = 1.0
) -> tuple[Array, Array]:
    """Random windows of `length` frames: u (n, t, *s, c), cond (n, p) -> (b, length, ...), (b, p).

    Samples are uniform; first frames are r^`start_bias` of what is possible, r uniform: 1 is uniform,
    more favours the early frames, whose errors a rollout carries on. Runs inside `scan`, from
    arrays that stay on the device. ValueError where no window is that long.
    """
    sample, start = window_index(
        key, u.shape[0], u.shape[1], batch=batch, length=length, start_bias=start_bias
    )

    def window(i: Array, t: Array) -> Array:
        corner = (i, t, *(jnp.zeros((), i.dtype),) * (u.ndim - 2))
        return jax.lax.dynamic_slice(u, corner, (1, length, *u.shape[2:]))[0]

    return jax.vmap(window)(sample, start), cond[sample]


def window_index(
    key: Key, n: int, frames: int, *, batch: int, length: int, start_bias: float
) -> tuple[Array, Array]:
    """Which windows `sample_windows` draws of n trajectories: samples and first frames, (b,)."""
    if not 1 <= length <= frames:
        raise ValueError(
            f"windows of {length} frames from trajectories of {frames}; "
            "lower fit.unroll or raise data.steps"
        )
    k_sample, k_start = jax.random.split(key)
    sample = jax.random.randint(k_sample, (batch,), 0, n)
    starts = frames - length + 1
    share = jax.random.uniform(k_start, (batch,)) ** start_bias
    return sample, jnp.minimum((share * starts).astype(sample.dtype), starts - 1)
