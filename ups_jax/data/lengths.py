"""Trajectories of different lengths: their frames, padded to those of the longest."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ups_jax.types import Trajectories


def padded(fields: Sequence[Any], cond: Any = None, **stated: Any) -> Trajectories:
    """Return fields (t_i, *s, c) of different lengths as trajectories.

    `stated` are further arguments of Trajectories, such as `dt`. Raises ValueError if they differ
    in more than their frames, and as Trajectories.
    """
    arrays = [np.asarray(field) for field in fields]
    if not arrays:
        raise ValueError("no trajectories; expected fields (t, *s, c)")
    for i, array in enumerate(arrays):
        if array.ndim < 1 or array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"trajectory {i} has shape {array.shape}, trajectory 0 {arrays[0].shape}; expected "
                "(t, *s, c), equal but for the frames t"
            )
    lengths = np.array([len(array) for array in arrays])
    u = np.stack([extend(array, max(lengths)) for array in arrays])
    return Trajectories(u, cond, lengths=lengths, **stated)


def cut(data: Trajectories, frames: int) -> Trajectories:
    """Return the trajectories of at least `frames` frames, without later ones.

    Raises ValueError if there is none.
    """
    longest = data.u.shape[1] if data.lengths is None else int(np.max(data.lengths))
    if not 1 < frames <= longest:
        raise ValueError(f"frames is {frames}; expected 2 to {longest}, those of the longest")
    if data.lengths is not None:
        data = data.take(long_enough(data, frames))
    return replace(data, u=data.u[:, :frames], lengths=None)


def mask_ends(data: Trajectories, frames: int | None = None) -> Trajectories:
    """Return trajectories of one length, where the frames after a trajectory's end are missing.

    Missing values are NaN in predicted channels; inputs keep their padding. An emulator with
    `missing` "mask" is then scored on the frames that each trajectory has. `frames` is the length,
    by default that of the array. Raises ValueError if it is longer.
    """
    longest = data.u.shape[1]
    length = longest if frames is None else frames
    if not 1 < length <= longest:
        raise ValueError(f"frames is {length}; expected 2 to {longest}, those of the array")
    if data.lengths is None:
        return replace(data, u=data.u[:, :length])
    u = np.array(data.u[:, :length])
    u[..., : len(data.predicted)][np.arange(length) >= np.asarray(data.lengths)[:, None]] = np.nan
    return replace(data, u=u, lengths=None)


def long_enough(data: Trajectories, frames: int) -> np.ndarray:
    """Return the indices of the trajectories of at least `frames` frames."""
    lengths = np.full(len(data), data.u.shape[1]) if data.lengths is None else data.lengths
    return np.flatnonzero(np.asarray(lengths) >= frames)


def extend(u: np.ndarray, frames: int) -> np.ndarray:
    """Return a field (t, *s, c) with copies of its last frame up to `frames` frames."""
    return np.concatenate([u, np.repeat(u[-1:], frames - len(u), 0)])


def fill_padding(u: np.ndarray, lengths: Any) -> None:
    """Replace padding of u (n, t, *s, c) that is not finite by the last frame, in place."""
    for field, length in zip(u, np.asarray(lengths).tolist(), strict=True):
        if 0 < length < len(field) and not np.isfinite(field[length:]).all():
            field[length:] = field[length - 1]


def strided(lengths: Any, stride: int) -> Any:
    """Return lengths in frames after every `stride`-th frame is kept."""
    return None if lengths is None else (np.asarray(lengths) - 1) // stride + 1


def require_one_length(data: Trajectories, subject: str) -> None:
    """Raise ValueError if trajectories differ in length: errors are means over the same times."""
    if data.lengths is not None:
        low, high = int(np.min(data.lengths)), int(np.max(data.lengths))
        raise ValueError(
            f"{subject} has trajectories of {low} to {high} frames; forecasts of all samples have "
            f"one length: take those that have it, ups.cut(data, {low}), or make later frames "
            "missing values, ups.mask_ends(data), for an emulator with missing='mask'"
        )


def own_frames(data: Trajectories, u: np.ndarray, first: int, *, skip: int = 0) -> np.ndarray:
    """Return frames (m, t, ...) of the samples from `first` without padding, as rows (k, ...).

    The `skip` first frames are absent from u.
    """
    if data.lengths is None:
        return u.reshape(-1, *u.shape[2:])
    lengths = np.asarray(data.lengths)[first : first + len(u)]
    return u[np.arange(u.shape[1]) + skip < lengths[:, None]]
