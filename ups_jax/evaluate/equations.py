"""Results of every equation of a mixture: scalars, curves and the table "Equation Summary"."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ups_jax.evaluate.batches import Stats, cond_of
from ups_jax.evaluate.summarize import reduce_metrics
from ups_jax.metrics import Metric, mean_observed
from ups_jax.pde.base import PDE
from ups_jax.types import Trajectories

SHOWN = {"nrmse": "nRMSE", "nrmse_gmean100": "GMean100", "correlation_time": "corr. time"}
"""Metrics of the table, with their titles."""
SUMMARIES = ("average", "worst")
"""Rows over equations: the geometric mean and the largest of errors, else mean and smallest."""


def by_equation(
    joined: Mapping[str, Stats],
    data: Trajectories,
    pde: PDE,
    metrics: Mapping[str, Metric],
    protocol: str,
) -> tuple[dict[str, float], Stats]:
    """Return summary keys and curves of each equation that the PDE mixes, under a protocol.

    Scalars "eval/<mode>/equations/<equation>/<metric>", and over equations those of SUMMARIES;
    curves "<mode>/equations/<equation>" (t,), the mean nRMSE. A PDE without parts has none.
    """
    tested, scalars, curves = pde.test or pde, {}, {}
    if tested.part_of is None:
        return scalars, curves
    numbers = np.asarray(tested.part_of(jnp.asarray(cond_of(data))))
    chosen = {name: metrics[name] for name in SHOWN if name in metrics}
    for mode in (mode for mode in joined if mode != "truth"):
        found: dict[str, dict[str, float]] = {}
        for i in np.unique(numbers):
            rows, name = numbers == i, tested.parts[i].name
            stats = {metric: joined[mode][f"{protocol}/{metric}"][rows] for metric in chosen}
            found[name] = reduce_metrics(stats, chosen, data.dt)
            errors = joined[mode][f"{protocol}/nrmse"][rows]
            partial = any(metric.partial for metric in metrics.values())
            curves[f"{mode}/equations/{name}"] = (
                mean_observed(errors, 0) if partial else errors.mean(0)
            )
        overall: dict[str, dict[str, float]] = {name: {} for name in SUMMARIES}
        for metric, kind in chosen.items():
            values = np.array([scores[metric] for scores in found.values()])
            over = (values.mean(), values.min())
            if not kind.higher_is_better:
                with np.errstate(divide="ignore"):
                    over = (np.exp(np.log(values).mean()), values.max())
            for name, value in zip(SUMMARIES, over, strict=True):
                overall[name][metric] = float(value)
        for name, scores in (found | overall).items():
            for metric, value in scores.items():
                scalars[f"eval/{mode}/equations/{name}/{metric}"] = value
    return scalars, curves


def equation_table(
    scalars: Mapping[str, float], held_out: tuple[str, ...]
) -> tuple[list[str], list[list[Any]]]:
    """Return columns and rows of "Equation Summary": each equation, each forecaster; then over all.

    No rows without equations.
    """
    keys = [key.split("/") for key in scalars if "/equations/" in key]
    keys = [parts for parts in keys if len(parts) == 5]
    modes = list(dict.fromkeys(parts[1] for parts in keys))
    names = list(dict.fromkeys(parts[3] for parts in keys))
    metrics = [name for name in SHOWN if any(parts[4] == name for parts in keys)]
    rows = [
        [name, "held out" if name in held_out else "trained" * (name not in SUMMARIES), mode]
        + [scalars.get(f"eval/{mode}/equations/{name}/{metric}") for metric in metrics]
        for name in names
        for mode in modes
    ]
    return ["equation", "data", "forecaster", *(SHOWN[name] for name in metrics)], rows
