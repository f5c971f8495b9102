"""Forecasters that draw members: by diffusion of the operator's residual, or by a noise input."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from ups_jax import diffusion as noising
from ups_jax.emulator import Denoiser, Emulator, add_residual, step
from ups_jax.forecast.base import Forecast
from ups_jax.types import Array, Key, Params

NUM_MEMBERS = 8
StochasticStep = Callable[[Array, Array, Key], Array]
"""u (..., *s, c), cond (..., p), key -> the field one interval later."""
ResidualSampler = Callable[[Denoiser, tuple[int, ...], Key], Array]
"""A network of the residual, a shape and a key -> a sample of that shape."""


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
    """The operator, and at every step residuals that the teacher samples.

    They are added about its rollout, or fed back where they were learnt so (`emulator.diffusion`).
    `sampler` and `levels` (steps of the sampler) default to the simulator's, `temperature` is that
    of `diffusion.sample`, `antithetic`, of members that go on from what they draw, of `ensemble`.
    """
    jump = _teacher(emulator, temperature=temperature, sampler=sampler, levels=levels)
    run = _members(emulator, params, jump, model="diffusion", antithetic=antithetic)
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
    """As `diffusion`, with residuals by the student's few `calls`."""
    jump = _student(emulator, temperature=temperature, calls=calls)
    run = _members(emulator, params, jump, model="student", antithetic=antithetic)
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
    """The operator with a noise input, its noise scaled by `temperature`: one call a member."""
    draw, mirror = (
        ensemble_step(emulator, params, temperature=temperature),
        _mirror(emulator, antithetic),
    )
    return member_rollouts(draw, u0, cond, key, steps=steps, members=members, mirror=mirror)


def student_step(
    emulator: Emulator, params: Params, *, temperature: float | Array, calls: int | None = None
) -> StochasticStep:
    """One interval by the operator and the student."""
    return _autoregressive(
        emulator, params, _student(emulator, temperature=temperature, calls=calls), model="student"
    )


def ensemble_step(
    emulator: Emulator, params: Params, *, temperature: float | Array
) -> StochasticStep:
    """One interval by the operator with a noise input."""

    def draw(u: Array, cond: Array, key: Key) -> Array:
        z = temperature * jax.random.normal(key, (*u.shape[:-1], emulator.noise_channels))
        return step(emulator, params, u, cond, z, model="ensemble")

    return draw


def _autoregressive(
    emulator: Emulator, params: Params, jump: ResidualSampler, *, model: str
) -> StochasticStep:
    """One interval by the operator and a residual that is part of what comes next."""

    def draw(u: Array, cond: Array, key: Key) -> Array:
        ahead = step(emulator, params, u, cond)
        return add_residual(
            emulator, params, u, ahead, cond, lambda net: jump(net, u.shape, key), model=model
        )

    return draw


def _members(
    emulator: Emulator, params: Params, jump: ResidualSampler, *, model: str, antithetic: bool
) -> Callable[..., Forecast]:
    """How members are drawn by residuals: as the simulator's networks have learnt them."""
    assert emulator.diffusion is not None
    if emulator.diffusion.autoregressive:
        draw = _autoregressive(emulator, params, jump, model=model)
        return partial(member_rollouts, draw, mirror=_mirror(emulator, antithetic))
    if antithetic:
        raise ValueError("antithetic members go their own ways; these stand about one rollout")
    return partial(_around_rollout, emulator, params, jump, model=model)


def _teacher(
    emulator: Emulator, *, temperature: float, sampler: str | None, levels: int | None
) -> ResidualSampler:
    """The teacher's whole way from noise to a residual."""
    spec = emulator.diffusion
    assert spec is not None

    def jump(network: Denoiser, shape: tuple[int, ...], key: Key) -> Array:
        k_noise, k_sampler = jax.random.split(key)
        return noising.sample(
            noising.precondition(network),
            jax.random.normal(k_noise, shape),
            k_sampler,
            noise=spec.noise,
            sampler=sampler or spec.sampler,
            steps=levels or spec.steps,
            temperature=temperature,
        )

    return jump


