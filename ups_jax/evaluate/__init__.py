"""Run forecasters over a split, once, and reduce what they did to numbers, tables and curves."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax import physics
from ups_jax.evaluate import reduce
from ups_jax.evaluate.reduce import Stats
from ups_jax.forecast import FORECASTERS, forecast
from ups_jax.lookup import lookup
from ups_jax.metrics import METRICS, Metric
from ups_jax.simulator import Simulator
from ups_jax.types import Array, Interrupted, Key, Params, Trajectories


@dataclass(frozen=True)
class Report:
    """What an evaluation found: `scalars` by summary key, two tables, and arrays for the figures.

    `curves` holds "<mode>[/p10]/nrmse" (n, t), "<mode>/spectrum" (k,) at the last frame and
    "<mode>/law/<law>" (3, t + 1), the 10th, 50th and 90th percentile of a law's drift; `examples`
    "truth" (m, t + 1, *s, c) and "<mode>" (m, t, *s, c); `predictions` every P1 forecast.
    """

    scalars: dict[str, float]
    columns: list[str]
    rows: list[list[Any]]
    physics_columns: list[str]
    physics_rows: list[list[Any]]
    curves: Stats
    examples: Stats
    labels: list[str]
    times: np.ndarray
    predictions: Stats = field(default_factory=dict)
    compile_s: float = 0.0


def protocols(frames: int, context: int) -> dict[str, int]:
    """Index of the last given frame under each protocol: P1 always, P10 where frames remain."""
    return {"p1": 0, "p10": context - 1} if context < frames else {"p1": 0}


def evaluate(
    sim: Simulator,
    params: Params,
    data: Trajectories,
    key: Key,
    *,
    modes: Sequence[str],
    metrics: Mapping[str, Metric] = METRICS,
    ship: str | None = None,
    protocol: str = "p1",
    context: int = 10,
    horizons: Sequence[float] = (),
    batch: int = 50,
    examples: int = 3,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """One pass over `data` (n, t, *s, c), every mode on every batch, in physical space.

    `ship` (default: the last mode) is the mode that `eval/<metric>` stands for, under `protocol`.
    Raises ValueError on an unknown mode or protocol, `Interrupted` when `stop()` answers yes.
    """
    for mode in modes:
        lookup(FORECASTERS, mode, "forecaster")
    starts = protocols(data.u.shape[1], context)
    lookup(starts, protocol, "protocol")
    ship = ship or modes[-1]
    lookup(dict.fromkeys(modes), ship, "shipped mode")
    scorers = _compile(sim, params, data, key, (*modes, "truth"), starts, metrics, batch)
    parts: dict[str, list[Stats]] = {name: [] for name in scorers.calls}
    for begin in range(0, len(data), batch):
        index = np.arange(begin, min(begin + batch, len(data)))
        padded = np.pad(index, (0, batch - len(index)), mode="edge")
        u, cond = jnp.asarray(data.u[padded]), _cond(data)[padded]
        for name, call in scorers.calls.items():
            if stop():
                raise Interrupted("evaluation")
            stats = jax.device_get(call(params, u, cond, jax.random.fold_in(key, begin)))
            parts[name].append({k: v[: len(index)] for k, v in stats.items()})
        progress(begin + len(index), len(data))
    joined = {
        name: {k: np.concatenate([p[k] for p in part]) for k in part[0]}
        for name, part in parts.items()
    }
    costs = {mode: _milliseconds(sim, params, data, key, mode, batch, stop) for mode in modes}
    scalars = reduce.scalars_of(joined, data, starts, metrics, horizons)
    for mode in modes:
        scalars[f"eval/{mode}/ms"] = costs[mode]
        scalars[f"eval/{mode}/calls"] = FORECASTERS[mode].calls * (data.u.shape[1] - 1)
    scalars |= reduce.shipped(scalars, ship, protocol)
    chosen, labels = reduce.typical(joined[ship]["p1/nrmse"].mean(1), examples)
    frames = {mode: joined[mode]["frames"] for mode in modes}
    return Report(
        scalars=scalars,
        **reduce.tables(scalars, modes, starts, horizons, params),
        curves=reduce.curves_of(joined, starts),
        examples={
            "truth": np.asarray(data.u[chosen]),
            **{mode: frames[mode][chosen] for mode in modes},
        },
        labels=labels,
        times=np.arange(data.u.shape[1]) * data.dt,
        predictions=frames,
        compile_s=scorers.seconds,
    )


def validator(
    sim: Simulator, data: Trajectories, *, batch: int, stop: Callable[[], bool] = lambda: False
) -> Callable[[Params], float | None]:
    """The operator's P1 nRMSE on a whole split as a function of parameters; None once stopped."""
    steps = data.u.shape[1] - 1
    key = jax.random.key(0)

    @jax.jit
    def score(params: Params, u: Array, cond: Array) -> Array:
        pred = FORECASTERS["operator"].run(sim, params, u[:, 0], cond, key, steps=steps).u
        return METRICS["nrmse"].per_sample(pred, u[:, 1:], sim.pde.ndim)

    def validate(params: Params) -> float | None:
        scores = []
        for begin in range(0, len(data), batch):
            if stop():
                return None
            part = slice(begin, begin + batch)
            scores.append(jax.device_get(score(params, data.u[part], _cond(data)[part])))
        value = float(np.mean(np.concatenate(scores)))
        return value if np.isfinite(value) else float("inf")

    return validate


