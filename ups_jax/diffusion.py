"""Diffusion: noise levels, preconditioning, losses, samplers, few-step students. Takes callables.

What is diffused has deviation one: whoever calls has scaled it by its own statistics. A `denoise`
is a function of x (b, *s, c) and noise levels sigma (b,) -> the clean field that it expects.
Karras et al. (2022), "EDM", tables 1 and 2, with sigma_data = 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ups_jax.arrays import expand_like
from ups_jax.registry import lookup
from ups_jax.types import Array, Key

Denoise = Callable[[Array, Array], Array]
FREQUENCIES = (0.5, 1.0, 2.0, 4.0)
EMBEDDING_SIZE = 1 + 2 * len(FREQUENCIES)
"""Numbers by which a network is told the noise level."""


class NoiseSchedule(NamedTuple):
    """Levels of noise: `draw(key, shape)` for training; `fall(top, n)`: n of them, then zero.

    `fall` starts at `top` (...) and gives (n + 1, ...); `sigma_max` is where sampling begins and
    `sigma_min` where a student is the identity.
    """

    sample_sigma: Callable[[Key, tuple[int, ...]], Array]
    sigmas: Callable[[Array | float, int], Array]
    sigma_min: float
    sigma_max: float


def edm(*, sigma_min: float, sigma_max: float) -> NoiseSchedule:
    """Log-normal levels in training, even in sigma^(1/7) when sampling. EDM, eq. 5 and table 1."""

    def draw(key: Key, shape: tuple[int, ...]) -> Array:
        sigma = jnp.exp(1.2 * jax.random.normal(key, shape) - 0.6)
        return jnp.clip(sigma, sigma_min, sigma_max)

    return NoiseSchedule(
        draw, _uniform_grid(lambda s: s ** (1 / 7), lambda r: r**7, sigma_min), sigma_min, sigma_max
    )


def flow(*, sigma_min: float, sigma_max: float) -> NoiseSchedule:
    """Even in the time t of a straight path x + t (noise - x), sigma = t / (1 - t).

    Lipman et al. (2023), flow matching; Liu et al. (2023), rectified flow.
    """

    def time(sigma: Array) -> Array:
        return sigma / (1 + sigma)

    def draw(key: Key, shape: tuple[int, ...]) -> Array:
        ends = [float(time(jnp.asarray(s))) for s in (sigma_min, sigma_max)]
        t = jax.random.uniform(key, shape, minval=ends[0], maxval=ends[1])
        return t / (1 - t)

    return NoiseSchedule(
        draw, _uniform_grid(time, lambda t: t / (1 - t), sigma_min), sigma_min, sigma_max
    )


NOISE_SCHEDULES: dict[str, Callable[..., NoiseSchedule]] = {"edm": edm, "flow": flow}


def _uniform_grid(
    there: Callable[[Array], Array], back: Callable[[Array], Array], sigma_min: float
) -> Callable[[Array | float, int], Array]:
    """Levels that are evenly spaced as `there` measures them."""

    def fall(top: Array | float, n: int) -> Array:
        top = jnp.asarray(top, jnp.float32)
        share = jnp.linspace(0.0, 1.0, n + 1)[:-1].reshape(-1, *(1,) * top.ndim)
        first, last = there(top)[None], there(jnp.full(top.shape, sigma_min))[None]
        return jnp.concatenate([back(first + share * (last - first)), jnp.zeros((1, *top.shape))])

    return fall


def sigma_embedding(sigma: Array) -> Array:
    """What a network sees of a noise level: sigma (...) -> (..., FEATURES)."""
    level = jnp.log(sigma)[..., None] / 4
    waves = level * jnp.asarray(FREQUENCIES).reshape(*(1,) * (level.ndim - 1), -1) * jnp.pi
    return jnp.concatenate([level, jnp.sin(waves), jnp.cos(waves)], -1)


def precondition(network: Callable[[Array, Array], Array]) -> Denoise:
    """A denoiser from a network of (scaled x, noise features): variances of one. Table 1."""

    def denoise(x: Array, sigma: Array) -> Array:
        s = expand_like(sigma, x)
        norm = jnp.sqrt(1 + s**2)
        return x / norm**2 + s / norm * network(x / norm, sigma_embedding(sigma))

    return denoise


def consistency_precondition(
    network: Callable[[Array, Array], Array], *, sigma_min: float
) -> Denoise:
    """A student from such a network; at `sigma_min` exactly the identity. Song et al. (2023), C."""

    def jump(x: Array, sigma: Array) -> Array:
        s = expand_like(sigma, x)
        norm, above = jnp.sqrt(1 + s**2), s - sigma_min
        keep = 1 / (1 + above**2)
        return keep * x + above / norm * network(x / norm, sigma_embedding(sigma))

    return jump


def denoising_loss(denoise: Denoise, clean: Array, key: Key, *, noise: NoiseSchedule) -> Array:
    """Mean square error of `denoise`, weighted to one at the start: clean (b, *s, c) -> (b,).

    For independent Gaussians of deviation s the least is s^2 (1 + sigma^2) / (s^2 + sigma^2), in
    the mean over levels. EDM, eq. 2 with lambda = (1 + sigma^2) / sigma^2.
    """
    k_level, k_noise = jax.random.split(key)
    sigma = noise.sample_sigma(k_level, clean.shape[:1])
    s = expand_like(sigma, clean)
    found = denoise(clean + s * jax.random.normal(k_noise, clean.shape), sigma)
    error = jnp.mean((found - clean) ** 2, tuple(range(1, clean.ndim)))
    return error * (1 + sigma**2) / sigma**2


def distillation_loss(
    student: Denoise,
    teacher: Denoise,
    clean: Array,
    key: Key,
    *,
    noise: NoiseSchedule,
    calls: int,
    steps: int,
) -> Array:
    """Square distance of the student's jump to the teacher's whole way from the same noisy field.

    The ways begin at each of the `calls` levels of `few_step`: the first from pure noise, as a
    sample does. clean (b, *s, c) -> (b,), in units of the clean field's variance. The teacher
    takes `steps` of Heun. Song et al. (2023), with the teacher's end in place of its next step.
    """
    b = clean.shape[0]
    tops = student_sigmas(noise, calls)
    total = jnp.zeros((b,))
    for i, k in enumerate(jax.random.split(key, calls)):
        sigma = jnp.full((b,), tops[i])
        z = jax.random.normal(k, clean.shape)
        x = tops[i] * z + (clean if i else 0.0)
        end = jax.lax.stop_gradient(heun(teacher, x, noise.sigmas(sigma, steps), k))
        total += jnp.mean((student(x, sigma) - end) ** 2, tuple(range(1, clean.ndim)))
    return total / calls


def student_sigmas(noise: NoiseSchedule, calls: int) -> Array:
    """Noise levels at which a student of `calls` calls jumps. -> (calls,)."""
    return noise.sigmas(noise.sigma_max, calls + 1)[:calls]


def consistency_sample(
    student: Denoise,
    z: Array,
    key: Key,
    *,
    noise: NoiseSchedule,
    calls: int,
    temperature: float | Array = 1.0,
) -> Array:
    """A sample in `calls` jumps from z (b, *s, c), standard normal; between, noise returns.

    All noise is scaled by `temperature`: below one, samples are closer to what is likeliest.
    """
    levels = student_sigmas(noise, calls)
    x = student(temperature * levels[0] * z, jnp.full(z.shape[:1], levels[0]))
    for i in range(1, calls):
        again = temperature * jax.random.normal(jax.random.fold_in(key, i), z.shape)
        x = student(x + levels[i] * again, jnp.full(z.shape[:1], levels[i]))
    return x


def euler(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """First-order solution of the probability-flow ODE: levels (n + 1, b), one call a step."""

    def body(x: Array, pair: Array) -> tuple[Array, None]:
        return x + expand_like(pair[1] - pair[0], x) * _ode_derivative(denoise, x, pair[0]), None

    return jax.lax.scan(body, x, _intervals(levels))[0]


def heun(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """Second-order solution of that ODE: 2 n - 1 calls, the last step is Euler's. EDM, alg. 1."""

    def body(x: Array, pair: Array) -> tuple[Array, None]:
        return _heun_step(denoise, x, pair[0], pair[1]), None

    *most, last = _intervals(levels)
    if most:
        x = jax.lax.scan(body, x, jnp.stack(most))[0]
    return denoise(x, last[0])


