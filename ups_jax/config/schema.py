"""Which keys a config has: those of ups_jax/config/base.py, and the arguments of its factories."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import reduce
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FieldReference

from ups_jax.config import base
from ups_jax.config.base import Config
from ups_jax.config.renames import rename_key
from ups_jax.config.types import KeyType, key_type_of
from ups_jax.files import flatten
from ups_jax.registry import lookup, near_miss


class KeySpec(NamedTuple):
    """One key: its default and what values it takes."""

    default: Any
    kind: KeyType


class FactorySection(NamedTuple):
    """A section that names a factory: its table, arguments set elsewhere, keys beside its own."""

    table: Callable[[], Mapping[str, Callable]]
    elsewhere: tuple[str, ...]
    beside: Mapping[str, tuple[Any, str]]


def _pdes() -> Mapping[str, Callable]:
    from ups_jax.pde import PDES

    return PDES


def _operators() -> Mapping[str, Callable]:
    from ups_jax.models import OPERATORS

    return OPERATORS


def _denoisers() -> Mapping[str, Callable]:
    from ups_jax.models import DENOISERS

    return DENOISERS


FACTORY_SECTIONS = {
    "pde": FactorySection(_pdes, elsewhere=("cells",), beside={}),
    "operator": FactorySection(
        _operators,
        elsewhere=("inputs", "noise"),
        beside={
            "zero_mean": (False, "remove the mean of the increment"),
            "galilean": (False, "see fields in the frame that moves with their mean"),
            "base": ("persistence", "what the increment is added to: persistence | solver"),
            "coarsen": (2, "of base=solver: points a cell of its grid"),
            "substeps": (8, "of base=solver: substeps an interval"),
        },
    ),
    "denoiser": FactorySection(_denoisers, elsewhere=(), beside={}),
}

GATE = {
    "metric": KeySpec("", KeyType(str)),
    "max": KeySpec(None, KeyType(float, optional=True)),
    "min": KeySpec(None, KeyType(float, optional=True)),
    "max_ratio": KeySpec(None, KeyType(float, optional=True)),
    "min_ratio": KeySpec(None, KeyType(float, optional=True)),
    "ratio_to": KeySpec("", KeyType(str)),
}
"""Keys of every `gates.<name>`: a config names as many gates as it likes."""


def arguments(section: str, name: str) -> dict[str, KeySpec]:
    """Keys of `section` when it names `name`: the factory's arguments that have a default.

    Arguments without a default are the builder's to give. Raises ValueError on an unknown name.
    """
    component = FACTORY_SECTIONS[section]
    factory = lookup(component.table(), name, section)
    entries = {}
    for argument in inspect.signature(factory, eval_str=True).parameters.values():
        if argument.default is argument.empty or argument.name in component.elsewhere:
            continue
        hint = None if argument.annotation is argument.empty else argument.annotation
        kind = key_type_of(argument.default, hint)
        default = kind.check(f"{section}.{argument.name}", argument.default)
        entries[argument.name] = KeySpec(default, kind)
    for key, (value, _) in component.beside.items():
        entries[key] = KeySpec(value, key_type_of(value))
    return entries


def declared(names: Mapping[str, str], gates: Iterable[str] = ()) -> dict[str, KeySpec]:
    """Every key of a config whose components are `names` and which has those gates."""
    cfg = base.get_config()
    entries = {f"gates.{gate}.{key}": entry for gate in gates for key, entry in GATE.items()}
    for key, value in flatten(cfg).items():
        section, _, leaf = key.rpartition(".")
        if section in FACTORY_SECTIONS:
            name = names[section]
            entries[key] = KeySpec(name, KeyType(str))
            for argument, entry in arguments(section, name).items():
                entries[f"{section}.{argument}"] = entry
        elif value is None:
            owner = reduce(getattr, section.split("."), cfg)
            entries[key] = KeySpec(None, KeyType(owner.get_type(leaf), optional=True))
        else:
            entries[key] = KeySpec(value, key_type_of(value))
    return entries


def base_keys() -> list[str]:
    """Dotted keys of ups_jax/config/base.py, without the arguments of factories."""
    return list(flatten(base.get_config()))


def bind(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check dotted keys that were given; fill arguments that were not from their factories.

    Raises ValueError on an unknown or missing key, an unknown name, a value of another type.
    """
    names = {}
    for section in FACTORY_SECTIONS:
        if f"{section}.name" not in given:
            raise ValueError(f"{section} has no name; add {section}.name, one of its table's names")
        names[section] = KeyType(str).check(f"{section}.name", given[f"{section}.name"])
    known = declared(names, gates_of(given))
    for key in given:
        require_known(key, known)
    for key in known:
        if key not in given and key.partition(".")[0] not in (*FACTORY_SECTIONS, "gates"):
            raise ValueError(
                f"{key} is missing; start the config from ups_jax.config.base.get_config()"
            )
    return {
        key: entry.kind.check(key, given[key]) if key in given else entry.default
        for key, entry in known.items()
    }


