"""Keys of a run's summary, and the table of all values of its evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from ups_jax.metrics import BUILT_IN

PERCENTILES, SEEDS = ("_median", "_p90"), ("_seeds_mean", "_seeds_std")
PAIRED = ("nrmse", "member_nrmse", "mae", "crps", "spread_skill", "coverage_50", "coverage_90")
PAIRED += ("correlation_time", "samples", "calls", "ms")
"""Metrics on paired samples that the summary has: those of the ensembles' table."""
OVER_SEEDS = ("nrmse", "nrmse_gmean100", "mae", "rel_l2", "crps", "correlation_time")
"""Metrics whose mean and deviation over seeds the summary has."""
SELECTED_ONLY = ("brmse", "max_error", "floored")
"""Metrics that the summary has of the selected forecaster alone."""
TABLE = "All Metrics"


def judged_keys(cfg: Any) -> set[str]:
    """Return the summary keys that gates and regression tests of a config read."""
    gates = cfg.gates.values()
    named = {gate.metric for gate in gates} | {gate.ratio_to for gate in gates}
    return (named | set(cfg.regression.metrics)) - {""}


def summary_scalars(scalars: Mapping[str, Any], judged: set[str]) -> dict[str, Any]:
    """Return the scalars of an evaluation that the summary holds; TABLE holds all of them.

    These are the `judged` ones, those of the selected forecaster, and of every forecaster the
    metrics without what only a table needs: percentiles other than nRMSE's, further metrics on
    paired samples and over seeds, and SELECTED_ONLY.
    """
    return {key: x for key, x in scalars.items() if key in judged or _in_summary(key)}


def metrics_table(scalars: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return columns and rows of TABLE: a row for each metric, a column for each forecaster."""
    cells: dict[str, dict[str, Any]] = {}
    for key, value in scalars.items():
        _, forecaster, *rest = key.split("/")
        if rest and forecaster != "physics":
            cells.setdefault("/".join(rest), {})[forecaster] = value
    forecasters = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows = [[metric, *(row.get(name) for name in forecasters)] for metric, row in cells.items()]
    return ["metric", *forecasters], rows


def _in_summary(key: str) -> bool:
    _, *place, name = key.split("/")
    if place in ([], ["physics"]):
        return True
    if name.endswith(PERCENTILES):
        return name.startswith("nrmse_")
    metric = name.partition("@")[0]
    if name.endswith(SEEDS):
        metric = _without(metric, SEEDS)
        return metric in OVER_SEEDS or metric not in BUILT_IN
    if "paired" in place:
        return metric in PAIRED or metric not in BUILT_IN
    return metric not in SELECTED_ONLY


def _without(name: str, endings: Sequence[str]) -> str:
    """Return a name without the first of `endings` that it has."""
    return next((name.removesuffix(end) for end in endings if name.endswith(end)), name)
