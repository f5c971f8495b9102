"""Diffusion on residuals with a known distribution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ups_jax import diffusion, load_config
from ups_jax.arrays import expand_like
from ups_jax.config.base import get_config
from ups_jax.flops import flops

EDM = diffusion.edm(sigma_min=0.01, sigma_max=80.0)
FLOW = diffusion.flow(sigma_min=0.01, sigma_max=80.0)
SCALE = jnp.linspace(0.3, 2.0, 8).reshape(1, 8, 1)
"""Deviation of a Gaussian residual at each of eight points: it varies in space."""
PEAK, WIDTH = 1.5, 0.2


def of_gaussian(x, sigma):
    """The clean field expected of a noisy Gaussian one of deviation SCALE."""
    return x * SCALE**2 / (SCALE**2 + expand_like(sigma, x) ** 2)


def of_two_peaks(x, sigma):
    """The clean field expected of an even mixture of narrow Gaussians at plus and minus PEAK."""
    variance = WIDTH**2 + expand_like(sigma, x) ** 2
    upper = jax.nn.sigmoid(2 * PEAK * x / variance)
    centre = PEAK * (2 * upper - 1)
    return centre + (x - centre) * WIDTH**2 / variance


def draw(denoise, shape, *, sampler="heun", steps=24, noise=EDM, seed=0):
    k_noise, k_sampler = jax.random.split(jax.random.key(seed))
    run = partial(diffusion.sample, denoise, noise=noise, sampler=sampler, steps=steps)
    return jax.jit(run)(jax.random.normal(k_noise, shape), k_sampler)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "stochastic"])
@pytest.mark.parametrize("noise", [EDM, FLOW], ids=["edm", "flow"])
def test_samples_have_the_mean_and_the_deviation_of_each_point(sampler, noise):
    x = draw(of_gaussian, (4000, 8, 1), sampler=sampler, noise=noise)
    error = SCALE[0, :, 0] / 4000**0.5
    np.testing.assert_array_less(np.abs(x.mean(0)[:, 0]) / error, 4)
    np.testing.assert_allclose(x.std(0)[:, 0] / SCALE[0, :, 0], 1, atol=0.06)


def test_methods_of_second_order_are_more_accurate_than_euler_at_equal_steps():
    """Against the exact end of the probability flow, x0 * s / sqrt(s^2 + sigma_max^2)."""
    k_noise, _ = jax.random.split(jax.random.key(0))
    start = EDM.sigma_max * jax.random.normal(k_noise, (64, 8, 1))
    exact = start * SCALE / jnp.sqrt(SCALE**2 + EDM.sigma_max**2)
    error = {
        name: float(jnp.mean(jnp.abs(draw(of_gaussian, (64, 8, 1), sampler=name) - exact)))
        for name in ("euler", "heun", "dpmpp_2m")
    }
    assert error["dpmpp_2m"] < error["heun"] < 0.3 * error["euler"] < 0.1


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler", "heun", "stochastic"])
def test_samples_of_a_mixture_lie_on_both_peaks(sampler):
    # A first-order method narrows the peaks: they need more steps.
    steps = 160 if sampler == "euler" else 40
    x = np.asarray(draw(of_two_peaks, (2000, 4, 1), sampler=sampler, steps=steps)).ravel()
    assert np.mean(x > 0) == pytest.approx(0.5, abs=4 * 0.5 / len(x) ** 0.5)
    assert np.mean(np.abs(x) < PEAK / 2) < 0.01
    assert np.mean(np.abs(x)) == pytest.approx(PEAK, abs=0.02)
    assert np.std(np.abs(x)) == pytest.approx(WIDTH, rel=0.25)


@pytest.mark.parametrize("noise", [EDM, FLOW], ids=["edm", "flow"])
def test_the_loss_of_the_best_denoiser_is_the_analytic_one(noise):
    k_clean, k_loss, k_level = jax.random.split(jax.random.key(1), 3)
    clean = SCALE * jax.random.normal(k_clean, (20000, 8, 1))
    loss = diffusion.denoising_loss(of_gaussian, clean, k_loss, noise=noise)
    s2 = noise.sample_sigma(k_level, (20000, 1, 1)) ** 2
    least = jnp.mean(SCALE**2 * (1 + s2) / (SCALE**2 + s2))
    assert float(jnp.mean(loss)) == pytest.approx(float(least), rel=0.03)
    worse = diffusion.denoising_loss(
        lambda x, sigma: 1.1 * of_gaussian(x, sigma), clean, k_loss, noise=noise
    )
    assert jnp.mean(worse) > 1.005 * jnp.mean(loss)


@pytest.mark.parametrize("noise", [EDM, FLOW], ids=["edm", "flow"])
def test_levels_decrease_from_sigma_max_to_sigma_min_and_then_to_zero(noise):
    levels = np.asarray(noise.sigmas(noise.sigma_max, 6))
    assert levels.shape == (7,) and np.all(np.diff(levels) < 0)
    assert levels[0] == pytest.approx(80.0, rel=1e-4) and levels[-1] == 0
    assert levels[-2] == pytest.approx(noise.sigma_min, rel=1e-4)
    np.testing.assert_allclose(levels[1:-1] / levels[:-2], levels[1] / levels[0], rtol=1e-4)
    drawn = np.asarray(noise.sample_sigma(jax.random.key(0), (1000,)))
    assert drawn.min() >= 0.0099 and drawn.max() <= 80.01


def test_a_sampler_makes_the_declared_number_of_network_calls():
    matrix = jnp.eye(256)

    def denoise(x, sigma):
        return (x.reshape(-1, 256) @ matrix).reshape(x.shape)

    one = flops(lambda x: x.reshape(-1, 256) @ matrix, jnp.ones((2, 256, 1)))
    for name, sampler in diffusion.SAMPLERS.items():
        levels = EDM.sigmas(80.0, 5)
        run = partial(sampler.run, denoise)
        total = flops(run, jnp.ones((2, 256, 1)), levels, jax.random.key(0))
        assert round(total / one) == sampler.calls(5), name


def network(x, features):
    return jnp.sin(3 * x) + features[:, :1, None]


def test_a_student_is_the_identity_at_sigma_min():
    x = jax.random.normal(jax.random.key(0), (5, 8, 1))
    student = diffusion.consistency_precondition(network, sigma_min=0.01)
    np.testing.assert_array_equal(student(x, jnp.full(5, 0.01)), x)
    assert jnp.abs(student(x, jnp.full(5, 1.0)) - x).max() > 0.1


def test_preconditioned_inputs_and_targets_have_a_deviation_of_one():
    """The input of the network and its target, for clean fields of deviation one."""
    k_clean, k_noise = jax.random.split(jax.random.key(0))
    clean, z = (jax.random.normal(k, (4000, 8, 1)) for k in (k_clean, k_noise))
    for sigma in (0.05, 1.0, 40.0):
        inputs = []
        noisy = clean + sigma * z
        zero = diffusion.precondition(lambda x, f, log=inputs: log.append(x) or jnp.zeros_like(x))
        one = diffusion.precondition(lambda x, f: jnp.ones_like(x))
        kept = zero(noisy, jnp.full(4000, sigma))
        size = one(noisy, jnp.full(4000, sigma)) - kept
        assert float(inputs[0].std()) == pytest.approx(1, abs=0.02)
        assert float(((clean - kept) / size).std()) == pytest.approx(1, abs=0.02)


def exact_jump(x, sigma):
    """The end of the Gaussian's probability flow."""
    return x * SCALE / jnp.sqrt(SCALE**2 + expand_like(sigma, x) ** 2)


