"""First frames that are seen at few points only."""

import numpy as np
import pytest

from ups_jax.data import observe
from ups_jax.types import Trajectories

X = np.arange(64) / 64


def waves(*numbers, frames=3, n=2):
    field = sum(np.sin(2 * np.pi * k * X + k) for k in numbers)
    return Trajectories(np.tile(field[None, None, :, None], (n, frames, 1, 1)).astype(np.float32))


def test_a_field_that_the_points_resolve_is_seen_whole():
    data = waves(0, 1, 3)
    seen = observe(data, seed=0, stride=8, noise=0.0)
    np.testing.assert_allclose(seen.u, data.u, atol=1e-5)
    assert "every 8th point, noise 0" in seen.origin


def test_a_finer_field_is_seen_right_at_the_points_alone_and_later_frames_are_the_truth():
    data = waves(2, 11)
    seen = observe(data, seed=0, stride=8, noise=0.0)
    np.testing.assert_allclose(seen.u[:, 0, ::8], data.u[:, 0, ::8], atol=1e-5)
    assert np.abs(seen.u[:, 0] - data.u[:, 0]).max() > 0.5
    np.testing.assert_array_equal(seen.u[:, 1:], data.u[:, 1:])


def test_noise_is_a_share_of_the_fields_rms_and_hangs_on_the_sample_alone():
    data = waves(1, n=400)
    seen = observe(data, seed=0, stride=8, noise=0.02)
    off = (seen.u - data.u)[:, 0, ::8]
    assert np.std(off) == pytest.approx(0.02 * 0.5**0.5, rel=0.05)
    few = observe(data.take(slice(3)), seed=0, stride=8, noise=0.02)
    np.testing.assert_array_equal(few.u, seen.u[:3])
    assert np.abs(observe(data, seed=1, stride=8, noise=0.02).u - seen.u).max() > 0.01


def test_two_axes_are_seen_as_one_is():
    x, y = np.meshgrid(X, X, indexing="ij")
    field = np.sin(2 * np.pi * x) * np.cos(2 * np.pi * 2 * y)
    data = Trajectories(field[None, None, :, :, None].repeat(2, 1).astype(np.float32))
    np.testing.assert_allclose(observe(data, seed=0, stride=8, noise=0.0).u, data.u, atol=1e-5)


@pytest.mark.parametrize("stride", [0, 5, 32])
def test_a_stride_that_leaves_no_field_is_refused(stride):
    with pytest.raises(ValueError, match=f"data.observed_stride is {stride}"):
        observe(waves(1), seed=0, stride=stride, noise=0.0)
