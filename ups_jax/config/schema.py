"""Keys of a config: those of ups_jax/config/base.py, and the arguments of its factories."""

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
from ups_jax.emulator import BASE_STEPS
from ups_jax.files import flatten
from ups_jax.models import DENOISERS, OPERATORS
from ups_jax.pde import PDES
from ups_jax.registry import lookup, near_miss
from ups_jax.types import GATE_LIMITS


class KeySpec(NamedTuple):
    """One key: its default and its type."""

    default: Any
    type: KeyType


class RunConfig(ConfigDict):
    """A resolved config, with a description of one line. `print` shows every key."""

    _source = ""

    def __repr__(self) -> str:
        return _describe(self, self._source)

    def __str__(self) -> str:
        values = flatten(self.to_dict()).items()
        return "\n".join(f"{key}={format_value(value)}" for key, value in values)


def name_source(cfg: RunConfig, source: str) -> None:
    """Give a config the name of its file and variant, which its description begins with."""
    # No key of the config: ConfigDict stores those of its own assignments.
    object.__setattr__(cfg, "_source", source)


class FactorySection(NamedTuple):
    """A section that names a factory: its table, arguments that the builder sets, further keys.

    `extra` holds the default and the comment of keys that the builder itself reads.
    """

    table: Mapping[str, Callable]
    excluded: tuple[str, ...] = ()
    extra: Mapping[str, tuple[Any, str]] = {}


FACTORY_SECTIONS = {
    "pde": FactorySection(PDES, ("cells",)),
    "operator": FactorySection(
        OPERATORS,
        ("inputs", "noise", "boundary", "signs"),
        {
            "zero_mean": (False, "remove the mean of the increment"),
            "galilean": (False, "work in the frame moving with the mean flow"),
            "natural_units": (False, "work in units that make nonlinear coefficients of size one"),
            "history": (1, "frames that the network sees; the first one is repeated before"),
            "base": (
                "identity",
                "base step, that the network corrects or is part of: " + " | ".join(BASE_STEPS),
            ),
            "coarsen": (2, "of base=solver: points per cell of its grid"),
            "substeps": (8, "of base=solver: substeps per interval"),
        },
    ),
    "denoiser": FactorySection(DENOISERS, ("boundary",)),
}

_NAME, _LIMIT = KeySpec("", KeyType(str)), KeySpec(None, KeyType(float, optional=True))
GATE = {"metric": _NAME, **dict.fromkeys(GATE_LIMITS, _LIMIT), "ratio_to": _NAME}
"""Keys of every `gates.<name>`: a config names as many gates as it likes."""


def arguments(section: str, name: str) -> dict[str, KeySpec]:
    """Return the keys of a section that names `name`: the factory's arguments with a default.

    The builder sets the arguments without a default. Raises ValueError on an unknown name.
    """
    spec = FACTORY_SECTIONS[section]
    factory = lookup(spec.table, name, section)
    specs = {}
    for argument in inspect.signature(factory, eval_str=True).parameters.values():
        if argument.default is argument.empty or argument.name in spec.excluded:
            continue
        hint = None if argument.annotation is argument.empty else argument.annotation
        key_type = key_type_of(argument.default, hint)
        default = key_type.check(f"{section}.{argument.name}", argument.default)
        specs[argument.name] = KeySpec(default, key_type)
    extra = {key: KeySpec(value, key_type_of(value)) for key, (value, _) in spec.extra.items()}
    return specs | extra


def key_specs(names: Mapping[str, str], gates: Iterable[str] = ()) -> dict[str, KeySpec]:
    """Return every key of a config that names these factories and has these gates."""
    cfg = base.get_config()
    specs = {f"gates.{gate}.{key}": spec for gate in gates for key, spec in GATE.items()}
    for key, value in flatten(cfg).items():
        section, _, leaf = key.rpartition(".")
        if section in FACTORY_SECTIONS:
            specs[key] = KeySpec(names[section], KeyType(str))
            for argument, spec in arguments(section, names[section]).items():
                specs[f"{section}.{argument}"] = spec
        elif value is None:
            parent = reduce(getattr, filter(None, section.split(".")), cfg)
            specs[key] = KeySpec(None, KeyType(parent.get_type(leaf), optional=True))
        else:
            specs[key] = KeySpec(value, key_type_of(value))
    return specs


def base_keys() -> list[str]:
    """Return the dotted keys of ups_jax/config/base.py, without the arguments of factories."""
    return list(flatten(base.get_config()))


