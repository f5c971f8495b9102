"""Checks of a solver's output against the laws of its PDE."""

from typing import Any, NamedTuple

import numpy as np

from ups_jax.pde.base import PDE, Law

LAW_TOLERANCE = {"conserved": 1e-6, "decaying": 1e-5, "bounded": 1e-3}
"""Largest violation of a law of each kind, relative to the law's scale."""


class SolverOutput(NamedTuple):
    """Frames `u` (b, t, *s, c) at the saved points, and the laws evaluated on all cells.

    `values` {law: (b, t)}; `scales` {law: (b,)} of the initial frame.
    """

    u: Any
    values: dict[str, Any]
    scales: dict[str, Any]


def check_solver_output(pde: PDE, output: SolverOutput, samples: np.ndarray) -> np.ndarray:
    """Return the largest violation (b, laws), laws sorted by name; ValueError above tolerance."""
    numbers = [output.u.reshape(len(samples), -1), *output.values.values()]
    finite = np.all([np.isfinite(x).all(axis=1) for x in numbers], axis=0)
    if not finite.all():
        raise ValueError(
            f"{pde.name}: sample {samples[~finite].min()} is not finite; "
            "correct the PDE's step or raise data.cells"
        )
    worst = np.empty((len(samples), len(pde.laws)))
    for column, name in enumerate(sorted(pde.laws)):
        law = pde.laws[name]
        amount = _violation(law, output.values[name], output.scales[name])
        at, frame = np.unravel_index(np.argmax(amount), amount.shape)
        if amount[at, frame] > LAW_TOLERANCE[law.kind]:
            raise ValueError(
                f"{pde.name}: sample {samples[at]} breaks the law {name!r} ({law.kind}) by "
                f"{amount[at, frame]:.1e} at frame {frame}; at most {LAW_TOLERANCE[law.kind]:.0e} "
                "of its scale is allowed; correct the PDE's step or raise data.cells"
            )
        worst[:, column] = amount.max(axis=1)
    return worst


def _violation(law: Law, value: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Violation of a law's values (b, t) relative to the initial scale (b,): (b, t), at least 0.

    The scale is at least one for a conserved quantity, an absolute bound for fields of order one.
    Otherwise it is at least a thousandth of the initial value, to tolerate its rounding error.
    """
    value, scale = value.astype(np.float64), scale.astype(np.float64)[:, None]
    initial = value[:, :1]
    if law.kind == "conserved":
        return np.abs(value - initial) / np.maximum(scale, 1.0)
    before = np.hstack([initial, value[:, :-1]]) if law.kind == "decaying" else initial
    floor = np.maximum(1e-3 * np.abs(initial), np.finfo(np.float32).tiny)
    return np.maximum(value - before, 0.0) / np.maximum(scale, floor)
