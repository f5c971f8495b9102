"""Stochastic forecasters: diffusion of the residual, and an operator with noise input."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from ups_jax import diffusion as noising
from ups_jax.emulator import (
    Denoiser,
    DiffusionSpec,
    Emulator,
    add_residual,
    predicted,
    seen,
    step,
)
from ups_jax.forecast.base import Forecast
from ups_jax.types import Array, Key, Params

NUM_MEMBERS = 8
StochasticStep = Callable[[Array, Array, Key], Array]
"""u (..., *s, c), cond (..., p), key -> the field one interval later."""
ResidualSampler = Callable[[Denoiser, tuple[int, ...], Key], Array]
"""Denoiser of the residual, shape, key -> a sample of that shape."""


def diffusion(
    emulator: Emulator,
    params: Params,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    steps: int,
    members: int = NUM_MEMBERS,
    temperature: float = 1.0,
    antithetic: bool = False,
    sampler: str | None = None,
    levels: int | None = None,
) -> Forecast:
    """Forecast with the operator and residuals that the teacher samples at every step.

    Residuals are added around the operator's rollout, or fed back if `emulator.diffusion` is
    autoregressive. `sampler` and its steps `levels` default to the emulator's; `temperature` is
    that of `diffusion.sample`, `antithetic` that of `member_rollouts`.
    """
    draw = _teacher(emulator, temperature=temperature, sampler=sampler, levels=levels)
    run = _members(emulator, params, draw, model="diffusion", antithetic=antithetic)
    return run(u0, cond, key, steps=steps, members=members)


def student(
    emulator: Emulator,
    params: Params,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    steps: int,
    members: int = NUM_MEMBERS,
    temperature: float = 1.0,
    antithetic: bool = False,
    calls: int | None = None,
) -> Forecast:
    """Forecast as `diffusion` does, with residuals from the student's few `calls`."""
    draw = _student(emulator, temperature=temperature, calls=calls)
    run = _members(emulator, params, draw, model="student", antithetic=antithetic)
    return run(u0, cond, key, steps=steps, members=members)


def ensemble(
    emulator: Emulator,
    params: Params,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    steps: int,
    members: int = NUM_MEMBERS,
    temperature: float = 1.0,
    antithetic: bool = False,
) -> Forecast:
    """Forecast with the operator and its noise, scaled by `temperature`: one call a member."""
    advance = ensemble_step(emulator, params, temperature=temperature)
    run = _own_rollouts(emulator, advance, antithetic)
    return run(u0, cond, key, steps=steps, members=members)


def student_step(
    emulator: Emulator, params: Params, *, temperature: float | Array, calls: int | None = None
) -> StochasticStep:
    """Return one interval of the operator plus a residual of the student."""
    draw = _student(emulator, temperature=temperature, calls=calls)
    return _autoregressive(emulator, params, draw, model="student")


def ensemble_step(
    emulator: Emulator, params: Params, *, temperature: float | Array
) -> StochasticStep:
    """Return one interval of the operator with a noise input."""

    def advance(u: Array, cond: Array, key: Key) -> Array:
        z = temperature * jax.random.normal(key, (*u.shape[:-1], emulator.noise_channels), u.dtype)
        return step(emulator, params, u, cond, z, model="ensemble")

    return advance


def _autoregressive(
    emulator: Emulator, params: Params, draw: ResidualSampler, *, model: str
) -> StochasticStep:
    """Return one interval of the operator plus a residual that the next interval starts from."""

    def advance(u: Array, cond: Array, key: Key) -> Array:
        u_next = step(emulator, params, u, cond)
        return add_residual(
            emulator, params, u, u_next, cond, lambda net, shape: draw(net, shape, key), model=model
        )

    return advance


def _members(
    emulator: Emulator, params: Params, draw: ResidualSampler, *, model: str, antithetic: bool
) -> Callable[..., Forecast]:
    """Return the forecast of members with sampled residuals, as the denoisers were trained."""
    if _diffusion_spec(emulator).autoregressive:
        advance = _autoregressive(emulator, params, draw, model=model)
        return _own_rollouts(emulator, advance, antithetic)
    if antithetic:
        raise ValueError(
            "antithetic is true, but these members are samples around one rollout; it needs "
            "diffusion.autoregressive, or forecaster 'ensemble'"
        )
    return partial(_around_rollout, emulator, params, draw, model=model)