def resolve(
    given: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, file: str = ""
) -> Config:
    """Return the locked config of dotted keys: `overrides`, then `given`, then factory defaults.

    An override of a factory's name drops the arguments that `given` has for it, and keeps the keys
    that the builder reads. Raises ValueError on an unknown or missing key, an unknown name, a value
    of another type; errors in `given` start with `file`.
    """
    overrides = overrides or {}
    replaced = [section for section in FACTORY_SECTIONS if f"{section}.name" in overrides]
    extra = {f"{s}.{key}" for s in replaced for key in FACTORY_SECTIONS[s].extra}
    given = {k: v for k, v in given.items() if k.partition(".")[0] not in replaced or k in extra}
    names = {s: _name(s, overrides) for s in replaced}
    try:
        names |= {s: _name(s, given) for s in FACTORY_SECTIONS if s not in replaced}
        specs = key_specs(names, gates_of(given))
        values = _checked(given, specs)
    except ValueError as error:
        raise ValueError(f"{file}: {error}" if file else str(error)) from error
    for key, value in overrides.items():
        require_known(key, specs)
        values[key] = specs[key].type.read(key, value)
    return _locked(values, specs)


def _name(section: str, values: Mapping[str, Any]) -> str:
    key = f"{section}.name"
    if key not in values:
        raise ValueError(f"{section} has no name; add {key}, one of its table's names")
    name = KeyType(str).check(key, values[key])
    lookup(FACTORY_SECTIONS[section].table, name, section)
    return name


def _checked(given: Mapping[str, Any], specs: Mapping[str, KeySpec]) -> dict[str, Any]:
    for key in given:
        require_known(key, specs)
    for key in specs:
        if key not in given and key.partition(".")[0] not in (*FACTORY_SECTIONS, "gates"):
            raise ValueError(f"{key} is missing; start from ups_jax.config.base.get_config()")
    return {key: specs[key].type.check(key, value) for key, value in given.items()}


def _locked(values: Mapping[str, Any], specs: Mapping[str, KeySpec]) -> Config:
    """Return a ConfigDict of dotted keys; keys that may be none keep their type."""
    tree: dict[str, Any] = {"gates": {}}
    for key, spec in specs.items():
        *path, leaf = key.split(".")
        section = reduce(lambda node, part: node.setdefault(part, {}), path, tree)
        value = values.get(key, spec.default)
        typed = tuple if spec.type.many else spec.type.element
        section[leaf] = FieldReference(None, field_type=typed) if value is None else value
    return RunConfig(tree).lock()


def format_value(value: Any) -> str:
    """Return a value as the command line takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(format_value, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _describe(cfg: Config, source: str) -> str:
    """Return a config in one line: its file, equation, network, sizes and stages."""
    sizes = [f"{cfg.data[name]} {name}" for name in ("train", "val", "test")]
    parts = [
        *([source] if source else []),
        *(f"{name} {_words(name, cfg[name])}" for name in ("pde", "operator")),
        f"data {', '.join(sizes)} of {cfg.data.steps} steps",
        f"stages {', '.join(cfg.stages)}",
        f"operator trained for {cfg.fit.operator.steps} updates",
    ]
    return f"Config({'; '.join(parts)}; all keys: print(cfg))"


def _words(section: str, values: Config) -> str:
    """Return a factory's name, its points, and its arguments that differ from their defaults."""
    specs = arguments(section, values.name).items()
    shown = [k for k, spec in specs if k == "points" or values[k] != spec.default]
    return " ".join([values.name, *(f"{key}={format_value(values[key])}" for key in shown)])


def gates_of(values: Iterable[str]) -> list[str]:
    """Return the names of the gates among dotted keys, in their order."""
    keys = (key.split(".") for key in values if key.startswith("gates."))
    return list(dict.fromkeys(parts[1] for parts in keys if len(parts) == 3))


def require_known(key: str, known: Mapping[str, Any]) -> None:
    """Raise ValueError with the closest known key and the keys of its section, unless known."""
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
    """Suggest as `near_miss`: a key of the same section, else one with the same last part."""
    parent, _, leaf = key.rpartition(".")
    # Of the stages' sections, prefer the one that every run has.
    ordered = sorted(known, key=lambda k: k.startswith("fit.operator."))
    inside: dict[str, str] = {}
    for section in dict.fromkeys((parent, key.partition(".")[0])):
        inside = {k.rpartition(".")[2]: k for k in ordered if k.startswith(f"{section}.")}
        if close := get_close_matches(leaf, list(inside), n=1):
            return f"; did you mean {inside[close[0]]!r}?"
    if elsewhere := [k for k in known if k.rpartition(".")[2] == leaf]:
        return f"; did you mean {elsewhere[0]!r}?"
    return ";" if inside else near_miss(key, known)
