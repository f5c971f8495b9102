"""Stages and update schedules that a config describes."""

from functools import cache
from inspect import signature
from typing import Any

from ups_jax import config
from ups_jax.emulator import Emulator
from ups_jax.flops import update_flops
from ups_jax.registry import lookup
from ups_jax.stages import STAGES
from ups_jax.types import Stage

Phases = tuple[tuple[int, int], ...]


def stage_of(emulator: Emulator, cfg: Any, name: str) -> Stage:
    """Build a stage with the keys of its config section that its factory accepts."""
    return lookup(STAGES, name, "stage")(emulator, **dict(_settings(cfg, name)))


def _settings(cfg: Any, name: str) -> tuple[tuple[str, Any], ...]:
    spec = cfg.fit[name]
    return tuple((key, spec[key]) for key in signature(STAGES[name]).parameters if key in spec)


def phases_of(emulator: Emulator, cfg: Any, name: str) -> Phases:
    """Return (updates, unroll) of each phase of a stage.

    With `fit.<name>.match` set, the total number of updates costs as many FLOPs as that stage.
    """
    spec = cfg.fit[name]
    if spec.match_flops_of is None:
        return config.phases(spec, spec.steps)
    shares = zip(spec.phase_fractions, spec.unroll, strict=True)
    mean = sum(share * _update_flops(emulator, cfg, name, unroll) for share, unroll in shares)
    steps = (
        round(training_flops(emulator, cfg, spec.match_flops_of) / mean / spec.steps_per_call)
        * spec.steps_per_call
    )
    return config.phases(spec, max(steps, spec.steps_per_call * len(spec.unroll)))


def training_flops(emulator: Emulator, cfg: Any, name: str) -> float:
    """FLOPs of a whole stage of one network."""
    phases = phases_of(emulator, cfg, name)
    return sum(steps * _update_flops(emulator, cfg, name, unroll) for steps, unroll in phases)


def _update_flops(emulator: Emulator, cfg: Any, name: str, unroll: int) -> float:
    return _traced(emulator, name, _settings(cfg, name), cfg.fit[name].batch, unroll)


@cache
def _traced(
    emulator: Emulator, name: str, settings: tuple[tuple[str, Any], ...], batch: int, unroll: int
) -> float:
    stage = STAGES[name](emulator, **dict(settings))
    return update_flops(emulator, stage, batch=batch, unroll=unroll)