def override(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Replace values: first the names, each with its factory's defaults, then all other keys."""
    names = {section: values[f"{section}.name"] for section in FACTORY_SECTIONS}
    kept = dict(values)
    for section in FACTORY_SECTIONS:
        if (key := f"{section}.name") in overrides:
            names[section] = KeyType(str).read(key, overrides[key])
            kept = {k: v for k, v in kept.items() if not k.startswith(f"{section}.")}
    known = declared(names, gates_of(values))
    result = {key: kept.get(key, entry.default) for key, entry in known.items()}
    for key, value in overrides.items():
        require_known(key, known)
        result[key] = known[key].kind.read(key, value)
    return result


def assemble(values: Mapping[str, Any]) -> Config:
    """Locked ConfigDict of bound dotted keys; keys that may be none keep their type."""
    names = {section: values[f"{section}.name"] for section in FACTORY_SECTIONS}
    known = declared(names, gates_of(values))
    tree: dict[str, Any] = {"gates": {}}
    for key, value in values.items():
        *path, leaf = key.split(".")
        section = reduce(lambda node, part: node.setdefault(part, {}), path, tree)
        kind = known[key].kind
        typed = tuple if kind.many else kind.element
        section[leaf] = FieldReference(None, field_type=typed) if value is None else value
    return ConfigDict(tree).lock()


def gates_of(values: Iterable[str]) -> list[str]:
    """Names of the gates among dotted keys, in their order."""
    found = (key.split(".") for key in values if key.startswith("gates."))
    return list(dict.fromkeys(parts[1] for parts in found if len(parts) == 3))


def require_known(key: str, known: Mapping[str, Any]) -> None:
    """Raise ValueError with the closest known key, and the keys of the section it points into."""
    if key in known:
        return
    if (renamed := rename_key(key)) in known:
        raise ValueError(f"{key!r} was renamed; write {renamed!r}")
    section = key
    while section and not any(k.startswith(f"{section}.") for k in known):
        section = section.rpartition(".")[0]
    start = f"{section}." if section else ""
    names = {k.removeprefix(start).partition(".")[0] for k in known if k.startswith(start)}
    hint = ";" if section == key else _closest(key, list(known))
    where = f" in {section}" if section else ""
    raise ValueError(f"unknown key {key!r}{hint} known{where}: {', '.join(sorted(names))}")


def _closest(key: str, known: list[str]) -> str:
    """As `near_miss`: first in the key's own section, then by its last part anywhere."""
    parent, _, leaf = key.rpartition(".")
    # Every run has stage operator: of the stages' keys, its are the likeliest.
    ordered = sorted(known, key=lambda k: k.startswith("fit.operator."))
    inside: dict[str, str] = {}
    for section in dict.fromkeys((parent, key.partition(".")[0])):
        inside = {k.rpartition(".")[2]: k for k in ordered if k.startswith(f"{section}.")}
        if close := get_close_matches(leaf, list(inside), n=1):
            return f"; did you mean {inside[close[0]]!r}?"
    if elsewhere := [k for k in known if k.rpartition(".")[2] == leaf]:
        return f"; did you mean {elsewhere[0]!r}?"
    return ";" if inside else near_miss(key, known)
