"""Deviation of samples over the true one, at the noise levels and steps of each shipped config.

The denoiser is the exact one of a Gaussian field, or of an even mixture of two narrow Gaussians,
so only the sampler errs. A Gaussian's flow is linear: one sample gives the ratio. `before` are
earlier settings: Heun's method from sigma 80, levels equidistant in sigma^(1/7).
"""

import jax
import jax.numpy as jnp
import numpy as np

import ups_jax as ups
from ups_jax import diffusion
from ups_jax.config.base import get_config

CONFIGS = ("burgers", "burgers:sparse", "burgers:smoke", "kuramoto", "kuramoto:smoke")
DEVIATIONS = (2.0, 1.0, 0.5, 0.2, 0.1)
PEAK, WIDTH = 1.5, 0.2
MIXTURE = float(np.hypot(PEAK, WIDTH))
SAMPLES = 20000


def gaussian(deviation):
    """Return the exact denoiser of a Gaussian."""
    return lambda x, sigma: x * deviation**2 / (deviation**2 + sigma[:, None, None] ** 2)


def mixture(x, sigma):
    """Return the clean value expected of the mixture of Gaussians at plus and minus PEAK."""
    variance = WIDTH**2 + sigma[:, None, None] ** 2
    centre = PEAK * jnp.tanh(PEAK * x / variance)
    return centre + (x - centre) * WIDTH**2 / variance


def edm_levels(top, smallest, n):
    """Return levels equidistant in sigma^(1/7), as before."""
    ends = top ** (1 / 7), smallest ** (1 / 7)
    levels = (ends[0] + np.linspace(0, 1, n + 1)[:-1] * (ends[1] - ends[0])) ** 7
    return jnp.asarray([*levels, 0.0], jnp.float32)


def contenders():
    """Return (config, sampler, steps, levels) of each row, of today and before."""
    specs = {name: ups.load_config(name).diffusion for name in CONFIGS}
    specs["default"] = get_config().diffusion
    today = []
    for name, spec in specs.items():
        schedule = diffusion.NOISE_SCHEDULES[spec.noise]
        noise = schedule(sigma_min=spec.sigma_min, sigma_max=spec.sigma_max)
        for steps in (spec.steps, spec.teacher_steps):
            today.append((name, spec.sampler, steps, noise.sigmas(spec.sigma_max, steps)))
    before = (("burgers", 4), ("kuramoto", 3), ("default", 6))
    return today, [(name, "heun", steps, edm_levels(80.0, 0.01, steps)) for name, steps in before]


def measure(name, sampler, steps, levels):
    """Return rows of the Gaussians, then of the mixture."""
    method = diffusion.SAMPLERS[sampler]

    def row(denoise, deviation, z):
        x = method.run(denoise, levels[0] * z, levels, jax.random.key(1))
        return dict(
            config=name, sampler=sampler, steps=steps, calls=method.calls(steps),
            deviation=deviation, ratio=float(jnp.sqrt(jnp.mean(x**2)) / deviation),
        )  # fmt: skip

    one, z = jnp.ones((1, 1, 1)), jax.random.normal(jax.random.key(0), (SAMPLES, 1, 1))
    rows = [row(gaussian(s), s, one) for s in DEVIATIONS], [row(mixture, MIXTURE, z)]
    ratios = "  ".join(f"{r['ratio']:.3f}" for part in rows for r in part)
    print(f"{name:16} {sampler:10} {steps:3} steps: {ratios}", flush=True)
    return rows


def run(options):
    today, before = ([measure(*each) for each in part] for part in contenders())
    gaussians, mixtures = ([row for pair in today for row in pair[i]] for i in (0, 1))
    earlier = [row for pair in before for part in pair for row in part]
    return {"rows": gaussians, "mixtures": mixtures, "before": earlier}
