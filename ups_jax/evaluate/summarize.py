"""Statistics of samples reduced to summary keys and curves: where arrays become Python numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from ups_jax.evaluate.batches import Stats
from ups_jax.evaluate.report import prefix_of
from ups_jax.metrics import Metric, mean_observed
from ups_jax.types import Trajectories

SPREAD = ("nrmse", "rmse", "mae", "rel_l2", "correlation_time")
"""Metrics whose median and 90th percentile over samples are reported with the mean."""


def reduce_metrics(
    stats: Mapping[str, np.ndarray], metrics: Mapping[str, Metric], dt: float
) -> dict[str, float]:
    """Reduce the statistics (n, ...) of each metric to a scalar, frames to time units."""
    return {
        name: float(metric.reduce(np.asarray(stats[name]))) * _unit(metric, dt)
        for name, metric in metrics.items()
    }


def scalars_of(
    joined: Mapping[str, Stats],
    data: Trajectories,
    starts: Mapping[str, int],
    metrics: Mapping[str, Metric],
    horizons: Sequence[float],
) -> dict[str, float]:
    """Return the summary keys of every forecaster, and of the truth's physics."""
    scalars: dict[str, float] = {}
    for mode, stats in joined.items():
        for name, value in stats.items():
            if name.startswith("physics/"):
                scalars[f"eval/{mode}/{name}"] = float(np.mean(value))
        if mode == "truth":
            continue
        for protocol, start in starts.items():
            prefix = prefix_of(mode, protocol)
            values = {name: stats[f"{protocol}/{name}"] for name in metrics}
            reduced = reduce_metrics(values, metrics, data.dt)
            for name, metric in metrics.items():
                scalars[prefix + name] = reduced[name]
                if name in SPREAD:
                    by_sample = metric.by_sample(values[name]) * _unit(metric, data.dt)
                    if metric.partial and not np.isnan(by_sample).all():
                        by_sample = by_sample[~np.isnan(by_sample)]
                    scalars[f"{prefix}{name}_median"] = float(np.median(by_sample))
                    scalars[f"{prefix}{name}_p90"] = float(percentiles(by_sample, (90,))[0])
            for horizon in horizons:
                frame = round(horizon / data.dt) - 1
                if "nrmse" in metrics and frame < data.u.shape[1] - 1 - start:
                    at = values["nrmse"][:, frame]
                    mean = mean_observed if metrics["nrmse"].partial else np.mean
                    scalars[f"{prefix}nrmse@{horizon:g}"] = float(mean(at))
    return scalars


def selected_scalars(
    scalars: Mapping[str, float], selected: str, protocol: str
) -> dict[str, float]:
    """Return `eval/<metric>` and `eval/physics/<metric>` of the selected forecaster."""
    out = {}
    prefix, physics = prefix_of(selected, protocol), f"eval/{selected}/physics/"
    for key, value in scalars.items():
        rest = key.removeprefix(prefix)
        if rest != key and "/" not in rest:
            out[f"eval/{rest}"] = value
        if key.startswith(physics):
            out[f"eval/physics/{key.removeprefix(physics)}"] = value
    return out


def curves_of(
    joined: Mapping[str, Stats], starts: Mapping[str, int], *, interpolated: bool = False
) -> Stats:
    """Return arrays for the figures, as `Report.curves` names them.

    `interpolated`: errors of frames without observed values are interpolated in time.
    """
    curves: Stats = {}
    for mode, stats in joined.items():
        if "spectrum" in stats:
            curves[f"{mode}/spectrum"] = stats["spectrum"].mean(0)
        for name, value in stats.items():
            if name.startswith("law/"):
                curves[f"{mode}/{name}"] = percentiles(value, (10, 50, 90))
        for protocol in starts:
            if mode != "truth":
                name = mode if protocol == "p1" else f"{mode}/{protocol}"
                errors = stats[f"{protocol}/nrmse"]
                curves[f"{name}/nrmse"] = interpolate_missing(errors) if interpolated else errors
    return curves


def interpolate_missing(errors: np.ndarray) -> np.ndarray:
    """Return errors (n, t) with NaN replaced by linear interpolation in time, if there are others.

    They are constant before the first and after the last other one. An infinite error, of a
    diverged forecast, is one of these.
    """
    times, out = np.arange(errors.shape[1]), errors.copy()
    for row in out:
        seen = ~np.isnan(row)
        finite = np.clip(row[seen], None, np.finfo(row.dtype).max)
        if seen.any():
            row[~seen] = np.interp(times[~seen], times[seen], finite)
    return out


def percentiles(values: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """Return percentiles over samples (n, ...) -> (len(wanted), ...); NaN where values diverged."""
    with np.errstate(invalid="ignore"):
        return np.percentile(values, wanted, axis=0)


def _unit(metric: Metric, dt: float) -> float:
    return dt if metric.unit == "frames" else 1.0
