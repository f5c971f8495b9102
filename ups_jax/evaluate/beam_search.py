"""Evaluation of test-time search against controls of equal network calls, and a bound."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import FLOOR
from ups_jax.emulator import Emulator, SearchSpec
from ups_jax.evaluate.batches import Stats, floor_of, map_batches, p1_forecast
from ups_jax.evaluate.statistics import point_statistics, table_of
from ups_jax.evaluate.summarize import reduce_metrics
from ups_jax.evaluate.timing import milliseconds
from ups_jax.forecast import FORECASTERS, Forecast
from ups_jax.forecast.beam_search import propose_candidates, search_calls, search_forecast
from ups_jax.metrics import METRICS
from ups_jax.sharding import Mesh, map_samples, replicate
from ups_jax.types import Array, Key, Params, Trajectories

SEARCH_COLUMNS = ["forecaster", "calls a step", "nRMSE", "below mean-of-B", "what it is"]
ROW_NOTES = {
    "operator": "the frozen operator",
    "control": "the operator, trained for as many FLOPs",
    "mean": "mean of as many members as the search has calls",
    "random": "a path of random choices",
    "ttc": "the search",
    "greedy": "the search with the truth as its reward",
    "oracle": "a bound: for each trajectory the best of these rows by the truth",
}
TTC, RANDOM, GREEDY = range(3)
"""Rewards of `_search`."""
ORACLE_GAIN = 0.05
"""Relative gain over mean-of-B below which the verdict is that search does not help."""


@dataclass(frozen=True)
class SearchAnalysis:
    """Results of a search: `scalars` by summary key, a table, a sentence, and arrays.

    `curves` holds "<forecaster>" (n, t), nRMSE; "choice" (k,), shares of the candidates; "reward"
    and "error" (q,), of single candidates: minus, and over, the mean of their group.
    """

    scalars: dict[str, float]
    columns: list[str]
    rows: list[list[Any]]
    verdict: str
    curves: Stats


def analyze_search(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    key: Key,
    *,
    batch: int = 16,
    mesh: Mesh | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SearchAnalysis:
    """Evaluate P1 of `ttc`, the operator, its control if trained, and mean, random, greedy of B.

    B is the search's network calls a step, which all but the single forecasts spend. The oracle is
    no forecast: it selects a row for each trajectory, so that no row has a lower error. Keys are
    eval/ttc/<metric> and eval/ttc/analysis/<quantity>; `rank_correlation` is Spearman's of reward
    and error over the candidates of one state, averaged over states where it is defined. Raises
    Interrupted if `stop()` is true.
    """
    spec, floor = _spec(emulator), floor_of(data)
    joined: dict[str, Any] = map_batches(
        partial(_score, emulator, "control" in params, mesh, replicate(mesh, floor)),
        params, data, key, batch=batch, mesh=mesh, stop=stop, progress=progress,
        name="analysis of the search",
    )  # fmt: skip
    errors = {name: joined["nrmse"][name] for name in ROW_NOTES if name in joined["nrmse"]}
    errors["oracle"] = _best_of_rows(errors)
    mean = {name: float(np.mean(error)) for name, error in errors.items()}
    search = partial(_search, emulator, mesh, TTC)
    ms = milliseconds(search, params, data, key, batch=batch, mesh=mesh, stop=stop)
    ranks = joined["rank"][np.isfinite(joined["rank"])]
    rank = float(ranks.mean()) if ranks.size else float("nan")
    reduced = reduce_metrics(joined["metrics"], METRICS, data.dt)
    scalars: dict[str, float] = {f"eval/ttc/{name}": value for name, value in reduced.items()}
    steps = data.u.shape[1] - 1
    scalars |= {"eval/ttc/ms": ms, "eval/ttc/samples": len(data)}
    scalars["eval/ttc/calls"] = search_calls(emulator) * steps
    analysis = {f"nrmse_{name}": value for name, value in mean.items()}
    analysis["rank_correlation"] = rank
    analysis["diversity"] = float(np.mean(joined["diversity"]))
    analysis["plain_choices"] = float(np.mean(joined["choice"] == 0))
    scalars |= {f"eval/ttc/analysis/{name}": value for name, value in analysis.items()}
    single = {
        "operator": 1,
        "control": 1,
        "mean": FORECASTERS[spec.source].calls(emulator, _members(emulator, spec)),
    }
    return SearchAnalysis(
        scalars=scalars,
        columns=SEARCH_COLUMNS,
        rows=[
            [
                name,
                single.get(name, search_calls(emulator)),
                value,
                1 - value / mean["mean"],
                ROW_NOTES[name],
            ]
            for name, value in mean.items()
        ],
        verdict=_verdict(mean, rank),
        curves={
            **errors,
            "choice": np.bincount(joined["choice"].ravel(), minlength=spec.candidates)
            / joined["choice"].size,
            **_pairs(joined["reward"], joined["error"]),
        },
    )


def _score(
    emulator: Emulator,
    with_control: bool,
    mesh: Mesh | None,
    floor: Array,
    params: Params,
    u: Array,
    cond: Array,
    keys: Key,
) -> dict[str, Any]:
    """Return errors of each use of the calls, and rewards and errors of candidates."""
    spec = _spec(emulator)

    def roll(mode: str, **options: Any) -> Array:
        return p1_forecast(emulator, mode, mesh, **options)(params, u, cond, keys).u

    ttc, random, greedy = (
        _search(emulator, mesh, choice, params, u, cond, keys) for choice in (TTC, RANDOM, GREEDY)
    )
    paths = {
        "operator": roll("operator"),
        **({"control": roll("control")} if with_control else {}),
        "mean": roll(spec.source, members=_members(emulator, spec)),
        "random": random.u,
        "ttc": ttc.u,
        "greedy": greedy.u,
    }
    table, ndim = table_of(METRICS), emulator.pde.ndim
    errors = {
        name: point_statistics(table, ndim, 0, mesh, floor, path, u) for name, path in paths.items()
    }
    assert ttc.log is not None
    return {
        "nrmse": {name: values["nrmse"] for name, values in errors.items()},
        "metrics": errors["ttc"],
        **{name: ttc.log[name] for name in ("choice", "diversity")},
        **_candidate_scores(emulator, mesh, params, u, ttc.u, cond, keys),
    }


@partial(jax.jit, static_argnums=(0, 1))
def _search(
    emulator: Emulator,
    mesh: Mesh | None,
    choice: int,
    params: Params,
    u: Array,
    cond: Array,
    keys: Key,
) -> Forecast:
    """Return a search by a reward: of physics, random, or of the truth; one program for all."""
    spec, steps = _spec(emulator), u.shape[1] - 1

    def share(choice: Array, params: Params, u: Array, cond: Array, keys: Key) -> Forecast:
        floor = FLOOR * params["stats"]["std"]

        def alone(u: Array, cond: Array, key: Key) -> Forecast:
            k_path, k_random = jax.random.split(jax.random.fold_in(key, 0))

            def reward(prev: Array, after: Array, cond: Array, t: Array) -> Array:
                k, shape = jax.random.fold_in(k_random, t), after.shape[:3]
                rewards = (
                    lambda: spec.reward(prev, after, cond, floor),
                    lambda: jax.random.uniform(k, shape, after.dtype),
                    lambda: -_distance(after, u[None, t + 1], emulator.pde.ndim),
                )
                return jax.lax.switch(choice, rewards)

            result = search_forecast(
                emulator, params, u[None, 0], cond[None], k_path,
                steps=steps, spec=spec, reward=reward,
            )  # fmt: skip
            return jax.tree.map(lambda x: x[0] if jnp.ndim(x) else x, result)

        return jax.vmap(alone)(u, cond, keys)

    return map_samples(mesh, share, shared=2)(choice, params, u, cond, keys)


@partial(jax.jit, static_argnums=(0, 1))
def _candidate_scores(
    emulator: Emulator,
    mesh: Mesh | None,
    params: Params,
    u: Array,
    path: Array,
    cond: Array,
    keys: Key,
) -> dict[str, Array]:
    """Return reward and error (b, t, k) of new candidates at every state of a path, and "rank"."""
    spec = _spec(emulator)

    def alone(params: Params, u: Array, path: Array, cond: Array, key: Key) -> dict[str, Array]:
        before, true = jnp.concatenate([u[:1], path[:-1]]), u[1:]

        def at(now: tuple[Array, Array, Key]) -> tuple[Array, Array]:
            state, goal, k = now[0][None, None], now[1][None], now[2]
            after = propose_candidates(
                emulator, params, state, cond[None, None], k,
                spec=spec, temperature=spec.temperature_start,
            )  # fmt: skip
            prev = jnp.broadcast_to(state[:, :, None], after.shape)
            wide = jnp.broadcast_to(cond, (*after.shape[:3], *cond.shape))
            reward = spec.reward(prev, after, wide, FLOOR * params["stats"]["std"])
            return reward[0, 0], _distance(after, goal, emulator.pde.ndim)[0, 0]

        every = jax.random.split(jax.random.fold_in(key, 1), len(true))
        reward, error = jax.lax.map(at, (before, true, every))
        return {"reward": reward, "error": error, "rank": rank_correlation(reward, error)}

    share = jax.vmap(alone, in_axes=(None, 0, 0, 0, 0))
    return map_samples(mesh, share)(params, u, path, cond, keys)


def _spec(emulator: Emulator) -> SearchSpec:
    assert emulator.search is not None
    return emulator.search


def rank_correlation(a: Array, b: Array) -> Array:
    """Return Spearman's rank correlation (..., k) -> (...); NaN if all values are equal."""

    def ranks(x: Array) -> Array:
        below = jnp.sum(x[..., None, :] < x[..., :, None], -1)
        same = jnp.sum(x[..., None, :] == x[..., :, None], -1)
        rank = below + 0.5 * (same - 1)
        return rank - jnp.mean(rank, -1, keepdims=True)

    p, q = ranks(a), ranks(b)
    size = jnp.sqrt(jnp.sum(p**2, -1) * jnp.sum(q**2, -1))
    return jnp.where(size > 0, jnp.sum(p * q, -1) / jnp.where(size > 0, size, 1), jnp.nan)


