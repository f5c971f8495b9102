"""Checks of trajectories against their PDE: the laws, for a solver's output, and the task."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.pde.base import PDE, Law
from ups_jax.types import Trajectories

LAW_TOLERANCE = {"conserved": 1e-6, "decaying": 1e-5, "bounded": 1e-3}
"""Largest violation of a law of each kind, relative to the law's scale, apart from rounding."""
ROUNDING_PER_STEP = 4
"""Epsilons of the solver's float type that a step may add; an exact spectral step adds 1 to 3."""
ACCELERATOR = 4
"""Factor on a law's own tolerance off the CPU.

On an H100 the mean of Burgers drifted by 1.1e-6 in one of 5,000 trajectories of 1,024 cells.
"""
PARAMETER_DRAWS = 1024
"""Draws of a PDE's parameters that give the values, or the range, of those in a file."""


class SolverOutput(NamedTuple):
    """Frames `u` (b, t, *s, c) at the saved points, and the laws evaluated on all cells.

    `values` {law: (b, t)}; `scales` {law: (b,)} of the initial frame.
    """

    u: Any
    values: dict[str, Any]
    scales: dict[str, Any]


def cell_strides(pde: PDE) -> tuple[int, ...]:
    """Return the cells per saved point along each axis; ValueError on a fraction."""
    if len(pde.cells) != len(pde.points):
        raise ValueError(f"cells {pde.cells} and points {pde.points}; expected as many axes")
    for cells, points in zip(pde.cells, pde.points, strict=True):
        if points < 1 or cells % points:
            raise ValueError(
                f"{cells} cells cannot be thinned to {points} points; make data.cells a multiple "
                f"of pde.points, such as {max(points, 1) * max(1, round(cells / max(points, 1)))}"
            )
    return tuple(cells // points for cells, points in zip(pde.cells, pde.points, strict=True))


def valid_samples(
    pde: PDE, output: SolverOutput, samples: np.ndarray, *, strict: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest violations (b, laws) and, for each sample, whether it passes (b,).

    If `strict`, raises ValueError on one that does not, as `check_solver_output`.
    """
    try:
        return check_solver_output(pde, output, samples), np.ones(len(samples), bool)
    except ValueError:
        if strict:
            raise
        if len(samples) == 1:
            return np.full((1, len(pde.laws)), np.nan), np.zeros(1, bool)
    ones = [slice(i, i + 1) for i in range(len(samples))]
    checked = [
        valid_samples(
            pde, jax.tree.map(lambda x, one=one: x[one], output), samples[one], strict=False
        )
        for one in ones
    ]
    laws, valid = (np.concatenate(parts) for parts in zip(*checked, strict=True))
    return laws, valid


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
        law, value, scale = pde.laws[name], output.values[name], output.scales[name][:, None]
        allowed = _tolerance(law, value)
        amount = _violation(law, value, scale)
        if law.kind == "conserved" and (amount > allowed).any():
            # The scale of a flow that starts from rest is that of its later frames.
            scales = np.asarray(law.scale(output.u[..., : len(pde.channels)]))
            amount = _violation(law, value, np.maximum(scale, np.maximum.accumulate(scales, 1)))
        at, frame = np.unravel_index(np.argmax(amount / allowed), amount.shape)
        if amount[at, frame] > allowed[frame]:
            raise ValueError(
                f"{pde.name}: sample {samples[at]} breaks the law {name!r} ({law.kind}) by "
                f"{amount[at, frame]:.1e} at frame {frame}; at most {allowed[frame]:.0e} of its "
                "scale is allowed; correct the PDE's step, raise data.cells or Law.tolerance"
            )
        worst[:, column] = amount.max(axis=1)
    return worst


class Difference(NamedTuple):
    """A property of data that differs from their PDE's, and the arguments of `pde` that fit."""

    name: str
    got: Any
    expected: Any
    keys: dict[str, Any]


def differences(data: Trajectories, pde: PDE, *, points: bool = False) -> list[Difference]:
    """List the properties of trajectories that differ from their PDE's.

    Names of channels matter to a PDE without an equation only, the number of points on request.
    """
    width = np.asarray(data.cond).shape[1]
    names, own = (tuple(map(str.lower, x)) for x in (data.params, pde.params))
    params = data.params if names else pde.params if width == len(own) else (f"{width} unnamed",)
    pairs = [
        ("channels", data.predicted, pde.channels),
        ("static channels", data.static, pde.static),
        ("forcing channels", data.forcing, pde.forcing),
    ]
    if pde.name == "data":
        named = [Difference(*pair, {pair[0].split()[0]: pair[1]}) for pair in pairs]
    else:
        named = [Difference(name, len(got), len(own), {}) for name, got, own in pairs]
    found = [
        *named,
        Difference("axes", data.ndim, pde.ndim, {}),
        Difference("parameters", params, pde.params, {"params": params}),
        Difference("dt", data.dt, pde.dt, {"dt": data.dt}),
        Difference("extent", data.extent, pde.extent, {"length": data.extent}),
    ]
    if data.steady != pde.steady:
        found.append(Difference("steady", data.steady, pde.steady, {"steady": data.steady}))
    if data.pde and pde.name != "data":
        found.insert(0, Difference("equation", data.pde, pde.equation or pde.name, {}))
    if data.boundary:
        found.append(
            Difference("boundary", data.boundary, pde.boundary, {"boundary": data.boundary})
        )
    if points:
        found.append(Difference("points", data.points, pde.points, {"points": data.points}))
    return [d for d in found if not _equal(d)]


def _equal(d: Difference) -> bool:
    if d.name == "parameters":
        return [x.lower() for x in d.got] == [x.lower() for x in d.expected]
    numbers = d.name in ("dt", "extent") and np.shape(d.got) == np.shape(d.expected)
    return np.allclose(d.got, d.expected, rtol=1e-5) if numbers else d.got == d.expected


def describe_differences(found: Sequence[Difference]) -> str:
    """Return differences as text: "dt 0.2, not 0.1; ..."."""

    def text(value: Any) -> str:
        if isinstance(value, tuple):
            return (
                " x ".join(map(text, value))
                if value and not isinstance(value[0], str)
                else (", ".join(value) or "none")
            )
        return f"{value:g}" if isinstance(value, float) else str(value)

    return "; ".join(f"{d.name} {text(d.got)}, not {text(d.expected)}" for d in found)


def check_task(data: Trajectories, pde: PDE) -> None:
    """Raise ValueError with every property of trajectories that differs from their PDE's.

    The number of points may differ.
    """
    if found := differences(data, pde):
        values = {f"pde.{key}": value for d in found for key, value in d.keys.items()}
        listed = ", ".join(f"{key}={value}" for key, value in values.items())
        remedy = f"use {listed}" if all(d.keys for d in found) else "use another pde, or 'data'"
        raise ValueError(
            f"the data do not fit pde {pde.name!r}: {describe_differences(found)}; {remedy}"
        )
    if data.u.shape[1] < 2:
        raise ValueError("trajectories have one frame; expected two frames or more")
    cond = np.asarray(data.cond)
    bad = ~np.isfinite(np.asarray(pde.features(jnp.asarray(cond)))).all(axis=1)
    if bad.any():
        at = int(np.argmax(bad))
        listed = ", ".join(f"{n}={x:g}" for n, x in zip(pde.params, cond[at], strict=True))
        raise ValueError(f"sample {at} has {listed}, for which pde {pde.name!r} is not defined")


def parameter_differences(data: Trajectories, pde: PDE) -> list[Difference]:
    """List the parameters that the PDE does not draw: other values, or out of range."""
    if not pde.has("initial"):
        return []
    keys = jax.random.split(jax.random.key(0), PARAMETER_DRAWS)
    drawn = np.asarray(jax.vmap(pde.sample_cond)(keys), np.float64)
    found = []
    for name, values, own in zip(pde.params, drawn.T, np.asarray(data.cond).T, strict=True):
        values = np.unique(values)
        if len(values) < PARAMETER_DRAWS / 8:
            fits = np.isclose(own[:, None], values, rtol=1e-5, atol=0).any(axis=1)
            allowed = ", ".join(f"{x:g}" for x in values[:8])
        else:
            low, high = values[0], values[-1]
            fits = np.abs(own - (low + high) / 2) <= 0.51 * (high - low)
            allowed = f"{low:.3g} to {high:.3g}"
        if not fits.all():
            at, listed = int(np.argmin(fits)), tuple(float(f"{x:.6g}") for x in np.unique(own)[:8])
            keys = {name: listed} if name in pde.spec else {}
            found.append(Difference(f"{name} of sample {at}", float(own[at]), allowed, keys))
    return found


def _tolerance(law: Law, value: np.ndarray) -> np.ndarray:
    """Largest violation (t,) of a law with values (b, t)."""
    if law.tolerance is not None:
        exact = jax.default_backend() == "cpu"
        return np.full(value.shape[1], law.tolerance * (1 if exact else ACCELERATOR))
    epsilon = float(np.finfo(value.dtype).eps)
    return LAW_TOLERANCE[law.kind] + ROUNDING_PER_STEP * epsilon * np.arange(value.shape[1])


def _violation(law: Law, value: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Violation of a law's values (b, t) relative to its scale (b, 1) or (b, t): (b, t), >= 0.

    The scale is at least one for a conserved quantity, an absolute bound for fields of order one.
    Otherwise it is at least a thousandth of the initial value, to tolerate its rounding error.
    """
    value, scale = value.astype(np.float64), scale.astype(np.float64)
    initial = value[:, :1]
    if law.kind == "conserved":
        return np.abs(value - initial) / np.maximum(scale, 1.0)
    before = np.hstack([initial, value[:, :-1]]) if law.kind == "decaying" else initial
    floor = np.maximum(1e-3 * np.abs(initial), np.finfo(np.float32).tiny)
    return np.maximum(value - before, 0.0) / np.maximum(scale, floor)
