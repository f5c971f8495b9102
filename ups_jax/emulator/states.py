"""The state of a rollout: predicted channels, those of the frames before, static channels.

A frame of data has the predicted and the static channels (c + e); an emulator with `history` k
advances states with k c + e channels.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from ups_jax.data import normalize
from ups_jax.pde.base import PDE, Symmetry
from ups_jax.types import Array, Key, Params

if TYPE_CHECKING:
    from ups_jax.emulator.base import Emulator


def state_channels(pde: PDE, history: int) -> int:
    """Return the number of channels of a state."""
    return history * len(pde.channels) + len(pde.static)


def operator_inputs(emulator: "Emulator") -> list[str]:
    """Return what each input channel of an operator is, in their order."""
    channels = range(len(emulator.pde.channels))
    past = [f"channel {i} ({j} before)" for j in range(emulator.history) for i in channels]
    base = [f"base step of channel {i}" for i in channels if emulator.base is not None]
    return [*past, *(f"static {name}" for name in emulator.pde.static), *base]


def predicted(emulator: "Emulator", u: Array) -> Array:
    """Return the channels of a frame or a state that are predicted: (..., *s, c)."""
    c = len(emulator.pde.channels)
    return u if u.shape[-1] == c else u[..., :c]


def last_frame(emulator: "Emulator", state: Array) -> Array:
    """Return a state's last frame with its static channels: (..., *s, c + e)."""
    if emulator.history == 1:
        return state
    static = state[..., emulator.history * len(emulator.pde.channels) :]
    return jnp.concatenate([predicted(emulator, state), static], -1)


def states(emulator: "Emulator", u: Array) -> Array:
    """Return the state of every frame (..., t, *s, c + e) -> (..., t, *s, k c + e).

    Frames before the first one are copies of it.
    """
    c, axis = len(emulator.pde.channels), u.ndim - 2 - emulator.pde.ndim
    if emulator.history == 1:
        return u
    times, fields = jnp.arange(u.shape[axis]), predicted(emulator, u)
    past = [jnp.take(fields, jnp.maximum(times - j, 0), axis) for j in range(emulator.history)]
    return jnp.concatenate([*past, u[..., c:]], -1)


def of_windows(
    emulator: "Emulator", function: Callable[[Params, Mapping[str, Array], Key], Any]
) -> Callable[[Params, Mapping[str, Array], Key], Any]:
    """Return a function of batches of windows, from one of states: history - 1 frames precede."""

    def run(params: Params, batch: Mapping[str, Array], key: Key) -> Any:
        u = states(emulator, batch["u"])[:, emulator.history - 1 :]
        return function(params, {**batch, "u": u}, key)

    return run


def on_states(emulator: "Emulator", symmetry: Symmetry) -> Symmetry:
    """Return a symmetry of states, also of several along the channels, from one of frames."""
    c, k = len(emulator.pde.channels), emulator.history
    width = state_channels(emulator.pde, k)

    def change(key: Key, u: Array, cond: Array) -> tuple[Array, Array]:
        parts, moved_cond = [], cond
        for start in range(0, u.shape[-1], width):
            state = u[..., start : start + width]
            for j in range(k):
                frame = jnp.concatenate([state[..., j * c : (j + 1) * c], state[..., k * c :]], -1)
                moved, moved_cond = symmetry(key, frame, cond)
                parts.append(moved if j == k - 1 else moved[..., :c])
        return jnp.concatenate(parts, -1), moved_cond

    return change


def initial_state(emulator: "Emulator", frame: Array) -> Array:
    """Return the state after a single frame (..., *s, c + e), repeated; states are kept."""
    pde = emulator.pde
    if frame.shape[-1] == state_channels(pde, emulator.history):
        return frame
    time = frame.ndim - 1 - pde.ndim
    return jnp.squeeze(states(emulator, jnp.expand_dims(frame, time)), time)


def next_state(emulator: "Emulator", state: Array, u_next: Array) -> Array:
    """Return the state that follows one with a predicted frame (..., *s, c)."""
    c, k = len(emulator.pde.channels), emulator.history
    if state.shape[-1] == c:
        return u_next
    kept = jnp.concatenate([state[..., : (k - 1) * c], state[..., k * c :]], -1)
    kept = jnp.broadcast_to(kept, (*u_next.shape[:-1], kept.shape[-1]))
    return jnp.concatenate([u_next, kept], -1)


def normalize_state(emulator: "Emulator", stats: Params, state: Array) -> Array:
    """Return (u - mean) / std for each channel of a state, with the statistics of a frame."""
    c, k = len(emulator.pde.channels), emulator.history
    if k > 1:
        scales = {name: stats[name] for name in ("mean", "std")}
        stats = {n: jnp.concatenate([jnp.tile(x[:c], k), x[c:]]) for n, x in scales.items()}
    return normalize(stats, state)
