"""Parameters of a trained emulator as the start of another one."""

from typing import Any

import jax.numpy as jnp
from jax.tree_util import tree_flatten_with_path

from ups_jax.arrays import as_float32
from ups_jax.emulator.base import Emulator
from ups_jax.emulator.base_steps import is_exponential
from ups_jax.emulator.params import array_name
from ups_jax.types import Array, Params


def transfer(params: Params, source: Params) -> Params:
    """Return `params` with the values of `source` where names and shapes agree.

    The operator's layers `lift` and `head`, the first ones of its modulations, and `stats` may have
    more channels than in `source`: these are zero, in `stats` those of `params`. All others that
    differ, which `transfer_notes` lists, keep their initial values.
    """
    given = _by_name(source)
    leaves, tree = tree_flatten_with_path(params)
    values = [_filled(array_name(path), leaf, given.get(array_name(path))) for path, leaf in leaves]
    return tree.unflatten(values)


def transfer_notes(params: Params, source: Params) -> list[str]:
    """List the parameters that `transfer` does not copy whole, as sentences; shapes suffice."""
    own, given = _by_name(params), _by_name(source)
    notes = []
    for name, leaf in own.items():
        other = given.get(name)
        if other is None:
            notes.append(f"{name} {leaf.shape} is new")
        elif not _fits(name, leaf, other):
            notes.append(f"{name} {other.shape} is left out; {leaf.shape} is new")
        elif leaf.shape != other.shape:
            rest = "of the new data" if name.startswith("stats/") else "zero"
            notes.append(f"{name} {other.shape} fills a part of {leaf.shape}; the rest is {rest}")
    return notes + [f"{name} {given[name].shape} is left out" for name in given if name not in own]


def copied(params: Params, source: Params) -> int:
    """Return the number of network parameters, of `stats` none, that `transfer` takes over."""
    given = _by_name(source)
    pairs = [(n, x, given[n]) for n, x in _by_name(params).items() if n in given]
    fitting = [other for n, x, other in pairs if n[:6] != "stats/" and _fits(n, x, other)]
    return sum(int(other.size) for other in fitting)


def require_same_kind(emulator: Emulator, trained: Emulator, name: str) -> None:
    """Raise ValueError unless the parameters of `trained` have the same meaning in `emulator`.

    Parameters are copied by position: the number of dimensions, the kind of operator and its patch
    must agree. The inputs of `trained` must be the first of `emulator`; on patches all must agree.
    Training keeps the symmetry of the weights of an equivariant network: a free one takes them too,
    but not the other way round.
    """
    if trained.pde.ndim != emulator.pde.ndim:
        raise ValueError(
            f"{name} is trained in {trained.pde.ndim}D, pde {emulator.pde.name!r} has "
            f"{emulator.pde.ndim}D; a network serves one number of dimensions: train another one"
        )
    specs = [dict(one.spec.get("operator", {})) for one in (trained, emulator)]
    if emulator.operator.equivariant and not trained.operator.equivariant:
        raise ValueError(
            f"operator.equivariant is true, but the weights of {name} have no symmetry; set it to "
            "false"
        )
    for key in ("name", "patch"):
        was, now = (spec.get(key) for spec in specs)
        if was != now and None not in (was, now):
            raise ValueError(
                f"operator.{key} of {name} is {was!r}, here it is {now!r}; use operator.{key}={was}"
            )
    before, now = operator_inputs(trained), operator_inputs(emulator)
    patched = specs[0].get("patch", 1) != 1
    if now[: len(before)] != before or (patched and now != before):
        raise ValueError(
            f"the operator of {name} has the inputs {', '.join(before)}, this one "
            f"{', '.join(now)}; those of the source must "
            + ("be the same on patches" if patched else "come first")
            + ": use its history, static, forcing and base"
        )


def _filled(name: str, leaf: Array, other: Any) -> Array:
    if other is None or not _fits(name, leaf, other):
        return leaf
    start = leaf if name.startswith("stats/") else jnp.zeros_like(leaf)
    return jnp.asarray(start).at[tuple(slice(n) for n in other.shape)].set(as_float32(other))


def _fits(name: str, leaf: Any, other: Any) -> bool:
    """Return True if `other` has the shape of `leaf`, or fewer channels where these may be new."""
    if leaf.ndim != other.ndim:
        return False
    growing = _channel_axis(name, leaf.ndim)
    sizes = enumerate(zip(other.shape, leaf.shape, strict=True))
    return all(n == m or (axis == growing and n < m) for axis, (n, m) in sizes)


def _channel_axis(name: str, ndim: int) -> int | None:
    """Return the axis of a parameter along which an emulator may have more channels, if any.

    These are the last ones, of fields or of PDE parameters. A denoiser's inputs are in another
    order, and new hidden channels would stay zero for ever.
    """
    network, *layers = name.split("/")
    if network == "stats" or (network == "operator" and "head" in layers):
        return ndim - 1
    modulates = "first" in layers and {"modulation", "modulations"} & {*layers}
    if network == "operator" and ("lift" in layers or modulates):
        return ndim - 2
    return None


def _by_name(tree: Params) -> dict[str, Any]:
    """Return the entries by name, without the mean field, which belongs to the data alone."""
    named = {array_name(path): leaf for path, leaf in tree_flatten_with_path(tree)[0]}
    return {name: leaf for name, leaf in named.items() if name != "stats/mean_field"}


def operator_inputs(emulator: Emulator) -> list[str]:
    """Return what each input channel of an operator is, in their order."""
    channels = range(len(emulator.pde.channels))
    past = [f"channel {i} ({j} before)" for j in range(emulator.history) for i in channels]
    shown = emulator.base is not None and not is_exponential(emulator.base)
    base = [f"base step of channel {i}" for i in channels if shown]
    known = [
        f"forcing {name} ({when})" for when in ("now", "next") for name in emulator.pde.forcing
    ]
    return [*past, *(f"static {name}" for name in emulator.pde.static), *known, *base]
