"""Evaluation of ensembles as probabilistic forecasts, paired with single forecasts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ups_jax.data import check_task
from ups_jax.emulator import Emulator
from ups_jax.evaluate.batches import Stats, each_batch, floor_of, join_batches, score_batch
from ups_jax.evaluate.summarize import reduce_metrics
from ups_jax.evaluate.timing import milliseconds
from ups_jax.forecast import FORECASTERS, Forecast, calls_per_step
from ups_jax.forecast.base import run_each
from ups_jax.metrics import (
    BUILT_IN,
    ENSEMBLE_METRICS,
    METRICS,
    rank_histogram,
    reliability,
    spread_skill,
)
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
PerSample = Callable[..., Array]
Run = tuple[str, Callable[..., Forecast], bool, tuple[tuple[str, Any], ...]]
"""A forecaster's name, its function, whether it is stochastic, and its options."""
SINGLE_FORECAST_METRICS = (
    "crps",
    "spectrum_log_error_low",
    "spectrum_log_error_mid",
    "spectrum_log_error_high",
)
"""Ensemble metrics that are defined for a single forecast; its CRPS is its MAE."""


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
    runs = {
        **dict.fromkeys(controls, {}),
        **{m: {"members": members, **o} for m, o in modes.items()},
    }
    fixed = tuple((m, FORECASTERS[m].run, m in modes, tuple(o.items())) for m, o in runs.items())
    tables = [tuple((n, m.statistic) for n, m in t.items()) for t in (METRICS, ENSEMBLE_METRICS)]
    static = (emulator, fixed, *tables)
    shared: dict[str, Any] = dict(batch=batch, mesh=mesh, stop=stop)
    batches = each_batch(
        partial(score_batch, _score, static, mesh, replicate(mesh, floor_of(data))),
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
        ms = milliseconds(emulator, params, data, key, forecaster=mode, **shared, **options)
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
        examples={"truth": np.asarray(data.u[:examples]), **example_members},
        members=members,
    )


def _score(
    emulator: Emulator,
    runs: tuple[Run, ...],
    metrics: tuple[tuple[str, PerSample], ...],
    ensemble_metrics: tuple[tuple[str, PerSample], ...],
    floor: Array,
    params: Params,
    u: Array,
    cond: Array,
    keys: Key,
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Return the statistics of a batch u (b, t, *s, c) by forecaster, and the members."""
    true, ndim = u[:, 1:], emulator.pde.ndim
    stats, paths = {}, {}
    for mode, run, stochastic, options in runs:
        start, steps = u[:, 0], true.shape[1]
        result = run_each(run, emulator, params, start, cond, keys, steps=steps, **dict(options))
        point = {
            name: per_sample(result.u, true, ndim, floor=floor) for name, per_sample in metrics
        }
        if not stochastic:
            single = result.u[:, None]
            stats[mode] = point | {
                name: per_sample(single, true, ndim, floor=floor)
                for name, per_sample in ensemble_metrics
                if name in SINGLE_FORECAST_METRICS
            }
            continue
        members = result.members
        assert members is not None
        paths[mode] = members
        stats[mode] = {
            **point,
            **{
                name: per_sample(members, true, ndim, floor=floor)
                for name, per_sample in ensemble_metrics
            },
            "rank": rank_histogram(members, true, ndim),
            "reliability": reliability(members, true, ndim),
            "squares": spread_skill(members, true, ndim),
        }
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
