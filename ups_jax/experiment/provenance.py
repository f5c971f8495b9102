"""Origin of a fine-tuned emulator: the source of its parameters, and the data it was trained on."""

from pathlib import Path
from typing import Any

from ups_jax.data import content_hash
from ups_jax.emulator import Emulator
from ups_jax.files import read_json, write_json
from ups_jax.types import Trajectories

FILE = "provenance.json"
KEY = "provenance"
"""Entry of an emulator's `spec` that holds the record."""


def record(source: str | None, train: Trajectories, val: Trajectories) -> dict[str, Any]:
    """Return source folder and data of a fine-tuning: origin, sizes and content hash by split."""
    return {"source": source, "data": {"train": _described(train), "val": _described(val)}}


def attach(emulator: Emulator, found: dict[str, Any]) -> None:
    """Give an emulator its record; `save` writes it."""
    object.__setattr__(emulator, "spec", {**emulator.spec, KEY: found})


def read(folder: Path) -> dict[str, Any]:
    """Return the record of a folder, empty if there is none. Raises DamagedFile."""
    return read_json(folder / FILE, {})


def write(folder: Path, emulator: Emulator) -> None:
    """Write the record of a fine-tuned emulator."""
    if found := emulator.spec.get(KEY):
        write_json(folder / FILE, found)


def data_keys(found: dict[str, Any]) -> dict[str, Any]:
    """Return keys of section `data` of a config for the data of a record: sizes, and no file."""
    train, val = (found["data"][name] for name in ("train", "val"))
    steps, eval_steps = (part["frames"] - 1 for part in (train, val))
    sizes = {"train": train["trajectories"], "val": val["trajectories"], "steps": steps}
    return {"path": None, **sizes, "eval_steps": None if eval_steps == steps else eval_steps}


def _described(data: Trajectories) -> dict[str, Any]:
    return {
        "origin": data.origin,
        "trajectories": len(data),
        "frames": int(data.u.shape[1]),
        "hash": content_hash(data),
    }
