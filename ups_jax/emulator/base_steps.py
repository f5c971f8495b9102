"""Base steps: what the increment of an operator is added to, or is part of."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from ups_jax.models import Network
from ups_jax.pde.base import PDE
from ups_jax.pde.coarse import check_coarsening, coarse_step
from ups_jax.pde.spectral import ORDERS, DifferentialOperator, ExponentialStep, linear_step
from ups_jax.registry import lookup
from ups_jax.types import Array, Key, Params

BaseStep = Callable[[Array, Array], Array]
BASE_STEPS = ("identity", "linear", "exponential", "learned", "solver")
LINEAR_PART = "linear_part"
"""Entry of a network's parameters for the linear part of base step `learned`."""


class LearnedStep(NamedTuple):
    """`ExponentialStep` of a linear part that is learned, with the network of the nonlinear part.

    It is a `DifferentialOperator`; without training the step leaves a field as it is.
    """

    pde: PDE

    def __call__(self, u: Array, cond: Array) -> Array:
        """Return the step before training: the field itself."""
        return u

    def bind(self, params: Params) -> ExponentialStep:
        """Return the step with the linear part of a network's parameters."""
        pde = self.pde
        linear = DifferentialOperator(pde.dt, pde.extent, pde.points)
        symbol = linear.symbol(params[LINEAR_PART]["weights"])
        return ExponentialStep(symbol, pde.phi, pde.dt, pde.extent)

    def attach(self, network: Network) -> Network:
        """Return a network whose parameters contain the linear part, initially zero."""

        def init(key: Key) -> Params:
            weights = jnp.zeros((len(self.pde.params) + 1, ORDERS))
            return {**network.init(key), LINEAR_PART: {"weights": weights}}

        return network._replace(init=init)


def is_exponential(base: BaseStep | None) -> bool:
    """Return whether the network is the nonlinear part of an exponential Runge-Kutta step."""
    return isinstance(base, ExponentialStep | LearnedStep)


def knows_equation(base: BaseStep | None) -> bool:
    """Return whether a base step is derived from the equation."""
    return base is not None and not isinstance(base, LearnedStep)


def base_step(pde: PDE, name: str, *, coarsen: int = 1, substeps: int = 1) -> BaseStep | None:
    """Return the step that an operator corrects, None for the identity.

    "linear" is the exact step of the PDE's linear part, "exponential" that of an exponential
    Runge-Kutta method, "learned" that with a learned linear part, "solver" a step on a coarse grid,
    with `coarsen` points a cell. Raises ValueError on an unknown name, a PDE without a linear part
    or an interval solver, axes that are not periodic, and numbers that do not divide the grid.
    """
    lookup(dict.fromkeys(BASE_STEPS), name, "operator.base")
    if name == "identity":
        return None
    if name == "learned":
        if not all(pde.periodic):
            raise ValueError(
                f"operator.base is 'learned', but pde {pde.name!r} has boundary {pde.boundary}; "
                "use 'identity'"
            )
        return LearnedStep(pde)
    if name in ("linear", "exponential"):
        if pde.linear_symbol is None:
            raise ValueError(
                f"operator.base is {name!r}, but pde {pde.name!r} has no linear_symbol; "
                "use 'identity'"
            )
        if name == "exponential":
            return ExponentialStep(pde.linear_symbol, pde.phi, pde.dt, pde.extent)
        return linear_step(pde.linear_symbol, dt=pde.dt, extent=pde.extent)
    if pde.march is None:
        raise ValueError(
            f"operator.base is 'solver', but pde {pde.name!r} has no interval solver; "
            "use 'identity'"
        )
    check_coarsening(pde, coarsen, key="operator.coarsen")
    if substeps < 1:
        raise ValueError(f"operator.substeps is {substeps}; it must be at least 1")
    return coarse_step(pde, factor=coarsen, substeps=substeps)
