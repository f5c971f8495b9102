"""Diffusion: noise schedules, preconditioning, losses, samplers and few-step students.

Clean fields have standard deviation one: the caller scales them. A `denoise` function maps noisy x
(b, *s, c) and noise levels sigma (b,) to the expected clean field. Networks are callables.
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
"""Length of `sigma_embedding`."""


class NoiseSchedule(NamedTuple):
    """Noise levels: `sample_sigma(key, shape)` for training, `sigmas(top, n)` for sampling.

    `sigmas` returns n levels that decrease from `top` (...), then zero: (n + 1, ...). Sampling
    starts at `sigma_max`; a student is the identity at `sigma_min`.
    """

    sample_sigma: Callable[[Key, tuple[int, ...]], Array]
    sigmas: Callable[[Array | float, int], Array]
    sigma_min: float
    sigma_max: float


def edm(*, sigma_min: float, sigma_max: float) -> NoiseSchedule:
    """Log-normal in training, equidistant in sigma^(1/7) in sampling. EDM, eq. 5 and table 1."""

    def sample_sigma(key: Key, shape: tuple[int, ...]) -> Array:
        sigma = jnp.exp(1.2 * jax.random.normal(key, shape) - 0.6)
        return jnp.clip(sigma, sigma_min, sigma_max)

    sigmas = _uniform_grid(lambda s: s ** (1 / 7), lambda r: r**7, sigma_min)
    return NoiseSchedule(sample_sigma, sigmas, sigma_min, sigma_max)


def flow(*, sigma_min: float, sigma_max: float) -> NoiseSchedule:
    """Uniform in the time t of a straight path x + t (noise - x), with sigma = t / (1 - t).

    Lipman et al. (2023), flow matching; Liu et al. (2023), rectified flow.
    """

    def time(sigma: Array) -> Array:
        return sigma / (1 + sigma)

    def sample_sigma(key: Key, shape: tuple[int, ...]) -> Array:
        ends = [float(time(jnp.asarray(s))) for s in (sigma_min, sigma_max)]
        t = jax.random.uniform(key, shape, minval=ends[0], maxval=ends[1])
        return t / (1 - t)

    sigmas = _uniform_grid(time, lambda t: t / (1 - t), sigma_min)
    return NoiseSchedule(sample_sigma, sigmas, sigma_min, sigma_max)


NOISE_SCHEDULES: dict[str, Callable[..., NoiseSchedule]] = {"edm": edm, "flow": flow}


def _uniform_grid(
    transform: Callable[[Array], Array], inverse: Callable[[Array], Array], sigma_min: float
) -> Callable[[Array | float, int], Array]:
    """Return `sigmas` with levels that are equidistant after `transform`."""

    def sigmas(top: Array | float, n: int) -> Array:
        top = jnp.asarray(top, jnp.float32)
        share = jnp.linspace(0.0, 1.0, n + 1)[:-1].reshape(-1, *(1,) * top.ndim)
        first, last = transform(top)[None], transform(jnp.full(top.shape, sigma_min))[None]
        levels = inverse(first + share * (last - first))
        return jnp.concatenate([levels, jnp.zeros((1, *top.shape))])

    return sigmas


def sigma_embedding(sigma: Array) -> Array:
    """Embed a noise level for a network: sigma (...) -> (..., EMBEDDING_SIZE)."""
    level = jnp.log(sigma)[..., None] / 4
    waves = level * jnp.asarray(FREQUENCIES).reshape(*(1,) * (level.ndim - 1), -1) * jnp.pi
    return jnp.concatenate([level, jnp.sin(waves), jnp.cos(waves)], -1)


def precondition(network: Callable[[Array, Array], Array]) -> Denoise:
    """Return the denoiser of a network whose inputs and targets have variance one. Table 1."""

    def denoise(x: Array, sigma: Array) -> Array:
        s = expand_like(sigma, x)
        norm = jnp.sqrt(1 + s**2)
        return x / norm**2 + s / norm * network(x / norm, sigma_embedding(sigma))

    return denoise


def consistency_precondition(
    network: Callable[[Array, Array], Array], *, sigma_min: float
) -> Denoise:
    """Return the student of a network; the identity at `sigma_min`. Song et al. (2023), app. C."""

    def student(x: Array, sigma: Array) -> Array:
        s = expand_like(sigma, x)
        norm, above = jnp.sqrt(1 + s**2), s - sigma_min
        keep = 1 / (1 + above**2)
        return keep * x + above / norm * network(x / norm, sigma_embedding(sigma))

    return student


def denoising_loss(denoise: Denoise, clean: Array, key: Key, *, noise: NoiseSchedule) -> Array:
    """Weighted mean square error of `denoise`: clean (b, *s, c) -> (b,).

    The weight lambda = (1 + sigma^2) / sigma^2 makes it one for an untrained network. For Gaussian
    fields of deviation s its minimum is the mean of s^2 (1 + sigma^2) / (s^2 + sigma^2) over the
    levels. EDM, eq. 2.
    """
    k_level, k_noise = jax.random.split(key)
    sigma = noise.sample_sigma(k_level, clean.shape[:1])
    s = expand_like(sigma, clean)
    estimate = denoise(clean + s * jax.random.normal(k_noise, clean.shape), sigma)
    error = jnp.mean((estimate - clean) ** 2, tuple(range(1, clean.ndim)))
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
    """Mean square distance of the student's output to the teacher's sample: clean -> (b,).

    Both start from one noisy field at each of the `calls` levels of `student_sigmas`; the first
    is pure noise. clean (b, *s, c); units of the clean field's variance. The teacher takes `steps`
    of Heun. Song et al. (2023), with the teacher's sample in place of its next step.
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
    """Return the noise levels of a student with `calls` network calls: (calls,)."""
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
    """Return a sample from standard normal z (b, *s, c); noise is added between the `calls` calls.

    `temperature` scales all noise: below one, samples are closer to the mode.
    """
    levels = student_sigmas(noise, calls)
    x = student(temperature * levels[0] * z, jnp.full(z.shape[:1], levels[0]))
    for i in range(1, calls):
        added = temperature * jax.random.normal(jax.random.fold_in(key, i), z.shape)
        x = student(x + levels[i] * added, jnp.full(z.shape[:1], levels[i]))
    return x


