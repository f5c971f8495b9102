"""Trained emulators that the package contains."""

from pathlib import Path
from typing import Any

from jax.tree_util import tree_flatten_with_path
from safetensors.numpy import load_file

from ups_jax import config
from ups_jax.emulator import Emulator, param_shapes
from ups_jax.emulator.params import array_name
from ups_jax.experiment.build import build
from ups_jax.experiment.model_card import PARAMETERS
from ups_jax.files import read_json
from ups_jax.registry import lookup
from ups_jax.types import Params

FOLDER = Path(__file__).parents[1] / "pretrained"
"""One folder for each emulator: its config, its parameters and its model card."""


def pretrained(name: str) -> tuple[Emulator, Params, Any]:
    """Return an emulator of the package, its parameters and its config, as `load` does.

    "universal-1d" is the network of `configs/universal.py` for ten equations in one dimension. Its
    model card lies in `ups_jax/pretrained`. Raises ValueError on an unknown name.
    """
    folder = pretrained_folder(name)
    cfg = config.from_dict(read_json(folder / "config.json", None))
    emulator = build(cfg)
    leaves, tree = tree_flatten_with_path(param_shapes(emulator))
    arrays = load_file(folder / PARAMETERS)
    return emulator, tree.unflatten([arrays[array_name(path)] for path, _ in leaves]), cfg


def pretrained_folder(name: str, kind: str = "pretrained emulator") -> Path:
    """Return the folder of an emulator of the package; ValueError, about a `kind`, if unknown."""
    folders = {path.name: path for path in sorted(FOLDER.iterdir()) if path.is_dir()}
    return lookup(folders, name, kind)
