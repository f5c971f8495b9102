"""Directions: for every registered metric, better forecasts count as better everywhere."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from ups_jax.leaderboard import BoardState, compare, page, tables
from ups_jax.leaderboard.metrics import best_of
from ups_jax.leaderboard.regression import IMPROVED, REGRESSED, UNCHANGED
from ups_jax.metrics import ENSEMBLE_METRICS, METRICS, cost_of_key, direction_of_key

ALL_METRICS = METRICS | ENSEMBLE_METRICS
NOT_LOWER = {
    "correlation_time": "higher", "correlation_censored": "higher", "spread_skill": 1.0,
    "coverage_50": 0.5, "coverage_90": 0.9, "inside": "none", "floored": "none",
}  # fmt: skip
OTHERS = {
    "eval/ttc/analysis/rank_correlation": "higher", "eval/samples": "none",
    "eval/ttc/analysis/diversity": "none", "eval/calls": "lower", "eval/ms": "lower",
    "wall/train_s": "lower", "memory/peak_mib": "lower", "params/selected": "lower",
    "eval/val/nrmse": "lower", "eval/val/diffusion/loss": "lower", "eval/selection/student/nrmse":
    "lower", "eval/physics/energy_growth": "lower", "eval/coverage_90_seeds_std": "lower",
}  # fmt: skip
KEYS = ("eval/{}", "eval/operator/p10/{}", "eval/ensemble/paired/{}")
KEYS += ("eval/{}_median", "eval/{}_p90", "eval/control/{}_seeds_mean")


@jax.jit
def statistics(pred, truth):
    table = METRICS if pred.ndim == truth.ndim else ENSEMBLE_METRICS
    return {name: m.per_sample(pred, truth, 1) for name, m in table.items()}


def score(pred, truth):
    return {k: ALL_METRICS[k].reduce(v) for k, v in jax.device_get(statistics(pred, truth)).items()}


@pytest.fixture(scope="module")
def scores() -> dict[str, tuple[float, list[float]]]:
    """Value of every metric for a good forecast, and for forecasts that are worse."""
    rng = np.random.default_rng(0)
    shape = (2, 12, 64, 1)
    truth = np.cumsum(rng.normal(size=shape), 1).astype(np.float32)
    error = np.linspace(0.1, 1, 12)[:, None, None] * rng.normal(size=shape).astype(np.float32)
    good, bad = (score(truth + np.float32(size) * error, truth) for size in (0.01, 10.0))
    values = {name: (float(good[name]), [float(bad[name])]) for name in METRICS}
    # Truth and members are draws of one law; then members have too much or too little spread.
    draws = rng.normal(size=(2, 9, *shape[1:])).astype(np.float32)
    center, truth = truth[:, None], truth + draws[:, 0]
    good, wide, narrow = (
        score(center + np.float32(size) * draws[:, 1:], truth) for size in (1.0, 4.0, 0.2)
    )
    for name in ENSEMBLE_METRICS:
        worse = [wide, narrow] if name in NOT_LOWER else [wide]
        values[name] = (float(good[name]), [float(each[name]) for each in worse])
    values["floored"] = (0.0, [1.0])  # a property of the data
    return values


@pytest.mark.parametrize("name", ALL_METRICS)
def test_a_better_forecast_is_better_in_regressions_tables_and_page(scores, name):
    good, worse = scores[name]
    assert direction_of_key(f"eval/{name}") == NOT_LOWER.get(name, "lower")
    for key in (pattern.format(name) for pattern in KEYS):
        for bad in worse:
            judge_pair(key, good, bad, is_directed=NOT_LOWER.get(name) != "none")


def judge_pair(key: str, good: float, bad: float, *, is_directed: bool) -> None:
    assert (cost_of_key(key, good) < cost_of_key(key, bad)) == is_directed, (key, good, bad)
    assert best_of(key, [bad, None, good]) == (cost_of_key(key, good) if is_directed else None)
    runs = [run(i, {key: value}) for i, value in enumerate((bad, good))]
    for (old, new), status in ((runs, IMPROVED), (runs[::-1], REGRESSED)):
        against, _ = compare(BoardState(old, (old,)), new, metrics=[key])
        assert against.status == (status if is_directed else UNCHANGED), (against, good, bad)
    (cells,) = tables.comparison_tables(runs)[0][1]
    assert [cell.endswith("*") for cell in cells[1:]] == [False, is_directed]


def run(i: int, metrics: dict[str, float]) -> dict:
    return {"id": f"r{i}", "board": "b", "metrics": metrics, "config": {}}


@pytest.mark.parametrize("key", OTHERS)
def test_values_that_are_no_metrics_have_a_direction_too(key):
    assert direction_of_key(key) == OTHERS[key]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_marks_the_same_values_as_the_library(scores):
    keys = [pattern.format(name) for name in ALL_METRICS for pattern in KEYS] + list(OTHERS)
    rows = [run(i, {key: float(i) for key in keys}) for i in range(2)]
    text = page.page(rows, {}, [])
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert data
    source = (Path(page.__file__).parent / "compare.js").read_text()
    cost = re.search(r"^function cost\(.*?^}", source, re.S | re.M)
    assert cost
    pairs = [[key, value] for key in keys for value in (-0.3, 0.0, 0.45, 0.9, 1.7)]
    script = "const isNumber = Number.isFinite;"
    script += f"const data = {data[1]};\n{cost[0]}\n"
    script += f"console.log(JSON.stringify({json.dumps(pairs)}.map(([k, v]) => cost(k, v))))"
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == pytest.approx([cost_of_key(k, v) for k, v in pairs])
