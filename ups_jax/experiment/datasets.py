"""Splits of a run, simulated or from a file, checked before any training."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ups_jax.data import (
    SPLIT_NAMES,
    check_disjoint,
    check_task,
    content_hash,
    cut,
    describe_differences,
    differences,
    load_section,
    long_enough,
    mask_ends,
    observe,
    parameter_differences,
    simulate_splits,
    split,
)
from ups_jax.data import split_key as key_of_split
from ups_jax.data.cache import errors_named
from ups_jax.data.checks import Difference
from ups_jax.data.missing import MASK, check_trajectories, missing_share
from ups_jax.evaluate import protocols
from ups_jax.pde.base import PDE
from ups_jax.sharding import Mesh
from ups_jax.types import Key, Trajectories


class Splits(NamedTuple):
    """Training, validation and test trajectories, and their origin, hashes and sample numbers."""

    train: Trajectories
    val: Trajectories
    test: Trajectories
    record: dict[str, Any]


def load_splits(
    cfg: Any,
    pde: PDE,
    *,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> Splits:
    """Return the splits of a config. Raises ValueError if they overlap or do not fit the PDE."""
    spec = cfg.data
    if spec.path:
        parts, ids = _from_file(cfg, pde)
        with errors_named(Path(spec.path)):
            check_disjoint(parts)
    else:
        parts = simulate_splits(
            pde,
            train=spec.train,
            val=spec.val,
            test=spec.test,
            steps=spec.steps,
            eval_steps=spec.eval_steps,
            seed=spec.seed,
            key_seeds={name: spec[f"{name}_seed"] for name in SPLIT_NAMES},
            mesh=mesh,
            stop=stop,
            progress=progress,
        )._asdict()
        ids = {name: range(len(data)) for name, data in parts.items()}
    parts = {name: apply_observation(cfg, name, data) for name, data in parts.items()}
    record = {
        "origin": parts["train"].origin,
        "hash": {name: content_hash(data) for name, data in parts.items()},
        "ids": {name: [int(i) for i in index] for name, index in ids.items()},
    }
    if spec.missing == MASK:
        record["missing"] = {name: missing_share(data) for name, data in parts.items()}
        if jax.process_index() == 0:
            shares = ", ".join(f"{100 * x:.2g} % of {k}" for k, x in record["missing"].items())
            print(f"note: missing values are masked: {shares}", file=sys.stderr)
    return Splits(**parts, record=record)


def apply_observation(cfg: Any, name: str, data: Trajectories) -> Trajectories:
    """Return a split whose first frames are observed at few points, if the config says so."""
    if cfg.data.observed_stride is None:
        return data
    seed = 3 * cfg.data.seed + SPLIT_NAMES.index(name)
    stride, noise = cfg.data.observed_stride, cfg.data.observed_noise
    return observe(data, seed=seed, stride=stride, noise=noise)


def eval_steps(cfg: Any) -> int:
    """Return the saved intervals of validation and test trajectories."""
    return cfg.data.steps if cfg.data.eval_steps is None else cfg.data.eval_steps


def last_given_frame(cfg: Any) -> int:
    """Return the frame after which forecasts under `eval.protocol` begin."""
    return cfg.eval.context_frames - 1 if cfg.eval.protocol == "p10" else 0


def split_key(cfg: Any, name: str) -> Key:
    """Return the key of a simulated split of a config."""
    return key_of_split(name, seed=cfg.data.seed, key_seed=cfg.data[f"{name}_seed"])


def _from_file(cfg: Any, pde: PDE) -> tuple[dict[str, Trajectories], dict[str, Any]]:
    spec, data = cfg.data, from_file(cfg, pde)
    with errors_named(Path(spec.path)):
        _require_none(parameter_differences(data, pde))
        index = split(
            len(data),
            seed=spec.seed,
            train=spec.train,
            val=spec.val,
            test=spec.test,
            shuffle_test=_is_npz(spec.path),
        )
    frames = eval_steps(cfg) + 1
    # A trajectory that ends earlier is scored by its own frames where missing values are masked.
    starts = protocols(frames, cfg.eval.context_frames)
    after = {"val": last_given_frame(cfg), "test": max(starts.values())}
    for name, last in after.items():
        needed = last + 2 if spec.missing == MASK else frames
        index[name] = _long_enough(name, data, index[name], needed)
    parts = {name: data.take(index[name]) for name in SPLIT_NAMES}
    # Training windows may be read from disk; evaluation rolls out the other splits repeatedly.
    for name, last in after.items():
        parts[name] = replace(parts[name], u=np.asarray(parts[name].u))
        parts[name] = of_one_length(parts[name], frames, spec.missing)
        if spec.missing == MASK:
            check_trajectories(parts[name], MASK, after=last, name=f"{name} trajectory")
    return parts, index


def of_one_length(data: Trajectories, frames: int, missing: str) -> Trajectories:
    """Return trajectories of `frames` frames; where missing values are masked, all of them."""
    return mask_ends(data, frames) if missing == MASK else cut(data, frames)


def _long_enough(name: str, data: Trajectories, index: np.ndarray, frames: int) -> np.ndarray:
    """Return the samples of a split that have the frames to be evaluated; ValueError if none."""
    kept = index[np.isin(index, long_enough(data, frames))]
    if not len(kept):
        raise ValueError(
            f"no {name} trajectory has {frames} frames; lower data.eval_steps, or raise data.{name}"
        )
    if len(kept) < len(index) and jax.process_index() == 0:
        left_out = f"{len(index) - len(kept)} of {len(index)} {name} trajectories"
        text = f"note: {left_out} have fewer than {frames} frames and are left out"
        print(text, file=sys.stderr)
    return kept


def from_file(cfg: Any, pde: PDE) -> Trajectories:
    """Return all trajectories of `data.path`, subsampled by its strides.

    Raises ValueError where they do not fit the config.
    """
    data = load_section(cfg.data, cfg.pde.name)
    steps = data.u.shape[1] - 1
    found = differences(data, pde, points=True)
    if data.lengths is None and steps != eval_steps(cfg):
        found.append(Difference("steps", steps, eval_steps(cfg), {}))
    with errors_named(Path(cfg.data.path)):
        _require_none(found)
        check_task(data, pde)
    return data


def _require_none(found: list[Difference]) -> None:
    if found:
        listed = describe_differences(found)
        raise ValueError(f"the file does not fit the config: {listed}; use a file of this task")


def _is_npz(path: str) -> bool:
    return Path(path).suffix.lower() == ".npz"
