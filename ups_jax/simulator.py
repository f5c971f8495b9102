"""A simulator: the PDE and the networks that stand for it, as static functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.data import condition, normalize
from ups_jax.lookup import lookup
from ups_jax.models import OPERATORS, Fns
from ups_jax.pde import PDES
from ups_jax.pde.base import PDE
from ups_jax.types import Array, Key, Params


@dataclass(frozen=True, eq=False)
class Simulator:
    """Static functions of one task; parameters travel apart, as `stats` and one entry a model.

    `zero_mean` takes the spatial mean off every increment: for data that conserve it.
    """

    pde: PDE
    operator: Fns
    zero_mean: bool = False


def build(cfg: Any) -> Simulator:
    """The simulator that a loaded config describes. ValueError on an unknown name or argument."""
    pde_args = dict(cfg.pde)
    make = lookup(PDES, pde_args.pop("name"), "pde")
    pde = make(**pde_args, cells=tuple(cfg.data.cells))
    spec = dict(cfg.operator)
    factory = lookup(OPERATORS, spec.pop("name"), "operator")
    zero_mean = spec.pop("zero_mean", False)
    operator = factory(ndim=pde.ndim, channels=len(pde.channels), params=len(pde.params), **spec)
    return Simulator(pde=pde, operator=operator, zero_mean=zero_mean)


def identity_stats(pde: PDE) -> Params:
    """Statistics that leave fields and parameters as they are."""
    c, p = len(pde.channels), len(pde.params)
    zeros, ones = np.zeros, np.ones
    return {
        "mean": zeros(c, np.float32),
        "std": ones(c, np.float32),
        "increment_std": ones(c, np.float32),
        "cond_mean": zeros(p, np.float32),
        "cond_std": ones(p, np.float32),
    }


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
    seen = condition(stats, sim.pde.features(cond))
    increment = sim.operator.apply(params["operator"], normalize(stats, u), seen)
    increment = increment * stats["increment_std"].reshape((1,) * (u.ndim - 1) + (-1,))
    if sim.zero_mean:
        axes = tuple(range(-1 - sim.pde.ndim, -1))
        increment = increment - jnp.mean(increment, axes, keepdims=True)
    return u + increment


def count(tree: Any) -> int:
    """Number of scalars in a tree of arrays."""
    return sum(int(np.size(x)) for x in jax.tree.leaves(tree))
