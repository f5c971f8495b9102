"""Static channels, such as masks and coefficients, and the choice of a file's inputs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ups_jax.data.forcing import expand_forcing, forcing_components, forcing_names
from ups_jax.data.stored import Stored, decoded, pair_frames
from ups_jax.types import Trajectories
from ups_jax.values import names_of


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
    if a.shape[:-1] != u.shape[:-1] or u.ndim not in (3, 4, 5):
        raise ValueError(
            f"a has shape {a.shape} and u {u.shape}; expected (n, *s, e) and (n, *s, c) with one "
            "to three space axes; add a channel axis with a[..., None]"
        )
    names = names_of(static) or tuple(f"a{i}" for i in range(a.shape[-1]))
    channels = names_of(stated.pop("channels", ())) or tuple(f"u{i}" for i in range(u.shape[-1]))
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


def select_inputs(
    stored: Stored, static: Sequence[str] = (), forcing: Sequence[str] = ()
) -> Stored:
    """Return stored fields with the named channels last: those that are static, then forcing.

    Static fields may lack a time axis, forcing its space axes. A file may name its own. Raises
    ValueError on a name that it does not have, and on one for both.
    """
    both = [name for name in static if name in forcing]
    if both:
        raise ValueError(f"data.static and data.forcing both name {both[0]!r}; choose one of them")
    own = [name for name in stored.static if name not in forcing]
    static = tuple(dict.fromkeys((*static, *own)))
    forcing = tuple(dict.fromkeys((*forcing, *(x for x in stored.forcing if x not in static))))
    if not static and not forcing:
        return stored
    count = stored.shape[-1]
    numbered = tuple(f"u{i}" for i in range(count))
    channels = stored.channels if len(stored.channels) == count else numbered
    _check_names("static", static, channels, stored)
    _check_names("forcing", forcing, channels, stored)
    moving = [name for name in channels if name not in (*static, *forcing)]
    if not moving:
        names = f"data.static is {static}" + f", data.forcing {forcing}" * bool(forcing)
        raise ValueError(f"{names}: no channel is left to predict")
    widths = {name: 1 for name in channels}
    for name in (n for n in static if n not in channels):
        _check_shape(name, stored.further[name], stored.shape)
    for name in (n for n in forcing if n not in channels):
        widths[name] = forcing_components(name, stored.further[name], stored.shape)
    forced = [part for name in forcing for part in forcing_names(name, widths[name])]

    def read(first: int, last: int) -> np.ndarray:
        block = stored.read(first, last)
        shape = (len(block), *block.shape[1:-1], 1)
        parts = {name: block[..., i : i + 1] for i, name in enumerate(channels)}
        for name in (n for n in (*static, *forcing) if n not in channels):
            if name in static:
                parts[name] = expand(name, _rows(stored, name, first, last), shape)[..., None]
            else:
                field = stored.further[name]
                rows = decoded(field, np.asarray(field[first:last]))
                parts[name] = expand_forcing(name, rows, shape)
        return np.concatenate([parts[name] for name in (*moving, *static, *forcing)], -1)

    order = (*moving, *static, *forced)
    return stored._replace(
        read=read,
        shape=(*stored.shape[:-1], len(order)),
        channels=order,
        static=static,
        forcing=tuple(forced),
        unused=tuple(name for name in stored.unused if name not in (*static, *forcing)),
    )


def _check_names(key: str, names: Sequence[str], channels: Sequence[str], stored: Stored) -> None:
    what, further = {"static": "fields without time", "forcing": "arrays (n, t)"}, stored.further
    for name in names:
        if name not in (*channels, *further):
            in_time = {k: _in_time(x, stored.shape) for k, x in further.items()}
            others = [k for k, varies in in_time.items() if varies == (key == "forcing")]
            raise ValueError(
                f"data.{key} names {name!r}; the file has the channels {', '.join(channels)} and "
                f"the {what[key]} {', '.join(others) or 'none'}"
            )


def _in_time(array: Any, shape: Sequence[int]) -> bool:
    """Return whether an array has a value for every sample and frame of fields of `shape`."""
    return array.shape[:2] == tuple(shape[:2]) and array.shape != (shape[0], *shape[2:-1])


def _rows(stored: Stored, name: str, first: int, last: int) -> np.ndarray:
    """Return a field without time (*s) or (n, *s), of samples first to last - 1."""
    field = stored.further[name]
    rows = field[first:last] if field.ndim == len(stored.shape) - 2 else field
    return decoded(field, np.asarray(rows))


def check_static(u: np.ndarray, samples: np.ndarray, stored: Stored) -> None:
    """Raise ValueError at the first place of u (n, t, *s, c) where a static channel changes."""
    end = u.shape[-1] - len(stored.forcing)
    fields = u[..., end - len(stored.static) : end]
    moved = fields != fields[:, :1]
    if moved.any():
        sample, frame, *place, channel = np.argwhere(moved)[0].tolist()
        raise ValueError(
            f"static channel {stored.static[channel]!r} of sample {samples[sample]} changes at "
            f"frame {frame}, point {tuple(place)}; static channels are constant in time"
        )
