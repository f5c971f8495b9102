"""Training stages: each names its network, its loss, and the stages that come before it."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp

from ups_jax import diffusion as noising
from ups_jax.arrays import spatial_axes
from ups_jax.data.missing import MASK, fill_windows
from ups_jax.emulator import Denoiser, Emulator, residual, residual_scales, scale_residual, step
from ups_jax.emulator.states import first_state, of_windows, predicted, state_channels
from ups_jax.evaluate.rollouts import rollout_dataset
from ups_jax.metrics.losses import LOSSES, OBSERVED_LOSSES, mean_square
from ups_jax.registry import lookup
from ups_jax.types import Array, BoundStage, Key, Params, Stage

Batch = Mapping[str, Array]
ROLLOUT_BOUND = 1e3
"""Largest size of a field in the rollout of a loss, in that of its batch.

Beyond, a rollout that diverges would overflow, and its gradient be NaN.
"""


def bounded(u: Array, batch: Batch) -> Array:
    """Clip a state to `ROLLOUT_BOUND` times the largest value of its batch.

    The gradient of a clipped value is scaled by as much as the value, not zero: otherwise a network
    that has diverged for some inputs would never be trained back.
    """
    limit = ROLLOUT_BOUND * jnp.nanmax(jnp.abs(batch["u"])) + jnp.finfo(u.dtype).tiny
    u = jnp.clip(u, jnp.finfo(u.dtype).min, jnp.finfo(u.dtype).max)  # infinities
    return u * jax.lax.stop_gradient(limit / jnp.maximum(jnp.abs(u), limit))


def crps_loss(
    members: Array, true: Array, ndim: int, std: Array | float = 0.0, loss_floor: float = 0.0
) -> Array:
    """Fair CRPS at every point over the divisor of `nrmse_loss`: members (m, b, *s, c), true.

    Its expectation is minimal if members and truth have the same distribution, for any m.
    Ferro (2014); Lang et al. (2024), AIFS-CRPS.
    """
    axes, m = spatial_axes(ndim), len(members)
    skill = jnp.mean(jnp.abs(members - true[None]), (0, *axes))
    # |x| has no gradient where two members agree, as at the start of training.
    pairs = [(i, j) for i in range(m) for j in range(i)]
    spread = sum(jnp.mean(jnp.abs(members[i] - members[j]), axes) for i, j in pairs)
    size = jnp.sqrt(mean_square(true, ndim, std, loss_floor))
    return jnp.mean((skill - spread / (m * (m - 1))) / size)


def unrolled_loss(
    emulator: Emulator,
    params: Params,
    batch: Batch,
    key: Key,
    *,
    model: str,
    loss: str = "nrmse",
    loss_floor: float = 0.0,
) -> tuple[Array, dict[str, Array]]:
    """Mean over a window's steps of the loss of a network's own rollout.

    `loss_floor` is that of `nrmse_loss`, in standard deviations of what the operator sees. Missing
    values of the targets are left out if the emulator masks them.
    """
    masks = emulator.missing == MASK
    measure = lookup(OBSERVED_LOSSES if masks else LOSSES, loss, "loss")
    u, total = first_state(emulator, batch["u"]), jnp.zeros((), batch["u"].dtype)
    true = predicted(emulator, batch["u"])
    unroll, std = true.shape[1] - 1, predicted(emulator, params["stats"]["std"]).reshape(1, -1)
    # Unrolled in Python: on a CPU 1.3 to 1.4 times faster than a scan inside the loss.
    for i in range(unroll):
        u = bounded(step(emulator, params, u, batch["cond"], model=model), batch)
        goal = (true[:, i + 1], emulator.pde.ndim, std, loss_floor)
        total = total + measure(predicted(emulator, u), *goal)
    return total / unroll, {}


def ensemble_loss(
    emulator: Emulator,
    params: Params,
    batch: Batch,
    key: Key,
    *,
    model: str = "ensemble",
    members: int = 2,
    loss_floor: float = 0.0,
) -> tuple[Array, dict[str, Array]]:
    """Mean over a window's steps of the fair CRPS of a few members, with fresh noise each step."""
    u, cond = batch["u"], jnp.broadcast_to(batch["cond"], (members, *batch["cond"].shape))
    true, unroll = predicted(emulator, u), u.shape[1] - 1
    std = predicted(emulator, params["stats"]["std"]).reshape(1, -1)
    first, total = first_state(emulator, u), jnp.zeros((), u.dtype)
    state = jnp.broadcast_to(first, (members, *first.shape))
    for i, k in enumerate(jax.random.split(key, unroll)):
        z = jax.random.normal(k, (*state.shape[:-1], emulator.noise_channels), state.dtype)
        state = bounded(step(emulator, params, state, cond, z, model=model), batch)
        goal = (true[:, i + 1], emulator.pde.ndim, std, loss_floor)
        total = total + crps_loss(predicted(emulator, state), *goal)
    return total / unroll, {}


def denoising_loss(
    emulator: Emulator, params: Params, batch: Batch, key: Key
) -> tuple[Array, dict[str, Array]]:
    """Denoising loss of the operator's residual, and the batch's largest scaled residual.

    Samples cannot reach residuals far above the schedule's `sigma_max`.
    """
    assert emulator.diffusion is not None
    target, (network,) = _residual_target(emulator, params, batch, models=("diffusion",))
    denoise = noising.precondition(network)
    loss = noising.denoising_loss(denoise, target, key, noise=emulator.diffusion.noise)
    return jnp.mean(loss), {"residual_max": jnp.max(jnp.abs(target))}


