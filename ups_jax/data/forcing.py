"""Forcing: inputs of a network that change in time and are known, such as sources and controls."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from ups_jax.types import Trajectories


def with_forcing(data: Trajectories, **fields: Any) -> Trajectories:
    """Return trajectories with further forcing at all of their frames.

    Each is (n, t, *s) or, constant in space, (n, t); with a last axis it has several components,
    name_0, name_1 and so on. Raises ValueError on another shape and on values that are not finite.
    """
    u, parts, names = np.asarray(data.u), [], []
    for name, field in fields.items():
        values = expand_forcing(name, np.asarray(field), u.shape).astype(u.dtype)
        bad = ~np.isfinite(values)
        if bad.any():
            sample, frame, *_ = np.argwhere(bad)[0].tolist()
            raise ValueError(
                f"forcing {name} of sample {sample} is not finite at frame {frame}; fill the gap"
            )
        parts.append(values)
        names += forcing_names(name, values.shape[-1])
    return replace(
        data,
        u=np.concatenate([u, *parts], -1),
        channels=(*data.channels, *names),
        forcing=(*data.forcing, *names),
    )


def forcing_names(name: str, count: int) -> list[str]:
    """Return the names of the components of a forcing."""
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def forcing_components(name: str, field: Any, shape: Sequence[int]) -> int:
    """Return the components of a forcing for fields of `shape` (n, t, *s, c).

    Raises ValueError unless it is (n, t), (n, t, k), (n, t, *s) or (n, t, *s, k).
    """
    n, frames, *points, _ = shape
    lead, rest = (n, frames), tuple(field.shape[2:])
    fits = field.shape[:2] == lead and field.dtype.kind in "fiub" and 0 not in field.shape
    on_grid = rest[: len(points)] == tuple(points)
    components = rest[len(points) :] if on_grid else rest
    if not fits or len(components) > 1:
        raise ValueError(
            f"forcing {name} holds {field.shape} {field.dtype}; expected numbers at all frames, "
            f"{lead} or {(*lead, *points)}, of several components with one more axis"
        )
    return components[0] if components else 1


def expand_forcing(name: str, field: Any, shape: Sequence[int]) -> Any:
    """Return a forcing as (n, t, *s, k) for fields of `shape`. ValueError on another shape."""
    n, frames, *points, _ = shape
    count = forcing_components(name, field, shape)
    on_grid = tuple(field.shape[2 : 2 + len(points)]) == tuple(points)
    between = points if on_grid else [1] * len(points)
    broadcast: Any = np.broadcast_to if isinstance(field, np.ndarray) else jnp.broadcast_to
    return broadcast(field.reshape(n, frames, *between, count), (n, frames, *points, count))
