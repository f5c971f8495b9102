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
from ups_jax.evaluate.batches import (
    Batches,
    Stats,
    cond_of,
    each_batch,
    floor_of,
    join_batches,
    padded_rows,
    score_batch,
)
from ups_jax.evaluate.report import Report, example_indices
from ups_jax.evaluate.timing import milliseconds
from ups_jax.forecast import FORECASTERS, Forecast, calls_per_step, nudged_analysis, require_trained
from ups_jax.forecast.base import run_each, sample_keys
from ups_jax.metrics import METRICS, Metric
from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, replicate, shape_of, shard_batch
from ups_jax.types import Array, Interrupted, Key, Params, Trajectories

DEFAULT_FORECASTERS = ("persistence", "mean", "solver", "operator")
PerSample = Callable[..., Array]
Run = tuple[str, Callable[..., Forecast], bool, tuple[tuple[str, Any], ...]]
"""A forecaster's name, its function, whether it is learned, and its options."""


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
    examples: Sequence[int] | None = None,
    keep_predictions: bool = False,
    timing: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Evaluate forecasters on trajectories (n, t, *s, c) in one pass, in physical units.

    `selected` (default: the last forecaster) is the one that `eval/<metric>` stands for, under
    `protocol`. `options` holds each forecaster's own, such as `{"ensemble": {"members": 8}}`; a
    stochastic forecaster is scored by the mean of its members. Learned forecasters start after
    several frames by `nudged_analysis` with `nudging_gain`, others from the last frame. Relative
    errors are divided by `FLOOR` deviations of `data` at least, `floored` is the share so changed.
    Forecasts of the samples `examples` are kept, by default of `num_figures` samples at quantiles
    of the selected forecaster's error; all P1 forecasts with `keep_predictions`. `timing` adds
    milliseconds. Raises ValueError on an unknown name, a gain outside 0 to 1 and data of another
    PDE or interval, Interrupted if `stop()` is true.
    """
    check_task(data, emulator.pde)
    starts = protocols(data.u.shape[1], context_frames)
    _check(params, forecasters, starts, protocol, nudging_gain)
    selected = selected or forecasters[-1]
    lookup(dict.fromkeys(forecasters), selected, "selected forecaster")
    if stop():
        raise Interrupted("evaluation")
    key = jax.random.key(0) if key is None else key
    settings = {name: dict((options or {}).get(name, {})) for name in forecasters}
    # The figures show nRMSE, whatever the metrics are.
    scored = {"nrmse": METRICS["nrmse"], **metrics}
    shared: dict[str, Any] = dict(batch=min(batch, len(data)), mesh=mesh, stop=stop)
    static = (emulator, _runs(settings), tuple(starts.items()), _per_sample(scored), nudging_gain)
    progress(0, len(data))
    program, compile_s = _compile(static, (params, data, key), batch=shared["batch"], mesh=mesh)
    run = partial(each_batch, program, params, data, key, **shared)
    stats, predictions = join_batches(
        run(progress=progress), mesh, lambda index: np.full(index.shape, keep_predictions)
    )
    if examples is None:
        chosen, labels = example_indices(stats[selected]["p1/nrmse"].mean(1), num_figures)
    else:
        chosen, labels = np.asarray(examples, int), [f"sample {i}" for i in examples]
    scalars = summarize.scalars_of(stats, data, starts, metrics, horizons)
    steps = data.u.shape[1] - 1
    for name, own in settings.items():
        cost = {"samples": len(data), "calls": calls_per_step(emulator, name, **own) * steps}
        if timing:
            more = shared | own
            cost["ms"] = milliseconds(emulator, params, data, key, forecaster=name, **more)
        scalars |= {f"eval/{name}/{quantity}": value for quantity, value in cost.items()}
    # Reports of further forecasters, on fewer samples, are merged into this one.
    trained = {m: f.stages for m, f in FORECASTERS.items() if set(f.stages) <= set(params)}
    return Report(
        scalars=scalars | summarize.selected_scalars(scalars, selected, protocol),
        forecasters=tuple(forecasters),
        parameters={m: num_params([params[s] for s in stages]) for m, stages in trained.items()},
        protocols=tuple(starts),
        horizons=tuple(horizons),
        times=np.arange(data.u.shape[1]) * data.dt,
        metrics=metrics,
        curves=summarize.curves_of(stats, starts),
        predictions=predictions,
        examples=_examples(run, data, chosen, mesh=mesh),
        labels=labels,
        chosen=chosen,
        compile_s=compile_s,
    )


def _check(
    params: Params,
    forecasters: Sequence[str],
    starts: Mapping[str, int],
    protocol: str,
    nudging_gain: float,
) -> None:
    if not 0 <= nudging_gain <= 1:
        raise ValueError(f"nudging_gain is {nudging_gain}; it must be from 0 to 1")
    for name in forecasters:
        lookup(FORECASTERS, name, "forecaster")
        require_trained(name, params)
    lookup(starts, protocol, "protocol")


def _runs(settings: Mapping[str, Mapping[str, Any]]) -> tuple[Run, ...]:
    """Return forecasters as hashable values: a program is compiled once for equal ones."""
    return tuple(
        (name, FORECASTERS[name].run, bool(FORECASTERS[name].stages), tuple(options.items()))
        for name, options in settings.items()
    )


def _per_sample(metrics: Mapping[str, Metric]) -> tuple[tuple[str, PerSample], ...]:
    return tuple((name, metric.statistic) for name, metric in metrics.items())


def _compile(
    static: tuple[Any, ...],
    inputs: tuple[Params, Trajectories, Key],
    *,
    batch: int,
    mesh: Mesh | None,
) -> tuple[Callable[..., Any], float]:
    """Return the program of one batch, and the seconds of its compilation.

    JAX keeps the programs of earlier calls with equal arguments.
    """
    began = time.monotonic()
    params, data, key = inputs
    rows = padded_rows(mesh, batch)
    shapes = [shape_of(mesh, (rows, *x.shape[1:])) for x in (data.u, cond_of(data))]
    params, floor = replicate(mesh, (params, floor_of(data)))
    keys = shard_batch(mesh, sample_keys(key, np.arange(rows)))
    lowered = score_batch.lower(_score, static, mesh, floor, params, *shapes, keys)
    program = lowered.compile()
    return partial(program, floor), time.monotonic() - began


def _examples(
    run: Callable[..., Batches], data: Trajectories, chosen: np.ndarray, *, mesh: Any
) -> Stats:
    """Return truth and P1 forecasts of a few samples, which are known after the errors of all."""
    _, shown = join_batches(run(samples=chosen), mesh, lambda index: np.full(index.shape, True))
    return {"truth": np.asarray(data.u[chosen]), **shown}


def _score(
    emulator: Emulator,
    runs: tuple[Run, ...],
    starts: tuple[tuple[str, int], ...],
    metrics: tuple[tuple[str, PerSample], ...],
    nudging_gain: float,
    floor: Array,
    params: Params,
    u: Array,
    cond: Array,
    keys: Key,
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Return every statistic of a batch u (b, t, *s, c), and the P1 forecasts, by forecaster.

    Keys: "<protocol>/<metric>", "physics/<name>", "law/<name>". All protocols share one rollout of
    each forecaster, and all forecasters one copy of each metric.
    """
    b, steps = u.shape[0], u.shape[1] - 1
    conds, every = (jnp.concatenate([x] * len(starts)) for x in (cond, keys))

    def initial(learned: bool) -> Array:
        gain = nudging_gain if learned else 1.0
        frames = [u[:, : start + 1] for _, start in starts]
        return jnp.concatenate(
            [nudged_analysis(emulator, params, f, cond, gain=gain) for f in frames]
        )

    def roll(forecaster: Run) -> Array:
        _, run, learned, options = forecaster
        settings = {"steps": steps, **dict(options)}
        return run_each(run, emulator, params, initial(learned), conds, every, **settings).u

    paths = jnp.stack([roll(run) for run in runs])
    out: dict[str, Array] = {}
    for i, (protocol, start) in enumerate(starts):
        pred, true = paths[:, i * b : (i + 1) * b, : steps - start], u[:, start + 1 :]
        for name, per_sample in metrics:
            by_mode = jax.vmap(partial(per_sample, floor=floor), in_axes=(0, None, None))
            out[f"{protocol}/{name}"] = by_mode(pred, true, emulator.pde.ndim)
    with_truth = jnp.concatenate([paths[:, :b], u[None, :, 1:]])
    physical = jax.vmap(lambda path: _physics(emulator, u[:, 0], path, cond, floor))(with_truth)
    values = out | physical
    by_name = {run[0]: {k: v[i] for k, v in values.items()} for i, run in enumerate(runs)}
    by_name["truth"] = {k: v[-1] for k, v in physical.items()}
    return by_name, {run[0]: paths[i, :b] for i, run in enumerate(runs)}


def _physics(
    emulator: Emulator, start: Array, path: Array, cond: Array, floor: Array
) -> dict[str, Array]:
    """Return what needs no truth: diagnostics, drift of the laws, spectrum of the last frame."""
    checks = physics.diagnostics(emulator.pde, start, path, cond, floor=floor)
    whole = jnp.concatenate([start[:, None], path], 1)
    laws = physics.law_values(emulator.pde, whole)
    return {
        **{f"physics/{name}": value for name, value in checks.items()},
        **{f"law/{name}": value - value[:, :1] for name, value in laws.items()},
        "spectrum": physics.energy_spectrum(path[:, -1], emulator.pde.ndim),
    }
