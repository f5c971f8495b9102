"""Evaluation of forecasters on a split: statistics, scalars, tables and curves."""

from ups_jax.evaluate.batches import Stats, map_batches
from ups_jax.evaluate.point import DEFAULT_FORECASTERS, evaluate, protocols
from ups_jax.evaluate.report import Report, merge_seeds
from ups_jax.evaluate.summarize import selected_scalars
from ups_jax.evaluate.validate import (
    ensemble_validator,
    loss_validator,
    per_sample_nrmse,
    validator,
)

__all__ = [
    "DEFAULT_FORECASTERS",
    "Report",
    "Stats",
    "ensemble_validator",
    "evaluate",
    "loss_validator",
    "map_batches",
    "merge_seeds",
    "per_sample_nrmse",
    "protocols",
    "selected_scalars",
    "validator",
]
