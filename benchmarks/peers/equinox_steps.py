"""Programs of pdequinox for the worker: steps jitted one by one (as in its trainer), rollouts."""

from typing import NamedTuple

import equinox as eqx
import exponax
import jax
import jax.numpy as jnp
import optax
import pdequinox

SAMPLES, POINTS, ROLLOUT = 256, 256, 40


class Program(NamedTuple):
    """`run(n)` does the task n times and waits for it."""

    run: object
    parameters: int


def build(*, network, size, task, batch):
    """Build the library's networks that are closest to ours; `resnet` has no group norm."""
    module = _network(network, size)
    make = {"rollout": _rollout, "train": _train}[task]
    leaves = jax.tree.leaves(eqx.filter(module, eqx.is_inexact_array))
    count = sum(x.size * (2 if jnp.iscomplexobj(x) else 1) for x in leaves)
    return Program(make(module, batch), count)


def _network(network, size):
    key, common = jax.random.key(0), dict(activation=jax.nn.gelu, hidden_channels=size["width"])
    if network == "fno":
        return pdequinox.arch.ClassicFNO(
            1, 1, 1, num_modes=size["modes"], num_blocks=size["layers"], key=key, **common
        )
    return pdequinox.arch.DilatedResNet(
        1,
        1,
        1,
        num_blocks=size["blocks"],
        dilation_rates=tuple(size["dilations"]),
        use_norm=network == "dilated",
        boundary_mode="periodic",
        key=key,
        **common,
    )


def _train(module, batch):
    """Train as trainax does: batches drawn outside, the update alone under jit."""
    inputs, targets = jax.random.normal(jax.random.key(1), (2, SAMPLES, 1, POINTS))
    adamw = optax.adamw(1e-3, weight_decay=1e-4)
    state = adamw.init(eqx.filter(module, eqx.is_array))
    key = jax.random.key(2)

    def loss(module, u, true):
        error = jnp.linalg.norm(u + jax.vmap(module)(u) - true, axis=(1, 2))
        return jnp.mean(error / jnp.linalg.norm(true, axis=(1, 2)))

    @eqx.filter_jit
    def update(module, state, u, true):
        grads = eqx.filter_grad(loss)(module, u, true)
        moves, state = adamw.update(grads, state, eqx.filter(module, eqx.is_array))
        return eqx.apply_updates(module, moves), state

    def run(steps):
        nonlocal module, state, key
        for _ in range(steps):
            key, k_batch = jax.random.split(key)
            index = jax.random.randint(k_batch, (batch,), 0, SAMPLES)
            module, state = update(module, state, inputs[index], targets[index])
        jax.block_until_ready(eqx.filter(module, eqx.is_array))

    return run


def _rollout(module, batch):
    u0 = jax.random.normal(jax.random.key(1), (batch, 1, POINTS))

    @eqx.filter_jit
    def roll(module, u0):
        return jax.vmap(exponax.rollout(lambda u: u + 1e-3 * module(u), ROLLOUT))(u0)

    def run(steps):
        for _ in range(steps):
            jax.block_until_ready(roll(module, u0))

    return run
