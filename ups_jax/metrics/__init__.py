"""Metrics of forecasts against the truth: a statistic of each sample, then a reduction.

A statistic depends on its own sample alone, so the reduced scalar does not depend on the batches.
"""

from ups_jax.metrics.base import BANDS, Direction, Metric, mean_observed
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
from ups_jax.metrics.observed import OBSERVED_METRICS
from ups_jax.metrics.point import (
    CORRELATED,
    METRICS,
    brmse,
    correlation,
    correlation_censored,
    correlation_time,
    floored,
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

OTHER_DIRECTIONS: dict[str, Direction] = {
    "rank_correlation": "higher", "samples": "none", "diversity": "none", "plain_choices": "none"
}  # fmt: skip
"""Directions of values that are no metrics; of all others lower is better."""
BUILT_IN = frozenset(METRICS | ENSEMBLE_METRICS)
"""Metrics of the package; tables have a column for every other one."""


def metric_of_key(key: str) -> Metric | None:
    """Return the metric of a summary key such as "eval/operator/p10/nrmse_median@1", or None."""
    name = _name(key)
    return METRICS.get(name) or ENSEMBLE_METRICS.get(name)


def direction_of_key(key: str) -> Direction:
    """Return the direction of the values of a summary key."""
    metric = metric_of_key(key)
    return OTHER_DIRECTIONS.get(_name(key), "lower") if metric is None else metric.direction


def cost_of_key(key: str, value: float) -> float:
    """Map the value of a summary key to a number that is lower for better values, in its unit."""
    direction = direction_of_key(key)
    if isinstance(direction, int | float):
        return abs(value - direction)
    return {"lower": value, "higher": -value, "none": 0.0}[direction]


def _name(key: str) -> str:
    """Return the last part of a key without its horizon, its percentile, and `over seeds`."""
    name = key.rpartition("/")[2].partition("@")[0].removesuffix("_seeds_mean")
    return name.removesuffix("_median").removesuffix("_p90")
