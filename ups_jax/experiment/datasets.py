"""The three splits of a run, simulated or from a file, checked before anything is spent."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ups_jax.data import check_disjoint, content_hash, load, observe, simulate, split
from ups_jax.pde.base import PDE
from ups_jax.sharding import Mesh
from ups_jax.types import Key, Trajectories

SPLIT_NAMES = ("train", "val", "test")
PDEBENCH_STRIDES = (4, 5)
"""From 1,024 points and 201 frames to 256 points and 41 frames."""


@dataclass(frozen=True)
class Splits:
    """Training, validation and test trajectories, and what is recorded of them."""

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
    """Splits of a config. ValueError on data that are broken, overlap or do not fit the PDE."""
    parts = _from_file(cfg, pde) if cfg.data.path else _simulated(cfg, pde, mesh, stop, progress)
    ids = {name: [int(i) for i in index] for name, (_, index) in parts.items()}
    made = {name: data for name, (data, _) in parts.items()}
    check_disjoint(made)
    made = {name: apply_observation(cfg, name, data) for name, data in made.items()}
    record = {
        "origin": made["train"].origin,
        "hash": {name: content_hash(data) for name, data in made.items()},
        "ids": ids,
    }
    return Splits(**made, record=record)


def apply_observation(cfg: Any, name: str, data: Trajectories) -> Trajectories:
    """The split as forecasts see it, where its first frames are seen at few points alone."""
    if cfg.data.observed_stride is None:
        return data
    seed = 3 * cfg.data.seed + SPLIT_NAMES.index(name)
    stride, noise = cfg.data.observed_stride, cfg.data.observed_noise
    return observe(data, seed=seed, stride=stride, noise=noise)


def eval_steps(cfg: Any) -> int:
    """Saved intervals of validation and test trajectories."""
    return cfg.data.steps if cfg.data.eval_steps is None else cfg.data.eval_steps


def split_key(cfg: Any, name: str) -> Key:
    """Key of a simulated split: of its own, so that none changes with another's size."""
    if (own := cfg.data[f"{name}_seed"]) is not None:
        return jax.random.key(own)
    return jax.random.fold_in(jax.random.key(cfg.data.seed), SPLIT_NAMES.index(name))


def _simulated(cfg, pde, mesh, stop, progress) -> dict[str, tuple[Trajectories, Any]]:
    parts = {}
    for name in SPLIT_NAMES:
        n = cfg.data[name]
        data = simulate(
            pde,
            split_key(cfg, name),
            n=n,
            steps=cfg.data.steps if name == "train" else eval_steps(cfg),
            mesh=mesh,
            stop=stop,
            progress=lambda done, total, name=name: progress(f"simulate {name}", done, total),
        )
        parts[name] = (data, range(n))
    return parts


def _from_file(cfg, pde) -> dict[str, tuple[Trajectories, Any]]:
    spec, data = cfg.data, from_file(cfg, pde)
    index = split(len(data), seed=spec.seed, train=spec.train, val=spec.val, test=spec.test)
    parts = {name: data.take(index[name]) for name in SPLIT_NAMES}
    # Training windows may be read from disk; what is judged on is rolled out again and again.
    whole = {name: replace(parts[name], u=np.asarray(parts[name].u)) for name in ("val", "test")}
    return {name: (part, index[name]) for name, part in (parts | whole).items()}


def from_file(cfg: Any, pde: PDE) -> Trajectories:
    """All trajectories of `data.path`, thinned by its strides. ValueError where they do not fit."""
    spec = cfg.data
    space, frames = (1, 1) if Path(spec.path).suffix == ".npz" else PDEBENCH_STRIDES
    data = load(
        spec.path,
        space_stride=spec.space_stride or space,
        time_stride=spec.time_stride or frames,
        nu=spec.nu,
        stream=spec.stream,
    )
    _check_matches_config(data, cfg, pde)
    return data


def _check_matches_config(data: Trajectories, cfg: Any, pde: PDE) -> None:
    """A file must be what the config says it is, down to the time between frames."""
    assert data.cond is not None
    points = data.points[0] if len(data.points) == 1 else ",".join(map(str, data.points))
    checks = (
        ("points", data.points, pde.points, f"--config.pde.points={points}"),
        ("channels", len(data.channels), len(pde.channels), "another pde.name"),
        ("parameters", data.cond.shape[1], len(pde.params), "a `cond` array of that width"),
        (
            "steps",
            data.u.shape[1] - 1,
            eval_steps(cfg),
            f"--config.data.steps={data.u.shape[1] - 1}",
        ),
        ("dt", float(data.dt), float(pde.dt), f"--config.pde.dt={data.dt:g}"),
        (
            "extent",
            tuple(data.extent),
            tuple(pde.extent),
            f"--config.pde.length={data.extent[0]:g}",
        ),
    )
    for name, got, wanted, remedy in checks:
        if np.shape(got) != np.shape(wanted) or not np.allclose(got, wanted, rtol=1e-5):
            raise ValueError(
                f"{cfg.data.path} has {name} {got} after its strides, the config says {wanted}; "
                f"use {remedy}"
            )
