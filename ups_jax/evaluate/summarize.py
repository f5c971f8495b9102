"""Statistics of samples to summary keys, tables and curves: where arrays become Python numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ups_jax.emulator import num_params
from ups_jax.forecast import FORECASTERS
from ups_jax.metrics import Metric
from ups_jax.types import Params, Trajectories

SPREAD = ("nrmse", "rmse", "mae", "rel_l2", "correlation_time")
"""Metrics whose median and 90th percentile over samples stand beside the mean."""
Stats = dict[str, np.ndarray]


def scalars_of(
    joined: Mapping[str, Stats],
    data: Trajectories,
    starts: Mapping[str, int],
    metrics: Mapping[str, Metric],
    horizons: Sequence[float],
) -> dict[str, float]:
    """Summary keys of every mode. The only place where arrays become Python numbers."""
    scalars: dict[str, float] = {}
    for mode, stats in joined.items():
        for name, value in stats.items():
            if name.startswith("physics/"):
                scalars[f"eval/{mode}/{name}"] = float(np.mean(value))
        if mode == "truth":
            continue
        for protocol, start in starts.items():
            prefix = f"eval/{mode}/" if protocol == "p1" else f"eval/{mode}/{protocol}/"
            for name, metric in metrics.items():
                value, unit = stats[f"{protocol}/{name}"], 1.0
                unit = data.dt if metric.unit == "frames" else 1.0
                scalars[prefix + name] = float(metric.reduce(jnp.asarray(value))) * unit
                if name in SPREAD:
                    each = value.reshape(len(value), -1).mean(1) * unit
                    scalars[f"{prefix}{name}_median"] = float(np.median(each))
                    scalars[f"{prefix}{name}_p90"] = float(percentiles(each, (90,))[0])
            for horizon in horizons:
                frame = round(horizon / data.dt) - 1
                if "nrmse" in metrics and frame < data.u.shape[1] - 1 - start:
                    at = float(np.mean(stats[f"{protocol}/nrmse"][:, frame]))
                    scalars[f"{prefix}nrmse@{horizon:g}"] = at
    return scalars


def selected_scalars(scalars: Mapping[str, float], ship: str, protocol: str) -> dict[str, float]:
    """`eval/<metric>` and `eval/physics/<metric>` of the mode that is shipped."""
    out = {}
    prefix = f"eval/{ship}/" if protocol == "p1" else f"eval/{ship}/{protocol}/"
    for key, value in scalars.items():
        rest = key.removeprefix(prefix)
        if rest != key and "/" not in rest:
            out[f"eval/{rest}"] = value
        if key.startswith(f"eval/{ship}/physics/"):
            out[f"eval/physics/{key.rsplit('/', 1)[1]}"] = value
    return out


def summary(
    scalars: Mapping[str, float],
    modes: Sequence[str],
    starts: Mapping[str, int],
    horizons: Sequence[float],
    params: Params,
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of "Evaluation Summary", a row each mode and protocol."""
    at = [f"nrmse@{h:g}" for h in horizons]
    shown = ["nrmse", "nrmse_median", "nrmse_p90", *at, "rmse", "mae", "rel_l2", "crmse"]
    shown += ["max_error", "correlation_time", "correlation_censored"]
    rows = []
    for protocol in starts:
        for mode in modes:
            prefix = f"eval/{mode}/" if protocol == "p1" else f"eval/{mode}/{protocol}/"
            size = num_params([params[model] for model in FORECASTERS[mode].models])
            values = [scalars.get(prefix + name) for name in shown]
            whole = [int(scalars[f"eval/{mode}/{name}"]) for name in ("samples", "calls")]
            ms, note = scalars[f"eval/{mode}/ms"], FORECASTERS[mode].note
            rows.append([mode, protocol, *values, size, *whole, ms, note])
    last = ["parameters", "samples", "calls", "ms", "what it is"]
    return ["forecaster", "protocol", *shown, *last], rows


def physical(
    scalars: Mapping[str, float], modes: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of "Physics Diagnostics", the truth first."""
    names = [k.rsplit("/", 1)[1] for k in scalars if k.startswith("eval/truth/physics/")]
    rows = [
        [mode, *(scalars[f"eval/{mode}/physics/{name}"] for name in names)]
        for mode in ("truth", *modes)
    ]
    return ["forecaster", *names], rows


def curves_of(joined: Mapping[str, Stats], starts: Mapping[str, int]) -> Stats:
    """Arrays for the figures, as `Report.curves` names them."""
    curves: Stats = {}
    for mode, stats in joined.items():
        curves[f"{mode}/spectrum"] = stats["spectrum"].mean(0)
        for name, value in stats.items():
            if name.startswith("law/"):
                curves[f"{mode}/{name}"] = percentiles(value, (10, 50, 90))
        for protocol in starts:
            if mode != "truth":
                place = mode if protocol == "p1" else f"{mode}/{protocol}"
                curves[f"{place}/nrmse"] = stats[f"{protocol}/nrmse"]
    return curves


def percentiles(values: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """Percentiles over samples (n, ...) -> (len(wanted), ...); NaN beside what has diverged."""
    with np.errstate(invalid="ignore"):
        return np.percentile(values, wanted, axis=0)


def example_indices(errors: np.ndarray, count: int) -> tuple[np.ndarray, list[str]]:
    """Samples at the median, the 90th percentile and the worst of an error, as far as asked."""
    order = np.argsort(np.nan_to_num(errors, nan=np.inf))
    wanted = [("median", 0.5), ("90th percentile", 0.9), ("worst", 1.0), ("best", 0.0)][:count]
    chosen = np.array([order[round(q * (len(order) - 1))] for _, q in wanted], int)
    return chosen, [f"{name} sample ({i})" for (name, _), i in zip(wanted, chosen, strict=True)]