def euler(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """Euler's method on the probability-flow ODE: levels (n + 1, b), n network calls."""

    def body(x: Array, pair: Array) -> tuple[Array, None]:
        return x + expand_like(pair[1] - pair[0], x) * _ode_derivative(denoise, x, pair[0]), None

    return jax.lax.scan(body, x, _intervals(levels))[0]


def heun(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """Heun's method on that ODE, the last step Euler's: 2 n - 1 network calls. EDM, alg. 1."""

    def body(x: Array, pair: Array) -> tuple[Array, None]:
        return _heun_step(denoise, x, pair[0], pair[1]), None

    *most, last = _intervals(levels)
    if most:
        x = jax.lax.scan(body, x, jnp.stack(most))[0]
    return denoise(x, last[0])


def stochastic(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """Heun's method with noise added before each step: 2 n - 1 calls. EDM, alg. 2, gamma 0.25."""

    def body(x: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        (now, after), k = inputs
        raised = 1.25 * now
        x = x + expand_like(jnp.sqrt(raised**2 - now**2), x) * jax.random.normal(k, x.shape)
        return _heun_step(denoise, x, raised, after), None

    *most, last = _intervals(levels)
    if most:
        x = jax.lax.scan(body, x, (jnp.stack(most), jax.random.split(key, len(most))))[0]
    return denoise(x, last[0])


class Sampler(NamedTuple):
    """`run(denoise, x, levels, key)` from noise to a sample; `calls(n)` for n steps."""

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
    """Return a sample from standard normal z (b, *s, c) by a name of SAMPLERS in `steps` steps.

    `temperature` scales the initial noise, as in `consistency_sample`.
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
