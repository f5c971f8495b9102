"""PDEBench's FitzHugh-Nagumo system in two dimensions, with no-flux walls and its random seeds."""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.pde import finite_volume as fv
from ups_jax.pde.base import PDE, Law, check_interval, grid_shape
from ups_jax.pde.symmetries import at_random, isotropic
from ups_jax.types import Array, Key

BOUNDARY = ("neumann", "neumann")
REACTION_SUBSTEP = 1 / 160
"""Longest substep; frames differ from the exact ones by 3e-4 on 128 cells at most."""
STABLE_DECAY = 2.5
"""Largest |h rate| of a decaying mode for which the fourth-order Runge-Kutta method is stable."""
INVARIANT = 1.44
"""Half width of the smallest square |u|, |v| <= m that no solution leaves, for |k| < .1."""


def make(
    *,
    points: Sequence[int] = (128, 128),
    cells: Sequence[int] = (128, 128),
    diffusion: Sequence[float] = (1e-3, 5e-3),
    k: float = 5e-3,
    dt: float = 0.05,
    length: float = 2.0,
) -> PDE:
    """u_t = D_u lap u + u - u^3 - k - v, v_t = D_v lap v + u - v between walls without flux.

    No parameters: `cond` is (n, 0). Sample i of a split with `data.<split>_seed` s starts from the
    normal numbers of `numpy.random.default_rng(s + i)` on the cells, as sample s + i of PDEBench
    does on 128 x 128 cells; there and at the default values these are its data, apart from its time
    integration. PDEBench (Takamoto et al., 2022), D.4.
    """
    shape, grid = grid_shape(cells, 2, "data.cells"), grid_shape(points, 2, "pde.points")
    rates = tuple(diffusion)
    if len(rates) != 2 or not min(rates) > 0 or not max(rates) < np.inf:
        raise ValueError(f"pde.diffusion is {diffusion}; expected two positive numbers, of u and v")
    if not abs(k) < 0.1:
        raise ValueError(f"pde.k is {k}; expected a number between -0.1 and 0.1")
    check_interval(dt, length, substep=_substep(shape, rates, length))
    rhs = partial(tendency, rates=rates, k=k, length=length)
    mirrors = isotropic(grid, [(1, 1), (1, 1)])
    return PDE(
        name="reaction_diffusion",
        channels=("u", "v"),
        cells=shape,
        points=grid,
        extent=(length, length),
        dt=dt,
        params=(),
        initial=initial,
        step=partial(step, rhs=rhs, dt=dt, rates=rates, length=length),
        residual=partial(residual, rhs=rhs, dt=dt),
        march=partial(march, rhs=rhs, dt=dt),
        sample_keys=numbered_keys,
        symmetries=tuple(map(at_random, mirrors)),
        reflection=mirrors[0],
        mirrors=mirrors,
        laws={"bound": Law(bound, "decaying", "max_principle_excess", bound)},
        boundary=BOUNDARY,
        spec=dict(points=points, cells=cells, diffusion=diffusion, k=k, dt=dt, length=length),
    )


def numbered_keys(key: Key, i: Array) -> tuple[Key, Key]:
    """Return keys whose last word is that of `key` plus i: the number of a sample's generator."""
    words = jax.random.key_data(key)
    numbered = words.at[-1].add(jnp.asarray(i).astype(words.dtype))
    key = jax.random.wrap_key_data(numbered, impl=jax.random.key_impl(key))
    return key, key


def initial(key: Key, cond: Array, cells: tuple[int, ...]) -> Array:
    """Normal numbers of NumPy's generator with the key's last word as seed, u then v: (*s, 2)."""

    def draw(seeds: np.ndarray) -> np.ndarray:
        fields = [np.random.default_rng(int(s)).standard_normal((2, *cells)) for s in seeds.ravel()]
        stacked = np.stack(fields).reshape(*seeds.shape, 2, *cells)
        return np.moveaxis(stacked, -3, -1).astype(np.float32)

    like = jax.ShapeDtypeStruct((*cells, 2), jnp.float32)
    seed = jax.random.key_data(key)[-1]
    return jax.pure_callback(draw, like, seed, vmap_method="expand_dims")


def tendency(w: Array, *, rates: tuple[float, ...], k: float, length: float) -> Array:
    """Right-hand side for w = (u, v) (..., x, y, 2), with the five-point Laplacian."""
    dx = [length / n for n in w.shape[-3:-1]]
    u, v = w[..., :1], w[..., 1:]
    reaction = jnp.concatenate([u - u**3 - k - v, u - v], -1)
    scale = jnp.asarray(rates, w.dtype).reshape(*(1,) * (w.ndim - 1), 2)
    return scale * fv.laplacian(w, dx, BOUNDARY) + reaction


def step(
    w: Array,
    cond: Array,
    *,
    rhs: Callable[[Array], Array],
    dt: float,
    rates: tuple[float, ...],
    length: float,
) -> Array:
    """Advance w (..., x, y, 2) by dt, in equal stable substeps of at most `REACTION_SUBSTEP`."""
    count = ceil(dt / _substep(w.shape[-3:-1], rates, length))
    return march(w, cond, count, rhs=rhs, dt=dt)


def march(w: Array, cond: Array, count: int, *, rhs: Callable[[Array], Array], dt: float) -> Array:
    """Advance w by dt in `count` substeps of the classical fourth-order Runge-Kutta method."""
    h = dt / count

    def body(w: Array, _: None) -> tuple[Array, None]:
        a = rhs(w)
        b = rhs(w + 0.5 * h * a)
        c = rhs(w + 0.5 * h * b)
        d = rhs(w + h * c)
        return w + h / 6 * (a + 2 * (b + c) + d), None

    return jax.lax.scan(body, w, None, length=count)[0]


def residual(
    prev: Array, next: Array, cond: Array, *, rhs: Callable[[Array], Array], dt: float
) -> Array:
    """Balance of two frames: trapezoidal rule in time, five-point in space. -> (..., x, y, 2)."""
    return (next - prev) / dt - 0.5 * (rhs(prev) + rhs(next))


def bound(w: Array) -> Array:
    """Half width of the invariant square that contains the field: (..., x, y, 2) -> (...).

    At |u| = m or |v| = m the reaction points inward for every m >= `INVARIANT`, and diffusion
    lowers an extreme value, so the half width never grows.
    """
    return jnp.maximum(jnp.max(jnp.abs(w), (-3, -2, -1)), INVARIANT)


def _substep(cells: tuple[int, ...], rates: tuple[float, ...], length: float) -> float:
    """Longest substep: `REACTION_SUBSTEP`, or that of the fastest decay of diffusion."""
    decay = 4 * max(rates) * sum((n / length) ** 2 for n in cells)
    return min(REACTION_SUBSTEP, STABLE_DECAY / decay)
