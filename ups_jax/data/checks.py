"""What a solver left behind, held against the laws of its PDE."""

from typing import Any, NamedTuple

import numpy as np

from ups_jax.pde.base import PDE, Law

TOLERANCE = {"conserved": 1e-6, "decaying": 1e-5, "bounded": 1e-3}
"""Largest violation of a law of each kind, relative to the law's scale."""


class SolverOutput(NamedTuple):
    """What a call returns: `u` (b, t, *s, c) at the saved points, and the laws on every cell.

    `values` {law: (b, t)} and `scales` {law: (b,)}, the latter of the initial frame.
    """

    u: Any
    values: dict[str, Any]
    scales: dict[str, Any]


def check_solver_output(pde: PDE, flow: SolverOutput, samples: np.ndarray) -> np.ndarray:
    """Largest violation (b, laws), laws by name; ValueError where one is too large."""
    numbers = [flow.u.reshape(len(samples), -1), *flow.values.values()]
    finite = np.all([np.isfinite(x).all(axis=1) for x in numbers], axis=0)
    if not finite.all():
        raise ValueError(
            f"{pde.name}: sample {samples[~finite].min()} is not finite; "
            "mend the PDE's step or raise data.cells"
        )
    worst = np.empty((len(samples), len(pde.laws)))
    for column, name in enumerate(sorted(pde.laws)):
        law = pde.laws[name]
        amount = _violation(law, flow.values[name], flow.scales[name])
        at, frame = np.unravel_index(np.argmax(amount), amount.shape)
        if amount[at, frame] > TOLERANCE[law.kind]:
            raise ValueError(
                f"{pde.name}: sample {samples[at]} breaks the law {name!r} ({law.kind}) by "
                f"{amount[at, frame]:.1e} at frame {frame}; at most {TOLERANCE[law.kind]:.0e} "
                "of its scale is allowed: mend the PDE's step or raise data.cells"
            )
        worst[:, column] = amount.max(axis=1)
    return worst


def _violation(law: Law, value: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Violation of a law's values (b, t) relative to the scale of the given frame, at least 0.

    The scale is at least one for what is conserved (an absolute bound for fields of order one),
    and elsewhere at least a thousandth of the given value, whose rounding would else be counted.
    """
    value, scale = value.astype(np.float64), scale.astype(np.float64)[:, None]
    given = value[:, :1]
    if law.kind == "conserved":
        return np.abs(value - given) / np.maximum(scale, 1.0)
    before = np.hstack([given, value[:, :-1]]) if law.kind == "decaying" else given
    floor = np.maximum(1e-3 * np.abs(given), np.finfo(np.float32).tiny)
    return np.maximum(value - before, 0.0) / np.maximum(scale, floor)
