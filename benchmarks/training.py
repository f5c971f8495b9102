"""Training of the golden operator for the benchmarks that measure its speed."""

from dataclasses import replace
from typing import Any

import jax

import ups_jax as ups
from ups_jax.emulator import Emulator, fit_statistics
from ups_jax.experiment.datasets import split_key
from ups_jax.experiment.schedule import recipe_of
from ups_jax.stages import STAGES, bind
from ups_jax.train import FitResult, Hooks, Recipe, fit
from ups_jax.types import Key, Params, Trajectories

GOLDEN = "configs/burgers.py"


def golden(
    n: int | None = None,
) -> tuple[Any, Emulator, Params, Trajectories, Recipe]:
    """Return the golden config, emulator, initial parameters, n training trajectories, recipe."""
    cfg = ups.load_config(GOLDEN)
    emulator = ups.build(cfg)
    key = split_key(cfg, "train")
    data = ups.simulate(emulator.pde, key, n=n or cfg.data.train, steps=cfg.data.steps)
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, data))
    return cfg, emulator, params, data, recipe_of(emulator, cfg, "operator")


def one_phase(recipe: Recipe, *, unroll: int, calls: int, steps_per_call: int) -> Recipe:
    """Return a recipe shortened to some calls of one unroll length, without validation."""
    steps = calls * steps_per_call
    return replace(
        recipe, steps=steps, steps_per_call=steps_per_call, warmup=steps // 4, val_every=0,
        unroll=(unroll,), phase_fractions=(1.0,),
    )  # fmt: skip


def train_timed(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    key: Key,
    recipe: Recipe,
    **options: Any,
) -> tuple[FitResult, list[float]]:
    """Train the operator by `fit` without selection; also return each call's updates a second."""
    rates: list[float] = []
    result = fit(
        bind(STAGES["operator"], emulator, recipe.to_dict()), params, data, key, recipe,
        augment=emulator.pde.symmetries if recipe.augment else (),
        hooks=Hooks(on_log=lambda step, row: rates.append(row["steps_per_s"])), **options,
    )  # fmt: skip
    return result, rates
