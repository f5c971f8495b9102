"""Turn an `nnx.Module` into two pure functions over a nested dict of arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from ups_jax.types import Array, Key, Params


class Network(NamedTuple):
    """`init(key) -> params` and `apply(params, *args)`: all that the rest sees of a network."""

    init: Callable[[Key], Params]
    apply: Callable[..., Array]


def functional(build: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """Functions of the module that `build` makes; its parameters become a dict with string keys.

    The module may hold `nnx.Param` alone: no running statistics and no random state, so that
    `apply` is pure. ValueError where it holds anything else.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))
    others = nnx.filter_state(state, nnx.Not(nnx.Param))
    if jax.tree.leaves(others):
        raise ValueError(f"a network may hold nnx.Param alone; this one also holds {others}")
    names = nnx.to_pure_dict(state)

    def init(key: Key) -> Params:
        module = build(nnx.Rngs(key))
        return _text_keys(nnx.to_pure_dict(nnx.state(module, nnx.Param)))

    def apply(params: Params, *args: Any) -> Array:
        filled = jax.tree.map(lambda x: x, state)
        nnx.replace_by_pure_dict(filled, _like(names, params))
        return nnx.merge(graph, filled)(*args)  # pyright: ignore[reportCallIssue]

    return Network(init, apply)


def _text_keys(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {str(name): _text_keys(value) for name, value in tree.items()}


def _like(names: Any, tree: Any) -> Any:
    if not isinstance(names, dict):
        return tree
    return {name: _like(value, tree[str(name)]) for name, value in names.items()}
