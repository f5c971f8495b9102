"""The state of a rollout: predicted channels, those of the frames before, static ones, forcing.

A frame of data has predicted, static and forcing channels (c + e + f); an emulator with `history` k
advances states with k c + e channels and the forcing of m frames, the current one first: m f more.
A network sees the forcing of the first two, those of the frames that its step leads from and to. A
step drops the first and repeats the last one, so that all states of a rollout have one shape.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from ups_jax.data import normalize
from ups_jax.data.missing import MASK, fill
from ups_jax.pde.base import PDE, Symmetry
from ups_jax.types import Array, Key, Params

if TYPE_CHECKING:
    from ups_jax.emulator.base import Emulator


def state_channels(pde: PDE, history: int) -> int:
    """Return the number of channels of a state that a network sees."""
    return history * len(pde.channels) + len(pde.static) + 2 * len(pde.forcing)


def rollout_channels(pde: PDE, history: int, steps: int) -> int:
    """Return the number of channels of the state that a rollout of `steps` starts from."""
    return state_channels(pde, history) + (steps - 1) * len(pde.forcing)


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
    """Return the state of every frame (..., t, *s, c + e + f) -> (..., t, *s, k c + e + 2 f).

    Frames before the first one, and forcing after the last one, are copies of it.
    """
    c, axis = len(emulator.pde.channels), u.ndim - 2 - emulator.pde.ndim
    if emulator.history == 1 and not emulator.pde.forcing:
        return u
    times, fields = jnp.arange(u.shape[axis]), predicted(emulator, u)
    past = [jnp.take(fields, jnp.maximum(times - j, 0), axis) for j in range(emulator.history)]
    if not emulator.pde.forcing:
        return jnp.concatenate([*past, u[..., c:]], -1)
    known = u[..., -len(emulator.pde.forcing) :]
    after = jnp.take(known, jnp.minimum(times + 1, times[-1]), axis)
    return jnp.concatenate([*past, u[..., c:], after], -1)


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
    c, k, f = len(emulator.pde.channels), emulator.history, len(emulator.pde.forcing)
    width = state_channels(emulator.pde, k)

    def change(key: Key, u: Array, cond: Array) -> tuple[Array, Array]:
        parts, moved_cond = [], cond
        for start in range(0, u.shape[-1], width):
            state = u[..., start : start + width]
            inputs = state[..., k * c : width - f]
            for j in range(k):
                frame = jnp.concatenate([state[..., j * c : (j + 1) * c], inputs], -1)
                moved, moved_cond = symmetry(key, frame, cond)
                parts.append(moved if j == k - 1 else moved[..., :c])
            if f:
                frame = jnp.concatenate([state[..., :c], inputs[..., :-f], state[..., -f:]], -1)
                parts.append(symmetry(key, frame, cond)[0][..., -f:])
        return jnp.concatenate(parts, -1), moved_cond

    return change


def initial_state(emulator: "Emulator", frame: Array) -> Array:
    """Return the state after a single frame (..., *s, c + e + f), repeated; states are kept."""
    pde = emulator.pde
    if frame.shape[-1] == state_channels(pde, emulator.history) or (
        pde.forcing and frame.shape[-1] != len(pde.fields)
    ):
        return frame
    time = frame.ndim - 1 - pde.ndim
    return jnp.squeeze(states(emulator, jnp.expand_dims(frame, time)), time)


def fill_frames(emulator: "Emulator", u: Array) -> Array:
    """Return frames (..., t, *s, c + e + f) with `fill`ed predicted channels, if NaN is masked."""
    c = len(emulator.pde.channels)
    if emulator.missing != MASK:
        return u
    return jnp.concatenate([fill(u[..., :c], emulator.pde.ndim), u[..., c:]], -1)


def fill_state(emulator: "Emulator", state: Array) -> Array:
    """Return a state (..., *s, k c + ...) with its frames `fill`ed, if NaN is masked."""
    if emulator.missing != MASK:
        return state
    c, k, ndim = len(emulator.pde.channels), emulator.history, emulator.pde.ndim
    time = state.ndim - 1 - ndim
    # The newest frame of a state is its first.
    frames = [state[..., j * c : (j + 1) * c] for j in reversed(range(k))]
    filled = fill(jnp.stack(frames, time), ndim)
    newest_first = [jnp.take(filled, j, time) for j in reversed(range(k))]
    return jnp.concatenate([*newest_first, state[..., k * c :]], -1)


def next_state(emulator: "Emulator", state: Array, u_next: Array) -> Array:
    """Return the state that follows one with a predicted frame (..., *s, c)."""
    c, k = len(emulator.pde.channels), emulator.history
    if state.shape[-1] == c:
        return u_next
    parts = [state[..., : (k - 1) * c], state[..., k * c :]]
    if f := len(emulator.pde.forcing):
        static, queue = jnp.split(parts[1], [len(emulator.pde.static)], -1)
        parts[1:] = [static, queue[..., f:], queue[..., -f:]]
    kept = jnp.concatenate(parts, -1)
    kept = jnp.broadcast_to(kept, (*u_next.shape[:-1], kept.shape[-1]))
    return jnp.concatenate([u_next, kept], -1)


def normalize_state(emulator: "Emulator", stats: Params, state: Array) -> Array:
    """Return (u - mean) / std of what a network sees of a state, with the statistics of a frame.

    Raises ValueError on a state without the forcing of two frames.
    """
    c, k, f = len(emulator.pde.channels), emulator.history, len(emulator.pde.forcing)
    if k > 1 or f:
        scales = {name: stats[name] for name in ("mean", "std")}
        more = {n: [x[-f:]] if f else [] for n, x in scales.items()}
        stats = {
            n: jnp.concatenate([jnp.tile(x[:c], k), x[c:], *more[n]]) for n, x in scales.items()
        }
    if f and state.shape[-1] < state_channels(emulator.pde, k):
        raise ValueError(
            f"a state of {state.shape[-1]} channels lacks the forcing of the frame after it; a "
            f"step takes {state_channels(emulator.pde, k)} channels, as ups.states returns them"
        )
    return normalize(stats, seen(emulator, state))


def seen(emulator: "Emulator", state: Array) -> Array:
    """Return what a network sees of a state: the forcing of two frames, none of later ones."""
    if not emulator.pde.forcing:
        return state
    return state[..., : state_channels(emulator.pde, emulator.history)]


def own_channels(emulator: "Emulator") -> int:
    """Return the channels of a state before its forcing."""
    return emulator.history * len(emulator.pde.channels) + len(emulator.pde.static)


def forcing_of(emulator: "Emulator", u: Array) -> Array:
    """Return the forcing of a frame, or of m frames that a state has: (..., *s, m, f)."""
    pde = emulator.pde
    is_frame = u.shape[-1] == len(pde.fields)
    first = len(pde.fields) - len(pde.forcing) if is_frame else own_channels(emulator)
    return u[..., first:].reshape(*u.shape[:-1], -1, len(pde.forcing))


def with_forcing(emulator: "Emulator", state: Array, forcing: Array) -> Array:
    """Return a frame or state (b, *s, ...) as the state with the forcing (b, m, *s, f) of m frames.

    The first of them is the forcing of the frame itself.
    """
    own = initial_state(emulator, state)[..., : own_channels(emulator)]
    queue = jnp.moveaxis(forcing, 1, -2)
    return jnp.concatenate([own, queue.reshape(*queue.shape[:-2], -1)], -1)


def first_state(emulator: "Emulator", u: Array) -> Array:
    """Return the first of frames or states (b, t, *s, ...), with the forcing of all of them."""
    return with_later_forcing(emulator, u[:, 0], u)


def with_later_forcing(emulator: "Emulator", state: Array, u: Array, start: int = 0) -> Array:
    """Return the state of frame `start` of u (b, t, *s, ...), frames or states, with its forcing.

    That is the forcing of t frames from there; frames beyond the last one are copies of it, so that
    forecasts from every frame have one shape. Without forcing, the state is returned as it is.
    """
    if not emulator.pde.forcing:
        return state
    times = jnp.minimum(start + jnp.arange(u.shape[1]), u.shape[1] - 1)
    known = forcing_of(emulator, u)[..., 0, :]
    return with_forcing(emulator, state, jnp.take(known, times, 1))
