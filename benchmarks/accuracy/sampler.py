"""Deviation of samples over the true one, at the noise levels and steps of each shipped config.

The denoiser is the exact one of a Gaussian field, or of an even mixture of two narrow Gaussians,
so only the sampler errs. A Gaussian's flow is linear: one sample gives the ratio. `until 2026`
are the settings before DPM-Solver++: Heun's method from sigma 80, levels equidistant in
sigma^(1/7), which ended above sigma_min.
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
    """Return (config, sampler, steps, levels) of each row."""
    specs = {name: ups.load_config(name).diffusion for name in CONFIGS}
    specs["default"] = get_config().diffusion
    rows = []
    for name, spec in specs.items():
        schedule = diffusion.NOISE_SCHEDULES[spec.noise]
        noise = schedule(sigma_min=spec.sigma_min, sigma_max=spec.sigma_max)
        for steps in (spec.steps, spec.teacher_steps):
            rows.append((name, spec.sampler, steps, noise.sigmas(spec.sigma_max, steps)))
    for name, steps in (("burgers", 4), ("kuramoto", 3), ("default", 6)):
        rows.append((f"{name}, until 2026", "heun", steps, edm_levels(80.0, 0.01, steps)))
    return rows


def run(options):
    z = jax.random.normal(jax.random.key(0), (SAMPLES, 1, 1))
    rows = []
    for name, sampler, steps, levels in contenders():
        method = diffusion.SAMPLERS[sampler]
        targets = [(s, gaussian(s), jnp.ones((1, 1, 1))) for s in DEVIATIONS]
        for deviation, denoise, noise in [*targets, (MIXTURE, mixture, z)]:
            x = method.run(denoise, levels[0] * noise, levels, jax.random.key(1))
            rows.append(
                dict(
                    config=name, sampler=sampler, steps=steps, calls=method.calls(steps),
                    target="mixture" if denoise is mixture else "gaussian", deviation=deviation,
                    ratio=float(jnp.sqrt(jnp.mean(x**2)) / deviation),
                )
            )  # fmt: skip
        ratios = "  ".join(f"{row['ratio']:.3f}" for row in rows[-6:])
        print(f"{name:22} {sampler:10} {steps:3} steps: {ratios}", flush=True)
    return {"rows": rows}
