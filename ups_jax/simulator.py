"""A simulator: the PDE and the networks that stand for it, as static functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.data import condition, fit_normalizer, normalize
from ups_jax.lookup import lookup
from ups_jax.models import OPERATORS, Fns
from ups_jax.pde import PDES
from ups_jax.pde.base import PDE, Frame
from ups_jax.pde.finite_volume import coarse_march
from ups_jax.types import Array, Key, Params, Trajectories

BASES = ("persistence", "solver")


@dataclass(frozen=True, eq=False)
class Simulator:
    """Static functions of one task; parameters travel apart, as `stats` and one entry a model.

    The operator adds its increment to the field, or to `base(u, cond)` where there is one: a cheap
    step of the solver, which it then also sees (a hybrid). `galilean` has it see every field in the
    frame that moves with its mean (`PDE.at_rest`). `zero_mean` takes the spatial mean off every
    increment: for data that conserve it.
    """

    pde: PDE
    operator: Fns
    zero_mean: bool = False
    galilean: bool = False
    base: Callable[[Array, Array], Array] | None = None


def build(cfg: Any) -> Simulator:
    """The simulator that a loaded config describes.

    ValueError on an unknown name or argument, and on a network that cannot take the PDE's grid.
    """
    pde_args = dict(cfg.pde)
    make = lookup(PDES, pde_args.pop("name"), "pde")
    pde = make(**pde_args, cells=tuple(cfg.data.cells))
    spec = dict(cfg.operator)
    factory = lookup(OPERATORS, spec.pop("name"), "operator")
    zero_mean, galilean = spec.pop("zero_mean", False), spec.pop("galilean", False)
    if galilean and pde.at_rest is None:
        raise ValueError(f"operator.galilean is set, but pde {pde.name!r} has no frame at rest")
    base = _base(
        pde,
        spec.pop("base", BASES[0]),
        factor=spec.pop("coarsen", 1),
        substeps=spec.pop("substeps", 1),
    )
    channels = len(pde.channels)
    operator = factory(
        ndim=pde.ndim,
        channels=channels,
        params=len(pde.params),
        **({"inputs": 2 * channels} if base else {}),
        **spec,
    )
    sim = Simulator(pde, operator, zero_mean=zero_mean, galilean=galilean, base=base)
    field = jax.ShapeDtypeStruct((*pde.points, len(pde.channels)), np.float32)
    cond = jax.ShapeDtypeStruct((len(pde.params),), np.float32)
    jax.eval_shape(lambda u, c: operator_step(sim, init(sim, jax.random.key(0)), u, c), field, cond)
    return sim


def _base(
    pde: PDE, name: str, *, factor: int, substeps: int
) -> Callable[[Array, Array], Array] | None:
    """The step that an operator corrects; None stands for persistence."""
    lookup(dict.fromkeys(BASES), name, "operator.base")
    if name == "persistence":
        return None
    if pde.march is None:
        raise ValueError(f"operator.base is 'solver', but pde {pde.name!r} has no march; add one")
    if min(factor, substeps) < 1 or any(n % factor or n // factor < 4 for n in pde.points):
        raise ValueError(
            f"operator.coarsen {factor}, operator.substeps {substeps}: at least 1, and the first "
            f"must divide pde.points {pde.points} into 4 cells or more"
        )
    return coarse_march(pde.march, factor=factor, substeps=substeps, points=pde.points)


def identity_stats(pde: PDE) -> Params:
    """Statistics that leave fields and parameters as they are."""
    c, p = len(pde.channels), len(pde.params)
    zeros, ones = np.zeros, np.ones
    stats = {
        "mean": zeros(c, np.float32),
        "std": ones(c, np.float32),
        "increment_std": ones(c, np.float32),
    }
    # An array of no numbers cannot be saved.
    own = {"cond_mean": zeros(p, np.float32), "cond_std": ones(p, np.float32)} if p else {}
    return stats | own


def init(sim: Simulator, key: Key, stats: Mapping[str, Any] | None = None) -> Params:
    """Fresh parameters of every model, with the training split's statistics where given."""
    chosen = identity_stats(sim.pde) if stats is None else stats
    return {
        "stats": jax.tree.map(jnp.asarray, dict(chosen)),
        "operator": sim.operator.init(key),
    }


def operator_step(sim: Simulator, params: Params, u: Array, cond: Array) -> Array:
    """One interval by the operator, in physical units: u (..., *s, c), cond (..., p) -> like u."""
    stats = params["stats"]
    u, back = _frame(sim)(u)
    start, given = u, normalize(stats, u)
    if sim.base is not None:
        start = sim.base(u, cond)
        given = jnp.concatenate([given, normalize(stats, start)], -1)
    seen = condition(stats, sim.pde.features(cond))
    increment = sim.operator.apply(params["operator"], given, seen)
    increment = increment * stats["increment_std"].reshape((1,) * (u.ndim - 1) + (-1,))
    if sim.zero_mean:
        axes = tuple(range(-1 - sim.pde.ndim, -1))
        increment = increment - jnp.mean(increment, axes, keepdims=True)
    return back(start + increment)


def _frame(sim: Simulator) -> Frame:
    """The frame in which the operator works."""
    if not sim.galilean:
        return lambda u: (u, lambda v: v)
    assert sim.pde.at_rest is not None
    return sim.pde.at_rest


def statistics(sim: Simulator, train: Trajectories) -> Params:
    """Scales of the training split in the operator's frame, for `init`; see `fit_normalizer`."""
    frame = _frame(sim)

    def guess(u: Array, cond: Array) -> Array:
        still, back = frame(u)
        return back(still if sim.base is None else sim.base(still, cond))

    plain = sim.base is None and not sim.galilean
    return fit_normalizer(
        train,
        sim.pde.features,
        guess=None if plain else guess,
        seen=(lambda u: frame(u)[0]) if sim.galilean else None,
    )


def count(tree: Any) -> int:
    """Number of scalars in a tree of arrays."""
    return sum(int(np.size(x)) for x in jax.tree.leaves(tree))
