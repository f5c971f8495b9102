"""Sparse observations of the initial frame."""

import numpy as np
import pytest

from ups_jax.data import observe
from ups_jax.types import Trajectories

X = np.arange(64) / 64


def waves(*numbers, frames=3, n=2):
    field = sum(np.sin(2 * np.pi * k * X + k) for k in numbers)
    return Trajectories(np.tile(field[None, None, :, None], (n, frames, 1, 1)).astype(np.float32))


def test_a_resolved_field_is_recovered():
    data = waves(0, 1, 3)
    observed = observe(data, seed=0, stride=8, noise=0.0)
    np.testing.assert_allclose(observed.u, data.u, atol=1e-5)
    assert "every 8th point, noise 0" in observed.origin


def test_an_unresolved_field_is_exact_at_the_observed_points_and_later_frames_are_unchanged():
    data = waves(2, 11)
    observed = observe(data, seed=0, stride=8, noise=0.0)
    np.testing.assert_allclose(observed.u[:, 0, ::8], data.u[:, 0, ::8], atol=1e-5)
    assert np.abs(observed.u[:, 0] - data.u[:, 0]).max() > 0.5
    np.testing.assert_array_equal(observed.u[:, 1:], data.u[:, 1:])


def test_noise_scales_with_the_rms_and_depends_on_seed_and_sample_only():
    data = waves(1, n=400)
    observed = observe(data, seed=0, stride=8, noise=0.02)
    error = (observed.u - data.u)[:, 0, ::8]
    assert np.std(error) == pytest.approx(0.02 * 0.5**0.5, rel=0.05)
    few = observe(data.take(slice(3)), seed=0, stride=8, noise=0.02)
    np.testing.assert_array_equal(few.u, observed.u[:3])
    assert np.abs(observe(data, seed=1, stride=8, noise=0.02).u - observed.u).max() > 0.01


def test_a_resolved_field_of_two_axes_is_recovered():
    x, y = np.meshgrid(X, X, indexing="ij")
    field = np.sin(2 * np.pi * x) * np.cos(2 * np.pi * 2 * y)
    data = Trajectories(field[None, None, :, :, None].repeat(2, 1).astype(np.float32))
    np.testing.assert_allclose(observe(data, seed=0, stride=8, noise=0.0).u, data.u, atol=1e-5)


@pytest.mark.parametrize("stride", [0, 5, 32])
def test_an_invalid_stride_is_refused(stride):
    with pytest.raises(ValueError, match=f"data.observed_stride is {stride}"):
        observe(waves(1), seed=0, stride=stride, noise=0.0)
