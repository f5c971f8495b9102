"""AdamW and Muon on few large arrays, and learning-rate schedules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, constrain_replicated
from ups_jax.types import Array, Params

MUON_RMS = 0.2
"""RMS of an orthogonal update over the learning rate."""
PAD_MULTIPLE = 3072
"""Optimiser vectors are padded to multiples of this, divisible by common numbers of devices."""
INTERFACES = {"lift", "noise", "head"}
"""Layers between fields and hidden features."""


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
    inner = optax.adamw(rate, weight_decay=weight_decay)
    return _clipped(grouped(inner, lambda path, x: False), rate, clip_norm)


def muon(
    *,
    steps: int,
    lr: float = 4e-3,
    schedule: str = "cosine",
    warmup: int = 500,
    weight_decay: float = 1e-5,
    clip_norm: float = 1.0,
) -> Optimizer:
    """Muon on the kernels between hidden layers, AdamW on all others. Jordan et al. (2024).

    The update of a kernel is orthogonal, with about the RMS of Adam's; Liu et al. (2025). Good
    values: lr 3e-3 to 6e-3.
    """
    rate = lookup(LR_SCHEDULES, schedule, "schedule")(lr, steps, warmup)
    axes = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    kernels = optax.chain(
        optax.contrib.scale_by_muon(
            weight_dimension_numbers=lambda tree: jax.tree.map(lambda x: axes, tree)
        ),
        optax.stateless_with_tree_map(lambda x, _: MUON_RMS * max(jnp.shape(x)[1:]) ** 0.5 * x),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    inner = optax.partition(
        {"vector": optax.adamw(rate, weight_decay=weight_decay), "kernels": kernels},
        lambda groups: ["vector", *["kernels"] * (len(groups) - 1)],
    )
    return _clipped(grouped(inner, is_hidden_kernel), rate, clip_norm)


OPTIMIZERS = {"adamw": adamw, "muon": muon}


def is_hidden_kernel(path: tuple[Any, ...], x: Array) -> bool:
    """Return whether a parameter is a kernel (taps, c_in, c_out) outside of `INTERFACES`."""
    return x.ndim == 3 and not INTERFACES & {getattr(key, "key", None) for key in path}


def _clipped(
    inner: optax.GradientTransformationExtraArgs, rate: optax.Schedule, clip_norm: float
) -> Optimizer:
    chain = optax.chain(optax.clip_by_global_norm(clip_norm), inner)
    return Optimizer(chain, lambda step: jnp.asarray(rate(step), jnp.float32))


def grouped(
    inner: optax.GradientTransformation, is_matrix: Callable[[tuple[Any, ...], Array], bool]
) -> optax.GradientTransformationExtraArgs:
    """Apply `inner` to a list: one vector, then kernels stacked by shape, (n, taps c_in, c_out).

    A dozen operations take the place of hundreds. Kernels are the parameters (taps, c_in, c_out)
    for which `is_matrix` holds, the vector all others, padded with zeros to a multiple of
    `PAD_MULTIPLE`, so that the devices of a mesh, passed to `update` as `mesh`, can shard the
    optimiser state.
    """

    def to_groups(tree: Params) -> tuple[list[Array], Callable[[list[Array]], Params]]:
        leaves, structure = jax.tree.flatten(tree)
        places: dict[tuple[int, ...], list[int]] = {}
        for i, (path, leaf) in enumerate(jax.tree.leaves_with_path(tree)):
            if is_matrix(path, leaf):
                places.setdefault(leaf.shape, []).append(i)
        rest = sorted(set(range(len(leaves))) - {i for group in places.values() for i in group})
        flat, unravel = ravel_pytree([leaves[i] for i in rest])
        stacks = [
            jnp.stack([leaves[i].reshape(-1, shape[-1]) for i in group])
            for shape, group in places.items()
        ]

        def to_tree(groups: list[Array]) -> Params:
            parts = dict(zip(rest, unravel(groups[0][: flat.size]), strict=True))
            for (shape, group), stack in zip(places.items(), groups[1:], strict=True):
                parts |= {i: stack[j].reshape(shape) for j, i in enumerate(group)}
            return structure.unflatten([parts[i] for i in range(len(leaves))])

        return [jnp.pad(flat, (0, -flat.size % PAD_MULTIPLE)), *stacks], to_tree

    def init(params: Params) -> optax.OptState:
        return inner.init(to_groups(params)[0])

    def update(
        updates: Params, state: optax.OptState, params: Params, *, mesh: Mesh | None = None
    ) -> tuple[Params, optax.OptState]:
        groups, to_tree = to_groups(updates)
        inputs = constrain_replicated(mesh, (groups, to_groups(params)[0]))
        groups, state = inner.update(inputs[0], state, inputs[1])
        # Replicate before slicing: a slice of a sharded vector moves every shard.
        return to_tree(constrain_replicated(mesh, groups)), state  # pyright: ignore[reportArgumentType]

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
