"""Stages and recipes that a config describes, and their cost."""

from dataclasses import replace
from functools import cache
from typing import Any

from ups_jax.emulator import Emulator
from ups_jax.experiment.datasets import eval_steps
from ups_jax.flops import step_flops, update_flops
from ups_jax.forecast import FORECASTERS, calls_per_step, is_deterministic
from ups_jax.registry import lookup
from ups_jax.stages import STAGES, bind
from ups_jax.train import Recipe
from ups_jax.types import BoundStage


def stage_of(emulator: Emulator, cfg: Any, name: str) -> BoundStage:
    """Return a stage bound to the emulator and the stage's config section."""
    return bind(lookup(STAGES, name, "stage"), emulator, Recipe.of_section(cfg.fit[name]).to_dict())


def recipe_of(emulator: Emulator, cfg: Any, name: str) -> Recipe:
    """Return the recipe of a stage.

    With `fit.<name>.match_flops_of` set, its updates cost as many FLOPs as that stage.
    """
    recipe = Recipe.of_section(cfg.fit[name])
    other = recipe.match_flops_of
    if other is None:
        return recipe
    fractions = zip(cfg.fit[name].phase_fractions, recipe.unroll, strict=True)
    mean = sum(share * _update_flops(emulator, cfg, name, unroll) for share, unroll in fractions)
    call = recipe.steps_per_call
    steps = round(training_flops(emulator, cfg, other) / mean / call) * call
    steps = max(steps, call * len(recipe.unroll))
    try:
        return replace(recipe, steps=steps, match_flops_of=None)
    except ValueError as error:
        raise ValueError(f"fit.{name}, with the FLOPs of {other!r}: {error}") from error


def training_flops(emulator: Emulator, cfg: Any, name: str) -> float:
    """Return the FLOPs of a whole stage of one network."""
    phases = recipe_of(emulator, cfg, name).phases()
    return sum(steps * _update_flops(emulator, cfg, name, unroll) for steps, unroll in phases)


def part_flops(emulator: Emulator, cfg: Any) -> dict[str, float]:
    """Return the estimated FLOPs of the parts of a run, in order, as the progress line names them.

    A stage includes its validations. The splits' simulation and the report are no parts.
    """
    spec, names, steps = cfg.ensemble, cfg.eval.forecasters, eval_steps(cfg)
    step, parts = step_flops(emulator), {}
    for name in cfg.stages:
        recipe, stage = recipe_of(emulator, cfg, name), STAGES[name]
        networks = cfg.num_seeds * (len(cfg.sweep.lr_factors) if name == "operator" else 1)
        validated = {"loss": 0, "crps": spec.members * spec.num_trajectories}
        fields = validated.get(stage.validate_by, cfg.data.val) * steps
        validations = recipe.steps // (recipe.val_every or recipe.steps)
        parts[name] = networks * (training_flops(emulator, cfg, name) + validations * fields * step)
    calls = {name: calls_per_step(emulator, name, members=spec.members) for name in names}
    members = sum(calls[name] for name in names if FORECASTERS[name].stochastic)
    single = sum(calls[name] for name in names if is_deterministic(name))
    frames = cfg.data.test * (2 * steps - cfg.eval.context_frames)
    parts["evaluate"] = step * single * frames * (cfg.num_seeds + (cfg.num_seeds > 1))
    if members:
        parts["ensembles"] = step * members * spec.num_trajectories * steps
    if "ttc" in names:
        # The search is evaluated with its mean, random choices and its bound.
        parts["search"] = step * 4 * calls["ttc"] * cfg.search.num_trajectories * steps
    return parts


def _update_flops(emulator: Emulator, cfg: Any, name: str, unroll: int) -> float:
    settings = tuple(sorted(cfg.fit[name].to_dict().items(), key=lambda item: item[0]))
    return _traced(emulator, name, settings, unroll)


@cache
def _traced(
    emulator: Emulator, name: str, settings: tuple[tuple[str, Any], ...], unroll: int
) -> float:
    recipe = Recipe.of_section(dict(settings))
    stage = bind(STAGES[name], emulator, recipe.to_dict())
    return update_flops(emulator, stage, batch=recipe.batch, unroll=unroll)
