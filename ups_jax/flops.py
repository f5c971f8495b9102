"""What training costs in floating-point operations, and the length of a stage that must cost alike.

XLA's own count takes the body of a loop once, however often it runs; so the traced program is
counted here, loops multiplied out.
"""

from collections.abc import Callable
from functools import cache
from inspect import signature
from math import prod
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from ups_jax import config
from ups_jax.emulator import Simulator, init
from ups_jax.registry import lookup
from ups_jax.stages import STAGES
from ups_jax.types import Array, Stage

Phases = tuple[tuple[int, int], ...]


def stage_of(sim: Simulator, cfg: Any, name: str) -> Stage:
    """A stage, with those keys of its section that it takes."""
    return lookup(STAGES, name, "stage")(sim, **dict(_settings(cfg, name)))


def _settings(cfg: Any, name: str) -> tuple[tuple[str, Any], ...]:
    spec = cfg.fit[name]
    return tuple((key, spec[key]) for key in signature(STAGES[name]).parameters if key in spec)


def schedule(sim: Simulator, cfg: Any, name: str) -> Phases:
    """(updates, unroll) of each phase; as many updates as another stage's FLOPs pay for, if asked.

    `fit.<name>.match` names that stage; the shares of the phases are the section's own.
    """
    spec = cfg.fit[name]
    if spec.match is None:
        return config.phases(spec, spec.steps)
    shares = zip(spec.shares, spec.unroll, strict=True)
    each = sum(share * _update(sim, cfg, name, unroll) for share, unroll in shares)
    steps = round(training(sim, cfg, spec.match) / each / spec.chunk) * spec.chunk
    return config.phases(spec, max(steps, spec.chunk * len(spec.unroll)))


def training(sim: Simulator, cfg: Any, name: str) -> float:
    """FLOPs of a whole stage of one network."""
    phases = schedule(sim, cfg, name)
    return sum(steps * _update(sim, cfg, name, unroll) for steps, unroll in phases)


def _update(sim: Simulator, cfg: Any, name: str, unroll: int) -> float:
    return _traced(sim, name, _settings(cfg, name), cfg.fit[name].batch, unroll)


@cache
def _traced(
    sim: Simulator, name: str, settings: tuple[tuple[str, Any], ...], batch: int, unroll: int
) -> float:
    """FLOPs of loss and gradient of one batch; the optimiser's own are few beside them."""
    stage, pde = STAGES[name](sim, **dict(settings)), sim.pde
    params = jax.eval_shape(lambda: init(sim, jax.random.key(0)))
    u = (batch, unroll + 1, *pde.points, stage.fields * len(pde.channels))
    cond = jax.ShapeDtypeStruct((batch, len(pde.params)), np.float32)
    windows = {"u": jax.ShapeDtypeStruct(u, np.float32), "cond": cond}

    def loss(trained: Any, frozen: Any, windows: Any) -> Array:
        return stage.loss({**frozen, **trained}, windows, jax.random.key(0))[0]

    trained = {name: params[name] for name in stage.trains}
    return flops(jax.grad(loss), trained, params, windows)


def flops(function: Callable[..., Any], *args: Any) -> float:
    """Floating-point operations of a function of arrays or their shapes; of a `while`, one turn."""
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> float:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    size = sum(prod(out.aval.shape) for out in equation.outvars if hasattr(out.aval, "shape"))
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return 2.0 * size * prod(equation.invars[0].aval.shape[i] for i in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        return 2.0 * size * prod(kernel) / kernel[params["dimension_numbers"].rhs_spec[0]]
    inner = [_inner(value) for value in params.values()]
    counts = [_count(jaxpr) for found in inner for jaxpr in found]
    if not counts:
        return float(size)
    if name == "cond":
        return max(counts)
    return sum(counts) * params.get("length", 1) if name == "scan" else sum(counts)


def _inner(value: Any) -> list[Jaxpr]:
    """The programs that a parameter of an equation holds."""
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    return [x for item in value for x in _inner(item)] if isinstance(value, tuple | list) else []
