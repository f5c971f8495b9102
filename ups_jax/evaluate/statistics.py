"""Compiled statistics of forecasts: one program serves all forecasters of a batch size."""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp

from ups_jax import physics
from ups_jax.data.missing import MASK
from ups_jax.emulator import Emulator
from ups_jax.metrics import (
    METRICS,
    OBSERVED_METRICS,
    Metric,
    rank_histogram,
    reliability,
    spread_skill,
)
from ups_jax.pde.base import PDE
from ups_jax.sharding import Mesh, map_samples
from ups_jax.types import Array

Table = tuple[tuple[str, Callable[..., Array]], ...]
"""Names of metrics and their statistics: hashable, and equal for equal metrics."""
SINGLE_FORECAST_METRICS = (
    "crps",
    "spectrum_log_error_low",
    "spectrum_log_error_mid",
    "spectrum_log_error_high",
)
"""Ensemble metrics that are defined for a single forecast; its CRPS is its MAE."""


def metrics_of(emulator: Emulator, metrics: Mapping[str, Metric]) -> Mapping[str, Metric]:
    """Return the metrics, or those over observed values if the emulator masks missing ones.

    Of METRICS, those without such a version are left out. Raises ValueError on another one.
    """
    if emulator.missing != MASK:
        return metrics
    whole = [name for name, metric in metrics.items() if not _is_maskable(name, metric)]
    foreign = [name for name in whole if metrics is not METRICS]
    if foreign:
        raise ValueError(
            f"metric {foreign[0]!r} needs whole fields, but missing values are masked; known: "
            f"{', '.join(OBSERVED_METRICS)}"
        )
    kept = {name: metric for name, metric in metrics.items() if name not in whole}
    return {n: m if m.partial else OBSERVED_METRICS[n] for n, m in kept.items()}


def _is_maskable(name: str, metric: Metric) -> bool:
    return metric.partial or (name in OBSERVED_METRICS and metric is METRICS.get(name))


def table_of(metrics: Mapping[str, Metric]) -> Table:
    """Return the statistics of metrics as an argument of a compiled function."""
    return tuple((name, metric.statistic) for name, metric in metrics.items())


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def point_statistics(
    table: Table, ndim: int, start: int, mesh: Mesh | None, floor: Array, pred: Array, u: Array
) -> dict[str, Array]:
    """Return the statistics of forecasts (b, t, *s, c) of the frames of u after frame `start`.

    Frames of the forecast beyond the last one of u are left out, as are static channels of u.
    """

    def share(floor: Array, pred: Array, u: Array) -> dict[str, Array]:
        true = u[:, start + 1 :, ..., : pred.shape[-1]]
        pred = pred[:, : true.shape[1]]
        return {name: statistic(pred, true, ndim, floor=floor) for name, statistic in table}

    return map_samples(mesh, share)(floor, pred, u)


@partial(jax.jit, static_argnums=(0, 1))
def physics_statistics(
    pde: PDE, mesh: Mesh | None, floor: Array, u: Array, path: Array, cond: Array
) -> dict[str, Array]:
    """Return what needs no truth of paths (b, t, *s, c) from the first frame of u.

    Diagnostics "physics/<name>", drift of the laws "law/<name>", "spectrum" of the last frame.
    """

    def share(floor: Array, u: Array, path: Array, cond: Array) -> dict[str, Array]:
        start = u[:, 0, ..., : path.shape[-1]]
        checks = physics.diagnostics(pde, start, path, cond, floor=floor)
        laws = physics.law_values(pde, jnp.concatenate([start[:, None], path], 1))
        return {
            **{f"physics/{name}": value for name, value in checks.items()},
            **{f"law/{name}": value - value[:, :1] for name, value in laws.items()},
            "spectrum": physics.energy_spectrum(path[:, -1], pde.ndim, boundary=pde.boundary),
        }

    return map_samples(mesh, share)(floor, u, path, cond)


@partial(jax.jit, static_argnums=(0, 1, 2))
def ensemble_statistics(
    table: Table, ndim: int, mesh: Mesh | None, floor: Array, members: Array, u: Array
) -> dict[str, Array]:
    """Return the statistics of members (b, m, t, *s, c), and arrays for the figures."""

    def share(floor: Array, members: Array, u: Array) -> dict[str, Array]:
        true = u[:, 1:, ..., : members.shape[-1]]
        return {
            **{name: statistic(members, true, ndim, floor=floor) for name, statistic in table},
            "rank": rank_histogram(members, true, ndim),
            "reliability": reliability(members, true, ndim),
            "squares": spread_skill(members, true, ndim),
        }

    return map_samples(mesh, share)(floor, members, u)


@partial(jax.jit, static_argnums=(0, 1, 2))
def single_statistics(
    table: Table, ndim: int, mesh: Mesh | None, floor: Array, pred: Array, u: Array
) -> dict[str, Array]:
    """Return those ensemble statistics of a forecast (b, t, *s, c) that need no spread."""
    known = [(name, statistic) for name, statistic in table if name in SINGLE_FORECAST_METRICS]

    def share(floor: Array, pred: Array, u: Array) -> dict[str, Array]:
        true = u[:, 1:, ..., : pred.shape[-1]]
        return {n: statistic(pred[:, None], true, ndim, floor=floor) for n, statistic in known}

    return map_samples(mesh, share)(floor, pred, u)