def distillation_loss(
    emulator: Emulator, params: Params, batch: Batch, key: Key
) -> tuple[Array, dict[str, Array]]:
    """Distance of a student's few calls from the end of its teacher's sampling path."""
    spec = emulator.diffusion
    assert spec is not None
    models = ("student", "diffusion")
    target, (student, teacher) = _residual_target(emulator, params, batch, models=models)
    loss = noising.distillation_loss(
        noising.consistency_precondition(student, sigma_min=spec.noise.sigma_min),
        noising.precondition(teacher),
        target,
        key,
        noise=spec.noise,
        calls=spec.student_steps,
        sampler=spec.sampler,
        steps=spec.teacher_steps,
    )
    return jnp.mean(loss), {}


def fit_residual_scales(emulator: Emulator, params: Params, batch: Batch, key: Key) -> Params:
    """Set the deviation of residuals about zero, then of their transform, over training windows."""
    errors, _ = _residual(emulator, params, batch, models=())
    names, one = residual_scales(emulator), jnp.ones_like(params["stats"]["increment_std"])
    stats = {**params["stats"], **dict.fromkeys(names, one)}
    for name in names:
        values = errors if name == names[0] else scale_residual(emulator, stats, errors)
        std = jnp.sqrt(jnp.mean(values**2, tuple(range(values.ndim - 1))))
        stats[name] = jnp.where(std > 0, std, 1.0)
    return {**params, "stats": stats}


def copy_teacher(emulator: Emulator, params: Params, batch: Batch, key: Key) -> Params:
    """Start the student as its teacher."""
    return {**params, "student": params["diffusion"]}


def _residual_target(
    emulator: Emulator, params: Params, batch: Batch, *, models: tuple[str, ...]
) -> tuple[Array, tuple[Denoiser, ...]]:
    """Return the clean field of the denoisers, and the denoisers."""
    errors, denoisers = _residual(emulator, params, batch, models=models)
    return scale_residual(emulator, params["stats"], errors), denoisers


def _residual(
    emulator: Emulator, params: Params, batch: Batch, *, models: tuple[str, ...]
) -> tuple[Array, tuple[Denoiser, ...]]:
    """Return the residual at the end of windows (b, 2, *s, 2 c), and the denoisers."""
    channels = state_channels(emulator.pde, emulator.history)
    rolled, true = batch["u"][..., :channels], batch["u"][..., channels:]
    assert emulator.diffusion is not None
    before = true[:, 0] if emulator.diffusion.autoregressive else rolled[:, 0]
    return residual(
        emulator, params, before, rolled[:, 1], true[:, 1], batch["cond"], models=models
    )


def _init_from_operator(name: str) -> Callable[..., Params]:
    """Start as the operator; layers that it lacks keep their own initial values."""

    def prepare(emulator: Emulator, params: Params, batch: Batch, key: Key) -> Params:
        return {**params, name: {**params[name], **params["operator"]}}

    return prepare


def bind(stage: Stage, emulator: Emulator, settings: Mapping[str, Any]) -> BoundStage:
    """Bind a stage to an emulator, and its keyword arguments to the settings of the same name."""

    def bound(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters = signature(function).parameters.values()
        names = [p.name for p in parameters if p.default is not p.empty and p.name in settings]
        return partial(function, emulator, **{name: settings[name] for name in names})

    given = {"loss": stage.loss, "data": stage.data, "prepare": stage.prepare}
    functions = {name: bound(f) for name, f in given.items() if f is not None}
    width, history = state_channels(emulator.pde, emulator.history), 1
    # Derived data hold states; all other windows hold frames.
    frames = emulator.history if stage.data is None else 1
    if stage.data is None and width != len(emulator.pde.fields):
        width, history = len(emulator.pde.fields), emulator.history
        for name in functions:
            functions[name] = of_windows(emulator, functions[name])
    return BoundStage(
        stage.name,
        **functions,
        channels=stage.fields * width,
        predicted=len(emulator.pde.channels),
        history=history,
        validate_by=stage.validate_by,
        fill=_fill(emulator, frames) if emulator.missing == MASK else None,
    )


def _fill(emulator: Emulator, frames: int) -> Callable[[Array], Array]:
    """Return the map that fills the given frames of windows (b, t, *s, c)."""
    pde = emulator.pde
    return partial(fill_windows, ndim=pde.ndim, given=frames, channels=len(pde.channels))


SINGLE_STEPS = {"unroll": (1,), "phase_fractions": (1.0,)}
STAGES: dict[str, Stage] = {
    "operator": Stage("operator", partial(unrolled_loss, model="operator"), observed=True),
    # A copy of the operator, trained for as many FLOPs as another stage: what that must beat.
    "control": Stage(
        "control",
        partial(unrolled_loss, model="control"),
        after=("operator",),
        prepare=_init_from_operator("control"),
        observed=True,
    ),
    "diffusion": Stage(
        "diffusion",
        denoising_loss,
        network="denoiser",
        after=("operator",),
        data=rollout_dataset,
        prepare=fit_residual_scales,
        scalars=("residual_max",),
        fields=2,
        validate_by="loss",
        defaults=SINGLE_STEPS,
    ),
    "student": Stage(
        "student",
        distillation_loss,
        network="denoiser",
        after=("operator", "diffusion"),
        data=rollout_dataset,
        prepare=copy_teacher,
        fields=2,
        validate_by="loss",
        defaults=SINGLE_STEPS,
        series="distill",
    ),
    "ensemble": Stage(
        "ensemble",
        ensemble_loss,
        network="stochastic",
        after=("operator",),
        prepare=_init_from_operator("ensemble"),
        validate_by="crps",
    ),
}
BUILT_IN_STAGES = tuple(STAGES)
