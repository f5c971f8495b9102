"""Reflections and transpositions, of fields and at random of windows: isotropic PDEs have them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from itertools import compress, pairwise, product

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import per_channel, spatial_axes
from ups_jax.pde.base import PDE, Symmetry
from ups_jax.types import Array, Key

Map = Callable[[Array], Array]
REVERSED = np.array([1, -1, 1, -1, 1, 1, -1, 1])
"""Signs of the coefficients of `semilinear` after x -> -x."""
NEGATED = np.array([1, 1, 1, 1, 1, -1, -1, -1])
"""Signs of the coefficients after u -> -u."""
FLIPS = {(True, True): REVERSED * NEGATED, (True, False): REVERSED, (False, True): NEGATED}
"""Signs of the coefficients by a flip: whether it reverses space, whether it negates the field."""


def reflection(axis: int, signs: Sequence[float]) -> Map:
    """Return the map x -> -x along a negative `axis`; it multiplies the channels by `signs`."""

    def reflect(u: Array) -> Array:
        return jnp.flip(u, axis) * per_channel(jnp.asarray(signs, u.dtype), u)

    return reflect


def reflection_signs(pde: PDE) -> tuple[float, ...] | None:
    """Return the sign of each channel in the PDE's reflection of its one space axis.

    None where it has no such reflection, or inputs besides its channels.
    """
    if pde.reflection is None or pde.ndim != 1 or pde.fields != pde.channels:
        return None
    u = np.arange(1.0, 1 + 4 * len(pde.channels), dtype=np.float32).reshape(4, -1)
    image = np.asarray(pde.reflection(jnp.asarray(u)))
    signs = np.sign(image[0])
    return tuple(signs.tolist()) if np.array_equal(image, signs * u[::-1]) else None


def transposition(
    order: Sequence[int], signs: Sequence[float], axes: tuple[int, int] = (-3, -2)
) -> Map:
    """Return the map that swaps two negative axes, then takes the channels in `order` by `signs`.

    By default the axes are x and y of two.
    """

    def transpose(u: Array) -> Array:
        swapped = jnp.swapaxes(u, *axes)[..., jnp.array(order)]
        return swapped * per_channel(jnp.asarray(signs, u.dtype), u)

    return transpose


def mirrors(ndim: int, channels: int = 1) -> tuple[Map, ...]:
    """Return the reflection of each axis of scalars, which keep their signs."""
    return tuple(reflection(axis, (1.0,) * channels) for axis in spatial_axes(ndim))


def swaps(ndim: int, channels: int = 1) -> tuple[Map, ...]:
    """Return the transposition of each two neighbouring axes of scalars; none in one dimension."""
    axes = spatial_axes(ndim)
    order, signs = range(channels), (1.0,) * channels
    return tuple(transposition(order, signs, pair) for pair in pairwise(axes))


def cube(ndim: int, channels: int = 1) -> tuple[Map, ...]:
    """Return reflections and transpositions of scalars: they generate the symmetries of a cube."""
    return mirrors(ndim, channels) + swaps(ndim, channels)


def vector(ndim: int) -> tuple[Map, ...]:
    """Return the maps of `cube` of a velocity, whose components change with the axes."""
    axes, maps = spatial_axes(ndim), []
    for i, axis in enumerate(axes):
        maps.append(reflection(axis, [-1.0 if i == j else 1.0 for j in range(ndim)]))
    for i, pair in enumerate(pairwise(axes)):
        order = [{i: i + 1, i + 1: i}.get(j, j) for j in range(ndim)]
        maps.append(transposition(order, (1.0,) * ndim, pair))
    return tuple(maps)


def at_random(change: Map) -> Symmetry:
    """Return the symmetry that changes all frames of a window with probability one half."""

    def symmetry(key: Key, u: Array, cond: Array) -> tuple[Array, Array]:
        return jnp.where(jax.random.bernoulli(key, jnp.float32(0.5)), change(u), u), cond

    return symmetry


def isotropic(
    points: tuple[int, ...],
    signs: Sequence[Sequence[float]],
    order: Sequence[int] | None = None,
    transposed: Sequence[float] | None = None,
) -> tuple[Map, ...]:
    """Return the reflections along every axis, and on square grids the transposition, of fields.

    Channels change sign by `signs[axis]` in a reflection; a transposition takes them in `order`
    and multiplies them by `transposed`. By default they keep their order and sign.
    """
    axes, channels = spatial_axes(len(points)), len(signs[0])
    maps = [reflection(axis, s) for axis, s in zip(axes, signs, strict=True)]
    if len(points) == 2 and points[0] == points[1]:
        maps.append(transposition(order or range(channels), transposed or (1.0,) * channels))
    return tuple(maps)


def images(
    mirrors: Sequence[Map],
) -> Iterator[tuple[Map, Map]]:
    """Yield every product of maps that are their own inverses, with its inverse.

    The maps of `isotropic` give the two mirror images of a line, four of a rectangle or the eight
    of a square, the field itself first.
    """
    for used in product((False, True), repeat=len(mirrors)):
        maps = list(compress(mirrors, used))
        yield partial(_in_turn, maps), partial(_in_turn, maps[::-1])


def _in_turn(maps: Sequence[Map], u: Array) -> Array:
    return reduce(lambda u, change: change(u), maps, u)


def flipped(u: Array, *, flip: tuple[bool, bool], ndim: int) -> Array:
    """Reverse space and negate the field (..., *s, 1), as `flip` says."""
    reverse, negate = flip
    u = jnp.flip(u, spatial_axes(ndim)) if reverse else u
    return -u if negate else u


def random_flip(
    key: Key,
    u: Array,
    cond: Array,
    *,
    flip: tuple[bool, bool],
    ranges: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Array, Array]:
    """Flip all frames of one window (t, *s, 1) and its coefficients with probability one half.

    If the coefficients leave all `ranges`, lower and upper ends (k, 8), the window stays as it is.
    """
    turn = jax.random.bernoulli(key, jnp.float32(0.5))
    signs = jnp.asarray(FLIPS[flip], cond.dtype)
    if ranges is not None:
        low, high = (jnp.asarray(ends, cond.dtype) for ends in ranges)
        new = (signs * cond)[None]
        turn = turn & jnp.any(jnp.all((low <= new) & (new <= high), -1))
    return (
        jnp.where(turn, flipped(u, flip=flip, ndim=u.ndim - 2), u),
        jnp.where(turn, signs * cond, cond),
    )