def _student(
    emulator: Emulator, *, temperature: float | Array, calls: int | None
) -> ResidualSampler:
    """The student's few jumps."""
    spec = emulator.diffusion
    assert spec is not None

    def jump(network: Denoiser, shape: tuple[int, ...], key: Key) -> Array:
        k_noise, k_again = jax.random.split(key)
        return noising.consistency_sample(
            noising.consistency_precondition(network, sigma_min=spec.noise.sigma_min),
            jax.random.normal(k_noise, shape),
            k_again,
            noise=spec.noise,
            calls=calls or spec.student_steps,
            temperature=temperature,
        )

    return jump


def _around_rollout(
    emulator: Emulator,
    params: Params,
    jump: ResidualSampler,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    model: str,
    steps: int,
    members: int,
) -> Forecast:
    """Members about one rollout of the operator, which knows nothing of them.

    They are draws of where the truth may be once the operator is where it is: what the network
    learnt. Fed back, each step's draw would add to the last one's, as a random walk.
    """

    def body(u: Array, k: Key) -> tuple[Array, Array]:
        ahead = step(emulator, params, u, cond)

        def member(i: Array) -> Array:
            own = jax.random.fold_in(k, i)
            return add_residual(
                emulator, params, u, ahead, cond, lambda net: jump(net, u.shape, own), model=model
            )

        return ahead, jax.vmap(member, out_axes=1)(jnp.arange(members))

    paths = jax.lax.scan(body, u0, jax.random.split(key, steps))[1]
    return _summarize_members(jnp.moveaxis(paths, 0, 2))


def member_rollouts(
    draw: StochasticStep,
    u0: Array,
    cond: Array,
    key: Key,
    *,
    steps: int,
    members: int,
    mirror: Callable[[Array], Array] | None = None,
) -> Forecast:
    """Members' own rollouts: their mean, themselves, and in the log their `spread` (b, t).

    Member i is the same however many there are. The spread is the root of the members' unbiased
    variance, averaged over space and channels. Every second member is drawn from the `mirror` image
    and antithetic back: what a network does to one side and not to the other has no mean then.
    """

    def turned(i: Array, u: Array) -> Array:
        return u if mirror is None else jnp.where(i % 2 == 1, mirror(u), u)

    def member(i: Array) -> Array:
        def body(u: Array, k: Key) -> tuple[Array, Array]:
            u = draw(u, cond, k)
            return u, u

        keys = jax.random.split(jax.random.fold_in(key, i), steps)
        return turned(i, jnp.moveaxis(jax.lax.scan(body, turned(i, u0), keys)[1], 0, 1))

    return _summarize_members(jax.vmap(member, out_axes=1)(jnp.arange(members)))


def _mirror(emulator: Emulator, wanted: bool) -> Callable[[Array], Array] | None:
    """The PDE's mirror image, where it is wanted. ValueError where the PDE has none."""
    if wanted and emulator.pde.reflection is None:
        raise ValueError(f"{emulator.pde.name} has no mirror image; leave `antithetic` out")
    return emulator.pde.reflection if wanted else None


def _summarize_members(paths: Array) -> Forecast:
    """The forecast of members (b, m, t, *s, c)."""
    space = tuple(range(2, paths.ndim - 1))
    variance = jnp.var(paths, 1, ddof=1) if paths.shape[1] > 1 else jnp.zeros_like(paths[:, 0])
    spread = jnp.sqrt(jnp.mean(variance, space))
    return Forecast(jnp.mean(paths, 1), paths, {"spread": spread})


def ensemble_calls(emulator: Emulator, members: int) -> int:
    """One call of the operator with its noise for each."""
    return members


def teacher_calls(emulator: Emulator, members: int) -> int:
    """Those of the sampler for each member, and one of the operator for all or for each."""
    spec = emulator.diffusion
    assert spec is not None
    own = noising.SAMPLERS[spec.sampler].calls(spec.steps)
    return members * own + (members if spec.autoregressive else 1)


def student_calls(emulator: Emulator, members: int) -> int:
    """Those of the student for each member, and one of the operator for all or for each."""
    spec = emulator.diffusion
    assert spec is not None
    return members * spec.student_steps + (members if spec.autoregressive else 1)
