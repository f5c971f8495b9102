"""Evaluation of ensembles as probabilistic forecasts, paired with single forecasts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ups_jax.data import check_task, require_one_length
from ups_jax.emulator import Emulator
from ups_jax.evaluate.batches import Stats, each_batch, floor_of, join_batches, p1_forecast
from ups_jax.evaluate.statistics import (
    ensemble_statistics,
    point_statistics,
    single_statistics,
    table_of,
)
from ups_jax.evaluate.summarize import reduce_metrics
from ups_jax.evaluate.timing import milliseconds
from ups_jax.forecast import Forecast, calls_per_step
from ups_jax.metrics import BUILT_IN, ENSEMBLE_METRICS, METRICS
from ups_jax.sharding import Mesh, replicate
from ups_jax.types import Array, Key, Params, Trajectories

TABLE_COLUMNS = (
    "nrmse",
    "member_nrmse",
    "mae",
    "crps",
    "spread_skill",
    "coverage_50",
    "coverage_90",
)
TABLE_COLUMNS += ("inside", "correlation_time", "spectrum_log_error_high", "floored")


@dataclass(frozen=True)
class Ensembles:
    """Results of ensembles: `scalars` by summary key, a table, and arrays for the figures.

    `curves` holds, by mode, "<mode>/nrmse" (n, t) of the mean, "<mode>/rank" (m + 1,),
    "<mode>/reliability" (levels,) and "<mode>/spread_error" (2, n t): the RMS spread and the mean's
    RMS error of each frame;
    `examples` "truth" (e, t + 1, *s, c) and "<mode>" (e, m, t, *s, c).
    """

    scalars: dict[str, float]
    columns: list[str]
    rows: list[list[Any]]
    curves: Stats
    examples: Stats
    members: int


def evaluate_ensembles(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    key: Key,
    *,
    modes: Mapping[str, Mapping[str, Any]],
    members: int,
    controls: Sequence[str] = ("operator",),
    batch: int = 16,
    examples: int = 1,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Ensembles:
    """Evaluate P1 of stochastic forecasters (`modes`: options) and `controls` on the same data.

    Keys are eval/<mode>/paired/<metric>; metrics of one field take the members' mean. Raises
    ValueError on data of another PDE or interval, Interrupted if `stop()` is true.
    """
    check_task(data, emulator.pde)
    require_one_length(data, "the evaluated split")
    runs = {
        **dict.fromkeys(controls, {}),
        **{m: {"members": members, **o} for m, o in modes.items()},
    }
    rolls = {mode: p1_forecast(emulator, mode, mesh, **options) for mode, options in runs.items()}
    shared: dict[str, Any] = dict(batch=batch, mesh=mesh, stop=stop)
    batches = each_batch(
        partial(_evaluate_batch, emulator.pde.ndim, rolls, mesh, replicate(mesh, floor_of(data))),
        params, data, key,
        progress=progress, name="evaluation of ensembles", **shared,
    )  # fmt: skip
    joined, example_members = join_batches(batches, mesh, lambda index: index < examples)
    scalars: dict[str, float] = {}
    for mode, options in runs.items():
        prefix = f"eval/{mode}/paired/"
        known = {k: m for k, m in (METRICS | ENSEMBLE_METRICS).items() if k in joined[mode]}
        reduced = reduce_metrics(joined[mode], known, data.dt)
        scalars |= {f"{prefix}{name}": value for name, value in reduced.items()}
        ms = milliseconds(rolls[mode], params, data, key, **shared)
        scalars |= {f"{prefix}samples": len(data), f"{prefix}ms": ms}
        scalars[f"{prefix}calls"] = calls_per_step(emulator, mode, **options) * (
            data.u.shape[1] - 1
        )
    columns = [*TABLE_COLUMNS, *added_metrics(), "samples", "calls", "ms"]
    return Ensembles(
        scalars=scalars,
        columns=["forecaster", *columns],
        rows=[[m, *(scalars.get(f"eval/{m}/paired/{n}") for n in columns)] for m in runs],
        curves={k: v for mode in modes for k, v in _curves(mode, joined[mode]).items()},
        examples={
            "truth": np.asarray(data.u[:examples])[..., : len(data.predicted)],
            **example_members,
        },
        members=members,
    )


def _evaluate_batch(
    ndim: int,
    rolls: Mapping[str, Callable[..., Forecast]],
    mesh: Mesh | None,
    floor: Array,
    params: Params,
    u: Array,
    cond: Array,
    keys: Key,
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Return the statistics of a batch u (b, t, *s, c) by forecaster, and the members."""
    stats, paths, further = {}, {}, table_of(ENSEMBLE_METRICS)
    for mode, roll in rolls.items():
        result = roll(params, u, cond, keys)
        stats[mode] = point_statistics(table_of(METRICS), ndim, 0, mesh, floor, result.u, u)
        if result.members is None:
            stats[mode] |= single_statistics(further, ndim, mesh, floor, result.u, u)
        else:
            paths[mode] = result.members
            stats[mode] |= ensemble_statistics(further, ndim, mesh, floor, result.members, u)
    return stats, paths


def added_metrics() -> dict[str, str]:
    """Return the metrics that a user added, with their titles in tables."""
    known = METRICS | ENSEMBLE_METRICS
    return {name: metric.label or name for name, metric in known.items() if name not in BUILT_IN}


def _curves(mode: str, stats: Stats) -> Stats:
    return {
        f"{mode}/nrmse": stats["nrmse"],
        f"{mode}/rank": stats["rank"].mean((0, 1)),
        f"{mode}/reliability": stats["reliability"].mean((0, 1)),
        f"{mode}/spread_error": np.sqrt(stats["squares"].reshape(-1, 2).T),
    }
