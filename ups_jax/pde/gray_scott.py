"""Gray-Scott reaction and diffusion: spots, stripes and mazes of two chemicals, pseudo-spectral."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.pde.base import PDE, Law, check_interval, grid_shape, random_translation
from ups_jax.pde.etdrk import Modes, solver
from ups_jax.pde.symmetries import at_random, isotropic
from ups_jax.types import Array, Key, positive

PATTERNS = {
    "gliders": (0.014, 0.054),
    "bubbles": (0.098, 0.057),
    "maze": (0.029, 0.057),
    "worms": (0.058, 0.065),
    "spirals": (0.018, 0.051),
    "spots": (0.030, 0.062),
}
"""Feed and kill rates (F, k) of The Well's data set."""
BLOBS = 8
"""Gaussian blobs of the second chemical in an initial condition."""


def make(
    *,
    points: Sequence[int] = (64, 64),
    cells: Sequence[int] = (64, 64),
    feed: Sequence[float] = tuple(f for f, _ in PATTERNS.values()),
    kill: Sequence[float] = tuple(k for _, k in PATTERNS.values()),
    diffusion: Sequence[float] = (2e-5, 1e-5),
    dt: float = 10.0,
    length: float = 1.0,
    warmup: int = 20,
) -> PDE:
    """u_t = D_u lap u - u v^2 + F (1 - u), v_t = D_v lap v + u v^2 - (F + k) v, periodic.

    `cond` is (F, k), one of the pairs of `feed` and `kill` with equal probability. u = 1 with
    Gaussian blobs of v; the first frame is `warmup` intervals later. At the default length the
    grid of 64 points resolves as much as The Well's of 128 on twice the length. Pearson (1993); The
    Well (Ohana et al., 2024).
    """
    shape, grid = grid_shape(cells, 2, "data.cells"), grid_shape(points, 2, "pde.points")
    positive("pde.diffusion", diffusion)
    pairs = np.stack([np.ravel(feed), np.ravel(kill)], -1) if len(feed) == len(kill) else None
    if pairs is None or pairs.size == 0 or not (pairs > 0).all() or len(diffusion) != 2:
        raise ValueError(
            f"pde.feed is {feed} and pde.kill {kill}; expected as many positive rates of both, "
            "and two numbers in pde.diffusion"
        )
    check_interval(dt, length, substep=1.0)
    rates = np.asarray(diffusion)
    chemistry = solver(
        lambda k: -(k**2).sum(-1, keepdims=True) * rates,
        reaction,
        dt=dt,
        extent=(length, length),
        max_substep=1.0,
    )
    mirrors = isotropic(grid, [(1, 1), (1, 1)])
    return PDE(
        name="gray_scott",
        channels=("u", "v"),
        cells=shape,
        points=grid,
        extent=(length, length),
        dt=dt,
        params=("F", "k"),
        initial=initial,
        sample_cond=lambda key: jax.random.choice(key, jnp.asarray(pairs, jnp.float32)),
        **chemistry._asdict(),
        warmup=warmup,
        symmetries=(random_translation(2), *map(at_random, mirrors)),
        reflection=mirrors[0],
        mirrors=mirrors,
        laws=concentration_laws(),
        spec=dict(
            points=points, cells=cells, feed=feed, kill=kill, diffusion=diffusion, dt=dt,
            length=length, warmup=warmup,
        ),
    )  # fmt: skip


def initial(key: Key, cond: Array, cells: tuple[int, ...]) -> Array:
    """u = 1 - v with `BLOBS` Gaussian blobs of v, periodic: (x, y, 2)."""
    k_place, k_width, k_size = jax.random.split(key, 3)
    place = jax.random.uniform(k_place, (BLOBS, 2))
    width = jax.random.uniform(k_width, (BLOBS, 1, 1), minval=0.02, maxval=0.06)
    size = jax.random.uniform(k_size, (BLOBS, 1, 1), minval=0.3, maxval=1.0)
    axes = [jnp.arange(n)[None] / n for n in cells]
    far = [(a - place[:, i, None] + 0.5) % 1.0 - 0.5 for i, a in enumerate(axes)]
    square = far[0][:, :, None] ** 2 + far[1][:, None, :] ** 2
    v = jnp.max(size * jnp.exp(-0.5 * square / width**2), 0)
    return jnp.stack([1 - v, v], -1)


def reaction(w: Array, cond: Array, modes: Modes) -> Array:
    """Modes of the chemical reactions from those of (u, v); u v^2 has few aliases in thirds."""
    fields = modes.to_grid(w)
    feed, kill = (cond[..., i, None, None, None] for i in (0, 1))
    u, v = fields[..., :1], fields[..., 1:]
    turned = u * v**2
    return modes.to_modes(
        jnp.concatenate([feed * (1 - u) - turned, turned - (feed + kill) * v], -1)
    )


def concentration_laws() -> dict[str, Law]:
    """Concentrations are not negative, and u does not exceed 1."""

    def least(w: Array) -> Array:
        return -jnp.minimum(jnp.min(w, (-3, -2, -1)), 0.0)

    def most(w: Array) -> Array:
        return jnp.maximum(jnp.max(w[..., 0], (-2, -1)), 1.0)

    # A spectral solution undershoots by some thousandths at the edge of a blob.
    return {
        "positive": Law(least, "bounded", "max_principle_excess", most, 1e-2),
        "at_most_one": Law(most, "bounded", "max_principle_excess", most, 1e-2),
    }