def _best_of_rows(errors: dict[str, np.ndarray]) -> np.ndarray:
    """Return the errors (n, t) of the row that is the best for each trajectory."""
    rows = np.stack(list(errors.values()))
    best = np.argmin(np.nan_to_num(rows.mean(-1), nan=np.inf), 0)
    return rows[best, np.arange(rows.shape[1])]


def _distance(after: Array, goal: Array, ndim: int) -> Array:
    """Return the RMS of after (b, w, k, *s, c) - goal (b, *s, c) -> (b, w, k)."""
    axes = tuple(range(-1 - ndim, 0))
    return jnp.sqrt(jnp.mean((after - goal[:, None, None]) ** 2, axes))


def _members(emulator: Emulator, spec: SearchSpec) -> int:
    """Return the members that cost as many calls as the search, at least one."""
    return max(1, search_calls(emulator) // FORECASTERS[spec.source].calls(emulator, 1))


def _pairs(reward: np.ndarray, error: np.ndarray) -> Stats:
    """Return about 2,000 candidates (..., k): reward minus, and error over, their group's mean."""
    excess = reward - reward.mean(-1, keepdims=True)
    share = error / np.maximum(error.mean(-1, keepdims=True), np.finfo(error.dtype).tiny)
    every = max(1, reward.size // 2000)
    return {"reward": excess.ravel()[::every], "error": share.ravel()[::every]}


def _verdict(mean: dict[str, float], rank: float) -> str:
    """Return one sentence: the gain of the search, its bound, and the rewards' rank correlation."""
    gain, bound = (1 - mean[name] / mean["mean"] for name in ("ttc", "oracle"))
    better = gain >= ORACLE_GAIN and mean["ttc"] < mean["operator"]
    helps = "helps" if better else "does not help"
    agree = f"{rank:.2f} (ideal -1)" if np.isfinite(rank) else "undefined: all rewards are equal"
    return (
        f"search {helps}: nRMSE {mean['ttc']:.4g}, {_percent(gain)} "
        f"mean-of-B ({mean['mean']:.4g}) at equal calls; "
        f"the operator alone {mean['operator']:.4g}; selection by the truth {mean['oracle']:.4g}, "
        f"{_percent(bound)} it; rank correlation of reward and error {agree}"
    )


def _percent(gain: float) -> str:
    return f"{100 * abs(gain):.1f} % {'below' if gain >= 0 else 'above'}"
