"""Keys of the summary: what is judged or read stays, the rest stands in a table."""

import pytest

from ups_jax import load_config
from ups_jax.experiment.summary import judged_keys, metrics_table, summary_scalars

KEPT = (
    "eval/nrmse", "eval/rmse_p90", "eval/brmse", "eval/physics/floored", "eval/mean/frmse_low",
    "eval/operator/p10/nrmse_median", "eval/operator/nrmse@0.5", "eval/truth/physics/energy_growth",
    "eval/operator/nrmse_seeds_std", "eval/ensemble/paired/crps", "eval/ensemble/paired/mine",
    "eval/ttc/analysis/diversity", "eval/operator/equations/kdv/nrmse_gmean100",
    "eval/operator/mine", "eval/operator/mine_seeds_mean", "eval/operator/samples",
)  # fmt: skip
LEFT_OUT = (
    "eval/mean/rmse_p90", "eval/mean/p10/correlation_time_median", "eval/operator/brmse",
    "eval/operator/physics/floored", "eval/operator/paired/crmse", "eval/operator/crmse_seeds_std",
)  # fmt: skip


def test_the_summary_has_what_is_read_and_what_is_judged():
    scalars = dict.fromkeys((*KEPT, *LEFT_OUT), 1.0)
    assert list(summary_scalars(scalars, set())) == list(KEPT)
    assert set(summary_scalars(scalars, {LEFT_OUT[0]})) == {*KEPT, LEFT_OUT[0]}


def test_gates_their_references_and_regressions_are_judged():
    gate = {"gates.skill.metric": "eval/brmse", "gates.skill.ratio_to": "eval/mean/brmse"}
    gate |= {"gates.skill.max": "none", "gates.skill.max_ratio": 0.5}
    judged = judged_keys(load_config("burgers:smoke", gate))
    assert {"eval/brmse", "eval/mean/brmse", "eval/val/nrmse"} <= judged and "" not in judged


def test_the_table_has_a_row_a_metric_and_a_column_a_forecaster():
    scalars = {"eval/mse": 1.0, "eval/physics/x": 2.0, "eval/a/mse": 3.0, "eval/b/p10/mse": 4.0}
    columns, rows = metrics_table(scalars)
    assert columns == ["metric", "a", "b"]
    assert rows == [["mse", 3.0, None], ["p10/mse", None, pytest.approx(4.0)]]
