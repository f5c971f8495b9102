"""What can be trained: a stage is which parameters, and a loss. It knows no successor."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax import diffusion as noising
from ups_jax.arrays import spatial_axes
from ups_jax.emulator import Denoiser, Emulator, residual_target, step
from ups_jax.pde.base import rollout
from ups_jax.registry import lookup
from ups_jax.types import Array, Key, Params, Stage, Trajectories

EPS = 1e-12
ROLLOUT_BATCH = 16
"""Trajectories that are rolled out at a time."""
Batch = Mapping[str, Array]


def nrmse_loss(pred: Array, true: Array, ndim: int, loss_floor: Array | float = 0.0) -> Array:
    """Mean over samples of the RMS error over the truth's RMS, channel by channel.

    `loss_floor` is added to that RMS in quadrature, so that fields close to zero do not weigh without
    bound.
    """
    axes = spatial_axes(ndim)
    error = jnp.mean((pred - true) ** 2, axes)
    return jnp.mean(jnp.sqrt((error + EPS) / (jnp.mean(true**2, axes) + loss_floor**2 + EPS)))


def mse_loss(pred: Array, true: Array, ndim: int, loss_floor: Array | float = 0.0) -> Array:
    """Mean square error in physical units, to which `loss_floor` means nothing."""
    return jnp.mean((pred - true) ** 2)


LOSSES = {"mse": mse_loss, "nrmse": nrmse_loss}


def crps_loss(members: Array, true: Array, ndim: int, loss_floor: Array | float = 0.0) -> Array:
    """Fair CRPS at every point over the truth's RMS: members (m, b, *s, c), true (b, *s, c).

    In expectation least where members and truth are drawn from one law, however few the members.
    Ferro (2014); Lang et al. (2024), AIFS-CRPS.
    """
    axes, m = spatial_axes(ndim), len(members)
    skill = jnp.mean(jnp.abs(members - true[None]), (0, *axes))
    # |x| has no slope where two members agree, as they do before noise means anything to them.
    pairs = [(i, j) for i in range(m) for j in range(i)]
    apart = sum(jnp.mean(jnp.abs(members[i] - members[j]), axes) for i, j in pairs)
    size = jnp.sqrt(jnp.mean(true**2, axes) + loss_floor**2 + EPS)
    return jnp.mean((skill - apart / (m * (m - 1))) / size)


def operator(emulator: Emulator, *, loss: str = "nrmse", loss_floor: float = 0.0) -> Stage:
    """The operator on its own rollouts: the mean over the window's steps of the chosen loss.

    `loss_floor` is that of `nrmse_loss`, in standard deviations of what the operator sees.
    """
    return _unrolled_stage(emulator, "operator", loss=loss, loss_floor=loss_floor)


def control(emulator: Emulator, *, loss: str = "nrmse", loss_floor: float = 0.0) -> Stage:
    """A copy of the operator, trained on as it was: what other stages have to be better than."""
    return _unrolled_stage(
        emulator,
        "control",
        loss=loss,
        loss_floor=loss_floor,
        prepare=_init_from_operator("control"),
    )


def _unrolled_stage(
    emulator: Emulator, name: str, *, loss: str, loss_floor: float, **rest
) -> Stage:
    measure = lookup(LOSSES, loss, "loss")

    def rolled_loss(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        u, total = batch["u"][:, 0], jnp.zeros(())
        unroll, least = batch["u"].shape[1] - 1, loss_floor * params["stats"]["std"].reshape(1, -1)
        # Unrolled in Python: on a CPU 1.3 to 1.4 times faster than a scan inside the loss.
        for i in range(unroll):
            u = step(emulator, params, u, batch["cond"], model=name)
            total = total + measure(u, batch["u"][:, i + 1], emulator.pde.ndim, least)
        return total / unroll, {}

    return Stage(name=name, trains=(name,), loss=rolled_loss, **rest)


def ensemble(emulator: Emulator, *, members: int = 2, loss_floor: float = 0.0) -> Stage:
    """The operator with a noise input, fine-tuned on the fair CRPS of a few members' rollouts.

    It starts as the operator, to which the noise adds a little. Every step has noise of its own.
    """

    def rolled_loss(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        u, cond = batch["u"], jnp.broadcast_to(batch["cond"], (members, *batch["cond"].shape))
        unroll, least = u.shape[1] - 1, loss_floor * params["stats"]["std"].reshape(1, -1)
        now, total = jnp.broadcast_to(u[:, 0], (members, *u[:, 0].shape)), jnp.zeros(())
        for i, k in enumerate(jax.random.split(key, unroll)):
            z = jax.random.normal(k, (*now.shape[:-1], emulator.noise))
            now = step(emulator, params, now, cond, z, model="ensemble")
            total = total + crps_loss(now, u[:, i + 1], emulator.pde.ndim, least)
        return total / unroll, {}

    return Stage(
        "ensemble",
        ("ensemble",),
        rolled_loss,
        prepare=_init_from_operator("ensemble"),
        judged="crps",
    )


def diffusion(emulator: Emulator, *, num_rollouts: int = 1024) -> Stage:
    """A denoiser of what the operator lacks, in its own rollouts or in single steps.

    It learns from what `visited` makes of the first `num_rollouts` trajectories.
    """
    assert emulator.diffusion is not None
    noise = emulator.diffusion.noise

    def denoising(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        lack, (network,) = _residual_target(emulator, params, batch, models=("diffusion",))
        denoise = noising.precondition(network)
        return jnp.mean(noising.denoising_loss(denoise, lack, key, noise=noise)), {}

    def scale(params: Params, batch: Batch, key: Key) -> Params:
        """The residual's deviation over training windows, about zero."""
        stats = {**params["stats"], "residual_std": jnp.ones(len(emulator.pde.channels))}
        lack, _ = _residual_target(emulator, {**params, "stats": stats}, batch, models=())
        std = jnp.sqrt(jnp.mean(lack**2, tuple(range(lack.ndim - 1))))
        return {**params, "stats": {**stats, "residual_std": jnp.where(std > 0, std, 1.0)}}

    return Stage(
        "diffusion",
        ("diffusion",),
        denoising,
        data=partial(rollout_dataset, emulator, count=num_rollouts),
        fields=2,
        prepare=scale,
        judged="loss",
    )


