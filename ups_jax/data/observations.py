"""What is seen of a first frame: few points of it, with noise, and a smooth field through those."""

from dataclasses import replace

import numpy as np

from ups_jax.types import Trajectories


def observe(data: Trajectories, *, seed: int, stride: int, noise: float) -> Trajectories:
    """`data` (n, t, *s, c) whose first frames are only seen at every `stride`-th point an axis.

    Each value seen errs by Gaussian noise of `noise` times that frame's RMS; between the points
    stands their trigonometric interpolation. Later frames stay the truth. Sample i's noise hangs on
    (`seed`, i) alone. ValueError where the stride does not leave four points of an axis or more.
    """
    if stride < 1 or noise < 0 or any(n % stride or n // stride < 4 for n in data.points):
        raise ValueError(
            f"data.observed_stride is {stride}, data.observed_noise {noise}; the stride must "
            f"divide points {data.points} into four or more, and noise be at least 0"
        )
    first = np.asarray(data.u[:, 0], np.float64)
    axes = tuple(range(1, 1 + data.ndim))
    size = np.sqrt(np.mean(first**2, axes, keepdims=True))
    seen = first[(slice(None), *(slice(None, None, stride),) * data.ndim)]
    draws = np.stack(
        [np.random.default_rng((seed, i)).standard_normal(seen.shape[1:]) for i in range(len(data))]
    )
    field = seen + noise * size * draws
    for axis in axes:
        field = _interpolate(field, axis, stride)
    u = np.concatenate([field[:, None].astype(np.float32), np.asarray(data.u[:, 1:])], 1)
    told = f"{data.origin}; first frame seen at every {stride}th point, noise {noise:g}"
    return replace(data, u=u, origin=told)


def _interpolate(field: np.ndarray, axis: int, stride: int) -> np.ndarray:
    """The trigonometric polynomial through points of a periodic axis, on `stride` times as many."""
    n = field.shape[axis]
    waves = np.fft.rfft(field, axis=axis)
    if n % 2 == 0:
        # The highest wave of the coarse grid stands for two of the fine one.
        last = [slice(None)] * field.ndim
        last[axis] = slice(-1, None)
        waves[tuple(last)] *= 0.5 if stride > 1 else 1.0
    return np.fft.irfft(waves, n * stride, axis=axis) * stride
