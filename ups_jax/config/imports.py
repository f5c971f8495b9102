"""Files and modules of the user that add to the package's tables: recorded in `cfg.imports`.

A run's `config.json` names them, so that a process that reopens the run imports them first. A file
is written as PATH#DIGEST, with the digest of its content; a module of a package by its dotted name.
"""

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ups_jax.diffusion import NOISE_SCHEDULES, SAMPLERS
from ups_jax.forecast import FORECASTERS
from ups_jax.metrics import ENSEMBLE_METRICS, METRICS
from ups_jax.models import DENOISERS, OPERATORS
from ups_jax.pde import PDES
from ups_jax.rewards import REWARDS
from ups_jax.stages import STAGES

PLUG_POINTS = (PDES, OPERATORS, DENOISERS, STAGES, FORECASTERS, METRICS, ENSEMBLE_METRICS, REWARDS)
PLUG_POINTS += (SAMPLERS, NOISE_SCHEDULES)
DIGEST_LENGTH = 16
LIBRARIES = ("ups_jax", "jax", "numpy", "optax", "__main__")
"""Packages whose functions need no record, and the name of a script."""


def registered() -> tuple[str, ...]:
    """Return the files and modules whose functions are in the tables, the package's left out.

    A script or a notebook is left out too: to import it would run it.
    """
    # The figures come with Matplotlib; nobody has added one before they are imported.
    figures = getattr(sys.modules.get("ups_jax.report"), "FIGURES", {})
    entries = {}
    for value in (value for table in (*PLUG_POINTS, figures) for value in table.values()):
        for function in _functions(value):
            name, file = function.__globals__["__name__"], function.__globals__.get("__file__")
            if file and name.partition(".")[0] not in LIBRARIES:
                entries[name if "." in name else _with_digest(Path(file).resolve())] = None
    return tuple(sorted(entries))


def recorded(entries: Iterable[str], folder: Path) -> set[str]:
    """Return the files among `entries` as PATH#DIGEST; relative paths start at `folder`.

    A file may have added to a table without functions, such as the equations of a mixture, which
    `registered` does not see.
    """
    names = [Path(entry.partition("#")[0]).expanduser() for entry in entries]
    files = [(folder / name).resolve() for name in names if name.suffix == ".py"]
    return {_with_digest(file) for file in files if file.is_file()}


def replay(entries: Iterable[str], folder: Path, execute: Callable[[Path], object]) -> None:
    """Import what `entries` name, unless it is in the tables already; paths start at `folder`.

    Raises ValueError for a module that cannot be imported. A file that was recorded and has changed
    or is missing gets one warning: what it added may have been imported from elsewhere.
    """
    known = {entry.partition("#")[0] for entry in registered()}
    for entry in entries:
        name, _, digest = entry.partition("#")
        if not name.endswith(".py"):
            _import(name)
            continue
        file = (folder / Path(name).expanduser()).resolve()
        if not file.is_file():
            if not digest:
                raise ValueError(f"imports has {entry!r}, which is no file")
            print(f"warning: {file}, which this run imported, is missing", file=sys.stderr)
            continue
        if digest and _with_digest(file) != f"{file}#{digest}":
            print(f"warning: {file} has changed since this run", file=sys.stderr)
        if str(file) not in known:
            execute(file)


def execute(file: Path) -> ModuleType:
    """Run a file anew and return its module, which `sys.modules` does not hold."""
    module = ModuleType(file.stem)
    module.__file__ = str(file)
    exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    return module


def _import(name: str) -> None:
    try:
        import_module(name)
    except ImportError as error:
        raise ValueError(f"imports has {name!r}: {error}; name a module or a .py file") from error


def _with_digest(file: Path) -> str:
    """Return PATH#DIGEST of a file."""
    content = file.read_bytes() if file.is_file() else b""
    return f"{file}#{hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]}"


def _functions(value: Any) -> Iterator[Any]:
    """Yield the Python functions that a table's value consists of."""
    while isinstance(value, partial):
        value = value.func
    if hasattr(value, "__globals__"):
        yield value
    elif isinstance(value, tuple) or hasattr(value, "__dataclass_fields__"):
        parts = value if isinstance(value, tuple) else vars(value).values()
        for part in parts:
            yield from _functions(part)
    elif callable(value) and hasattr(type(value).__call__, "__globals__"):
        yield type(value).__call__
