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

    Sampling starts at `sigma_max`, which must exceed the largest residuals. `sigma_min` is the last
    level before zero; a student is the identity there.
    """

    sample_sigma: Callable[[Key, tuple[int, ...]], Array]
    sigma_min: float
    sigma_max: float

    def sigmas(self, top: Array | float, n: int) -> Array:
        """Return n levels from `top` down to `sigma_min`, equidistant in log sigma, then zero.

        (n + 1,). The logarithm is the time variable of DPM-Solver; Lu et al. (2022).
        """
        first, last = (jnp.log(jnp.asarray(s, jnp.float32)) for s in (top, self.sigma_min))
        return jnp.append(jnp.exp(jnp.linspace(first, last, n, dtype=jnp.float32)), 0.0)


def edm(*, sigma_min: float, sigma_max: float) -> NoiseSchedule:
    """Log-normal levels in training, wider than in EDM, table 1.

    Images need 1.2 about -0.6. Residuals have heavier tails, which the highest levels decide.
    """

    def sample_sigma(key: Key, shape: tuple[int, ...]) -> Array:
        sigma = jnp.exp(1.6 * jax.random.normal(key, shape, jnp.float32))
        return jnp.clip(sigma, sigma_min, sigma_max)

    return NoiseSchedule(sample_sigma, sigma_min, sigma_max)


def flow(*, sigma_min: float, sigma_max: float) -> NoiseSchedule:
    """Uniform in the time t of a straight path x + t (noise - x), with sigma = t / (1 - t).

    Lipman et al. (2023), flow matching; Liu et al. (2023), rectified flow.
    """
    first, last = (s / (1 + s) for s in (sigma_min, sigma_max))

    def sample_sigma(key: Key, shape: tuple[int, ...]) -> Array:
        t = jax.random.uniform(key, shape, jnp.float32, first, last)
        return t / (1 - t)

    return NoiseSchedule(sample_sigma, sigma_min, sigma_max)


NOISE_SCHEDULES: dict[str, Callable[..., NoiseSchedule]] = {"edm": edm, "flow": flow}


def sigma_embedding(sigma: Array) -> Array:
    """Embed a noise level for a network: sigma (...) -> (..., EMBEDDING_SIZE)."""
    level = jnp.log(sigma)[..., None] / 4
    waves = (
        level * jnp.asarray(FREQUENCIES, sigma.dtype).reshape(*(1,) * (level.ndim - 1), -1) * jnp.pi
    )
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
    estimate = denoise(clean + s * jax.random.normal(k_noise, clean.shape, clean.dtype), sigma)
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
    sampler: str,
    steps: int,
) -> Array:
    """Mean square distance of the student's output to the teacher's sample: clean -> (b,).

    Both start from one noisy field at each of the `calls` levels of `student_sigmas`; the first
    is pure noise. clean (b, *s, c); units of the clean field's variance. The teacher takes `steps`
    of a sampler. Song et al. (2023), with the teacher's sample in place of its next step.
    """
    b = clean.shape[0]
    run = lookup(SAMPLERS, sampler, "sampler").run
    tops = student_sigmas(noise, calls)
    total = jnp.zeros((b,), clean.dtype)
    for i, k in enumerate(jax.random.split(key, calls)):
        z = jax.random.normal(k, clean.shape, clean.dtype)
        x = tops[i] * z + (clean if i else 0.0)
        end = jax.lax.stop_gradient(run(teacher, x, noise.sigmas(tops[i], steps), k))
        total += jnp.mean((student(x, _full(tops[i], x)) - end) ** 2, tuple(range(1, clean.ndim)))
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
    x = student(temperature * levels[0] * z, _full(levels[0], z))
    for i in range(1, calls):
        added = temperature * jax.random.normal(jax.random.fold_in(key, i), z.shape, z.dtype)
        x = student(x + levels[i] * added, _full(levels[i], z))
    return x


def euler(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """Euler's method on the probability-flow ODE: levels (n + 1,), n network calls.

    It is DPM-Solver++ of first order, and DDIM; Song et al. (2021).
    """

    def body(x: Array, pair: Array) -> tuple[Array, None]:
        return x + (pair[1] - pair[0]) * _ode_derivative(denoise, x, pair[0]), None

    return jax.lax.scan(body, x, _intervals(levels))[0]


def dpmpp_2m(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """DPM-Solver++(2M), the last step of first order: n network calls. Lu et al. (2022), alg. 2.

    The linear part of the ODE in log sigma is integrated exactly; the denoiser's output is
    extrapolated from the two latest calls.
    """

    def body(carry: tuple[Array, Array], three: Array) -> tuple[tuple[Array, Array], None]:
        (x, latest), (before, now, after) = carry, three
        clean = denoise(x, _full(now, x))
        weight = jnp.log(now / after) / (2 * jnp.log(before / now))
        ahead = clean + weight * (clean - latest)
        return (ahead + after / now * (x - ahead), clean), None

    # An infinite level before the first gives its missing predecessor no weight.
    before = jnp.concatenate([jnp.full((1,), jnp.inf, levels.dtype), levels[:-2]])
    threes = jnp.stack([before, levels[:-1], levels[1:]], 1)
    x = jax.lax.scan(body, (x, jnp.zeros_like(x)), threes[:-1])[0][0]
    return denoise(x, _full(levels[-2], x))


def heun(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """Heun's method on that ODE, the last step Euler's: 2 n - 1 network calls. EDM, alg. 1."""

    def body(x: Array, pair: Array) -> tuple[Array, None]:
        return _heun_step(denoise, x, pair[0], pair[1]), None

    x = jax.lax.scan(body, x, _intervals(levels)[:-1])[0]
    return denoise(x, _full(levels[-2], x))


def stochastic(denoise: Denoise, x: Array, levels: Array, key: Key) -> Array:
    """Heun's method with noise added before each step: 2 n - 1 calls. EDM, alg. 2, gamma 0.25."""

    def body(x: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        (now, after), k = inputs
        raised = 1.25 * now
        x = x + jnp.sqrt(raised**2 - now**2) * jax.random.normal(k, x.shape, x.dtype)
        return _heun_step(denoise, x, raised, after), None

    most = _intervals(levels)[:-1]
    x = jax.lax.scan(body, x, (most, jax.random.split(key, len(most))))[0]
    return denoise(x, _full(levels[-2], x))


class Sampler(NamedTuple):
    """`run(denoise, x, levels, key)` from noise to a sample; `calls(n)` for n steps."""

    run: Callable[[Denoise, Array, Array, Key], Array]
    calls: Callable[[int], int]


SAMPLERS = {
    "dpmpp_2m": Sampler(dpmpp_2m, lambda n: n),
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
    start = temperature * noise.sigma_max * z
    run = lookup(SAMPLERS, sampler, "sampler").run
    return run(denoise, start, noise.sigmas(noise.sigma_max, steps), key)


def _heun_step(denoise: Denoise, x: Array, now: Array, after: Array) -> Array:
    slope, h = _ode_derivative(denoise, x, now), after - now
    return x + h / 2 * (slope + _ode_derivative(denoise, x + h * slope, after))


def _ode_derivative(denoise: Denoise, x: Array, sigma: Array) -> Array:
    return (x - denoise(x, _full(sigma, x))) / sigma


def _intervals(levels: Array) -> Array:
    return jnp.stack([levels[:-1], levels[1:]], 1)


def _full(sigma: Array, x: Array) -> Array:
    """Repeat a level for every sample of x (b, *s, c): (b,)."""
    return jnp.full(x.shape[:1], sigma, x.dtype)
