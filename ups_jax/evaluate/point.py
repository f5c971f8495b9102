"""Evaluation of forecasters as point forecasts: one pass over a split, all forecasters together."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ups_jax.arrays import as_key
from ups_jax.data import check_task, require_one_length
from ups_jax.data.missing import MASK, check_trajectories, missing_share
from ups_jax.emulator import Emulator, knows_equation, num_params, predicted
from ups_jax.evaluate import summarize
from ups_jax.evaluate.batches import (
    Batches,
    Stats,
    each_batch,
    floor_of,
    initial_states,
    join_batches,
    p1_forecast,
)
from ups_jax.evaluate.equations import by_equation
from ups_jax.evaluate.report import Report, example_indices
from ups_jax.evaluate.statistics import (
    Table,
    metrics_of,
    physics_statistics,
    point_statistics,
    table_of,
)
from ups_jax.evaluate.timing import milliseconds
from ups_jax.forecast import (
    FORECASTERS,
    calls_per_step,
    forecast,
    require_trained,
)
from ups_jax.metrics import METRICS, Metric
from ups_jax.registry import lookup
from ups_jax.sharding import Mesh, replicate
from ups_jax.types import Array, Interrupted, Key, Params, Trajectories

DEFAULT_FORECASTERS = ("persistence", "mean", "solver", "operator")


def protocols(frames: int, context_frames: int) -> dict[str, int]:
    """Return the index of the last given frame of each protocol: P1, and P10 if frames remain.

    Of two frames, only the first can be given.
    """
    start = {"p1": 0}
    return start | {"p10": context_frames - 1} if 2 < frames > context_frames else start


def evaluate(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    key: Key | int | None = None,
    *,
    forecasters: Sequence[str] = (),
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

    `forecasters` are by default DEFAULT_FORECASTERS, less those that need a solver where the PDE
    has none; of a steady problem, the mean field and the operator. `selected` (default: the last
    forecaster) is the one that `eval/<metric>` stands for, under `protocol`, as are the results of
    each equation of a mixture. `options` holds each forecaster's own, such as
    `{"ensemble": {"members": 8}}`; a stochastic forecaster is scored by the mean of its members.
    Learned forecasters start after several frames by `nudged_analysis` with `nudging_gain`, others
    from the last frame. Relative errors are divided by `FLOOR` deviations of `data` at least,
    `floored` is the share so changed.
    If the emulator masks missing values, metrics are those over observed values; physics, spectra
    and the metrics that need whole fields are left out.
    Forecasts of the samples `examples` under `protocol` are kept, by default of `num_figures`
    samples at quantiles of the selected forecaster's error; all P1 forecasts with
    `keep_predictions`. `timing` adds milliseconds. `key` may be a seed, by default 0. Evaluation
    uses JAX's default device alone, unless the devices of `mesh` share the trajectories of a batch.
    Raises ValueError on an unknown name, a gain outside 0 to 1, data of another PDE or interval and
    values that are not finite, Interrupted if `stop()` is true.
    """
    check_task(data, emulator.pde)
    require_one_length(data, "the evaluated split")
    metrics, masks = metrics_of(emulator, metrics), emulator.missing == MASK
    runs = ("mean_field", "operator") if emulator.pde.steady else DEFAULT_FORECASTERS
    runs = [m for m in runs if emulator.pde.has("step") or not FORECASTERS[m].solver]
    forecasters = forecasters or runs
    starts = protocols(data.u.shape[1], context_frames)
    check_trajectories(data, emulator.missing, after=max(starts.values()))
    _check(params, forecasters, starts, protocol, nudging_gain)
    selected = selected or forecasters[-1]
    lookup(dict.fromkeys(forecasters), selected, "selected forecaster")
    if stop():
        raise Interrupted("evaluation")
    key = as_key(0 if key is None else key)
    settings = {name: dict((options or {}).get(name, {})) for name in forecasters}
    # The figures show nRMSE, whatever the metrics are.
    scored = {**metrics_of(emulator, {"nrmse": METRICS["nrmse"]}), **metrics}
    shared: dict[str, Any] = dict(batch=min(batch, len(data)), mesh=mesh, stop=stop)
    floor, table = replicate(mesh, floor_of(data)), table_of(scored)
    fixed = (table, nudging_gain, mesh, floor)

    def run(starts: Mapping[str, int], **more: Any) -> Batches:
        program = partial(_evaluate_batch, emulator, settings, starts, *fixed)
        return each_batch(program, params, data, key, **shared, **more)

    stats, predictions = join_batches(
        run(starts, progress=progress), mesh, lambda index: np.full(index.shape, keep_predictions)
    )
    if examples is None:
        errors = scored["nrmse"].by_sample(stats[selected][f"{protocol}/nrmse"])
        chosen, labels = example_indices(errors, num_figures)
    else:
        chosen, labels = np.asarray(examples, int), [f"sample {i}" for i in examples]
    scalars = summarize.scalars_of(stats, data, starts, metrics, horizons)
    each, curves = by_equation(stats, data, emulator.pde, metrics, protocol)
    steps = data.u.shape[1] - 1
    for name, own in settings.items():
        cost = {"samples": len(data), "calls": calls_per_step(emulator, name, **own) * steps}
        if timing:
            function = p1_forecast(emulator, name, mesh, **own)
            cost["ms"] = milliseconds(function, params, data, key, **shared)
        scalars |= {f"eval/{name}/{quantity}": value for quantity, value in cost.items()}
    # Reports of further forecasters, on fewer samples, are merged into this one.
    trained = {m: f.stages for m, f in FORECASTERS.items() if set(f.stages) <= set(params)}
    return Report(
        scalars=scalars | each | summarize.selected_scalars(scalars, selected, protocol),
        forecasters=tuple(forecasters),
        parameters={m: num_params([params[s] for s in stages]) for m, stages in trained.items()},
        protocols=tuple(starts),
        protocol=protocol,
        horizons=tuple(horizons),
        times=np.arange(data.u.shape[1]) * data.dt,
        metrics=metrics,
        curves=summarize.curves_of(stats, starts, interpolated=masks) | curves,
        predictions=predictions,
        examples=_examples(
            partial(run, {protocol: starts[protocol]}), data, chosen, starts[protocol], mesh=mesh
        ),
        labels=labels,
        chosen=chosen,
        knows_equation=knows_equation(emulator.base),
        held_out=emulator.pde.held_out,
        missing=missing_share(data) if masks else None,
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


def _examples(
    run: Callable[..., Batches], data: Trajectories, chosen: np.ndarray, start: int, *, mesh: Any
) -> Stats:
    """Return truth, from frame `start`, static inputs and forecasts of a few samples.

    They are known after the errors of all.
    """
    _, shown = join_batches(run(samples=chosen), mesh, lambda index: np.full(index.shape, True))
    u, c = np.asarray(data.u[chosen, start:]), len(data.predicted)
    static = {"static": u[:, 0, ..., c : c + len(data.static)]} if data.static else {}
    return {"truth": u[..., :c], **static, **{k: v[:, : u.shape[1] - 1] for k, v in shown.items()}}


def _evaluate_batch(
    emulator: Emulator,
    settings: Mapping[str, Mapping[str, Any]],
    starts: Mapping[str, int],
    table: Table,
    nudging_gain: float,
    mesh: Mesh | None,
    floor: Array,
    params: Params,
    u: Array,
    cond: Array,
    keys: Key,
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Return every statistic of a batch u (b, t, *s, c), and forecasts of the first protocol.

    Physics and laws are theirs. Keys: "<protocol>/<metric>", "physics/<name>", "law/<name>".
    Forecasts of all protocols have the length of P1's and are cut: they, validation and timing
    share one program of each forecaster.
    """
    steps, pde = u.shape[1] - 1, emulator.pde
    out: dict[str, dict[str, Array]] = {}
    paths: dict[str, Array] = {}
    begins: dict[tuple[int, float | None], Array] = {}
    for name, options in settings.items():
        out[name] = {}
        for protocol, start in starts.items():
            gain = nudging_gain if start and FORECASTERS[name].stages else None
            if (start, gain) not in begins:
                begins[start, gain] = initial_states(emulator, start, gain, mesh, params, u, cond)
            path = forecast(
                emulator, params, begins[start, gain], cond, keys,
                steps=steps, forecaster=name, mesh=mesh, check=False, **options,
            ).u  # fmt: skip
            errors = point_statistics(table, pde.ndim, start, mesh, floor, path, u)
            out[name] |= {f"{protocol}/{metric}": value for metric, value in errors.items()}
            paths.setdefault(name, path)
        if emulator.missing != MASK:
            out[name] |= physics_statistics(pde, mesh, floor, u, paths[name], cond)
    if emulator.missing == MASK:
        return out, paths
    true = predicted(emulator, u[:, 1:])
    return out | {"truth": physics_statistics(pde, mesh, floor, u, true, cond)}, paths
