"""The first sentence of a report: the selected forecaster's error, and those of the others."""

from collections.abc import Mapping, Sequence

import numpy as np

from ups_jax.evaluate.report import prefix_of

TRIVIAL_FORECASTERS = ("persistence", "mean", "mean_field")


def forecast_verdict(
    scalars: Mapping[str, float | None],
    *,
    selected: str = "operator",
    grid: Sequence[int] = (),
    protocol: str = "p1",
) -> str:
    """Compare the selected forecaster's error, in one sentence, with the baselines' and solver's.

    scalars: "eval/<forecaster>/nrmse", "eval/<forecaster>/p10/nrmse" and "eval/<forecaster>/ms";
    grid: the solver's cells along each axis; protocol: that of the comparison.
    """

    def nrmse(name: str) -> float | None:
        value = scalars.get(f"{prefix_of(name, protocol)}nrmse")
        return None if value is None or not np.isfinite(value) else float(value)

    errors = {name: nrmse(name) for name in TRIVIAL_FORECASTERS if name != selected}
    baselines = {name: value for name, value in errors.items() if value is not None}
    best = min(baselines, key=lambda name: baselines[name]) if baselines else None
    solver = nrmse("solver") if selected != "solver" else None
    cells = " x ".join(map(str, grid))
    solver_name = f"the {cells}-cell solver" if cells else "the solver"
    error, under = nrmse(selected), protocol.upper()
    if error is None:
        line = f"was not measured ({under})"
        if f"{prefix_of(selected, protocol)}nrmse" in scalars:
            line = f"is not finite ({under}): some forecasts diverged"
        others = [f"{best} {baselines[best]:.3g}"] if best else []
        others += [f"{solver_name} {solver:.3g}"] if solver is not None else []
        return f"The {selected}'s test nRMSE {'; '.join([line, *others])}."
    second = "p10" if protocol == "p1" else "p1"
    value = scalars.get(f"{prefix_of(selected, second)}nrmse")
    also = f", {value:.3g} on {second.upper()}" if value is not None and np.isfinite(value) else ""
    parts = [_against_trivial(error, best, baselines[best])] if best else []
    if solver is not None:
        parts.append(f"{_ratio(error, solver)} {solver_name} ({solver:.3g})")
    comparison = f", {' and '.join(parts)}" if parts else ""
    sentence = f"The {selected}'s test nRMSE is {error:.3g} ({under}{also}){comparison}"
    return f"{sentence}{_milliseconds(scalars, selected, solver_name)}."


def _milliseconds(scalars: Mapping[str, float | None], selected: str, solver_name: str) -> str:
    ms, solver = (scalars.get(f"eval/{name}/ms") for name in (selected, "solver"))
    if ms is None:
        return ""
    other = "" if solver is None or selected == "solver" else f", {solver_name} {solver:.3g} ms"
    return f"; a trajectory takes {ms:.3g} ms{other}"


def _against_trivial(error: float, best: str, value: float) -> str:
    name = f"the best trivial predictor ({best}, {value:.3g})"
    if error == value or (value > 0 and 0.95 < error / value < 1.05):
        return f"no better than {name}"
    if error < value:
        return f"{_ratio(value, error)} below {name}"
    return f"worse than {name}: {_ratio(error, value)} its error"


def _ratio(value: float, unit: float) -> str:
    if unit == 0:
        return "infinitely far" if value else "1x"
    times = value / unit
    return f"{times:.0f}x" if times >= 10 else f"{times:.2g}x"
