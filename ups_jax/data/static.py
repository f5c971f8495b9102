"""Static channels: inputs of a network, such as masks and coefficients, that are not predicted."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ups_jax.data.stored import Stored, pair_frames
from ups_jax.types import Trajectories


def with_static(data: Trajectories, **fields: Any) -> Trajectories:
    """Return trajectories with further static channels: each (*s), or (n, *s) of its own samples.

    Raises ValueError on another shape.
    """
    u, count = np.asarray(data.u), len(data.channels) - len(data.forcing)
    parts = [
        expand(name, np.asarray(x), u.shape)[..., None].astype(u.dtype)
        for name, x in fields.items()
    ]
    return replace(
        data,
        u=np.concatenate([u[..., :count], *parts, u[..., count:]], -1),
        channels=(*data.channels[:count], *fields, *data.forcing),
        static=(*data.static, *fields),
    )


def pairs(a: Any, u: Any, *, static: Sequence[str] = (), **stated: Any) -> Trajectories:
    """Return a static problem a (n, *s, e) -> u (n, *s, c) as trajectories of one step from zero.

    `static` names the channels of a, `stated` are further arguments of Trajectories, such as
    `channels` of u and `extent`.
    """
    a, u = np.asarray(a), np.asarray(u)
    if a.shape[:-1] != u.shape[:-1] or u.ndim not in (3, 4):
        raise ValueError(
            f"a has shape {a.shape} and u {u.shape}; expected (n, *s, e) and (n, *s, c) with one "
            "or two space axes; add a channel axis with a[..., None]"
        )
    names = tuple(static) or tuple(f"a{i}" for i in range(a.shape[-1]))
    channels = tuple(stated.pop("channels", ())) or tuple(f"u{i}" for i in range(u.shape[-1]))
    return Trajectories(
        pair_frames(a, u), channels=(*channels, *names), static=names, steady=True, **stated
    )


def expand(name: str, field: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return a field (*s) or (n, *s) at every frame (n, t, *s) of fields of `shape`."""
    n, frames, *points, _ = shape
    _check_shape(name, field, shape)
    field = np.broadcast_to(field, (n, *points))
    return np.broadcast_to(field[:, None], (n, frames, *points))


def _check_shape(name: str, field: Any, shape: Sequence[int]) -> None:
    n, _, *points, _ = shape
    if field.shape not in (tuple(points), (n, *points)) or field.dtype.kind not in "fiub":
        raise ValueError(
            f"static {name} holds {field.shape} {field.dtype}; expected numbers of shape "
            f"{tuple(points)} or {(n, *points)}"
        )


def select_static(stored: Stored, names: Sequence[str]) -> Stored:
    """Return stored fields with the named channels last, as static; others may lack a time axis.

    A file may name its own. Raises ValueError on a name that it does not have.
    """
    names = tuple(dict.fromkeys((*names, *stored.static)))
    if not names:
        return stored
    count = stored.shape[-1]
    numbered = tuple(f"u{i}" for i in range(count))
    channels = stored.channels if len(stored.channels) == count else numbered
    known = (*channels, *stored.constants)
    for name in names:
        if name not in known:
            raise ValueError(
                f"data.static names {name!r}; the file has the channels {', '.join(channels)} and "
                f"the fields without time {', '.join(stored.constants) or 'none'}"
            )
        if name not in channels:
            _check_shape(name, stored.constants[name], stored.shape)
    moving = [name for name in channels if name not in names]
    if not moving:
        raise ValueError(f"data.static is {names}: no channel is left to predict")
    order = [*moving, *names]

    def read(first: int, last: int) -> np.ndarray:
        block = stored.read(first, last)
        shape = (len(block), *block.shape[1:-1], 1)
        parts = {name: block[..., i] for i, name in enumerate(channels)}
        for name in names:
            if name not in channels:
                parts[name] = expand(name, _rows(stored, name, first, last), shape)
        return np.stack([parts[name] for name in order], -1)

    return stored._replace(
        read=read,
        shape=(*stored.shape[:-1], len(order)),
        channels=tuple(order),
        static=names,
        unused=tuple(name for name in stored.unused if name not in names),
    )


def _rows(stored: Stored, name: str, first: int, last: int) -> np.ndarray:
    """Return a field without time (*s) or (n, *s), of samples first to last - 1."""
    field = stored.constants[name]
    return np.asarray(field[first:last] if field.ndim == len(stored.shape) - 2 else field)


def check_static(u: np.ndarray, samples: np.ndarray, channels: Sequence[str], count: int) -> None:
    """Raise ValueError at the first place where the last `count` channels change in time."""
    if not count:
        return
    moved = u[..., -count:] != u[:, :1, ..., -count:]
    if moved.any():
        sample, frame, *place, channel = np.argwhere(moved)[0].tolist()
        raise ValueError(
            f"static channel {channels[channel - count]!r} of sample {samples[sample]} changes at "
            f"frame {frame}, point {tuple(place)}; static channels are constant in time"
        )
