"""Shares of the windows of a mixture's equations, by their validation errors."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from ups_jax.pde.base import PDE
from ups_jax.types import Array, Trajectories

SAMPLINGS = ("uniform", "validation")
EQUAL = 0.5
"""Part of the windows that all equations share as their trajectories do."""
LARGEST = 1.0
"""Errors above that of the mean count as this, so that a diverging equation takes no more."""


class EquationSampling:
    """Draws windows of a mixture's equations in proportion to their errors at the last validation.

    Half of the windows are drawn uniformly from the trajectories. Raises ValueError on a PDE
    without parts.
    """

    def __init__(self, pde: PDE, train: Trajectories, val: Trajectories) -> None:
        """Find the equation of every trajectory."""
        if pde.part_of is None:
            raise ValueError(
                f"sampling is 'validation', but pde {pde.name!r} is one equation; use 'uniform', "
                "or pde 'mixture'"
            )
        self.train, self.val = (np.asarray(pde.part_of(jnp.asarray(x.cond))) for x in (train, val))
        self.counts = np.bincount(self.train, minlength=len(pde.parts))
        self.recorded: list[np.ndarray] = []

    def record(self, errors: np.ndarray) -> None:
        """Record the validation errors (n,) of one network."""
        self.recorded.append(np.minimum(np.nan_to_num(errors, nan=LARGEST), LARGEST))

    def take(self) -> tuple[float, ...]:
        """Return the mean error of each equation over networks, and forget the record.

        Equations without validation trajectories have the mean of the others.
        """
        errors = np.stack(self.recorded).astype(np.float64).mean(axis=0)
        self.recorded = []
        rows = [errors[self.val == i] for i in range(len(self.counts))]
        return tuple(float(np.mean(own if len(own) else errors)) for own in rows)

    def shares(self, errors: Sequence[float]) -> np.ndarray:
        """Return the share of the windows of each equation; without errors that of its data."""
        own = self.counts / self.counts.sum()
        if not len(errors) or not np.sum(errors):
            return own
        present = np.asarray(errors) * (self.counts > 0)
        return EQUAL * own + (1 - EQUAL) * present / present.sum()

    def cumulative(self, errors: Sequence[float]) -> Array:
        """Return the cumulative probability (n,) of the training trajectories, float32."""
        weights = self.shares(errors) / np.maximum(self.counts, 1)
        total = np.cumsum(weights[self.train])
        return jnp.asarray(total / total[-1], jnp.float32)
