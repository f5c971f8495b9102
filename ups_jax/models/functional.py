"""Turn an `nnx.Module` into two pure functions over a nested dict of arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from ups_jax.types import Array, Key, Params


class Network(NamedTuple):
    """Pure functions of a network: `init(key) -> params` and `apply(params, *args) -> Array`.

    `takes` names the optional inputs that `apply` uses, such as "noise". A factory that is given
    noise channels and does not declare "noise" would make an ensemble without spread. `any_grid`:
    the map does not depend on the spacing of the points. `equivariant`: it commutes with the
    reflection whose signs the factory was given.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Array]
    takes: frozenset[str] = frozenset()
    any_grid: bool = False
    equivariant: bool = False


def functional(
    build: Callable[[nnx.Rngs], nnx.Module],
    *,
    takes: frozenset[str] = frozenset(),
    any_grid: bool = False,
) -> Network:
    """Return the functions of the module that `build` makes, with parameters as a nested dict.

    The dict's keys are strings; `takes` and `any_grid` are those of `Network`. The module may
    contain only `nnx.Param`: running statistics or random state would make `apply` impure. Raises
    ValueError for any other variable.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))
    others = nnx.filter_state(state, nnx.Not(nnx.Param))
    if jax.tree.leaves(others):
        raise ValueError(
            f"the network contains {others}; only nnx.Param is allowed: remove every other variable"
        )
    names = nnx.to_pure_dict(state)

    def init(key: Key) -> Params:
        module = build(nnx.Rngs(key))
        return _string_keys(nnx.to_pure_dict(nnx.state(module, nnx.Param)))

    def apply(params: Params, *args: Any) -> Array:
        filled = jax.tree.map(lambda x: x, state)
        nnx.replace_by_pure_dict(filled, _original_keys(names, params))
        return nnx.merge(graph, filled)(*args)  # pyright: ignore[reportCallIssue]

    return Network(init, apply, takes, any_grid)


def _string_keys(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {str(name): _string_keys(value) for name, value in tree.items()}


def _original_keys(names: Any, tree: Any) -> Any:
    if not isinstance(names, dict):
        return tree
    return {name: _original_keys(value, tree[str(name)]) for name, value in names.items()}
