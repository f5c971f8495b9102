"""Floating-point operations of a traced program, loops multiplied out.

XLA's own count takes the body of a loop once, however often it runs.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from ups_jax.emulator import Emulator, init
from ups_jax.types import Array, Stage


def update_flops(emulator: Emulator, stage: Stage, *, batch: int, unroll: int) -> float:
    """FLOPs of loss and gradient of one batch of windows; the optimizer's own are negligible."""
    pde = emulator.pde
    params = jax.eval_shape(lambda: init(emulator, jax.random.key(0)))
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
