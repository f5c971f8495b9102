"""Sparse, noisy observations of the initial frame, interpolated to the full grid."""

from dataclasses import replace

import numpy as np

from ups_jax.types import Trajectories


def observe(data: Trajectories, *, seed: int, stride: int, noise: float) -> Trajectories:
    """Return `data` (n, t, *s, c) with the initial frame observed at every `stride`-th point.

    Gaussian noise of `noise` times the frame's RMS is added to each observation. Other points are
    filled by trigonometric interpolation; later frames and inputs do not change. The noise
    of sample i depends on (`seed`, i) only. Raises ValueError if the stride leaves fewer than four
    points of an axis.
    """
    if stride < 1 or noise < 0 or any(n % stride or n // stride < 4 for n in data.points):
        raise ValueError(
            f"data.observed_stride is {stride}, data.observed_noise {noise}; the stride must "
            f"divide {data.points} points and leave at least four, the noise must be at least 0"
        )
    first, c = np.asarray(data.u[:, 0], np.float64), len(data.predicted)
    first, inputs = first[..., :c], first[..., c:]
    axes = tuple(range(1, 1 + data.ndim))
    rms = np.sqrt(np.mean(first**2, axes, keepdims=True))
    observed = first[(slice(None), *(slice(None, None, stride),) * data.ndim)]
    shape = observed.shape[1:]
    draws = [np.random.default_rng((seed, i)).standard_normal(shape) for i in range(len(data))]
    field = observed + noise * rms * np.stack(draws)
    for axis in axes:
        field = _interpolate(field, axis, stride)
    field = np.concatenate([field, inputs], -1).astype(np.float32)
    u = np.concatenate([field[:, None], np.asarray(data.u[:, 1:])], 1)
    origin = f"{data.origin}; first frame observed at every {stride}th point, noise {noise:g}"
    return replace(data, u=u, origin=origin)


def _interpolate(field: np.ndarray, axis: int, stride: int) -> np.ndarray:
    """Interpolate a periodic axis trigonometrically to `stride` times as many points."""
    n = field.shape[axis]
    waves = np.fft.rfft(field, axis=axis)
    if n % 2 == 0:
        # The Nyquist wave of the coarse grid is two waves of the fine grid.
        last = [slice(None)] * field.ndim
        last[axis] = slice(-1, None)
        waves[tuple(last)] *= 0.5 if stride > 1 else 1.0
    return np.fft.irfft(waves, n * stride, axis=axis) * stride
