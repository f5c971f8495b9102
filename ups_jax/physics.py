"""Physics diagnostics of fields, without the truth: laws, spectra, PDE residual, boundary jump."""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp

from ups_jax.arrays import is_floored, rms, safe_ratio, spatial_axes
from ups_jax.pde.base import PDE, Law
from ups_jax.pde.laws import law_floor
from ups_jax.pde.spectral import wavenumber_shells
from ups_jax.types import Array


def violation(
    law: Law, initial: Array, frames: Array, ndim: int, *, floor: Array | float = 0.0
) -> Array:
    """Violation of a law in each frame: initial (b, *s, c), frames (b, t, *s, c) -> (b, t), >= 0.

    conserved: |v_t - v_0|; bounded: max(0, v_t - v_0); decaying: max(0, v_t - v_{t-1}). v_0 is the
    value of the initial frame. The violation is divided by the law's scale of the initial frame,
    or by its `law_floor`, the larger.
    """
    values = law.value(_prepend(initial, frames, ndim))
    now, start = values[..., 1:], values[..., :1]
    if law.kind == "conserved":
        excess = jnp.abs(now - start)
    else:
        excess = jnp.maximum(0.0, now - (values[..., :-1] if law.kind == "decaying" else start))
    return safe_ratio(excess, law.scale(initial)[..., None], law_floor(law, initial, floor, ndim))


def diagnostics(
    pde: PDE, initial: Array, frames: Array, cond: Array, *, floor: Array | float = 0.0
) -> dict[str, Array]:
    """Physics metrics of a forecast: initial (b, *s, c), frames (b, t, *s, c) -> each (b, t).

    The keys are `Law.metric` (the maximum of the laws that share it), `boundary_jump`,
    `pde_residual` of a PDE that has one, and `floored`, 1 where the initial frame is below the
    `floor` of `law_floor`. There is no `boundary_jump` without a periodic axis, and nothing of a
    steady problem. All values are relative to the initial frame, and zero is best. A shock at the
    boundary or a coarse grid makes the value of the truth positive, so report it as a reference.
    """
    values: dict[str, Array] = {}
    if pde.steady:
        return values
    low = jnp.any(is_floored(rms(initial, pde.ndim), floor), -1)
    for law in pde.laws.values():
        value = violation(law, initial, frames, pde.ndim, floor=floor)
        shared = values.get(law.metric)
        values[law.metric] = value if shared is None else jnp.maximum(shared, value)
        low |= is_floored(law.scale(initial), law_floor(law, initial, floor, pde.ndim))
    if any(pde.periodic):
        values["boundary_jump"] = boundary_jump(
            initial, frames, pde.ndim, floor=floor, periodic=pde.periodic
        )
    if pde.has("residual"):
        values["pde_residual"] = pde_residual(pde, initial, frames, cond, floor=floor)
    like = frames[(..., *(0,) * (pde.ndim + 1))]
    values["floored"] = jnp.broadcast_to(low[..., None], like.shape).astype(like.dtype)
    return values


def diagnostic_names(pde: PDE) -> list[str]:
    """List the keys of `diagnostics`, without computing any."""
    if pde.steady:
        return []
    laws = (law.metric for law in pde.laws.values())
    jump = ["boundary_jump"] if any(pde.periodic) else []
    residual = ["pde_residual"] if pde.has("residual") else []
    return list(dict.fromkeys([*laws, *jump, *residual, "floored"]))


def boundary_jump(
    initial: Array,
    frames: Array,
    ndim: int,
    *,
    floor: Array | float = 0.0,
    periodic: Sequence[bool] = (),
) -> Array:
    """|first - last cell| across the periodic boundary over the initial frame's RMS. -> (b, t).

    RMS along the boundary in two dimensions; mean over the `periodic` axes, all by default, and
    over channels.
    """
    jumps = []
    for axis, free in zip(spatial_axes(ndim), periodic or (True,) * ndim, strict=True):
        if not free:
            continue
        first, last = (jnp.take(frames, jnp.array([i]), axis) for i in (0, frames.shape[axis] - 1))
        jumps.append(rms(first - last, ndim))
    jump = sum(jumps[1:], jumps[0]) / len(jumps)
    return jnp.mean(safe_ratio(jump, rms(initial, ndim)[..., None, :], floor), -1)


def pde_residual(
    pde: PDE, initial: Array, frames: Array, cond: Array, *, floor: Array | float = 0.0
) -> Array:
    """RMS of `PDE.residual` of each pair of frames, times dt over the initial RMS. -> (b, t)."""
    trajectory = _prepend(initial, frames, pde.ndim)
    axis = frames.ndim - 2 - pde.ndim
    steps = frames.shape[axis]
    cond = jnp.broadcast_to(cond[..., None, :], (*cond.shape[:-1], steps, cond.shape[-1]))
    before = jax.lax.slice_in_dim(trajectory, 0, steps, axis=axis)
    size = rms(pde.residual(before, frames, cond), pde.ndim) * pde.dt
    return jnp.mean(safe_ratio(size, rms(initial, pde.ndim)[..., None, :], floor), -1)


def energy_spectrum(u: Array, ndim: int, *, boundary: Sequence[str] = ()) -> Array:
    """Energy at each integer wavenumber k, summed over channels: (..., *s, c) -> (..., k).

    The sum over k is the mean energy: half the spatial mean of u^2, summed over channels
    (Parseval). In two dimensions a wavenumber is a ring k <= |k| < k + 1, in periods of each axis.
    Between boundaries that are not periodic, u is extended as by `finite_volume.extend`: half
    periods fit, and k includes those of k + 1/2.
    """
    axes = spatial_axes(ndim)
    boundary = boundary or ("periodic",) * ndim
    periodic = [name == "periodic" for name in boundary]
    shells, count = wavenumber_shells(u.shape[-1 - ndim : -1], periodic=periodic)
    for axis, name in zip(axes, boundary, strict=True):
        if name != "periodic":
            mirrored = jnp.flip(u, axis)
            u = jnp.concatenate([u, -mirrored if name == "dirichlet" else mirrored], axis)
    shape = u.shape[-1 - ndim : -1]
    power = jnp.sum(jnp.square(jnp.abs(jnp.fft.fftn(u, axes=axes) / prod(shape))), -1)
    half = 0.5 * power.reshape(*power.shape[:-ndim], -1)
    return jnp.zeros((*half.shape[:-1], count), half.dtype).at[..., shells.ravel()].add(half)


def law_values(pde: PDE, frames: Array) -> dict[str, Array]:
    """Values of the functional of each law in time: frames (b, t, *s, c) -> each (b, t)."""
    return {name: law.value(frames) for name, law in pde.laws.items()}


def _prepend(initial: Array, frames: Array, ndim: int) -> Array:
    axis = frames.ndim - 2 - ndim
    return jnp.concatenate([jnp.expand_dims(initial, axis), frames], axis)
