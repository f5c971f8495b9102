"""Trained emulators on disk: saved from Python, or by a run."""

import copy
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ups_jax import config
from ups_jax.arrays import as_key
from ups_jax.config import base, imports
from ups_jax.config.renames import NAME_RENAMES, RENAMED_SCHEMA, SELECTED_FOLDER
from ups_jax.emulator import Emulator, fit_statistics, init, param_shapes
from ups_jax.emulator.transfer import copied, require_same_kind, transfer, transfer_notes
from ups_jax.experiment import provenance
from ups_jax.experiment.build import build
from ups_jax.experiment.checkpoint import Checkpoints, newest_intact
from ups_jax.experiment.pretrained import pretrained, pretrained_folder
from ups_jax.files import DamagedFile, read_json, write_json
from ups_jax.pde import PDES
from ups_jax.train import Recipe, train
from ups_jax.types import Key, Params, Trajectories

FOLDERS = ("ckpt/selected", f"ckpt/{SELECTED_FOLDER}")
"""Folders of the selected parameters: today's, and that of runs before schema 3."""
NAMED_SOURCE = "folder or pretrained emulator"


def save(folder: str | Path, emulator: Emulator, params: Params) -> Path:
    """Write an emulator and its parameters to a folder that `load` reads; return the folder.

    Raises ValueError on a folder that is not empty, and on an emulator whose PDE or operator is
    not in PDES or OPERATORS: register it there, under a name.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not empty; name another folder")
    cfg = _config_of(emulator)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config.to_dict(cfg))
    provenance.write(folder, emulator)
    save_params(folder, params)
    return folder


def save_params(folder: Path, params: Params) -> None:
    """Write the selected parameters, and the statistics among them."""
    with Checkpoints(folder / FOLDERS[0]) as checkpoints:
        checkpoints.save(params, {"schema": config.SCHEMA})


def model_files(folder: Path) -> dict[str, Path]:
    """Return the files of a run that `load` reads, by their paths in the folder."""
    saved = sorted(path for path in (folder / FOLDERS[0]).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in (folder / "config.json", *saved)}


def load(folder: str | Path) -> tuple[Emulator, Params, Any]:
    """Return a trained emulator, its parameters and its config, from a run or from `save`.

    Raises ValueError on a folder without a config or parameters, and on parameters that do not fit.
    """
    folder = Path(folder).expanduser()
    saved = _read_config(folder)
    cfg = config.from_dict(saved)
    emulator = build(cfg)
    if origin := provenance.read(folder):
        provenance.attach(emulator, origin)
    found = next((folder / name for name in FOLDERS if (folder / name).is_dir()), None)
    if found is None:
        raise ValueError(f"{folder} is not fully trained; rerun its training command to resume it")
    names = NAME_RENAMES if saved.get("schema") == RENAMED_SCHEMA else {}
    old_names = {new: old for old, new in names.items()}
    example = param_shapes(emulator)
    example = {old_names.get(name, name): value for name, value in example.items()}
    number, damaged = newest_intact(found)
    if number is None:
        what = f"{damaged[0]} is damaged" if damaged else f"{found} holds no checkpoint"
        raise ValueError(
            f"{what}; restore it from a copy, or remove {folder / 'summary.json'}\n"
            "and rerun the training command, which selects the parameters again"
        )
    with Checkpoints(found) as checkpoints:
        tree = checkpoints.restore(number, example).tree
    params = {names.get(name, name): value for name, value in tree.items()}
    return emulator, jax.tree.map(np.asarray, params), cfg


def load_source(source: str | Path) -> tuple[str, Emulator, Params]:
    """Return an emulator and its parameters, after the folder or the pretrained name they are from.

    `source` is the folder of a run or of `save`, or else a name that `pretrained` knows. ValueError
    as both.
    """
    if _is_name(source):
        pretrained_folder(str(source), NAMED_SOURCE)
        return (str(source), *pretrained(str(source))[:2])
    folder = str(Path(source).expanduser().resolve())
    return (folder, *load(folder)[:2])


def read_operator(source: str | Path) -> dict[str, Any]:
    """Return the `operator` section of a `source` of `load_source`. ValueError as there."""
    named = _is_name(source)
    folder = pretrained_folder(str(source), NAMED_SOURCE) if named else Path(source).expanduser()
    return dict(config.from_dict(_read_config(folder)).operator)


def _is_name(source: str | Path) -> bool:
    """Return True for a bare name that is no folder, such as that of a pretrained emulator."""
    path = Path(source).expanduser()
    return not path.exists() and path.name == str(source)


class Origin(NamedTuple):
    """Parameters that a fine-tuned emulator starts from, and the record of where they are from."""

    params: Params
    record: dict[str, Any]


def read_origin(source: str | Path, emulator: Emulator) -> Origin:
    """Return the parameters of a `source` of `load_source`, to start those of `emulator`.

    Raises ValueError as there, on an unfinished run, and if no parameter fits.
    """
    name, trained, params = load_source(source)
    folder = Path(name)
    metadata = read_json(folder / "metadata.json", {})
    if (folder / "run_id.txt").exists() and not (folder / "summary.json").exists():
        raise ValueError(f"{folder} is not finished; rerun its training command to resume it")
    record = {"folder": name, **_compared(emulator, trained, params, name)}
    record |= {key: metadata.get(key) for key in ("fingerprint", "data_hash")}
    return Origin(params, record)


def finetune(
    source: str | Path | tuple[Emulator, Params],
    data: Trajectories,
    val: Trajectories,
    recipe: Recipe,
    *,
    key: Key | int,
    emulator: Emulator | None = None,
    **options: Any,
) -> tuple[Emulator, Params]:
    """Train a trained operator on other data; return its emulator and the best parameters.

    `source` is the folder of a finished run or of `save`, a name that `pretrained` knows, or an
    emulator with its parameters.
    `emulator` is the one to train, by default that of the source; where its networks differ,
    parameters start as in `transfer`, and a line on stderr names the others. `options` are those
    of `train`. The emulator's `spec`, which `save` writes, records the folder, and the origin,
    sizes and content hash of the data. Raises ValueError as `train`, and if no parameter fits.
    """
    key = as_key(key)
    folder = None
    if isinstance(source, tuple):
        trained, given = source
    else:
        folder, trained, given = load_source(source)
    emulator = copy.copy(emulator or trained)
    provenance.attach(emulator, provenance.record(folder, data, val))
    for note in _compared(emulator, trained, given, folder or "source")["notes"]:
        print(f"note: {note}", file=sys.stderr)
    params = transfer(init(emulator, key, fit_statistics(emulator, data)), given)
    return emulator, train(emulator, data, val, recipe, key=key, params=params, **options)


def _read_config(folder: Path) -> dict[str, Any]:
    """Return the config of a run as it was written. ValueError if it is missing or damaged."""
    try:
        saved = read_json(folder / "config.json", None)
    except DamagedFile as error:
        raise ValueError(f"{error}; the run's training command writes it again") from error
    if saved is None:
        raise ValueError(f"{folder} holds no run: config.json is missing; train one first")
    return saved


def _compared(emulator: Emulator, trained: Emulator, source: Params, name: str) -> dict[str, Any]:
    """Return the number of parameters that are copied and the notes on all others."""
    require_same_kind(emulator, trained, name)
    example = param_shapes(emulator)
    count = copied(example, source)
    if not count:
        raise ValueError(
            f"no parameter of {name} fits the networks {', '.join(example)}; use the same operator"
        )
    return {"copied": count, "notes": transfer_notes(example, source)}


def _config_of(emulator: Emulator) -> Any:
    """Return the config that builds an emulator, with the source and data of a fine-tuning."""
    spec = dict(emulator.spec)
    origin = spec.pop(provenance.KEY, None)
    if "schema" in spec:
        return config.from_dict(_with_origin(spec, origin))
    if emulator.networks or emulator.diffusion or emulator.search:
        raise ValueError(
            "the emulator has networks beyond its operator, which only a config describes; "
            "build it with ups.build"
        )
    pde, operator = emulator.pde, spec.get("operator")
    if operator is None:
        raise ValueError(
            "the operator's factory is not in ups_jax.OPERATORS, so a folder could not name it; "
            "add it there before building the emulator"
        )
    if pde.name not in PDES:
        raise ValueError(f"pde {pde.name!r} is not in ups_jax.PDES; add its factory there")
    arguments = {key: value for key, value in pde.spec.items() if key != "cells"}
    sections = config.to_dict(base.get_config())
    sections |= {"pde": {"name": pde.name, **arguments}, "operator": operator}
    sections["data"] |= {"cells": pde.cells, "missing": emulator.missing}
    sections["imports"] = imports.registered()
    return config.from_dict(_with_origin(sections, origin))


def _with_origin(sections: dict[str, Any], origin: dict[str, Any] | None) -> dict[str, Any]:
    """Return the sections of a config with the source and the data of a fine-tuning, if any."""
    if origin is None:
        return sections
    data = {**sections["data"], **provenance.data_keys(origin)}
    return {**sections, "init_from": origin["source"], "data": data}