@pytest.mark.parametrize("calls", [1, 2])
def test_a_perfect_student_samples_the_distribution_in_few_calls(calls):
    z = jax.random.normal(jax.random.key(2), (4000, 8, 1))
    key = jax.random.key(3)
    x = diffusion.consistency_sample(exact_jump, z, key, noise=EDM, calls=calls)
    np.testing.assert_allclose(x.std(0)[:, 0] / SCALE[0, :, 0], 1, atol=0.06)
    np.testing.assert_array_equal(
        diffusion.consistency_sample(exact_jump, z, key, noise=EDM, calls=calls, temperature=0.0), 0
    )


def test_distillation_is_zero_at_the_teachers_sample_and_large_at_a_collapse():
    k_clean, k_loss = jax.random.split(jax.random.key(4))
    clean = SCALE * jax.random.normal(k_clean, (512, 8, 1))

    def loss(student):
        run = partial(diffusion.distillation_loss, student, of_gaussian, noise=EDM)
        return float(jnp.mean(run(clean, k_loss, calls=2, sampler="dpmpp_2m", steps=24)))

    assert loss(exact_jump) < 1e-3
    collapsed = loss(lambda x, sigma: jnp.zeros_like(x))
    assert collapsed == pytest.approx(float(jnp.mean(SCALE**2)), rel=0.1)
    assert loss(lambda x, sigma: 0.8 * exact_jump(x, sigma)) == pytest.approx(
        0.04 * collapsed, rel=0.1
    )


