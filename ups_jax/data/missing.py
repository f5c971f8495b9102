"""Missing values: NaN in predicted channels, refused with their place, or masked if declared so."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import spatial_axes
from ups_jax.data.windows import block_rows
from ups_jax.pde.base import PDE
from ups_jax.registry import lookup
from ups_jax.types import Array, Trajectories

REFUSE, MASK = "refuse", "mask"
MISSING = {REFUSE: None, MASK: None}
"""Values of `data.missing`: NaN is an error, or a value that was not observed."""


def fill(u: Array, ndim: int) -> Array:
    """Fill NaN in the frames (..., t, *s, c) that are given to a network, by no later frame.

    A point takes its last observed value in these frames; a point without one takes the mean of the
    frame's observed values, or of the last frame that has any. Frames before the first observed
    one are copies of it. A channel without any observed value stays NaN.
    """
    time, space = u.ndim - 2 - ndim, spatial_axes(ndim)
    seen = ~jnp.isnan(u)
    count = jnp.sum(seen, space, keepdims=True)
    mean = jnp.sum(jnp.where(seen, u, 0), space, keepdims=True) / jnp.maximum(count, 1)
    level, known = _latest(mean.astype(u.dtype), count > 0, time)
    value, found = _latest(u, seen, time)
    filled = jnp.where(found, value, level)
    first = jnp.argmax(count > 0, time, keepdims=True)
    copied = jnp.take_along_axis(filled, first, time)
    known_later = jnp.any(count > 0, time, keepdims=True)
    return jnp.where(known, filled, jnp.where(known_later, copied, jnp.nan))


def _latest(values: Array, known: Array, axis: int) -> tuple[Array, Array]:
    """Return the last known value up to each place along an axis, and where there is one."""
    places = jax.lax.broadcasted_iota(jnp.int32, values.shape, axis)
    index = jax.lax.cummax(jnp.where(known, places, -1), axis=axis)
    return jnp.take_along_axis(values, jnp.maximum(index, 0), axis), index >= 0


def fill_windows(u: Array, *, ndim: int, given: int, channels: int) -> Array:
    """Fill the first `given` frames of windows (b, t, *s, c); later NaN marks absent targets.

    Predicted are the first `channels`. A window whose given frames have no observed value of one of
    them keeps no target.
    """
    start = fill(u[:, :given], ndim)
    empty = jnp.isnan(start)
    lost = jnp.any(empty, tuple(range(1, u.ndim)), keepdims=True)
    later = jnp.where(lost, jnp.nan, u[:, given:, ..., :channels])
    later = jnp.concatenate([later, u[:, given:, ..., channels:]], -1)
    return jnp.concatenate([jnp.where(empty, 0, start), later], 1)


def check_values(
    u: np.ndarray,
    samples: np.ndarray,
    *,
    missing: str = REFUSE,
    inputs: int = 0,
    lengths: Any = None,
    time_stride: int = 1,
    after: int = 0,
    name: str = "sample",
) -> None:
    """Raise ValueError at the first place of u (n, t, *s, c) whose value cannot be used.

    That is NaN or infinity in the frames of each trajectory, by default in all of them. With
    `missing` "mask", NaN is allowed in all but the last `inputs` channels, if each of these has an
    observed value in frame 0 and there is one later than frame `after`, where forecasts begin.
    """
    lookup(MISSING, missing, "value of data.missing:")
    bad = ~np.isfinite(u)
    if lengths is not None:
        bad &= _in_trajectory(u, lengths)
    c = u.shape[-1] - inputs
    if missing == MASK:
        bad[..., :c] &= ~np.isnan(u[..., :c])
    broken = bad.any(axis=tuple(range(1, u.ndim)))
    if broken.any():
        at = int(np.argmax(broken))
        frame, *place, channel = np.argwhere(bad[at])[0].tolist()
        what, remedy = "NaN or infinity", "fill the gaps, or mask NaN by data.missing=mask"
        if missing == MASK:
            what = "NaN in an input" if np.isnan(u[at][(frame, *place, channel)]) else "infinity"
            remedy = "fill the gaps; only NaN in predicted channels can be masked"
        raise ValueError(
            f"{name} {samples[at]} holds {what} in float32, first in frame "
            f"{frame * time_stride} at point {tuple(place)} of channel {channel}; "
            f"{broken.sum()} of {len(u)} samples read so far: exclude them, {remedy}"
        )
    if missing == MASK:
        _check_observed(u[..., :c], samples, lengths, after, name)


def _check_observed(
    u: np.ndarray, samples: np.ndarray, lengths: Any, after: int, name: str
) -> None:
    """Raise ValueError at the first trajectory that cannot start, or has nothing to predict."""
    observed = ~np.isnan(u)
    if lengths is not None:
        observed &= _in_trajectory(u, lengths)
    seen = np.asarray(observed.any(axis=tuple(range(2, u.ndim - 1))))
    absent, ended = ~seen[:, 0], ~seen[:, after + 1 :].any(axis=(1, 2))
    if absent.any():
        at, channel = np.argwhere(absent)[0].tolist()
        where = f"of channel {channel} in frame 0, where its forecasts start"
        where = where if seen[at].any() else "in any frame"
        raise ValueError(f"{name} {samples[at]} has no observed value {where}; exclude it")
    if ended.any():
        at = int(np.argmax(ended))
        raise ValueError(
            f"{name} {samples[at]} has no observed value after frame {after}, so nothing to "
            "predict; exclude it"
        )


def _in_trajectory(u: np.ndarray, lengths: Any) -> np.ndarray:
    """Return where a frame is no padding, (n, t, 1, ...) for u (n, t, ...)."""
    own = np.arange(u.shape[1]) < np.asarray(lengths)[:, None]
    return own.reshape(*own.shape, *(1,) * (u.ndim - 2))


def check_trajectories(
    data: Trajectories, missing: str, *, after: int = 0, name: str = "sample"
) -> None:
    """Raise ValueError as `check_values`; fields on disk were checked when they were copied."""
    if hasattr(data.u, "rows"):
        if missing == REFUSE and getattr(data.u, "missing", REFUSE) != REFUSE:
            raise ValueError(
                f"the data were read with missing={data.u.missing!r}, which the emulator does not "  # pyright: ignore[reportAttributeAccessIssue]
                "take; build it with the same, or read them without"
            )
        return
    inputs = len(data.channels) - len(data.predicted)
    for rows, u in _blocks(data):
        lengths = None if data.lengths is None else data.lengths[rows]
        given: Any = dict(missing=missing, inputs=inputs, lengths=lengths, after=after, name=name)
        check_values(u, rows, **given)


def missing_share(data: Trajectories) -> float:
    """Return the share of NaN among the values to predict, padding left out."""
    total = absent = 0
    for rows, u in _blocks(data):
        gaps = np.isnan(u[..., : len(data.predicted)])
        if data.lengths is not None:
            gaps = gaps[np.broadcast_to(_in_trajectory(gaps, data.lengths[rows]), gaps.shape)]
        total, absent = total + gaps.size, absent + int(gaps.sum())
    return absent / total


def _blocks(data: Trajectories) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield samples (m,) and their fields (m, t, *s, c)."""
    rows = block_rows(data.u.shape)
    for first in range(0, len(data), rows):
        u = np.asarray(data.u[first : first + rows])
        yield np.arange(first, first + len(u)), u


def check_maskable(missing: str, pde: PDE, parts: dict[str, Any]) -> None:
    """Raise ValueError on an unknown name, and on `parts` of an emulator that need whole fields."""
    lookup(MISSING, missing, "value of missing:")
    unsupported = [name for name, part in parts.items() if part not in (None, False, "identity")]
    unsupported += ["pairs of a static problem"] if pde.steady else []
    if missing == MASK and unsupported:
        raise ValueError(
            f"missing values are masked, but {', '.join(unsupported)} of pde {pde.name!r} need "
            "whole fields; leave these out, or fill the gaps and use missing='refuse'"
        )
