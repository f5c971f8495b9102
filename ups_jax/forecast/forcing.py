"""Starts of forecasts: frames or states with the forcing of all frames up to the horizon."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ups_jax.arrays import as_float32
from ups_jax.data.forcing import expand_forcing
from ups_jax.data.missing import MASK
from ups_jax.emulator import Emulator, fill_frames, fill_state, initial_state, with_forcing
from ups_jax.emulator.states import forcing_of, own_channels
from ups_jax.types import Array


def input_channels(emulator: Emulator, width: int) -> int:
    """Return the channels that u0 must have, which are `width` if it is a frame or a state."""
    pde = emulator.pde
    more, f = width - own_channels(emulator), len(pde.forcing)
    is_state = more % f == 0 and more >= f if f else more == 0
    return width if is_state else len(pde.fields)


def check_start(emulator: Emulator, u0: Any) -> None:
    """Raise ValueError at the first value of u0 (b, *s, ...) that no forecast can start from.

    NaN in a predicted channel is one unless the emulator masks it, and then where the channel has
    no observed value. Traced values, and arrays of several processes, are not known.
    """
    if isinstance(u0, Tracer) or not getattr(u0, "is_fully_addressable", True):
        return
    values = np.asarray(u0)
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    masks, filled = emulator.missing == MASK, values
    width, fields = values.shape[-1], len(emulator.pde.fields)
    if masks and width in (fields, fields - len(emulator.pde.forcing)):
        filled = np.asarray(fill_frames(emulator, jnp.asarray(values)[:, None])[:, 0])
    elif masks and width == input_channels(emulator, width):
        filled = np.asarray(fill_state(emulator, jnp.asarray(values)))
    if not np.isfinite(filled).all():
        place = tuple(np.argwhere(~np.isfinite(filled))[0].tolist())
        what = "infinity, NaN in an input, or no observed value of a channel"
        what = what if masks else "NaN or infinity"
        remedy = "give finite values" + ", or build the emulator with missing='mask'" * (not masks)
        raise ValueError(f"u0 holds {what}, first at {place} (sample, point, channel); {remedy}")


def start_state(emulator: Emulator, u0: Array, forcing: Any, *, steps: int) -> Array:
    """Return a frame or state u0 (b, *s, ...) as the state that a forecast of `steps` starts from.

    `forcing` of the frames after u0, at least `steps` of them, is (b, m, *s, f) or, constant in
    space, (b, m, f); with one channel, the last axis may be absent. A state may have it instead.
    Raises ValueError where it is too short, of another shape, not finite or not taken.
    """
    names = emulator.pde.forcing
    if not names:
        if forcing is not None:
            raise ValueError(
                f"forcing is given, but the emulator of pde {emulator.pde.name!r} takes none; "
                "leave it out"
            )
        return initial_state(emulator, u0)
    f, queue = len(names), jnp.moveaxis(forcing_of(emulator, u0), -2, 1)
    if forcing is not None:
        after = _expanded(forcing, u0, names)
        queue = jnp.concatenate([queue[:, :1], as_float32(after)], 1)
    if queue.shape[1] <= steps:
        listed = ", ".join(names)
        raise ValueError(
            f"a forecast of {steps} steps needs the forcing {listed} of the {steps} frames after "
            f"u0, got {queue.shape[1] - 1}; give forcing of shape (b, {steps}, *s, {f})"
        )
    return with_forcing(emulator, u0, queue[:, : steps + 1])


def _expanded(forcing: Any, u0: Array, names: tuple[str, ...]) -> Any:
    """Return the forcing of later frames as (b, m, *s, f)."""
    values = forcing if isinstance(forcing, Tracer) else np.asarray(forcing)
    frames = values.shape[1] if values.ndim > 1 else 0
    expanded = expand_forcing("after u0", values, (len(u0), frames, *u0.shape[1:]))
    if expanded.shape[-1] != len(names):
        raise ValueError(
            f"forcing has {expanded.shape[-1]} channels; expected {len(names)}: {', '.join(names)}"
        )
    if not isinstance(values, Tracer) and not np.isfinite(expanded).all():
        raise ValueError("forcing holds NaN or infinity; a forecast needs finite numbers")
    return expanded
