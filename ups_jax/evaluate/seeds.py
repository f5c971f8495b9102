"""Several networks of one recipe: what they reached on average, and how far apart they are."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ups_jax.evaluate import Report

Row = list[Any]
EXCLUDED = ("/ms", "/calls", "_median", "_p90")
"""Ends of keys that are told for the shipped network alone."""


def merge_seeds(shipped: Report, every: Sequence[Report]) -> Report:
    """`shipped` with the mean and the spread of `every` network's report (its own among them).

    Scalars gain `<key>_seeds_mean` and `<key>_seeds_std`, the standard deviation of a sample;
    tables gain two rows for each row that `every` report has. ValueError below two reports.
    """
    if len(every) < 2:
        raise ValueError(f"{len(every)} report: a spread needs at least two networks")
    scalars = dict(shipped.scalars)
    for key in every[0].scalars:
        if key.startswith("eval/truth/") or key.endswith(EXCLUDED):
            continue
        values = [report.scalars[key] for report in every]
        scalars[f"{key}_seeds_mean"] = float(np.mean(values))
        scalars[f"{key}_seeds_std"] = float(np.std(values, ddof=1))
    physics = [report.physics_rows for report in every]
    return replace(
        shipped,
        scalars=scalars,
        rows=[*shipped.rows, *_summed([report.rows for report in every])],
        physics_rows=[*shipped.physics_rows, *_summed(physics)],
    )


def _summed(tables: Sequence[list[Row]]) -> list[Row]:
    """Two rows, mean and spread, for each row that the tables share; the truth's is left out."""
    rows = []
    for same in zip(*tables, strict=True):
        if same[0][0] != "truth":
            name, columns = same[0][0], list(zip(*same, strict=True))[1:]
            rows.append([f"{name}, mean of {len(same)} seeds", *map(_mean, columns)])
            rows.append([f"{name}, spread of {len(same)} seeds", *map(_spread, columns)])
    return rows


def _mean(values: Sequence[Any]) -> Any:
    return float(np.mean(values)) if isinstance(values[0], float) else values[0]


def _spread(values: Sequence[Any]) -> Any:
    if isinstance(values[0], float):
        return float(np.std(values, ddof=1))
    return values[0] if isinstance(values[0], str) else None
