"""Estimate of a run's memory and minutes, without running it."""

import json
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from ups_jax import config
from ups_jax.emulator import Emulator, num_params, param_shapes, state_channels, step
from ups_jax.experiment import environment, schedule
from ups_jax.experiment.datasets import eval_steps
from ups_jax.forecast import FORECASTERS
from ups_jax.sharding import num_threads

RATES = {"cpu": 3.5e10, "gpu": 5e12, "tpu": 5e12}
"""FLOP/s that small float32 networks reach: a CPU core, a device."""
FORECAST_COPIES = 3
"""Forecasts of a batch that are in memory at once: the rollout, its error, a channel of both."""
CELL_S = 17e-3 / (1024**2 * 2.0)
"""Seconds of a simulated trajectory over cells^2 and time: 17 ms at 1,024 cells on two cores."""


class Estimate(NamedTuple):
    """Bytes of each part of a run, keys that lower it, and the operator's size."""

    bytes: dict[str, float]
    keys: dict[str, str]
    parameters: int


def estimate(cfg: Any, emulator: Emulator, *, training: bool = True) -> Estimate:
    """Return the estimated memory of a run, without compiling or allocating anything.

    Without `training`, it is that of an evaluation on simulated or loaded test data.
    """
    pde, data, ensemble = emulator.pde, cfg.data, cfg.ensemble
    params = param_shapes(emulator)
    channels = state_channels(pde, emulator.history)
    field = jax.ShapeDtypeStruct((1, *pde.points, channels), np.float32)
    cond = jax.ShapeDtypeStruct((1, len(pde.params)), np.float32)
    lowered = jax.jit(lambda p, u, c: step(emulator, p, u, c)).lower(params, field, cond)
    cost = lowered.cost_analysis() or {}
    fits = [cfg.fit[name] for name in cfg.stages]
    widest = max(fit.batch * max(fit.unroll) for fit in fits)
    networks = cfg.num_seeds * len(cfg.sweep.lr_factors)
    point = 4.0 * math.prod(pde.points)
    stochastic = any(FORECASTERS[name].stochastic for name in cfg.eval.forecasters)
    batch = min(cfg.eval.batch, data.test) * (ensemble.members if stochastic else 1)
    forecasts = FORECAST_COPIES * point * len(pde.channels) * batch * eval_steps(cfg)
    # Every device has a copy of the training data.
    copies = 1 + environment.mesh_of(cfg).size
    frames = (copies * _frames(cfg) if training else 0) + 2 * data.test * (eval_steps(cfg) + 1)
    parts = {
        "data": (point * len(pde.fields) * frames, "data.train, data.val, data.test or data.steps"),
        "solver": (0.0 if data.path else 4.0 * math.prod(pde.cells), "data.cells"),
        "parameters": (16.0 * num_params(params) * networks, "operator.width or num_seeds"),
        "training": (
            training * widest * cost.get("bytes accessed", 0.0) * networks,
            "fit.<stage>.batch or unroll",
        ),
        "forecasts": (forecasts, "eval.batch, ensemble.members or the horizon"),
    }  # fmt: skip
    sizes, keys = ({name: part[i] for name, part in parts.items()} for i in (0, 1))
    return Estimate(sizes, keys, num_params(params["operator"]))


def require_memory(cfg: Any, emulator: Emulator, *, training: bool = True) -> None:
    """Raise ValueError if the estimate of a run or an evaluation exceeds the available memory."""
    need, available = estimate(cfg, emulator, training=training), environment.memory()
    total = sum(need.bytes.values())
    if total > available:
        name = max(need.bytes, key=need.bytes.__getitem__)
        raise ValueError(
            f"the {'run' if training else 'evaluation'} needs about {total / 2**30:,.1f} GiB, "
            f"{need.bytes[name] / 2**30:,.1f} of them for its {name}; "
            f"this machine has {available / 2**30:,.1f} GiB: "
            f"lower {need.keys[name]}"
        )


def describe(cfg: Any, emulator: Emulator) -> str:
    """Return the resolved config, and the estimated memory and minutes on this machine."""
    pde, data, need = emulator.pde, cfg.data, estimate(cfg, emulator)
    frames = _frames(cfg) + data.test * (eval_steps(cfg) + 1)
    solved = frames + (data.train + data.val + data.test) * pde.warmup
    # The number of substeps grows with the cells along an axis.
    simulation = solved * pde.dt * CELL_S * math.prod(pde.cells) * max(pde.cells)
    backend = jax.default_backend()
    rate = RATES.get(backend, 1e12) * (num_threads() if backend == "cpu" else 1)
    flops = schedule.part_flops(emulator, cfg)
    training = sum(flops[name] for name in cfg.stages)
    minutes = {
        "data": 0.0 if data.path else simulation / 60,
        "training": training / rate / 60,
        "evaluation": (sum(flops.values()) - training) / rate / 60,
    }
    parts = ", ".join(f"{name} {value:.1f}" for name, value in minutes.items())
    lines = [
        json.dumps(config.to_dict(cfg), indent=1),
        f"parameters: {need.parameters:,} (operator)",
        f"estimated memory: {sum(need.bytes.values()) / 2**20:,.0f} MiB, "
        f"{need.bytes['data'] / 2**20:,.0f} MiB of them data",
        f"estimated minutes on {backend}: {sum(minutes.values()):.1f} ({parts})",
        "dry run: nothing was run",
    ]
    return "\n".join(lines)


def _frames(cfg: Any) -> int:
    """Return the frames of training and validation; streamed training data stay on disk."""
    data = cfg.data
    train = 0 if data.stream else data.train * (data.steps + 1)
    return train + data.val * (eval_steps(cfg) + 1)
