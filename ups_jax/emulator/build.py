"""The simulator that a config describes: the only reader of a config below `run`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ups_jax import diffusion, rewards, search
from ups_jax.emulator.steps import (
    DiffusionSpec,
    Emulator,
    SearchSpec,
    add_residual,
    init,
    step,
)
from ups_jax.models import DENOISERS, OPERATORS, Network
from ups_jax.pde import PDES
from ups_jax.pde.base import PDE
from ups_jax.pde.finite_volume import coarse_march
from ups_jax.registry import lookup
from ups_jax.types import Array

BASE_STEPS = ("persistence", "solver")
SEARCH_SOURCES = {"ensemble": "ensemble", "student": "student"}
"""What may draw a search's candidates, and the stage that trains it."""
BUILDER_KEYS = ("name", "zero_mean", "galilean", "base", "coarsen", "substeps")
"""Keys of `cfg.operator` that are no arguments of its factory."""


def build(cfg: Any) -> Emulator:
    """The simulator that a loaded config describes, with the networks of its stages.

    ValueError on an unknown name or argument, and on a network that cannot take the PDE's grid.
    """
    pde_args = dict(cfg.pde)
    make = lookup(PDES, pde_args.pop("name"), "pde")
    pde = make(**pde_args, cells=tuple(cfg.data.cells))
    spec = dict(cfg.operator)
    galilean = spec.get("galilean", False)
    if galilean and pde.at_rest is None:
        raise ValueError(f"operator.galilean is set, but pde {pde.name!r} has no frame at rest")
    if cfg.ensemble.antithetic and pde.mirror is None:
        raise ValueError(f"ensemble.antithetic is set, but pde {pde.name!r} has no mirror image")
    base = _base_step(
        pde,
        spec.get("base", BASE_STEPS[0]),
        factor=spec.get("coarsen", 1),
        substeps=spec.get("substeps", 1),
    )
    emulator = Emulator(
        pde,
        _operator(cfg, pde, hybrid=base is not None),
        zero_mean=spec.get("zero_mean", False),
        galilean=galilean,
        base=base,
        others=_networks(cfg, pde, hybrid=base is not None),
        noise=cfg.ensemble.noise_channels,
        diffusion=_diffusion(cfg),
        search=_search(cfg, pde),
    )
    _check_shapes(emulator)
    return emulator


def _operator(cfg: Any, pde: PDE, *, hybrid: bool, noise: int = 0) -> Network:
    spec = dict(cfg.operator)
    channels = len(pde.channels)
    return lookup(OPERATORS, spec["name"], "operator")(
        ndim=pde.ndim,
        channels=channels,
        params=len(pde.params),
        noise=noise,
        **({"inputs": 2 * channels} if hybrid else {}),
        **{key: value for key, value in spec.items() if key not in BUILDER_KEYS},
    )


def _networks(cfg: Any, pde: PDE, *, hybrid: bool) -> dict[str, Network]:
    """The networks of every stage but the operator's, by its name."""
    spec = dict(cfg.denoiser)
    channels = len(pde.channels)

    def denoiser() -> Network:
        return lookup(DENOISERS, spec.pop("name"), "denoiser")(
            ndim=pde.ndim,
            channels=channels,
            context=2 * channels,
            features=len(pde.params) + diffusion.EMBEDDING_SIZE,
            **spec,
        )

    residual = denoiser()
    makers = {
        "control": lambda: _operator(cfg, pde, hybrid=hybrid),
        "ensemble": lambda: _operator(cfg, pde, hybrid=hybrid, noise=cfg.ensemble.noise_channels),
        "diffusion": lambda: residual,
        "student": lambda: residual,
    }
    return {name: makers[name]() for name in cfg.stages if name in makers}


def _diffusion(cfg: Any) -> DiffusionSpec | None:
    """How residuals are diffused, where a stage does so; ValueError on what no sampler can take."""
    spec = cfg.diffusion
    if "diffusion" not in cfg.stages:
        return None
    make = lookup(diffusion.NOISE_SCHEDULES, spec.noise, "noise")
    lookup(diffusion.SAMPLERS, spec.sampler, "sampler")
    noise = make(sigma_min=spec.sigma_min, sigma_max=spec.sigma_max)
    return DiffusionSpec(noise, spec.sampler, spec.steps, spec.student_steps, spec.autoregressive)


def _search(cfg: Any, pde: PDE) -> SearchSpec | None:
    """How `ttc` searches, where there is what to draw from; ValueError on what it cannot do."""
    spec = cfg.search
    if lookup(SEARCH_SOURCES, spec.source, "search.source") not in cfg.stages:
        return None
    cost = cfg.diffusion.student_steps if spec.source == "student" else 1
    candidates = spec.candidates
    if spec.calls_per_step is not None:
        candidates = search.max_candidates(
            spec.calls_per_step, beams=spec.beams, lookahead=spec.lookahead, cost=cost
        )
    search.calls_per_step(spec.beams, candidates, spec.lookahead, cost=cost)
    search.temperatures(
        spec.temperature_schedule, steps=1, start=spec.temperature_start, end=spec.temperature_end
    )
    return SearchSpec(
        spec.source,
        spec.beams,
        candidates,
        spec.lookahead,
        spec.discount,
        spec.temperature_schedule,
        spec.temperature_start,
        spec.temperature_end,
        cost,
        rewards.weighted_reward(pde, spec.rewards, spec.weights),
    )


def _check_shapes(emulator: Emulator) -> None:
    """Let every network meet the PDE's grid, without computing anything."""
    pde = emulator.pde
    field = jax.ShapeDtypeStruct((*pde.points, len(pde.channels)), np.float32)
    cond = jax.ShapeDtypeStruct((len(pde.params),), np.float32)

    def once(u: Array, cond: Array) -> Array:
        params = init(emulator, jax.random.key(0))
        ahead = step(emulator, params, u, cond)
        if emulator.diffusion is None:
            return ahead
        level = diffusion.sigma_embedding(u.mean())
        return add_residual(
            emulator, params, u, ahead, cond, lambda net: net(u, level), model="diffusion"
        )

    jax.eval_shape(once, field, cond)


def _base_step(
    pde: PDE, name: str, *, factor: int, substeps: int
) -> Callable[[Array, Array], Array] | None:
    """The step that an operator corrects; None stands for persistence."""
    lookup(dict.fromkeys(BASE_STEPS), name, "operator.base")
    if name == "persistence":
        return None
    if pde.march is None:
        raise ValueError(f"operator.base is 'solver', but pde {pde.name!r} has no march; add one")
    if min(factor, substeps) < 1 or any(n % factor or n // factor < 4 for n in pde.points):
        raise ValueError(
            f"operator.coarsen {factor}, operator.substeps {substeps}: at least 1, and the first "
            f"must divide pde.points {pde.points} into 4 cells or more"
        )
    return coarse_march(pde.march, factor=factor, substeps=substeps, points=pde.points)