def stochastic(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """Heun's steps, each after some noise is put back: 2 n - 1 calls. EDM, alg. 2, gamma .25."""

    def body(x: Array, given: tuple[Array, Array]) -> tuple[Array, None]:
        (now, after), k = given
        up = 1.25 * now
        x = x + expand_like(jnp.sqrt(up**2 - now**2), x) * jax.random.normal(k, x.shape)
        return _heun_step(denoise, x, up, after), None

    *most, last = _intervals(levels)
    if most:
        x = jax.lax.scan(body, x, (jnp.stack(most), jax.random.split(key, len(most))))[0]
    return denoise(x, last[0])


class Sampler(NamedTuple):
    """`run(denoise, x, levels, key)` from noise to a sample, and its network calls of n steps."""

    run: Callable[[Denoise, Array, Array, Key], Array]
    calls: Callable[[int], int]


SAMPLERS = {
    "euler": Sampler(euler, lambda n: n),
    "heun": Sampler(heun, lambda n: 2 * n - 1),
    "stochastic": Sampler(stochastic, lambda n: 2 * n - 1),
}


def sample(
    denoise: Denoise,
    z: Array,
    key: Key,
    *,
    noise: NoiseSchedule,
    sampler: str,
    steps: int,
    temperature: float | Array = 1.0,
) -> Array:
    """A sample from z (b, *s, c), standard normal, by a name of SAMPLERS in `steps` steps.

    `temperature` scales the noise that it begins with, as in `few_step`.
    """
    levels = noise.sigmas(jnp.full(z.shape[:1], noise.sigma_max), steps)
    start = temperature * noise.sigma_max * z
    return lookup(SAMPLERS, sampler, "sampler").run(denoise, start, levels, key)


def _heun_step(denoise: Denoise, x: Array, now: Array, after: Array) -> Array:
    slope, h = _ode_derivative(denoise, x, now), expand_like(after - now, x)
    return x + h / 2 * (slope + _ode_derivative(denoise, x + h * slope, after))


def _ode_derivative(denoise: Denoise, x: Array, sigma: Array) -> Array:
    return (x - denoise(x, sigma)) / expand_like(sigma, x)


def _intervals(levels: Array) -> Array:
    return jnp.stack([levels[:-1], levels[1:]], 1)