def student(emulator: Emulator, *, num_rollouts: int = 1024) -> Stage:
    """A student that jumps in a few calls to where its teacher's whole way from noise ends."""
    assert emulator.diffusion is not None
    noise, calls, steps = (
        emulator.diffusion.noise,
        emulator.diffusion.student_steps,
        emulator.diffusion.steps,
    )

    def matching(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        lack, (student, teacher) = _residual_target(
            emulator, params, batch, models=("student", "diffusion")
        )
        loss = noising.distillation_loss(
            noising.consistency_precondition(student, sigma_min=noise.sigma_min),
            noising.precondition(teacher),
            lack,
            key,
            noise=noise,
            calls=calls,
            steps=steps,
        )
        return jnp.mean(loss), {}

    def begin(params: Params, batch: Batch, key: Key) -> Params:
        return {**params, "student": params["diffusion"]}

    return Stage(
        "student",
        ("student",),
        matching,
        data=partial(rollout_dataset, emulator, count=num_rollouts),
        fields=2,
        prepare=begin,
        judged="loss",
    )


def rollout_dataset(
    emulator: Emulator, params: Params, data: Trajectories, *, count: int
) -> Trajectories:
    """The operator's forecasts of the first `count` trajectories; after them, the truth.

    They are its rollouts, or, where residuals are fed back, single steps from true frames.
    """
    assert emulator.diffusion is not None
    feedback = emulator.diffusion.autoregressive

    @jax.jit
    def roll(params: Params, u: Array, cond: Array) -> Array:
        if feedback:
            return step(
                emulator,
                params,
                u[:, :-1],
                jnp.broadcast_to(cond[:, None], (*u[:, :-1].shape[:2], cond.shape[1])),
            )
        return rollout(partial(step, emulator, params), u.shape[1] - 1)(u[:, 0], cond)

    some, parts = data.take(slice(count)), []
    for i in range(0, len(some), ROLLOUT_BATCH):
        index = np.minimum(np.arange(i, i + ROLLOUT_BATCH), len(some) - 1)
        batch = some.take(index)
        u = np.asarray(batch.u)
        rolled = np.asarray(roll(params, jnp.asarray(u), jnp.asarray(batch.cond)))
        both = np.concatenate([np.concatenate([u[:, :1], rolled], 1), u], -1)
        parts.append(both[: len(some) - i])
    names = tuple(f"{kind} {name}" for kind in ("rolled", "true") for name in data.channels)
    return replace(some, u=np.concatenate(parts), channels=names)


def _residual_target(
    emulator: Emulator, params: Params, batch: Batch, *, models: tuple[str, ...]
) -> tuple[Array, tuple[Denoiser, ...]]:
    """The residual at the end of windows (b, 2, *s, 2 c) of `visited`, and networks for it."""
    channels = len(emulator.pde.channels)
    rolled, true = batch["u"][..., :channels], batch["u"][..., channels:]
    assert emulator.diffusion is not None
    before = true[:, 0] if emulator.diffusion.autoregressive else rolled[:, 0]
    return residual_target(
        emulator, params, before, rolled[:, 1], true[:, 1], batch["cond"], models=models
    )


def _init_from_operator(name: str) -> Callable[[Params, Batch, Key], Params]:
    """Start as the operator does; layers that it lacks keep their own start."""

    def prepare(params: Params, batch: Batch, key: Key) -> Params:
        return {**params, name: {**params[name], **params["operator"]}}

    return prepare


STAGES: dict[str, Callable[..., Stage]] = {
    "operator": operator,
    "control": control,
    "diffusion": diffusion,
    "student": student,
    "ensemble": ensemble,
}
