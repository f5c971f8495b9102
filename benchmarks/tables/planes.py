"""Table of the runs in two dimensions, one row for each forecaster."""

from typing import Any

from benchmarks.tables.markdown import number, read, table
from benchmarks.tables.runs import FORECASTERS, SIMPLE, train_seconds

RUNS = (
    "reaction_diffusion",
    "shallow_water",
    "kolmogorov",
    "decaying_turbulence",
    "gray_scott",
    "burgers2d",
    "kuramoto2d",
)
"""Configs whose runs, if they were collected, are in the table."""


def planes() -> str:
    """Return the errors of each forecaster under the protocol of its config."""
    runs = {name: run for name in RUNS if (run := read(name))}
    if not runs:
        return ""
    rows = []
    for name, run in runs.items():
        protocol, points = run["config"]["eval"]["protocol"], run["config"]["pde"]["points"]
        infix = "" if protocol == "p1" else "p10/"
        for mode in (*FORECASTERS, "coarse_solver", *SIMPLE):
            keys = (f"eval/{mode}/{infix}{key}" for key in ("nrmse", "correlation_time"))
            nrmse, time = (run["summary"].get(key) for key in keys)
            if nrmse is not None:
                seconds = train_seconds(run) if mode == "operator" else ""
                where = f"`{name}`, {' x '.join(map(str, points))}, {protocol.upper()}"
                rows.append([where, _label(mode, run), number(nrmse), number(time), seconds])
    columns = ("config, points, protocol", "forecaster", "nRMSE", "correlation time", "train s")
    return (
        "## Two dimensions\n\n"
        "Protocol: the test split of each config, one seed; the solver is on the points of the "
        "networks, the data on `data.cells`. Correlation time in the time of the equation, at most "
        "the horizon. Seconds are those of the whole run's training. Target of the operator on "
        "`reaction_diffusion`: .006, half of its first result, .0118.\n"
        "Command: `python runners/fast_to_sota.py --config configs/NAME.py`, then "
        "`python -m benchmarks collect runs/NAME`.\n\n" + table(columns, rows)
    )


def _label(mode: str, run: dict[str, Any]) -> str:
    """Return a forecaster's name in the table, with the points of a coarse solver's grid."""
    if mode != "coarse_solver":
        return FORECASTERS.get(mode, mode)
    factor = run["config"]["eval"]["coarsen"]
    return f"solver, {' x '.join(str(n // factor) for n in run['config']['pde']['points'])}"
