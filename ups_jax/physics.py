"""What physics says of given fields, without the truth: laws, spectra, residuals, the seam."""

from math import prod

import jax
import jax.numpy as jnp

from ups_jax.arrays import rms, safe_ratio, spatial_axes
from ups_jax.pde.base import PDE, Law, wavenumber_shells
from ups_jax.types import Array


def violation(law: Law, given: Array, path: Array, ndim: int) -> Array:
    """How far each frame breaks a law: given (b, *s, c), path (b, t, *s, c) -> (b, t), at least 0.

    conserved: |v_t - v_given|; bounded: max(0, v_t - v_given); decaying: max(0, v_t - v_{t-1}),
    the first frame against the given one. Divided by the law's scale of the given frame, or by the
    smallest normal float where that is zero.
    """
    value = law.value(_join(given, path, ndim))
    now, start = value[..., 1:], value[..., :1]
    if law.kind == "conserved":
        excess = jnp.abs(now - start)
    elif law.kind == "decaying":
        excess = jnp.maximum(0.0, now - value[..., :-1])
    else:
        excess = jnp.maximum(0.0, now - start)
    return safe_ratio(excess, law.scale(given)[..., None])


def diagnostics(pde: PDE, given: Array, path: Array, cond: Array) -> dict[str, Array]:
    """Every physics metric of a forecast: given (b, *s, c), path (b, t, *s, c) -> each (b, t).

    One entry a `Law.metric` (the largest of the laws that share it), `boundary_jump` and
    `pde_residual`. All are relative to the given frame and zero is best, but a shock on the seam
    or a coarse grid makes the truth's own value positive: print it beside them.
    """
    out: dict[str, Array] = {}
    for law in pde.laws.values():
        value = violation(law, given, path, pde.ndim)
        out[law.metric] = jnp.maximum(out[law.metric], value) if law.metric in out else value
    out["boundary_jump"] = boundary_jump(given, path, pde.ndim)
    out["pde_residual"] = pde_residual(pde, given, path, cond)
    return out


def boundary_jump(given: Array, path: Array, ndim: int) -> Array:
    """|first - last cell| across the periodic seam over the given frame's RMS. -> (b, t).

    RMS along the seam in two dimensions; mean over axes and channels.
    """
    jumps = []
    for axis in range(-1 - ndim, -1):
        first, last = (jnp.take(path, jnp.array([i]), axis) for i in (0, path.shape[axis] - 1))
        jumps.append(rms(first - last, ndim))
    return jnp.mean(safe_ratio(sum(jumps[1:], jumps[0]) / ndim, rms(given, ndim)[..., None, :]), -1)


def pde_residual(pde: PDE, given: Array, path: Array, cond: Array) -> Array:
    """RMS of `PDE.residual` of each frame pair, times dt over the given frame's RMS. -> (b, t)."""
    frames = _join(given, path, pde.ndim)
    axis = frames.ndim - 2 - pde.ndim
    steps = path.shape[axis]
    cond = jnp.broadcast_to(cond[..., None, :], (*cond.shape[:-1], steps, cond.shape[-1]))
    before = jax.lax.slice_in_dim(frames, 0, steps, axis=axis)
    size = rms(pde.residual(before, path, cond), pde.ndim) * pde.dt
    return jnp.mean(safe_ratio(size, rms(given, pde.ndim)[..., None, :]), -1)


def energy_spectrum(u: Array, ndim: int) -> Array:
    """Energy at each whole wavenumber k, summed over channels: (..., *s, c) -> (..., k).

    The sum over k is the mean energy: half the spatial mean of u^2, summed over channels
    (Parseval). In two dimensions a wavenumber is a ring k <= |k| < k + 1, counted in whole periods.
    """
    axes = spatial_axes(ndim)
    shape = u.shape[-1 - ndim : -1]
    power = jnp.sum(jnp.square(jnp.abs(jnp.fft.fftn(u, axes=axes) / prod(shape))), -1)
    half = 0.5 * power.reshape(*power.shape[:-ndim], -1)
    shell, count = wavenumber_shells(shape)
    return jnp.zeros((*half.shape[:-1], count), half.dtype).at[..., shell.ravel()].add(half)


def law_values(pde: PDE, path: Array) -> dict[str, Array]:
    """The value of every law's functional in time: path (b, t, *s, c) -> each (b, t)."""
    return {name: law.value(path) for name, law in pde.laws.items()}


def _join(given: Array, path: Array, ndim: int) -> Array:
    axis = path.ndim - 2 - ndim
    return jnp.concatenate([jnp.expand_dims(given, axis), path], axis)
