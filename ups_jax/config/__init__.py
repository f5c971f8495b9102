"""Configuration of a run: read from a file, overridden, checked, saved, compared."""

import hashlib
import json
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ups_jax.config import base, imports
from ups_jax.config.adapt import adapt
from ups_jax.config.base import SCHEMA, Config
from ups_jax.config.bounds import check_values
from ups_jax.config.from_file import drop_absent, take_file_values
from ups_jax.config.help import comments, describe
from ups_jax.config.renames import describe_rename, upgrade
from ups_jax.config.rules import require_schema, validate
from ups_jax.config.schema import (
    FACTORY_SECTIONS,
    arguments,
    base_keys,
    format_value,
    key_specs,
    name_source,
    resolve,
)
from ups_jax.config.types import KeyType
from ups_jax.files import flatten
from ups_jax.registry import lookup, near_miss

TIME_LIMIT_S = 60.0
"""Longest CPU time of a config file."""


def load(path: str, overrides: Mapping[str, object] | Sequence[str] | None = None) -> Config:
    """Return the locked, checked config of "FILE[:variant]", or of "NAME[:variant]" by its name.

    `overrides` maps dotted keys to values, or lists "KEY=VALUE"; the key's type parses strings.
    A new `pde.name` or `operator.name` first brings its factory's defaults. Raises ValueError.
    """
    return load_adapted(path, overrides)[0]


def load_adapted(
    path: str, overrides: Mapping[str, object] | Sequence[str] | None = None
) -> tuple[Config, list[str]]:
    """Return the config of `load`, and sentences on what the file has and the run has not.

    Gates, forecasters and metrics of the file that need what overrides removed are switched off.
    """
    pairs = _pairs(overrides or {})
    # Before the base is built: its sections fit.<stage> come from STAGES.
    files = _replay(pairs.pop("imports", ()), Path.cwd())
    try:
        given = flatten(_read(path))
    except RecursionError as error:
        raise ValueError(f"{path}: a section of the config contains itself") from error
    files |= _replay(given.get("imports", ()), _find(split_path(path)[0]).resolve().parent)
    given["imports"] = tuple(sorted({*imports.registered(), *files}))
    cfg = resolve(given, pairs, file=path)
    name_source(cfg, path)
    check_values(cfg)
    notes = take_file_values(cfg, pairs)
    if cfg.pde.name == "data":
        notes += drop_absent(cfg, pairs)
    notes += adapt(cfg, resolve(given, file=path), given, pairs) if pairs else []
    validate(cfg)
    return cfg, notes


def from_dict(saved: Mapping[str, Any]) -> Config:
    """Return the locked config of a dict that `to_dict` made and JSON stored. Raises ValueError.

    What the run imported is imported first. Older keys are renamed; absent keys take their
    defaults, which change nothing. Rules between keys are not checked: they held when the config
    was saved, and its data may have moved since.
    """
    values = _complete(saved)
    _replay(values["imports"], Path.cwd())
    require_schema(values.get("schema"))
    return resolve(values)


def to_dict(cfg: Config) -> dict[str, Any]:
    """Return nested plain values that JSON can hold; tuples become lists."""
    return _plain(cfg.to_dict())


def fingerprint(cfg: Config) -> str:
    """Return the SHA-256 of every key that decides what is computed; see `difference`."""
    return _hash(_compute_keys(to_dict(cfg)))


def seedless_fingerprint(cfg: Config) -> str:
    """Return the fingerprint without seeds and verdict: runs that share it differ by seed only."""
    values = _compute_keys(to_dict(cfg)).items()
    excluded = ("seed", "num_seeds", "gates", "regression", "leaderboard")
    return _hash({key: value for key, value in values if key.partition(".")[0] not in excluded})


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the keys that differ, as "key: old -> new".

    Left out are `log`, `report`, `mesh` and the leaderboard's path, which change no result. Older
    keys are renamed first; a key that is absent from a config has its default.
    """
    both = [_compute_keys(_plain(_complete(config))) for config in (old, new)]
    texts = [{key: repr(value) for key, value in values.items()} for values in both]
    pairs = [(key, *(text.get(key, "absent") for text in texts)) for key in both[1] | both[0]]
    return [f"{key}: {was} -> {now}" for key, was, now in pairs if was != now]


def split_path(path: str) -> tuple[str, str]:
    """Return file and variant of "FILE[:variant]"; an empty variant is "default"."""
    file, colon, variant = str(path).rpartition(":")
    if not colon or "/" in variant:
        return str(path), "default"
    return file, variant or "default"


def _complete(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of a saved config, renamed to this schema; absent keys have their defaults.

    The defaults of a factory section that is present are those of its name.
    """
    values = upgrade(saved)
    present = FACTORY_SECTIONS.keys() & {key.partition(".")[0] for key in values}
    rest = flatten(base.get_config()).items()
    defaults = {k: v for k, v in rest if k.partition(".")[0] not in present}
    for section in present:
        name = values.get(f"{section}.name")
        if isinstance(name, str) and name in FACTORY_SECTIONS[section].table:
            specs = arguments(section, name)
            defaults |= {f"{section}.{key}": spec.default for key, spec in specs.items()}
    return defaults | values


