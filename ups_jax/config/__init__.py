"""A run's configuration: read from a file, overridden, bound to factories, checked, compared."""

import hashlib
import json
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from ups_jax.config import base
from ups_jax.config.base import SCHEMA, Config
from ups_jax.config.help import comments, describe
from ups_jax.config.renames import describe_rename, upgrade
from ups_jax.config.rules import phases, require_schema, validate
from ups_jax.config.schema import FACTORY_SECTIONS, assemble, base_keys, bind, override
from ups_jax.files import flatten
from ups_jax.registry import near_miss

__all__ = [
    "SCHEMA",
    "Config",
    "base_keys",
    "comments",
    "describe",
    "difference",
    "fingerprint",
    "from_dict",
    "load",
    "phases",
    "seedless_fingerprint",
    "split_path",
    "to_dict",
    "validate",
]
NON_COMPUTE_SECTIONS = ("log.", "report.", "mesh.")
"""Sections that change how a run is told or where it runs, not what it computes."""


def load(path: str, overrides: Mapping[str, object] | Sequence[str] | None = None) -> Config:
    """Locked, checked config of "FILE[:variant]". Raises ValueError that says how to mend it.

    `overrides` maps dotted keys to values, or lists "KEY=VALUE"; strings are parsed by the key's
    declared type. A new `pde.name` or `operator.name` brings its factory's defaults; the other
    overrides apply after it, whatever their order.
    """
    raw = _read(path)
    try:
        values = bind(flatten(raw))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    cfg = assemble(override(values, _pairs(overrides or {})))
    validate(cfg)
    return cfg


def from_dict(saved: Mapping[str, Any]) -> Config:
    """Locked config of what `to_dict` made, as read back from JSON. Raises ValueError.

    Keys of an older schema are renamed. Keys that are newer than the file take their defaults,
    which change nothing. Schema, keys and types are checked, but no rules between keys: these held
    when the config was saved, and its data may have moved since.
    """
    values = _complete(saved)
    require_schema(values.get("schema"))
    return assemble(bind(values))


def to_dict(cfg: Config) -> dict[str, Any]:
    """Nested plain values that JSON can hold; tuples become lists."""
    return _plain(cfg.to_dict())


def fingerprint(cfg: Config) -> str:
    """SHA-256 over every key outside `log` and `report`."""
    text = json.dumps(_compute_keys(to_dict(cfg)), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seedless_fingerprint(cfg: Config) -> str:
    """Fingerprint of a config but for its seeds: runs of one recipe tell how much a seed changes.

    Where a run is entered, and what it is judged by, is no part of a recipe.
    """
    apart = ("seed", "seeds", "gates", "regression", "leaderboard")
    made = {key: value for key, value in _compute_keys(to_dict(cfg)).items()
            if key.partition(".")[0] not in apart}  # fmt: skip
    text = json.dumps(made, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys outside `log` and `report` that differ, as "key: old -> new".

    Keys of an older schema are renamed first. A key that is newer than `old` counts as changed
    only where its value is not the default.
    """
    before, after = (_compute_keys(_plain(_complete(config))) for config in (old, new))
    keys = list(after) + [key for key in before if key not in after]

    def shown(flat: Mapping[str, Any], key: str) -> str:
        return repr(flat[key]) if key in flat else "absent"

    pairs = [(key, shown(before, key), shown(after, key)) for key in keys]
    return [f"{key}: {was} -> {now}" for key, was, now in pairs if was != now]


def split_path(path: str) -> tuple[str, str]:
    """File and variant of "FILE[:variant]"; an empty variant is "default"."""
    file, colon, variant = str(path).rpartition(":")
    if not colon or "/" in variant:
        return str(path), "default"
    return file, variant or "default"


def _complete(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of a saved config, renamed to this schema; absent keys have their defaults.

    A factory section that is present stays as it is: its arguments belong to its name.
    """
    values = upgrade(saved)
    present = FACTORY_SECTIONS.keys() & {key.partition(".")[0] for key in values}
    defaults = flatten(base.get_config()).items()
    return {k: v for k, v in defaults if k.partition(".")[0] not in present} | values


def _compute_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = flatten(values).items()
    return {key: value for key, value in flat if not key.startswith(NON_COMPUTE_SECTIONS)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _pairs(overrides: Mapping[str, object] | Sequence[str]) -> dict[str, Any]:
    if isinstance(overrides, Mapping):
        return flatten(overrides)
    pairs = {}
    for item in [overrides] if isinstance(overrides, str) else overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"override {item!r} has no value; write KEY=VALUE")
        pairs[key] = value
    return pairs


def _read(path: str) -> Config:
    """Run the file afresh, so that an edit counts at once, and ask it for the variant.

    Whatever the user's own lines raise is told as one line with its place, the cause kept behind.
    """
    name, variant = split_path(path)
    file = Path(name).expanduser()
    if not file.is_file():
        found = sorted(str(other) for other in file.parent.glob("*.py"))
        known = [other for other in found if Path(other).stem not in ("__init__", "base")]
        hint = f"{near_miss(name, known)} known: {', '.join(known)}" if known else ""
        raise ValueError(f"no config file {name!r}{hint}")
    module = ModuleType(file.stem)
    module.__file__ = str(file)
    with user_error_context(file):
        exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    if not callable(getattr(module, "get_config", None)):
        raise ValueError(f"{name} has no get_config(variant); see configs/burgers.py for one")
    variants = [str(v) for v in getattr(module, "VARIANTS", ())]
    if variants and variant not in variants:
        hint = near_miss(variant, variants)
        raise ValueError(f"unknown variant {variant!r}{hint} known: {', '.join(sorted(variants))}")
    with user_error_context(file):
        cfg = module.get_config() if variant == "default" else module.get_config(variant)
    if not isinstance(cfg, ConfigDict):
        raise ValueError(f"{name}: get_config returned {type(cfg).__name__}; return a ConfigDict")
    return cfg


@contextmanager
def user_error_context(file: Path) -> Iterator[None]:
    """Convert any error that the user's file raises into a ValueError of one line."""
    try:
        yield
    except Exception as error:
        raise ValueError(_error_location(file, error)) from error


def _error_location(file: Path, error: Exception) -> str:
    """One line: file and line of the error, its message, and the new name of an older key."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    where = f"{file}, line {line}" if line else str(file)
    unknown = re.match(r"""\W*(?:Key ")?(\w+)""", str(error))
    if unknown and frames and "ml_collections" in frames[-1].filename:
        if renamed := describe_rename(unknown[1]):
            return f"{where}: {renamed}"
    return f"{where}: {type(error).__name__}: {' '.join(str(error).split())}"
