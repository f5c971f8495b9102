"""Evaluation of forecasters as point forecasts: one pass over a split, all forecasters together."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax import physics
from ups_jax.data import check_task
from ups_jax.emulator import Emulator, num_params
from ups_jax.evaluate import summarize
from ups_jax.evaluate.batches import cond_of, map_batches
from ups_jax.evaluate.report import Report
from ups_jax.evaluate.timing import milliseconds
from ups_jax.forecast import FORECASTERS, Forecast, calls_per_step, nudged_analysis, require_trained
from ups_jax.metrics import METRICS, Metric
from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, replicate, shape_of
from ups_jax.types import Array, Interrupted, Key, Params, Trajectories

DEFAULT_FORECASTERS = ("persistence", "mean", "solver", "operator")


def protocols(frames: int, context_frames: int) -> dict[str, int]:
    """Return the index of the last given frame of each protocol: P1, and P10 if frames remain."""
    start = {"p1": 0}
    return start | {"p10": context_frames - 1} if context_frames < frames else start


def evaluate(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    key: Key | None = None,
    *,
    forecasters: Sequence[str] = DEFAULT_FORECASTERS,
    metrics: Mapping[str, Metric] = METRICS,
    selected: str | None = None,
    protocol: str = "p1",
    context_frames: int = 10,
    nudging_gain: float = 1.0,
    horizons: Sequence[float] = (),
    batch: int = 50,
    num_figures: int = 3,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Evaluate forecasters on trajectories (n, t, *s, c) in one pass, in physical units.

    `selected` (default: the last forecaster) is the one that `eval/<metric>` stands for, under
    `protocol`. `options` holds each forecaster's own, such as `{"ensemble": {"members": 8}}`; a
    stochastic forecaster is scored by the mean of its members. Learned forecasters start after
    several frames by `nudged_analysis` with `nudging_gain`, others from the last frame.
    Raises ValueError on an unknown name, a gain outside 0 to 1 and data of another PDE or interval,
    Interrupted if `stop()` is true.
    """
    check_task(data, emulator.pde)
    if not 0 <= nudging_gain <= 1:
        raise ValueError(f"nudging_gain is {nudging_gain}; it must be from 0 to 1")
    for mode in forecasters:
        lookup(FORECASTERS, mode, "forecaster")
        require_trained(mode, params)
    starts = protocols(data.u.shape[1], context_frames)
    lookup(starts, protocol, "protocol")
    selected = selected or forecasters[-1]
    lookup(dict.fromkeys(forecasters), selected, "selected forecaster")
    if stop():
        raise Interrupted("evaluation")
    key = jax.random.key(0) if key is None else key
    settings = {mode: dict((options or {}).get(mode, {})) for mode in forecasters}
    runs = {mode: partial(FORECASTERS[mode].run, **settings[mode]) for mode in forecasters}
    batch = min(batch, len(data))
    began = time.monotonic()
    example = [shape_of(mesh, (batch, *x.shape[1:])) for x in (data.u, cond_of(data))]
    score = jax.jit(partial(_score, emulator, runs, starts, metrics, nudging_gain))
    compiled = score.lower(
        *replicate(mesh, (params,)), *example, *replicate(mesh, (key,))
    ).compile()
    compile_s = time.monotonic() - began
    shared: dict[str, Any] = dict(batch=batch, mesh=mesh, stop=stop)
    keys = partial(jax.random.fold_in, key)
    stats = map_batches(compiled, params, data, keys, progress=progress, **shared)
    scalars = summarize.scalars_of(stats, data, starts, metrics, horizons)
    for mode in forecasters:
        cost = calls_per_step(emulator, mode, **settings[mode]) * (data.u.shape[1] - 1)
        ms = milliseconds(emulator, params, data, key, mode=mode, **shared, **settings[mode])
        scalars |= {f"eval/{mode}/samples": len(data), f"eval/{mode}/ms": ms}
        scalars[f"eval/{mode}/calls"] = cost
    # Reports of further forecasters, on fewer samples, are merged into this one.
    trained = {m: f.stages for m, f in FORECASTERS.items() if set(f.stages) <= set(params)}
    sizes = {m: num_params([params[s] for s in stages]) for m, stages in trained.items()}
    report = Report(
        scalars=scalars | summarize.selected_scalars(scalars, selected, protocol),
        forecasters=tuple(forecasters),
        parameters=sizes,
        protocols=tuple(starts),
        horizons=tuple(horizons),
        times=np.arange(data.u.shape[1]) * data.dt,
        curves=summarize.curves_of(stats, starts),
        predictions={mode: stats[mode]["frames"] for mode in forecasters},
        compile_s=compile_s,
    )
    return report.with_examples(data, selected, num_figures)


def _score(
    emulator: Emulator,
    runs: Mapping[str, Callable[..., Forecast]],
    starts: Mapping[str, int],
    metrics: Mapping[str, Metric],
    nudging_gain: float,
    params: Params,
    u: Array,
    cond: Array,
    key: Key,
) -> dict[str, dict[str, Array]]:
    """Return every statistic of a batch u (b, t, *s, c) by forecaster.

    Keys: "<protocol>/<metric>", "physics/<name>", "law/<name>", "frames". All protocols share one
    rollout of each forecaster, and all forecasters one copy of each metric.
    """
    b, steps = u.shape[0], u.shape[1] - 1
    conds = jnp.concatenate([cond] * len(starts))

    def initial(mode: str) -> Array:
        gain = nudging_gain if FORECASTERS[mode].stages else 1.0
        frames = [u[:, : start + 1] for start in starts.values()]
        return jnp.concatenate(
            [nudged_analysis(emulator, params, f, cond, gain=gain) for f in frames]
        )

    paths = jnp.stack(
        [run(emulator, params, initial(m), conds, key, steps=steps).u for m, run in runs.items()]
    )
    out: dict[str, Array] = {"frames": paths[:, :b]}
    for i, (protocol, start) in enumerate(starts.items()):
        pred, true = paths[:, i * b : (i + 1) * b, : steps - start], u[:, start + 1 :]
        for name, metric in metrics.items():
            by_mode = jax.vmap(metric.per_sample, in_axes=(0, None, None))
            out[f"{protocol}/{name}"] = by_mode(pred, true, emulator.pde.ndim)
    with_truth = jnp.concatenate([paths[:, :b], u[None, :, 1:]])
    physical = jax.vmap(lambda path: _physics(emulator, u[:, 0], path, cond))(with_truth)
    by_mode = {mode: {k: v[i] for k, v in (out | physical).items()} for i, mode in enumerate(runs)}
    return by_mode | {"truth": {k: v[-1] for k, v in physical.items()}}


def _physics(emulator: Emulator, start: Array, path: Array, cond: Array) -> dict[str, Array]:
    """Return what needs no truth: diagnostics, drift of the laws, spectrum of the last frame."""
    checks = physics.diagnostics(emulator.pde, start, path, cond)
    whole = jnp.concatenate([start[:, None], path], 1)
    laws = physics.law_values(emulator.pde, whole)
    return {
        **{f"physics/{name}": value for name, value in checks.items()},
        **{f"law/{name}": value - value[:, :1] for name, value in laws.items()},
        "spectrum": physics.energy_spectrum(path[:, -1], emulator.pde.ndim),
    }
