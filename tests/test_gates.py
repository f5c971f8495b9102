"""Gates: every kind of limit, equality, what is missing, and a champion that is not there."""

import math

import pytest

from ups_jax.leaderboard.gates import FAIL, NO_BASELINE, PASS, check, passed

MOST = {"metric": "eval/nrmse", "most": 0.02}
LEAST = {"metric": "eval/coverage_90", "least": 0.75}
RATIO = {"metric": "eval/nrmse", "max_ratio": 1.1}
OF = {"metric": "eval/nrmse", "max_ratio": 0.5, "of": "eval/mean/nrmse"}
CASES = [
    # gate, summary, the champion's values, status, limit, margin
    (MOST, {"eval/nrmse": 0.01}, None, PASS, 0.02, 0.5),
    (MOST, {"eval/nrmse": 0.02}, None, PASS, 0.02, 0.0),
    (MOST, {"eval/nrmse": 0.03}, None, FAIL, 0.02, -0.5),
    (MOST, {"eval/nrmse": math.nan}, None, FAIL, 0.02, None),
    (MOST, {"eval/nrmse": math.inf}, None, FAIL, 0.02, None),
    (MOST, {"eval/nrmse": -math.inf}, None, FAIL, 0.02, None),
    (MOST, {"eval/nrmse": None}, None, FAIL, 0.02, None),
    (MOST, {}, None, FAIL, 0.02, None),
    (LEAST, {"eval/coverage_90": 0.9}, None, PASS, 0.75, 0.2),
    (LEAST, {"eval/coverage_90": 0.75}, None, PASS, 0.75, 0.0),
    (LEAST, {"eval/coverage_90": 0.6}, None, FAIL, 0.75, -0.2),
    (RATIO, {"eval/nrmse": 0.01}, None, NO_BASELINE, None, None),
    (RATIO, {}, None, FAIL, None, None),
    (RATIO, {"eval/nrmse": 0.011}, {"eval/nrmse": 0.01}, PASS, 0.011, 0.0),
    (RATIO, {"eval/nrmse": 0.012}, {"eval/nrmse": 0.01}, FAIL, 0.011, -1 / 11),
    (RATIO, {"eval/nrmse": 0.01}, {"eval/nrmse": None}, FAIL, None, None),
    (RATIO, {"eval/nrmse": 0.01}, {}, FAIL, None, None),
    (OF, {"eval/nrmse": 0.1, "eval/mean/nrmse": 0.4}, None, PASS, 0.2, 0.5),
    (OF, {"eval/nrmse": 0.3, "eval/mean/nrmse": 0.4}, None, FAIL, 0.2, -0.5),
    (OF, {"eval/nrmse": 0.1}, {"eval/mean/nrmse": 0.4}, FAIL, None, None),
    ({"metric": "x", "most": 0.0}, {"x": 0.0}, None, PASS, 0.0, 0.0),
    ({"metric": "x", "most": 0.0}, {"x": 0.1}, None, FAIL, 0.0, -0.1),
    ({"metric": "x", "most": -1.0}, {"x": -2.0}, None, PASS, -1.0, 1.0),
    ({"metric": "x", "min_ratio": 0.9}, {"x": 1.0}, {"x": 1.0}, PASS, 0.9, 1 / 9),
]


@pytest.mark.parametrize(("gate", "summary", "champion", "status", "limit", "margin"), CASES)
def test_each_gate_has_the_verdict_worked_out_by_hand(
    gate, summary, champion, status, limit, margin
):
    (verdict,) = check({"one": gate}, summary, champion)
    assert (verdict.name, verdict.metric, verdict.status) == ("one", gate["metric"], status)
    assert verdict.limit == (None if limit is None else pytest.approx(limit))
    assert verdict.margin == (None if margin is None else pytest.approx(margin, abs=1e-12))
    assert gate["metric"] in verdict.sentence
    assert passed((verdict,)) == (status != FAIL)


def test_one_failure_among_passes_fails_them_all_and_keeps_the_order():
    gates = {"b": MOST, "a": LEAST}
    found = check(gates, {"eval/nrmse": 0.01, "eval/coverage_90": 0.1}, None)
    assert [verdict.name for verdict in found] == ["b", "a"]
    assert not passed(found)
    assert found[0].value == 0.01 and found[1].value == 0.1


def test_the_sentence_tells_value_side_limit_and_whose_it_is():
    told = [check({"g": gate}, {"eval/nrmse": 0.01, "eval/mean/nrmse": 0.4},
                  {"eval/nrmse": 0.02})[0].sentence for gate in (MOST, RATIO, OF)]  # fmt: skip
    assert told[0] == "eval/nrmse is 0.01; it must be at most 0.02"
    assert told[1] == "eval/nrmse is 0.01; it must be at most 1.1 x the champion's 0.02"
    assert told[2] == "eval/nrmse is 0.01; it must be at most 0.5 x eval/mean/nrmse's 0.4"
