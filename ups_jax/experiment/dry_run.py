"""What a run would cost, said before anything is run."""

import json
import os
from typing import Any

import jax
import numpy as np

from ups_jax import config
from ups_jax.emulator import Emulator, init, num_params, step
from ups_jax.experiment import schedule
from ups_jax.experiment.datasets import eval_steps
from ups_jax.forecast import FORECASTERS, calls_per_step

RATES = {"cpu": 3.5e10, "gpu": 5e12, "tpu": 5e12}
"""Floating-point operations a second that small float32 networks reach: a CPU core, a device."""
CELL_S = 17e-3 / (1024**2 * 2.0)
"""Seconds a trajectory takes to simulate on two cores, over cells^2 and time: 17 ms at 1,024."""


def describe(cfg: Any, emulator: Emulator) -> str:
    """The resolved config, and the estimated memory and minutes of a run on this machine."""
    pde, spec, data = emulator.pde, cfg.eval, cfg.data
    params = jax.eval_shape(lambda: init(emulator, jax.random.key(0)))
    field = jax.ShapeDtypeStruct((1, *pde.points, len(pde.channels)), np.float32)
    cond = jax.ShapeDtypeStruct((1, len(pde.params)), np.float32)
    lowered = jax.jit(lambda p, u, c: step(emulator, p, u, c)).lower(params, field, cond)
    cost = lowered.cost_analysis() or {}
    flops, traffic = cost.get("flops", 0.0), cost.get("bytes accessed", 0.0)
    fits = [cfg.fit[name] for name in cfg.stages]
    rates = {name: len(cfg.sweep.lr_factors) if name == "operator" else 1 for name in cfg.stages}
    validations = sum(
        rates[name] * (cfg.fit[name].steps // cfg.fit[name].val_every) for name in cfg.stages
    )
    training = sum(
        rates[name] * schedule.training_flops(emulator, cfg, name) for name in cfg.stages
    )
    steps = eval_steps(cfg)
    judged = data.test * (2 * steps - spec.context_frames) * (cfg.num_seeds + (cfg.num_seeds > 1))
    forwards = (
        cfg.num_seeds * validations * data.val * steps + judged + _drawn(cfg, emulator) * steps
    )
    backend = jax.default_backend()
    rate = RATES.get(backend, 1e12) * (len(_cores()) if backend == "cpu" else 1)
    frames = data.train * (data.steps + 1) + (data.val + data.test) * (steps + 1)
    data_bytes = frames * np.prod(pde.points) * len(pde.channels) * 4
    widest = max(fit.batch * max(fit.unroll) for fit in fits)
    memory = 2 * data_bytes + 16 * num_params(params) + widest * traffic
    minutes = {
        "data": 0.0 if data.path else frames * pde.dt * CELL_S * np.prod(pde.cells) ** 2 / 60,
        "training": training * cfg.num_seeds / rate / 60,
        "evaluation": flops * forwards / rate / 60,
    }
    lines = [
        json.dumps(config.to_dict(cfg), indent=1),
        f"parameters: {num_params(params['operator']):,} (operator)",
        f"estimated memory: {memory / 2**20:,.0f} MiB, {data_bytes / 2**20:,.0f} MiB of them data",
        f"estimated minutes on {backend}: {sum(minutes.values()):.1f} ("
        + ", ".join(f"{name} {value:.1f}" for name, value in minutes.items())
        + ")",
        "dry run: nothing was run",
    ]
    return "\n".join(lines)


def _drawn(cfg: Any, emulator: Emulator) -> int:
    """Network calls of one step of all that is judged on few samples, each as dear as the operator.

    The search is judged beside its mean, random choices and the bound.
    """
    members, modes = cfg.ensemble.members, cfg.eval.forecasters
    each = [
        calls_per_step(emulator, mode, members=members)
        for mode in modes
        if FORECASTERS[mode].stochastic
    ]
    searched = (
        4 * calls_per_step(emulator, "ttc") * cfg.search.num_trajectories if "ttc" in modes else 0
    )
    return sum(each) * cfg.ensemble.num_trajectories + searched


def _cores() -> set[int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return affinity(0) if affinity else set(range(os.cpu_count() or 1))