def _compute_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    unrelated = ("log.", "report.", "mesh.", "leaderboard.path", "imports")
    return {k: v for k, v in flatten(values).items() if not k.startswith(unrelated)}


def _hash(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as JSON gives them back: tuples become lists."""
    return json.loads(json.dumps(values))


def _pairs(overrides: Mapping[str, object] | Sequence[str]) -> dict[str, Any]:
    if isinstance(overrides, Mapping):
        return flatten(overrides)
    items = [overrides] if isinstance(overrides, str) else overrides
    for item in items:
        if "=" not in item:
            raise ValueError(f"override {item!r} has no value; write KEY=VALUE")
    return dict(item.split("=", 1) for item in items)


def describe_config(path: str) -> str:
    """Return the variants of a config file, and the keys that differ from their defaults."""
    cfg, variants = load(path), _execute(split_path(path)[0])[2]
    specs = key_specs({name: cfg[name].name for name in FACTORY_SECTIONS}, cfg.gates)
    values = [(key, value) for key, value in flatten(cfg).items() if value != specs[key].default]
    lines = [f"  {key}={format_value(value)}" for key, value in values]
    listed = f" (variants: {', '.join(variants)})" if variants else ""
    return "\n".join([f"values of {path}{listed} that differ from the defaults:", *lines, ""])


def _execute(name: str) -> tuple[Path, Any, list[str]]:
    """Run a config file -> the file, its module, the names of its variants."""
    file = _find(name)
    with user_error_context(file):
        module = imports.execute(file)
        return file, module, [str(v) for v in getattr(module, "VARIANTS", ())]


def _read(path: str) -> Config:
    """Run the file anew, so that an edit counts at once, and return the config of the variant."""
    name, variant = split_path(path)
    file, module, variants = _execute(name)
    if not callable(getattr(module, "get_config", None)):
        raise ValueError(f"{name} has no get_config(variant); see configs/burgers.py for one")
    if variants:
        lookup(dict.fromkeys(variants), variant, "variant")
    with user_error_context(file):
        cfg = module.get_config() if variant == "default" else module.get_config(variant)
    if not isinstance(cfg, ConfigDict):
        raise ValueError(f"{name}: get_config returned {type(cfg).__name__}; return a ConfigDict")
    return cfg


def _replay(entries: Any, folder: Path) -> set[str]:
    """Import files and modules, given as the value of `imports` or as its text; return the files.

    Each is PATH#DIGEST, as a run records it.
    """

    def execute(file: Path) -> None:
        with user_error_context(file):
            imports.execute(file)

    entries = KeyType(str, one=False, many=True).read("imports", entries)
    imports.replay(entries, folder, execute)
    return imports.recorded(entries, folder)


def _find(name: str) -> Path:
    """Return the file of a path, or of a bare name that the library or its checkout has."""
    file = Path(name).expanduser()
    if file.is_file():
        return file
    root = Path(base.__file__).parents[1]
    files = [f for folder in (root.parent, root) for f in folder.glob("configs/[!_]*.py")]
    named = {f.stem: f for f in files}
    if name in named:
        return named[name]
    near = sorted(str(f) for f in file.parent.glob("[!_]*.py"))
    is_path = file.suffix or len(file.parts) > 1
    known = [*near, *sorted(named)] if is_path else [*sorted(named), *near]
    raise ValueError(f"no config file {name!r}{near_miss(name, known)} known: {', '.join(known)}")


@contextmanager
def user_error_context(file: Path) -> Iterator[None]:
    """Make the folder of the file importable, and convert its errors to one-line ValueErrors.

    `sys.exit` and a CPU time above `TIME_LIMIT_S` are such errors.
    """
    sys.path.append(str(file.parent.resolve()))
    try:
        with _time_limit():
            yield
    except (Exception, SystemExit) as error:
        raise ValueError(_error_location(file, error)) from error
    finally:
        sys.path.remove(str(file.parent.resolve()))


@contextmanager
def _time_limit() -> Iterator[None]:
    """Raise TimeoutError after `TIME_LIMIT_S` of CPU time in a block; no limit in a thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(signum: int, frame: Any) -> None:
        raise TimeoutError(f"no config after {TIME_LIMIT_S:g} s; a loop that does not end?")

    before = signal.signal(signal.SIGVTALRM, expire)
    signal.setitimer(signal.ITIMER_VIRTUAL, TIME_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _error_location(file: Path, error: BaseException) -> str:
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
