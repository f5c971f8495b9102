"""Verdicts of three runs: the first has no baseline, the second a champion, a bad one fails."""

import json
import re

import numpy as np
import pytest

from runners import evaluate, fast_to_sota
from runs import TINY, stored, summary
from ups_jax import leaderboard
from ups_jax.data import load_npz
from ups_jax.experiment import verdict as verdicts
from ups_jax.leaderboard import champions, read
from ups_jax.tracking import MemoryRun, Schema

SHORT = [
    *TINY,
    "--config.eval.forecasters=mean,operator",
    "--config.gates.skill.metric=eval/nrmse",
    "--config.gates.memory.metric=",
    "--config.fit.operator.val_every=200",
]
BAD = ["--config.fit.operator.lr=1e-6", "--config.fit.operator.warmup=0"]


def go(workdir, *words):
    return fast_to_sota.main([*SHORT, "--workdir", str(workdir), *words])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a first run, another seed and a bad learning rate, on one leaderboard."""
    base = tmp_path_factory.mktemp("judged")
    flags = ("--fail_on_gate", "--fail_on_regression")
    codes = [go(base / "first", *flags), go(base / "second", "--config.seed=1")]
    codes += [go(base / "third", *BAD, *flags, "--config.log.model=false")]
    return base, codes


def verdict(workdir):
    return json.loads((workdir / "verdict.json").read_text())


def test_the_first_run_has_no_baseline_passes_its_own_gates_and_leads(runs):
    base, codes = runs
    found, numbers = verdict(base / "first"), summary(base / "first")
    assert codes[0] == 0 and found["gates_met"] and not found["worse"]
    assert {each["status"] for each in found["regressions"]} == {"no baseline"}
    status = {each["name"]: each["status"] for each in found["gates"]}
    assert status["champion"] == "no baseline" and status["skill"] == "pass"
    assert "memory" not in status
    assert numbers["eval/gates/no_baseline"] == 1 and numbers["eval/gates/failed"] == 0
    assert numbers["eval/regression/no_baseline"] == 4 and numbers["eval/regression/worse"] == 0
    assert numbers["eval/leaderboard/champion"] == 1
    assert json.loads((base / "first" / "baseline.json").read_text())["champion"] is None


def test_the_second_is_compared_with_the_champion_as_it_stood_before(runs):
    base, codes = runs
    assert codes[1] == 0
    held = json.loads((base / "second" / "baseline.json").read_text())
    assert held["champion"]["name"] == "first"
    against = [e for e in verdict(base / "second")["regressions"] if e["against"] == "champion"]
    for each in against:
        assert each["reference"] == pytest.approx(summary(base / "first")[each["metric"]], rel=1e-4)
        assert each["status"] != "no baseline"


def test_a_bad_run_trips_gates_and_regressions_alerts_once_each_and_exits_3(runs, capsys):
    base, codes = runs
    found = verdict(base / "third")
    failed = {each["name"] for each in found["gates"] if each["status"] == "fail"}
    assert codes[2] == 3 and {"skill", "champion"} <= failed
    assert {"eval/nrmse", "eval/val/nrmse"} <= set(found["worse"])
    alerts = json.loads((base / "third" / "alerts.json").read_text())
    titles = [alert["title"] for alert in alerts]
    wanted = [f"gate {name}" for name in failed]
    wanted += [f"regression {metric}" for metric in found["worse"]]
    assert sorted(titles) == sorted(wanted)
    assert not found["promotion"]["granted"] and "gates are not met" in found["promotion"]["reason"]
    # The same folder again: the verdict stands, and without the flags it is no failure.
    assert go(base / "third", *BAD) == 0
    assert go(base / "third", *BAD, "--fail_on_gate") == 3
    assert go(base / "third", *BAD, "--fail_on_regression") == 3
    # The path of its leaderboard is no part of what was computed.
    assert go(base / "third", *BAD, f"--config.leaderboard.path={base / 'other.jsonl'}") == 0
    assert json.loads((base / "third" / "alerts.json").read_text()) == alerts


@pytest.mark.parametrize("path", ["/dev/null/board.jsonl", "{workdir}/board.jsonl"])
def test_a_board_that_cannot_be_used_is_refused_before_data_are_made(tmp_path, capsys, path):
    workdir = tmp_path / "run"
    path = path.format(workdir=workdir)
    assert go(workdir, f"--config.leaderboard.path={path}") == 2
    err = capsys.readouterr().err
    assert path in err and len(err.splitlines()) <= 2 and not list(workdir.iterdir())


def test_all_three_stand_on_one_board_and_the_bad_one_never_leads_it(runs):
    base, _ = runs
    found = read(base / "leaderboard.jsonl")
    assert [row["name"] for row in found.runs] == ["first", "second", "third"]
    assert len({row["board"] for row in found.runs}) == 1 and not found.problems
    (leader,) = champions(found.events).values()
    assert leader != found.runs[2]["id"] and found.events[0]["id"] == found.runs[0]["id"]
    assert len({row["seedless_fingerprint"] for row in found.runs}) == 2
    for row in found.runs:
        assert len(row["curves"]["time"]) == len(row["curves"]["nrmse"]) == 40
        assert len(row["curves"]["seconds"]) == len(row["curves"]["val_nrmse"]) == 2


def test_each_made_one_wandb_run_that_holds_the_verdict_and_its_pictures(runs):
    base, _ = runs
    for name in ("first", "second", "third"):
        (run,) = stored(base / name)
        assert [a.name for a in run.artifacts if a.type == "model"] == [name] * (name != "third")
        keys = {key for line in run.history for key in line}
        assert {"Gates", "Regressions", "Leaderboard", "leaderboard", "report"} <= keys
        assert {"figures/gates", "figures/training"} <= keys
        assert ("figures/champion" in keys) == (name != "first")
        for key in ("eval/gates/met", "eval/regression/worse", "eval/leaderboard/rank"):
            assert run.summary[key] == summary(base / name)[key]
        assert run.summary["eval/val/nrmse"] == summary(base / name)["eval/val/operator/nrmse"]


def test_the_report_opens_with_the_verdict_the_table_the_gates_and_the_champion(runs):
    base, _ = runs
    page = (base / "third" / "report.html").read_text()
    opening = re.search(r'<p class="verdict">(.*?)</p>', page, re.S)
    assert opening is not None and "gates met; missed: " in opening[1]
    assert "worse: eval/val/nrmse" in opening[1]
    places = ["Evaluation Summary", 'id="gates"', "<h2>Gates", 'id="champion"', "<h2>Regressions"]
    places += ["<h2>Leaderboard", "<h2>Run", "<h2>Figures", 'id="training"']
    found = [page.index(place) for place in places]
    assert found == sorted(found)


def test_a_reopened_folder_reproduces_the_error_in_the_same_run(runs, tmp_path):
    workdir = runs[0] / "second"
    before = (workdir / "summary.json").read_bytes()
    judge = ["--workdir", str(workdir)]
    assert evaluate.main([*judge, "--save_predictions", str(tmp_path / "p.npz")]) == 0
    scalars = json.loads((workdir / "evaluation.json").read_text())["scalars"]
    assert scalars["eval/nrmse"] == pytest.approx(summary(workdir)["eval/nrmse"], abs=1e-6)
    with np.load(tmp_path / "p.npz") as saved:
        assert saved["predictions/operator"].shape[0] == len(load_npz(tmp_path / "p.npz"))
    assert evaluate.main([*judge, "--points=128", "--horizon=1", "--forecasters=persistence"]) == 0
    changed = json.loads((workdir / "evaluation.json").read_text())["changed"]
    assert changed["points"] == 128 and changed["steps"] == 20
    kept = [json.loads(file.read_text()) for file in sorted(workdir.glob("evaluation-*.json"))]
    label = "128 points, horizon 1, forecasters persistence"
    assert [record["label"] for record in kept] == [label, "repeated"]
    assert kept[1]["scalars"] == scalars and kept[0]["columns"][-2:] == ["points", "horizon"]
    page = (workdir / "report.html").read_text()
    assert "Evaluation: 128 points horizon 1 forecasters persistence" in page
    assert "<h2>Evaluation Summary" in page and 'id="gates"' in page
    assert (workdir / "summary.json").read_bytes() == before
    segments = stored(workdir)
    assert len(segments) == 3 and len({i for s in segments for i in s.ids}) == 1
    assert segments[1].summary["eval/nrmse"] == pytest.approx(summary(workdir)["eval/nrmse"])


@pytest.mark.parametrize("kept", [True, False])
def test_a_champion_that_has_left_the_board_is_an_alert(kept):
    row = {"id": "new", "board": "b", "metrics": {}, "gates": {"met": 0, "total": 0, "failed": []}}
    row["regressions"] = {"regressed": [], "improved": [], "baseline": "old"}
    champion = {**row, "id": "old"}
    board = leaderboard.Leaderboard([champion, row] if kept else [row])
    claim = leaderboard.PromotionDecision(False, "")
    before = leaderboard.BoardState(champion, ())
    run = MemoryRun(Schema(("operator",)))
    verdicts.log_verdict(verdicts.RunVerdict(row, before, (), (), claim, board), run)
    texts = [alert["text"] for alert in run.alerts]
    assert ["old, the champion" in text and "damaged" in text for text in texts] == [True] * (
        not kept
    )
