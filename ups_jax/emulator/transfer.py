"""Parameters of a trained emulator as the start of another one."""

from typing import Any

import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path

from ups_jax.arrays import as_float32
from ups_jax.types import Array, Params


def transfer(params: Params, source: Params) -> Params:
    """Return `params` with the values of `source` where names and numbers of axes agree.

    Entries along an axis that `source` does not have, such as those of new channels, are zero, in
    `stats` those of `params`. What `transfer_notes` calls left out or new keeps its initial value.
    """
    given = _by_name(source)
    leaves, tree = tree_flatten_with_path(params)
    values = [_filled(_name(path), leaf, given.get(_name(path))) for path, leaf in leaves]
    return tree.unflatten(values)


def transfer_notes(params: Params, source: Params) -> list[str]:
    """List the parameters that `transfer` does not copy whole, as sentences; shapes suffice."""
    own, given = _by_name(params), _by_name(source)
    notes = []
    for name, leaf in own.items():
        other = given.get(name)
        if other is None:
            notes.append(f"{name} {leaf.shape} is new")
        elif not _fits(leaf, other):
            notes.append(f"{name} {other.shape} is left out; {leaf.shape} is new")
        elif leaf.shape != other.shape:
            rest = "of the new data" if name.startswith("stats/") else "zero"
            notes.append(f"{name} {other.shape} fills a part of {leaf.shape}; the rest is {rest}")
    return notes + [f"{name} {given[name].shape} is left out" for name in given if name not in own]


def copied(params: Params, source: Params) -> int:
    """Return the number of network parameters, of `stats` none, that `transfer` takes over."""
    given = _by_name(source)
    pairs = [(x, given[n]) for n, x in _by_name(params).items() if n in given and n[:6] != "stats/"]
    return sum(int(other.size) for leaf, other in pairs if _fits(leaf, other))


def _filled(name: str, leaf: Array, other: Any) -> Array:
    if other is None or not _fits(leaf, other):
        return leaf
    start = leaf if name.startswith("stats/") else jnp.zeros_like(leaf)
    return jnp.asarray(start).at[tuple(slice(n) for n in other.shape)].set(as_float32(other))


def _fits(leaf: Any, other: Any) -> bool:
    """Return True if `other` fills a block of `leaf`."""
    return leaf.ndim == other.ndim and all(
        n <= m for n, m in zip(other.shape, leaf.shape, strict=True)
    )


def _by_name(tree: Params) -> dict[str, Any]:
    """Return the entries by name, without the mean field, which belongs to the data alone."""
    named = {_name(path): leaf for path, leaf in tree_flatten_with_path(tree)[0]}
    return {name: leaf for name, leaf in named.items() if name != "stats/mean_field"}


def _name(path: Any) -> str:
    return keystr(path, simple=True, separator="/")