def test_no_gradient_reaches_the_teacher():
    clean = jax.random.normal(jax.random.key(0), (4, 8, 1))

    def loss(weights):
        student, teacher = (lambda x, s, w=w: w * exact_jump(x, s) for w in weights)
        run = diffusion.distillation_loss(
            student, teacher, clean, jax.random.key(1), noise=EDM, calls=2, sampler="heun", steps=3
        )
        return jnp.mean(run)

    student, teacher = jax.grad(loss)((jnp.asarray(0.5), jnp.asarray(1.0)))
    assert abs(student) > 1e-3 and teacher == 0


def test_an_unknown_sampler_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown sampler 'huen'; did you mean 'heun'.*euler"):
        draw(of_gaussian, (2, 8, 1), sampler="huen")


SHIPPED = {
    name: load_config(name).diffusion
    for name in ("burgers", "burgers:smoke", "burgers:sparse", "kuramoto", "kuramoto:smoke")
} | {"default": get_config().diffusion}


def shipped_samples(spec, denoise, z, *, steps):
    noise = diffusion.NOISE_SCHEDULES[spec.noise](
        sigma_min=spec.sigma_min, sigma_max=spec.sigma_max
    )
    key = jax.random.key(0)
    return diffusion.sample(denoise, z, key, noise=noise, sampler=spec.sampler, steps=steps)


@pytest.mark.parametrize("key", ["steps", "teacher_steps"])
@pytest.mark.parametrize("name", SHIPPED)
def test_samples_have_the_deviation_of_a_gaussian_at_the_steps_of_a_config(name, key):
    """The flow of a Gaussian is linear, so one sample gives the ratio of the deviations."""
    spec = SHIPPED[name]
    s = jnp.asarray([2.0, 1.0, 0.5, 0.2, 0.1]).reshape(1, 5, 1)

    def denoise(x, sigma):
        return x * s**2 / (s**2 + expand_like(sigma, x) ** 2)

    x = shipped_samples(spec, denoise, jnp.ones(s.shape), steps=spec[key])
    np.testing.assert_allclose(x / s, 1, atol=0.1 if key == "steps" else 0.03)


@pytest.mark.parametrize("name", SHIPPED)
def test_samples_have_the_deviation_of_a_mixture_at_the_steps_of_a_config(name):
    spec = SHIPPED[name]
    z = jax.random.normal(jax.random.key(1), (4000, 4, 1))
    x = np.asarray(shipped_samples(spec, of_two_peaks, z, steps=spec.steps))
    assert x.std() == pytest.approx((PEAK**2 + WIDTH**2) ** 0.5, rel=0.1)
    assert np.mean(np.abs(x) < PEAK / 2) < 0.02
