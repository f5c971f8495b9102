"""Stages and recipes that a config describes, and their cost."""

from dataclasses import replace
from functools import cache
from typing import Any

from ups_jax.emulator import Emulator
from ups_jax.flops import update_flops
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
