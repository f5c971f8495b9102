"""Estimate of a run's memory and minutes, without running it."""

import json
from typing import Any

import jax
import numpy as np

from ups_jax import config
from ups_jax.emulator import Emulator, init, num_params, step
from ups_jax.experiment import schedule
from ups_jax.experiment.datasets import eval_steps
from ups_jax.experiment.environment import num_threads
from ups_jax.forecast import FORECASTERS, calls_per_step

RATES = {"cpu": 3.5e10, "gpu": 5e12, "tpu": 5e12}
"""FLOP/s that small float32 networks reach: a CPU core, a device."""
CELL_S = 17e-3 / (1024**2 * 2.0)
"""Seconds of a simulated trajectory over cells^2 and time: 17 ms at 1,024 cells on two cores."""


def describe(cfg: Any, emulator: Emulator) -> str:
    """Return the resolved config, and the estimated memory and minutes on this machine."""
    pde, data = emulator.pde, cfg.data
    params = jax.eval_shape(lambda: init(emulator, jax.random.key(0)))
    field = jax.ShapeDtypeStruct((1, *pde.points, len(pde.channels)), np.float32)
    cond = jax.ShapeDtypeStruct((1, len(pde.params)), np.float32)
    lowered = jax.jit(lambda p, u, c: step(emulator, p, u, c)).lower(params, field, cond)
    cost = lowered.cost_analysis() or {}
    frames = data.train * (data.steps + 1) + (data.val + data.test) * (eval_steps(cfg) + 1)
    data_bytes = frames * np.prod(pde.points) * len(pde.channels) * 4
    fits = [cfg.fit[name] for name in cfg.stages]
    widest = max(fit.batch * max(fit.unroll) for fit in fits)
    memory = 2 * data_bytes + 16 * num_params(params) + widest * cost.get("bytes accessed", 0.0)
    backend = jax.default_backend()
    rate = RATES.get(backend, 1e12) * (num_threads() if backend == "cpu" else 1)
    minutes = {
        "data": 0.0 if data.path else frames * pde.dt * CELL_S * np.prod(pde.cells) ** 2 / 60,
        "training": _training_flops(cfg, emulator) / rate / 60,
        "evaluation": cost.get("flops", 0.0) * _forecast_steps(cfg, emulator) / rate / 60,
    }
    parts = ", ".join(f"{name} {value:.1f}" for name, value in minutes.items())
    lines = [
        json.dumps(config.to_dict(cfg), indent=1),
        f"parameters: {num_params(params['operator']):,} (operator)",
        f"estimated memory: {memory / 2**20:,.0f} MiB, {data_bytes / 2**20:,.0f} MiB of them data",
        f"estimated minutes on {backend}: {sum(minutes.values()):.1f} ({parts})",
        "dry run: nothing was run",
    ]
    return "\n".join(lines)


def _training_flops(cfg: Any, emulator: Emulator) -> float:
    """Return the FLOPs of all stages, of all networks."""
    flops = {name: schedule.training_flops(emulator, cfg, name) for name in cfg.stages}
    flops["operator"] = flops.get("operator", 0.0) * len(cfg.sweep.lr_factors)
    return sum(flops.values()) * cfg.num_seeds


def _forecast_steps(cfg: Any, emulator: Emulator) -> int:
    """Return the network calls of validation and evaluation, in calls of the operator."""
    steps, data, spec, names = eval_steps(cfg), cfg.data, cfg.eval, cfg.eval.forecasters
    factors = {name: len(cfg.sweep.lr_factors) if name == "operator" else 1 for name in cfg.stages}
    validations = sum(
        factor * (cfg.fit[name].steps // cfg.fit[name].val_every)
        for name, factor in factors.items()
    )
    test = data.test * (2 * steps - spec.context_frames) * (cfg.num_seeds + (cfg.num_seeds > 1))
    members = sum(
        calls_per_step(emulator, name, members=cfg.ensemble.members)
        for name in names
        if FORECASTERS[name].stochastic
    )
    # The search is evaluated with its mean, random choices and its bound.
    search = 4 * calls_per_step(emulator, "ttc") if "ttc" in names else 0
    stochastic = members * cfg.ensemble.num_trajectories + search * cfg.search.num_trajectories
    return cfg.num_seeds * validations * data.val * steps + test + stochastic * steps
