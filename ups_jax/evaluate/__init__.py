"""Run forecasters over a split, once, and reduce what they did to numbers, tables and curves."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax import physics
from ups_jax.emulator import Emulator
from ups_jax.evaluate import summarize
from ups_jax.evaluate.summarize import Stats
from ups_jax.evaluate.timing import condition_of, milliseconds
from ups_jax.evaluate.validate import (
    ensemble_validator,
    loss_validator,
    per_sample_nrmse,
    validator,
)
from ups_jax.forecast import FORECASTERS, Forecast, calls_per_step, nudged_analysis, require_trained
from ups_jax.metrics import METRICS, Metric
from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, replicate, shape_of, shard_batch, to_host
from ups_jax.types import Array, Interrupted, Key, Params, Trajectories

__all__ = [
    "Report",
    "ensemble_validator",
    "per_sample_nrmse",
    "evaluate",
    "loss_validator",
    "protocols",
    "validator",
]


@dataclass(frozen=True)
class Report:
    """What an evaluation found: `scalars` by summary key, two tables, and arrays for the figures.

    `curves` holds "<mode>[/p10]/nrmse" (n, t), "<mode>/spectrum" (k,) at the last frame and
    "<mode>/law/<law>" (3, t + 1), the 10th, 50th and 90th percentile of a law's drift; `examples`
    "truth" (m, t + 1, *s, c) and "<mode>" (m, t, *s, c) of the samples `chosen`; `predictions`
    every P1 forecast.
    """

    scalars: dict[str, float]
    columns: list[str]
    rows: list[list[Any]]
    physics_columns: list[str]
    physics_rows: list[list[Any]]
    curves: Stats
    examples: Stats
    labels: list[str]
    chosen: np.ndarray
    times: np.ndarray
    predictions: Stats = field(default_factory=dict)
    compile_s: float = 0.0


def protocols(frames: int, context: int) -> dict[str, int]:
    """Index of the last given frame under each protocol: P1 always, P10 where frames remain."""
    return {"p1": 0, "p10": context - 1} if context < frames else {"p1": 0}


def evaluate(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    key: Key,
    *,
    modes: Sequence[str],
    metrics: Mapping[str, Metric] = METRICS,
    ship: str | None = None,
    protocol: str = "p1",
    context: int = 10,
    nudging: float = 1.0,
    horizons: Sequence[float] = (),
    batch: int = 50,
    examples: int = 3,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """One pass over `data` (n, t, *s, c), every mode on every batch, in physical space.

    `ship` (default: the last mode) is the mode that `eval/<metric>` stands for, under `protocol`.
    `options` holds a mode's own, `{"crps": {"members": 8}}` say; such a mode is judged by the mean
    of its members. `nudging` is the `gain` of `forecast.analysis`, by which learned forecasters
    start after several frames; others start from the last.
    Raises ValueError on an unknown mode or protocol and on a share outside 0 to 1, `Interrupted`
    when `stop()` answers yes.
    """
    if not 0 <= nudging <= 1:
        raise ValueError(f"nudging is {nudging}; it must be from 0 to 1")
    for mode in modes:
        lookup(FORECASTERS, mode, "forecaster")
        require_trained(mode, params)
    starts = protocols(data.u.shape[1], context)
    lookup(starts, protocol, "protocol")
    ship = ship or modes[-1]
    lookup(dict.fromkeys(modes), ship, "shipped mode")
    if stop():
        raise Interrupted("evaluation")
    began = time.monotonic()
    params, key = replicate(mesh, (params, key))
    like = [shape_of(mesh, (batch, *x.shape[1:])) for x in (data.u, condition_of(data))]
    own = {mode: dict((options or {}).get(mode, {})) for mode in modes}
    runs = {mode: partial(FORECASTERS[mode].run, **own[mode]) for mode in modes}
    score = jax.jit(partial(_score, emulator, runs, starts, metrics, nudging))
    compiled = score.lower(params, *like, key).compile()
    compile_s = time.monotonic() - began
    parts: list[dict[str, Stats]] = []
    for begin in range(0, len(data), batch):
        if stop():
            raise Interrupted("evaluation")
        index = np.arange(begin, min(begin + batch, len(data)))
        padded = np.pad(index, (0, batch - len(index)), mode="edge")
        u, cond = shard_batch(mesh, (data.u[padded], condition_of(data)[padded]))
        stats = to_host(mesh, compiled(params, u, cond, jax.random.fold_in(key, begin)))
        parts.append({m: {k: x[: len(index)] for k, x in s.items()} for m, s in stats.items()})
        progress(begin + len(index), len(data))
    joined = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    costs = {
        mode: milliseconds(
            emulator, params, data, key, mode=mode, batch=batch, mesh=mesh, stop=stop, **own[mode]
        )
        for mode in modes
    }
    scalars = summarize.scalars_of(joined, data, starts, metrics, horizons)
    for mode in modes:
        scalars[f"eval/{mode}/samples"] = len(data)
        scalars[f"eval/{mode}/ms"] = costs[mode]
        scalars[f"eval/{mode}/calls"] = calls_per_step(emulator, mode, **own[mode]) * (
            data.u.shape[1] - 1
        )
    scalars |= summarize.selected_scalars(scalars, ship, protocol)
    chosen, labels = summarize.example_indices(joined[ship]["p1/nrmse"].mean(1), examples)
    frames = {mode: joined[mode]["frames"] for mode in modes}
    columns, rows = summarize.summary(scalars, modes, starts, horizons, params)
    physics_columns, physics_rows = summarize.physical(scalars, modes)
    return Report(
        scalars=scalars,
        columns=columns,
        rows=rows,
        physics_columns=physics_columns,
        physics_rows=physics_rows,
        curves=summarize.curves_of(joined, starts),
        examples={
            "truth": np.asarray(data.u[chosen]),
            **{mode: frames[mode][chosen] for mode in modes},
        },
        labels=labels,
        chosen=chosen,
        times=np.arange(data.u.shape[1]) * data.dt,
        predictions=frames,
        compile_s=compile_s,
    )


def _score(
    emulator: Emulator,
    runs: Mapping[str, Callable[..., Forecast]],
    starts: Mapping[str, int],
    metrics: Mapping[str, Metric],
    nudging: float,
    params: Params,
    u: Array,
    cond: Array,
    key: Key,
) -> dict[str, dict[str, Array]]:
    """Every statistic of a batch u (b, t, *s, c), by mode: "<protocol>/<metric>", physics, frames.

    All protocols share one rollout of each mode, and all modes one copy of each metric.
    """
    b, steps = u.shape[0], u.shape[1] - 1
    conds = jnp.concatenate([cond] * len(starts))

    def given(mode: str) -> Array:
        gain = nudging if FORECASTERS[mode].models else 1.0
        frames = [u[:, : start + 1] for start in starts.values()]
        return jnp.concatenate(
            [nudged_analysis(emulator, params, f, cond, gain=gain) for f in frames]
        )

    paths = jnp.stack(
        [
            run(emulator, params, given(mode), conds, key, steps=steps).u
            for mode, run in runs.items()
        ]
    )
    out: dict[str, Array] = {"frames": paths[:, :b]}
    for i, (protocol, start) in enumerate(starts.items()):
        pred, true = paths[:, i * b : (i + 1) * b, : steps - start], u[:, start + 1 :]
        for name, metric in metrics.items():
            each = jax.vmap(metric.per_sample, in_axes=(0, None, None))
            out[f"{protocol}/{name}"] = each(pred, true, emulator.pde.ndim)
    everyone = jnp.concatenate([paths[:, :b], u[None, :, 1:]])
    physical = jax.vmap(lambda path: _physical(emulator, u[:, 0], path, cond))(everyone)
    by_mode = {mode: {k: v[i] for k, v in (out | physical).items()} for i, mode in enumerate(runs)}
    return by_mode | {"truth": {k: v[-1] for k, v in physical.items()}}


def _physical(emulator: Emulator, given: Array, path: Array, cond: Array) -> dict[str, Array]:
    """What needs no truth: diagnostics, drift of the laws, spectrum of the last frame."""
    checks = physics.diagnostics(emulator.pde, given, path, cond)
    whole = jnp.concatenate([given[:, None], path], 1)
    laws = physics.law_values(emulator.pde, whole)
    return {
        **{f"physics/{name}": value for name, value in checks.items()},
        **{f"law/{name}": value - value[:, :1] for name, value in laws.items()},
        "spectrum": physics.energy_spectrum(path[:, -1], emulator.pde.ndim),
    }
