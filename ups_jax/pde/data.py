"""A task without an equation: the grid, channels and boundaries of data, and declared laws."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ups_jax.arrays import spatial_axes
from ups_jax.pde.base import PDE, Law, random_translation, spatial_mean
from ups_jax.pde.symmetries import at_random, reflection
from ups_jax.registry import lookup
from ups_jax.types import Array, Trajectories
from ups_jax.values import names_of

SYMMETRIES = ("translation", "reflection")
FEWEST_POINTS = 4
"""Smallest size of an axis of space."""


def make(
    *,
    points: Sequence[int] = (),
    channels: Sequence[str] = (),
    params: Sequence[str] = (),
    dt: float | None = None,
    length: Sequence[float] = (),
    boundary: Sequence[str] = (),
    conserved: Sequence[str] = (),
    symmetries: Sequence[str] = (),
    vector: Sequence[str] = (),
    static: Sequence[str] = (),
    forcing: Sequence[str] = (),
    steady: bool = False,
    cells: int | Sequence[int] = (),
) -> PDE:
    """No equation: data alone. Points, channels, dt, length and boundary are those of a file.

    `conserved` names the channels whose spatial mean is conserved. `symmetries`: "translation"
    along periodic axes, "reflection" of each axis. `vector` names the channel of each axis that
    changes its sign in a reflection of that axis, `static` the inputs that are not predicted, and
    `forcing` those of them that change in time. A `steady` file holds pairs of static fields and
    solutions. There is no solver, residual or simulation.
    """
    shape, extent = tuple(points), tuple(map(float, length))
    channels, params, boundary = map(names_of, (channels, params, boundary))
    conserved, symmetries, vector = map(names_of, (conserved, symmetries, vector))
    static, forcing = names_of(static), names_of(forcing)
    if not shape or not channels or dt is None or len(extent) != len(shape):
        raise ValueError(
            "pde 'data' takes its points, channels, dt and length from a file: set data.path"
        )
    if len(shape) > 3 or min(shape) < FEWEST_POINTS:
        raise ValueError(
            f"pde.points is {shape}; expected one to three axes of at least {FEWEST_POINTS} "
            "points each"
        )
    axes, names = range(len(shape)), dict.fromkeys(channels)
    fields = (*channels, *static, *forcing)
    for name in (*conserved, *vector):
        lookup(names, name, "channel of the data")
    for name in symmetries:
        lookup(dict.fromkeys(SYMMETRIES), name, "name in pde.symmetries:")
    if vector and len(vector) != len(shape):
        raise ValueError(f"pde.vector is {vector}; expected a channel for each space axis")
    spec = dict(points=shape, channels=channels, params=params, dt=dt, length=extent)
    spec |= dict(boundary=boundary, conserved=conserved, symmetries=symmetries, vector=vector)
    spec |= dict(static=static, forcing=forcing, steady=steady)
    signs = [[-1.0 if vector and vector[i] == c else 1.0 for c in fields] for i in axes]
    spatial = spatial_axes(len(shape))
    mirrors = [reflection(axis, s) for axis, s in zip(spatial, signs, strict=True)]
    flips = [at_random(mirror) for mirror in mirrors] if "reflection" in symmetries else []

    def reflect(u: Array) -> Array:
        for mirror in mirrors:
            u = mirror(u)
        return u

    periodic = [name == "periodic" for name in boundary]
    translation = random_translation(len(shape), periodic=periodic)
    moves = [translation] if "translation" in symmetries else []
    return PDE(
        name="data",
        channels=channels,
        cells=shape,
        points=shape,
        extent=extent,
        dt=dt,
        params=params,
        symmetries=(*moves, *flips),
        # A state has the forcing of several frames, which the map of one frame does not fit.
        reflection=reflect if flips and not forcing else None,
        laws={f"mean_{name}": _conserved(channels, name, len(shape)) for name in conserved},
        boundary=boundary,
        static=static,
        forcing=forcing,
        steady=steady,
        spec={key: list(x) if isinstance(x, tuple) else x for key, x in spec.items()},
    )


def pde_of(data: Trajectories, **declared: Any) -> PDE:
    """Return the PDE of trajectories without an equation.

    `declared` are further arguments of `make`: boundary, conserved, symmetries, vector.
    """
    cond = data.cond
    assert cond is not None
    given: dict[str, Any] = dict(
        points=data.points, channels=data.predicted, dt=data.dt, length=data.extent
    )
    given["params"] = data.params or tuple(f"p{i}" for i in range(cond.shape[1]))
    given |= dict(boundary=data.boundary, static=data.static, steady=data.steady)
    given |= dict(forcing=data.forcing)
    return make(**given | declared)


def _conserved(channels: tuple[str, ...], name: str, ndim: int) -> Law:
    """Return the law that a channel's spatial mean is constant."""
    at = channels.index(name)

    def mean(u: Array) -> Array:
        return spatial_mean(u[..., at : at + 1], ndim)

    def size(u: Array) -> Array:
        return jnp.sqrt(spatial_mean(u[..., at : at + 1] ** 2, ndim))

    return Law(mean, "conserved", "conservation_gap", size)
