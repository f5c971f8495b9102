"""Parameters of an emulator: a nested dict of its networks' arrays and of statistics."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.tree_util import keystr

from ups_jax.arrays import as_float32, as_key
from ups_jax.emulator.base import Emulator
from ups_jax.types import Key, Params


def residual_scales(emulator: Emulator) -> tuple[str, ...]:
    """Return the entries of `stats` that scale residuals to unit deviation."""
    if emulator.diffusion is None:
        return ()
    asinh = emulator.diffusion.transform == "asinh"
    return ("residual_std", "asinh_std") if asinh else ("residual_std",)


def identity_stats(emulator: Emulator) -> Params:
    """Return statistics that leave fields, parameters and residuals unchanged."""
    pde = emulator.pde
    f, c, p = len(pde.fields), len(pde.channels), len(pde.params)
    stats: Params = {"mean": np.zeros(f, np.float32), "std": np.ones(f, np.float32)}
    names = ("increment_std", *residual_scales(emulator))
    stats |= {n: np.ones(c, np.float32) for n in names}
    if pde.steady:
        stats["mean_field"] = np.zeros((*pde.points, c), np.float32)
    # Orbax cannot save an array without elements.
    cond = {"cond_mean": np.zeros(p, np.float32), "cond_std": np.ones(p, np.float32)} if p else {}
    return stats | cond


def init(emulator: Emulator, key: Key | int, stats: Mapping[str, Any] | None = None) -> Params:
    """Return initial parameters of every network, with `stats` of the training split if given.

    A number as `key` is a seed.
    """
    key = as_key(key)
    chosen = identity_stats(emulator) | dict(stats or {})
    return {
        "stats": jax.tree.map(as_float32, chosen),
        "operator": emulator.operator.init(key),
        **{
            name: network.init(jax.random.fold_in(key, i))
            for i, (name, network) in enumerate(emulator.networks.items())
        },
    }


@cache
def param_shapes(emulator: Emulator) -> Params:
    """Return the parameters of every network as a tree of jax.ShapeDtypeStruct."""
    return jax.eval_shape(lambda: init(emulator, jax.random.key(0)))


def num_params(tree: Any) -> int:
    """Return the number of scalars in a tree of arrays."""
    return sum(int(np.size(x)) for x in jax.tree.leaves(tree))


def array_name(path: Any) -> str:
    """Return the name of an array at a path of the parameters: operator/head/kernel."""
    return keystr(path, simple=True, separator="/")
