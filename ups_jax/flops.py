"""Floating-point operations of a traced program; the body of a loop counts once an iteration.

XLA's cost analysis counts the body of a loop only once.
"""

from collections.abc import Callable
from functools import partial
from math import log2, prod
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from ups_jax.emulator import Emulator, param_shapes, state_channels, step
from ups_jax.types import Array, BoundStage


def update_flops(emulator: Emulator, stage: BoundStage, *, batch: int, unroll: int) -> float:
    """FLOPs of loss and gradient of one batch of windows, without the optimizer's update."""
    pde = emulator.pde
    params = param_shapes(emulator)
    u = (batch, unroll + stage.history, *pde.points, stage.channels)
    cond = jax.ShapeDtypeStruct((batch, len(pde.params)), np.float32)
    windows = {"u": jax.ShapeDtypeStruct(u, np.float32), "cond": cond}

    def loss(trained: Any, frozen: Any, windows: Any) -> Array:
        return stage.loss({**frozen, **trained}, windows, jax.random.key(0))[0]

    trained = {stage.name: params[stage.name]}
    return flops(jax.grad(loss), trained, params, windows)


def step_flops(emulator: Emulator) -> float:
    """FLOPs of one step of one field by the operator."""
    pde = emulator.pde
    params = param_shapes(emulator)
    channels = state_channels(pde, emulator.history)
    u = jax.ShapeDtypeStruct((1, *pde.points, channels), np.float32)
    cond = jax.ShapeDtypeStruct((1, len(pde.params)), np.float32)
    return flops(partial(step, emulator), params, u, cond)


def flops(function: Callable[..., Any], *args: Any) -> float:
    """FLOPs of a function of arrays or shapes; a `while` loop counts as one iteration."""
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
    if name == "fft":
        # 5 n log2 n of a complex transform of n points, half of it for a real one.
        points = max(prod(x.aval.shape) for x in (equation.invars[0], equation.outvars[0]))
        real = equation.outvars[0].aval.dtype != equation.invars[0].aval.dtype
        return (2.5 if real else 5.0) * points * log2(prod(params["fft_lengths"]))
    counts = [_count(jaxpr) for value in params.values() for jaxpr in _inner(value)]
    if not counts:
        return float(size)
    if name == "cond":
        return max(counts)
    return sum(counts) * params.get("length", 1) if name == "scan" else sum(counts)


def _inner(value: Any) -> list[Jaxpr]:
    """Return the programs among a parameter of an equation, such as a loop's body."""
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    return [x for item in value for x in _inner(item)] if isinstance(value, tuple | list) else []