def _teacher(
    emulator: Emulator, *, temperature: float, sampler: str | None, levels: int | None
) -> ResidualSampler:
    """Return the teacher's sampler of residuals."""
    spec = _diffusion_spec(emulator)

    def draw(network: Denoiser, shape: tuple[int, ...], key: Key) -> Array:
        k_noise, k_sampler = jax.random.split(key)
        return noising.sample(
            noising.precondition(network),
            jax.random.normal(k_noise, shape, jnp.float32),
            k_sampler,
            noise=spec.noise,
            sampler=sampler or spec.sampler,
            steps=levels or spec.steps,
            temperature=temperature,
        )

    return draw


def _student(
    emulator: Emulator, *, temperature: float | Array, calls: int | None
) -> ResidualSampler:
    """Return the student's sampler of residuals."""
    spec = _diffusion_spec(emulator)

    def draw(network: Denoiser, shape: tuple[int, ...], key: Key) -> Array:
        k_noise, k_renoise = jax.random.split(key)
        return noising.consistency_sample(
            noising.consistency_precondition(network, sigma_min=spec.noise.sigma_min),
            jax.random.normal(k_noise, shape, jnp.float32),
            k_renoise,
            noise=spec.noise,
            calls=calls or spec.student_steps,
            temperature=temperature,
        )

    return draw


def _around_rollout(
    emulator: Emulator,
    params: Params,
    draw: ResidualSampler,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    model: str,
    steps: int,
    members: int,
) -> Forecast:
    """Return members around one rollout of the operator, which does not depend on them.

    They sample the truth given the operator's state, as the denoiser was trained. Fed back, the
    residuals of single steps would add up to a random walk.
    """

    def body(u: Array, k: Key) -> tuple[Array, Array]:
        u_next = step(emulator, params, u, cond)

        def member(i: Array) -> Array:
            k_member = jax.random.fold_in(k, i)
            sample = add_residual(
                emulator,
                params,
                u,
                u_next,
                cond,
                lambda net, shape: draw(net, shape, k_member),
                model=model,
            )
            return seen(emulator, sample)

        return u_next, jax.vmap(member, out_axes=1)(jnp.arange(members))

    paths = jax.lax.scan(body, u0, jax.random.split(key, steps))[1]
    return _summarize_members(predicted(emulator, jnp.moveaxis(paths, 0, 2)))


def member_rollouts(
    advance: StochasticStep,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    steps: int,
    members: int,
    mirror: Callable[[Array], Array] | None = None,
    seen: Callable[[Array], Array] = lambda u: u,
    keep: Callable[[Array], Array] = lambda u: u,
) -> Forecast:
    """Return each member's own rollout, their mean, and in the log their `spread` (b, t).

    Member i does not depend on the number of members. The spread is the root of the members'
    unbiased variance, averaged over space and channels. With `mirror`, every second member runs on
    the reflected field and is reflected back: antithetic pairs cancel the network's asymmetric
    error at no extra cost. `keep` selects the channels of the result, `seen` those of a state that
    the rollout collects for it.
    """

    def reflect(i: Array, u: Array) -> Array:
        return u if mirror is None else jnp.where(i % 2 == 1, mirror(u), u)

    def member(i: Array) -> Array:
        def body(u: Array, k: Key) -> tuple[Array, Array]:
            u = advance(u, cond, k)
            return u, seen(u)

        keys = jax.random.split(jax.random.fold_in(key, i), steps)
        return keep(reflect(i, jnp.moveaxis(jax.lax.scan(body, reflect(i, u0), keys)[1], 0, 1)))

    return _summarize_members(jax.vmap(member, out_axes=1)(jnp.arange(members)))


def _own_rollouts(
    emulator: Emulator, advance: StochasticStep, antithetic: bool
) -> Callable[..., Forecast]:
    """Return the forecast of members with rollouts of their own, on request antithetic."""
    mirror = emulator.pde.reflection if antithetic else None
    if antithetic and (mirror is None or emulator.history > 1):
        raise ValueError(
            f"antithetic is true, but pde {emulator.pde.name!r} has no reflection, or the state "
            f"has several frames (history {emulator.history}); set it to false"
        )
    channels = dict(seen=partial(seen, emulator), keep=partial(predicted, emulator))
    return partial(member_rollouts, advance, mirror=mirror, **channels)


def _summarize_members(paths: Array) -> Forecast:
    """Return the forecast of members (b, m, t, *s, c)."""
    space = tuple(range(2, paths.ndim - 1))
    variance = jnp.var(paths, 1, ddof=1) if paths.shape[1] > 1 else jnp.zeros_like(paths[:, 0])
    spread = jnp.sqrt(jnp.mean(variance, space))
    return Forecast(jnp.mean(paths, 1), paths, {"spread": spread})


def _diffusion_spec(emulator: Emulator) -> DiffusionSpec:
    assert emulator.diffusion is not None
    return emulator.diffusion
