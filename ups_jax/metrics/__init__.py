"""Metrics of forecasts against the truth: a statistic of each sample, then a reduction.

A statistic depends on its own sample alone, so the reduced scalar does not depend on the batches.
"""

from ups_jax.metrics.base import BANDS, Metric
from ups_jax.metrics.ensemble import (
    ENSEMBLE_METRICS,
    NOMINAL_LEVELS,
    coverage,
    crps,
    envelope_coverage,
    mean_over_samples,
    member_nrmse,
    rank_histogram,
    reliability,
    skill_squared,
    spectrum_log_error,
    spread_skill,
    spread_skill_ratio,
    spread_squared,
)
from ups_jax.metrics.point import (
    CORRELATED,
    METRICS,
    brmse,
    correlation,
    correlation_censored,
    correlation_time,
    gmean_over_time,
    mae,
    max_error,
    mean_error_squared,
    mse,
    nrmse,
    pdebench_compat,
    per_sample_nrmse,
    rel_l2,
    rmse,
    root_over_samples,
    spectral_error_squared,
)


def metric_of_key(key: str) -> Metric | None:
    """Return the metric of a summary key such as "eval/operator/p10/nrmse_median@1", or None."""
    name = key.rpartition("/")[2].partition("@")[0]
    name = name.removesuffix("_median").removesuffix("_p90")
    return METRICS.get(name) or ENSEMBLE_METRICS.get(name)


def cost_of_key(key: str, value: float) -> float:
    """Map the value of a summary key to a number that is lower for better values."""
    metric = metric_of_key(key)
    return value if metric is None else metric.cost(value)