@dataclass(frozen=True)
class _Scorers:
    calls: dict[str, Callable[..., dict[str, Array]]]
    seconds: float


def _cond(data: Trajectories) -> Array | np.ndarray:
    assert data.cond is not None
    return data.cond


def _compile(
    sim: Simulator,
    params: Params,
    data: Trajectories,
    key: Key,
    names: Sequence[str],
    starts: Mapping[str, int],
    metrics: Mapping[str, Metric],
    batch: int,
) -> _Scorers:
    """One compiled call a mode: its rollouts under every protocol, and every statistic of them."""
    began = time.monotonic()
    u = jax.ShapeDtypeStruct((batch, *data.u.shape[1:]), jnp.float32)
    cond = jax.ShapeDtypeStruct((batch, _cond(data).shape[1]), jnp.float32)
    calls = {}
    for name in names:

        def score(params, u, cond, key, name=name):
            if name == "truth":
                return _physical(sim, u[:, 0], u[:, 1:], cond)
            return _score(sim, name, params, u, cond, key, starts, metrics)

        calls[name] = jax.jit(score).lower(params, u, cond, key).compile()
    return _Scorers(calls, time.monotonic() - began)


def _score(sim, mode, params, u, cond, key, starts, metrics) -> dict[str, Array]:
    """Statistics of one batch u (b, t, *s, c): "<protocol>/<metric>", physics, the P1 frames."""
    out: dict[str, Array] = {}
    for protocol, start in starts.items():
        given, true = u[:, start], u[:, start + 1 :]
        run = FORECASTERS[mode].run
        pred = run(sim, params, given, cond, key, steps=true.shape[1]).u
        for name, metric in metrics.items():
            out[f"{protocol}/{name}"] = metric.per_sample(pred, true, sim.pde.ndim)
        if protocol == "p1":
            out |= _physical(sim, given, pred, cond) | {"frames": pred}
    return out


def _physical(sim: Simulator, given: Array, path: Array, cond: Array) -> dict[str, Array]:
    out = {
        f"physics/{name}": value
        for name, value in physics.diagnostics(sim.pde, given, path, cond).items()
    }
    whole = jnp.concatenate([given[:, None], path], 1)
    for name, value in physics.law_values(sim.pde, whole).items():
        out[f"law/{name}"] = value - value[:, :1]
    out["spectrum"] = physics.energy_spectrum(path[:, -1], sim.pde.ndim)
    return out


def _milliseconds(sim, params, data, key, mode, batch, stop) -> float:
    """Median wall milliseconds a trajectory of a warm, batched P1 rollout."""
    u0, cond = jnp.asarray(data.u[:batch, 0]), jnp.asarray(_cond(data)[:batch])
    steps, times = data.u.shape[1] - 1, []
    for _ in range(4):
        if stop():
            raise Interrupted("evaluation")
        began = time.perf_counter()
        jax.block_until_ready(forecast(sim, params, u0, cond, key, steps=steps, mode=mode).u)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:])) * 1e3 / len(u0)
