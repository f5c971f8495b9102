"""Gates: every kind of limit, equality, missing values, and a missing champion."""

import math

import pytest

from runners import fast_to_sota
from ups_jax import leaderboard
from ups_jax.experiment.verdict import RunVerdict, sentence
from ups_jax.leaderboard.gates import check, passed
from ups_jax.types import FAIL, NO_BASELINE, PASS

MAX = {"metric": "eval/nrmse", "max": 0.02}
MIN = {"metric": "eval/coverage_90", "min": 0.75}
RATIO = {"metric": "eval/nrmse", "max_ratio": 1.1}
RATIO_TO = {"metric": "eval/nrmse", "max_ratio": 0.5, "ratio_to": "eval/mean/nrmse"}
CASES = [
    # gate, summary, the champion's values, status, limit, margin
    (MAX, {"eval/nrmse": 0.01}, None, PASS, 0.02, 0.5),
    (MAX, {"eval/nrmse": 0.02}, None, PASS, 0.02, 0.0),
    (MAX, {"eval/nrmse": 0.03}, None, FAIL, 0.02, -0.5),
    (MAX, {"eval/nrmse": math.nan}, None, FAIL, 0.02, None),
    (MAX, {"eval/nrmse": math.inf}, None, FAIL, 0.02, None),
    (MAX, {"eval/nrmse": -math.inf}, None, FAIL, 0.02, None),
    (MAX, {"eval/nrmse": None}, None, FAIL, 0.02, None),
    (MAX, {}, None, FAIL, 0.02, None),
    (MIN, {"eval/coverage_90": 0.9}, None, PASS, 0.75, 0.2),
    (MIN, {"eval/coverage_90": 0.75}, None, PASS, 0.75, 0.0),
    (MIN, {"eval/coverage_90": 0.6}, None, FAIL, 0.75, -0.2),
    (RATIO, {"eval/nrmse": 0.01}, None, NO_BASELINE, None, None),
    (RATIO, {}, None, FAIL, None, None),
    (RATIO, {"eval/nrmse": 0.011}, {"eval/nrmse": 0.01}, PASS, 0.011, 0.0),
    (RATIO, {"eval/nrmse": 0.012}, {"eval/nrmse": 0.01}, FAIL, 0.011, -1 / 11),
    (RATIO, {"eval/nrmse": 0.01}, {"eval/nrmse": None}, FAIL, None, None),
    (RATIO, {"eval/nrmse": 0.01}, {}, FAIL, None, None),
    (RATIO_TO, {"eval/nrmse": 0.1, "eval/mean/nrmse": 0.4}, None, PASS, 0.2, 0.5),
    (RATIO_TO, {"eval/nrmse": 0.3, "eval/mean/nrmse": 0.4}, None, FAIL, 0.2, -0.5),
    (RATIO_TO, {"eval/nrmse": 0.1}, {"eval/mean/nrmse": 0.4}, FAIL, None, None),
    ({"metric": "x", "max": 0.0}, {"x": 0.0}, None, PASS, 0.0, 0.0),
    ({"metric": "x", "max": 0.0}, {"x": 0.1}, None, FAIL, 0.0, -0.1),
    ({"metric": "x", "max": -1.0}, {"x": -2.0}, None, PASS, -1.0, 1.0),
    ({"metric": "x", "min_ratio": 0.9}, {"x": 1.0}, {"x": 1.0}, PASS, 0.9, 1 / 9),
]


@pytest.mark.parametrize(("gate", "summary", "champion", "status", "limit", "margin"), CASES)
def test_every_limit_gives_the_expected_verdict(gate, summary, champion, status, limit, margin):
    (verdict,) = check({"one": gate}, summary, champion)
    assert (verdict.name, verdict.metric, verdict.status) == ("one", gate["metric"], status)
    assert verdict.limit == (None if limit is None else pytest.approx(limit))
    assert verdict.margin == (None if margin is None else pytest.approx(margin, abs=1e-12))
    assert gate["metric"] in verdict.sentence
    assert passed((verdict,)) == (status != FAIL)


def test_one_failure_among_passes_fails_them_all_and_keeps_the_order():
    gates = {"b": MAX, "a": MIN}
    verdicts = check(gates, {"eval/nrmse": 0.01, "eval/coverage_90": 0.1}, None)
    assert [verdict.name for verdict in verdicts] == ["b", "a"]
    assert not passed(verdicts)
    assert verdicts[0].value == 0.01 and verdicts[1].value == 0.1


def test_the_sentence_has_value_limit_and_reference():
    sentences = [check({"g": gate}, {"eval/nrmse": 0.01, "eval/mean/nrmse": 0.4},
                  {"eval/nrmse": 0.02})[0].sentence for gate in (MAX, RATIO, RATIO_TO)]  # fmt: skip
    assert sentences[0] == "eval/nrmse is 0.01; it must be at most 0.02"
    assert sentences[1] == "eval/nrmse is 0.01; it must be at most 1.1 x the champion's 0.02"
    assert sentences[2] == "eval/nrmse is 0.01; it must be at most 0.5 x eval/mean/nrmse's 0.4"


@pytest.mark.parametrize(
    ("gates", "opening"),
    [
        ({}, "No gates; champion (no gate applied, and the board had no champion)."),
        ({"g": MAX}, "1 of 1 gates met; champion (all gates met, and the board had no champion)."),
    ],
)
def test_the_verdict_in_words_has_no_gates_met_where_there_are_none(tmp_path, gates, opening):
    verdicts = check(gates, {"eval/nrmse": 0.01}, None)
    counts = {"met": len(verdicts), "total": len(verdicts), "failed": []}
    row = {"kind": "run", "id": "a", "board": "b", "metrics": {"eval/val/nrmse": 0.1}}
    row |= {"gates": counts, "regressions": {}}
    entered = leaderboard.enter_run(tmp_path / "b", row, margin=0.02, promote=True, by="run")
    notes = ("gate coverage is off: a reason", "another note")
    ruling = RunVerdict(row, leaderboard.BoardState(), verdicts, (), *entered, notes)
    assert sentence(ruling) == f"{opening} Gate coverage is off: a reason. Another note."


def test_what_overrides_switch_off_is_a_line_each_at_the_start(capsys):
    words = ["--config.stages=operator", "--config.eval.forecasters=operator", "--dry_run"]
    assert fast_to_sota.main(["--config=burgers:smoke", *words]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == ["note: gate skill is off: this run does not measure eval/mean/nrmse"]
