"""The leaderboard: its file, promotion, regressions, and the runner."""

import csv
import io
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from runners import leaderboard as runner
from runs import ROOT
from ups_jax import config, leaderboard
from ups_jax.experiment import record
from ups_jax.leaderboard import (
    RANKING_METRIC,
    append,
    board_state,
    compare,
    decide_promotion,
    read,
    tables,
    worst_regressions,
)
from ups_jax.leaderboard.metrics import best_of
from ups_jax.leaderboard.page import write_page
from ups_jax.leaderboard.regression import IMPROVED, REGRESSED, UNCHANGED
from ups_jax.leaderboard.rows import ROW_SCHEMA
from ups_jax.types import NO_BASELINE

ROWS = """
import os, sys
from pathlib import Path
from types import ModuleType
for name in ("ups_jax", "ups_jax.leaderboard"):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [name.replace(".", "/")]
from ups_jax.leaderboard.storage import append, locked
"""
"""Without the rest of the library, which takes seconds to import."""
WRITER = f"""{ROWS}
for i in range(100):
    append(Path(sys.argv[1]), dict(kind="run", id=sys.argv[2] + "-" + str(i), board="b",
                                   metrics=dict(error=i / 7), name="x" * 500))
"""
KILLED = f"""{ROWS}
path = Path(sys.argv[1])
with locked(path), path.open("ab") as file:
    file.write(b'{{"kind": "run", "id": "torn", "metr')
    file.flush()
    os.kill(os.getpid(), 9)
"""


def row(
    run="a", *, board="burgers-p1", val=0.01, failed=(), fingerprint="r", spread=None, **metrics
):
    named = {"eval/val/nrmse": val, **{f"eval/{key}": value for key, value in metrics.items()}}
    return {
        "kind": "run", "id": run, "board": board, "seedless_fingerprint": fingerprint,
        "spread": spread, "name": run, "selected": "operator", "metrics": named,
        "config": {"fit": {"lr": 1.0}},
        "gates": {"met": 1, "total": 1 + len(failed), "failed": list(failed)},
    }  # fmt: skip


def promoted(run, board="burgers-p1", kind="promote"):
    return {"kind": kind, "id": run, "board": board, "by": "run", "reason": "it did", "time": "t"}


def test_eight_writers_and_a_killed_one_leave_every_whole_row_readable(tmp_path):
    path = tmp_path / "leaderboard.jsonl"
    begin = [sys.executable, "-c"]
    writers = [
        subprocess.Popen([*begin, WRITER, str(path), str(i)], cwd=ROOT, env=os.environ)
        for i in range(8)
    ]
    while not path.exists() and any(w.poll() is None for w in writers):
        time.sleep(0.01)
    killed = subprocess.run([*begin, KILLED, str(path)], cwd=ROOT, env=os.environ)
    assert killed.returncode == -9
    assert [writer.wait() for writer in writers] == [0] * 8
    found = read(path)
    assert {r["id"] for r in found.runs} == {f"{w}-{i}" for w in range(8) for i in range(100)}
    assert any("torn" in problem for problem in found.problems)
    for line in path.read_bytes().splitlines():
        # A torn end, if the killed one came last, is all that no reader can use.
        assert line.startswith(b'{"schema"') or line.startswith(b'{"kind": "run", "id": "torn"')


def test_a_torn_last_line_is_reported_and_set_aside_by_the_next_writer(tmp_path):
    path = tmp_path / "board.jsonl"
    append(path, row("a"))
    with path.open("ab") as file:
        file.write(b'{"kind": "run", "id": "b", ')
    before = read(path)
    assert [r["id"] for r in before.runs] == ["a"] and "torn (27 bytes)" in before.problems[0]
    append(path, row("c"))
    after = read(path)
    assert [r["id"] for r in after.runs] == ["a", "c"]
    assert after.problems == ["board.jsonl.torn: holds 1 torn lines that were set aside"]
    assert path.read_bytes().count(b"\n") == 2


def test_old_and_foreign_lines_keep_what_can_be_read_and_say_what_could_not(tmp_path):
    path = tmp_path / "board.jsonl"
    lines = [
        json.dumps(row("a") | {"schema": ROW_SCHEMA}),
        json.dumps(row("new") | {"schema": 9, "wings": 2, "board": "burgers-p1"}),
        json.dumps({"id": "old", "schema": 0, "board": "burgers-p1"}),
        "no json",
        json.dumps([1, 2]),
        json.dumps({"schema": ROW_SCHEMA, "kind": "run"}),
        json.dumps({"schema": ROW_SCHEMA, "kind": "oath", "id": "a"}),
    ]
    path.write_text("\n".join(lines) + "\n")
    found = read(path)
    assert [r["id"] for r in found.runs] == ["a", "new", "old"]
    assert "wings" not in found.runs[1] and found.runs[1]["metrics"][RANKING_METRIC] == 0.01
    assert found.runs[2]["board"] is None and found.runs[2]["metrics"] == {}
    problems = "\n".join(found.problems)
    assert "line 2: schema 9, this version reads 2" in problems
    assert "line 2: unknown columns left out: wings" in problems
    assert "line 3: its board or its metrics are missing" in problems
    assert [f"line {n}:" in problems for n in (4, 5, 6, 7)] == [True] * 4
    assert [r["id"] for r in leaderboard.ranked(found.runs, "burgers-p1")] == ["a", "new"]


def test_a_run_that_was_judged_twice_counts_once_with_its_last_line(tmp_path):
    path = tmp_path / "board.jsonl"
    for val in (0.03, 0.01):
        append(path, row("a", val=val))
    (only,) = read(path).runs
    assert only["metrics"][RANKING_METRIC] == 0.01


def test_only_runs_of_one_board_are_ranked_and_what_was_not_measured_is_last():
    rows = [row("b", val=0.2), row("x", board="other", val=0.0), row("n", val=None), row("a")]
    assert [r["id"] for r in leaderboard.ranked(rows, "burgers-p1")] == ["a", "b", "n"]


def test_another_equation_protocol_or_split_is_another_board():
    task, data = {"pde": "burgers", "nu": 0.001}, {"train": "1", "val": "2", "test": "3"}
    own = leaderboard.board_of(task, data, "p1")
    assert own == leaderboard.board_of(dict(reversed(task.items())), data, "p1")
    others = [
        leaderboard.board_of({**task, "nu": 0.01}, data, "p1"),
        leaderboard.board_of(task, data, "p10"),
        *(leaderboard.board_of(task, {**data, name: "9"}, "p1") for name in data),
    ]
    assert len({own, *others}) == 6


NO_GATES = {"met": 0, "total": 0, "failed": []}


def lines_of(*rows, events=()):
    return leaderboard.Leaderboard(list(rows), list(events), [])


def test_the_champion_is_never_the_run_itself_and_demotion_ends_it():
    a, b = row("a"), row("b")
    found = lines_of(a, b, events=[promoted("a"), promoted("b")])
    assert board_state(found, "burgers-p1").champion == b
    assert board_state(found, "burgers-p1", without="b").champion == a
    assert [r["id"] for r in board_state(found, "burgers-p1", without="b").history] == ["a"]
    assert board_state(found, "other").champion is None
    ended = lines_of(a, events=[promoted("a"), promoted("a", kind="demote")])
    assert board_state(ended, "burgers-p1").champion is None


@pytest.mark.parametrize(
    ("champion", "run", "granted", "reason"),
    [
        (None, row("b"), True, "had no champion"),
        (None, row("b", failed=["accuracy"]), False, "gates are not met: accuracy"),
        (None, row("b"), True, "all gates met, and the board had no champion"),
        (None, row("b") | {"gates": NO_GATES}, True, "no gate applied, and the board had no"),
        (None, row("b") | {"gates": None}, False, "no verdict on its gates"),
        (row("a", val=0.01), row("b", val=0.005) | {"gates": NO_GATES}, True, "no gate applied"),
        (None, row("b", val=None), False, "missing or not finite"),
        (None, row("b", val=math.nan), False, "missing or not finite"),
        (row("a", val=0.01), row("b", val=0.0097), True, "ahead by more than 0.0002"),
        (row("a", val=0.01), row("b", val=0.0099), False, "not ahead by more than 0.0002"),
        (row("a", val=0.01), row("b", val=0.02), False, "not ahead"),
        (row("a", val=0.01, spread=0.002), row("b", val=0.0085), False, "more than 0.002"),
        (row("a", val=0.01, spread=0.002), row("b", val=0.0075), True, "more than 0.002"),
        (row("a", val=0.01), row("b", val=0.005, failed=["x"]), False, "gates"),
    ],
)
def test_a_promotion_needs_all_gates_and_a_lead(champion, run, granted, reason):
    events = [] if champion is None else [promoted("a")]
    before = board_state(lines_of(*([champion] if champion else []), events=events), "burgers-p1")
    found = decide_promotion(run, before, margin=0.02)
    assert found.granted is granted
    assert reason in found.reason


@pytest.mark.parametrize(
    ("meanwhile", "leads"),
    [((0.005,), "b"), ((0.01,), "b"), ((0.02,), "a"), ((), "a"), ((0.02, 0.005), "c")],
)
def test_a_run_is_promoted_against_the_board_at_the_moment_it_is_entered(
    tmp_path, meanwhile, leads
):
    """Runs that began before `a` and ended earlier; all saw an empty board."""
    path = tmp_path / "board.jsonl"
    enter = partial(leaderboard.enter_run, path, margin=0.02, promote=True, by="run")
    for name, value in zip("bc", meanwhile, strict=False):
        enter(row(name, val=value))
    decision, after = enter(row("a", val=0.01))
    assert leaderboard.champions(after.events) == {"burgers-p1": leads}
    assert decision.granted == (leads == "a")
    assert [run["id"] for run in read(path).runs][-1] == "a"


def test_equal_runs_that_end_together_promote_one(tmp_path):
    path = tmp_path / "board.jsonl"

    def end(i: int) -> None:
        leaderboard.enter_run(path, row(f"run-{i}"), margin=0.02, promote=True, by="run")
        write_page(path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(8)))
    entries = read(path)
    assert len(entries.runs) == 8 and len(entries.events) == 1 and not entries.problems
    text = path.with_suffix(".html").read_text()
    assert all(f'"id":"run-{i}"' in text for i in range(8))


def test_the_spread_between_runs_of_one_recipe_is_a_margin_too():
    rows = [row("a", val=0.010), row("c", val=0.014), row("d", val=0.012, fingerprint="other")]
    before = board_state(lines_of(*rows, events=[promoted("a")]), "burgers-p1")
    assert leaderboard.spread_of(rows, "r", RANKING_METRIC) == pytest.approx(0.0028284, rel=1e-4)
    assert not decide_promotion(row("b", val=0.008, fingerprint="q"), before, margin=0.02).granted
    assert decide_promotion(row("b", val=0.007, fingerprint="q"), before, margin=0.02).granted


def test_seeds_of_runs_with_older_keys_are_of_one_recipe_too(tmp_path):
    path = tmp_path / "board.jsonl"
    old = json.loads((ROOT / "tests/experiment/config_schema_2.json").read_text())
    cfg = config.from_dict(old)
    for i, value in enumerate((0.010, 0.014)):
        older = {"config": old | {"seed": i}, "seedless_fingerprint": "of the older keys"}
        append(path, row(str(i), val=value) | older)
    append(path, row("odd", val=0.5) | {"config": {"schema": 2, "stages": [[1]], "fit": 7}})
    append(path, promoted("0"))
    update = record.fingerprint_updater(cfg)
    enter = partial(leaderboard.enter_run, path, margin=0.02, promote=True, by="run")
    run = row("new", val=0.008) | {"config": config.to_dict(cfg)}
    run["seedless_fingerprint"] = config.seedless_fingerprint(cfg)
    state = board_state(read(path), "burgers-p1", update=update)
    prints = [each["seedless_fingerprint"] for each in state.history]
    assert prints == [run["seedless_fingerprint"]] * 2 + ["r"]
    assert leaderboard.spread_of(state.history, prints[0], RANKING_METRIC) > 0.0028
    assert not enter(run, update=update)[0].granted


@pytest.mark.parametrize(
    ("metric", "reference", "value", "status"),
    [
        ("eval/nrmse", 1.0, 1.101, REGRESSED),
        ("eval/nrmse", 1.0, 1.099, UNCHANGED),
        ("eval/nrmse", 1.0, 1.1, UNCHANGED),
        ("eval/nrmse", 0.01, 0.011, UNCHANGED),
        ("eval/nrmse", 1.0, 0.949, IMPROVED),
        ("eval/nrmse", 1.0, 0.951, UNCHANGED),
        ("eval/nrmse", 1.0, 0.95, UNCHANGED),
        ("eval/correlation_time", 1.0, 0.899, REGRESSED),
        ("eval/correlation_time", 1.0, 1.051, IMPROVED),
        ("eval/operator/nrmse@0.5", 1.0, 1.2, REGRESSED),
        ("eval/nrmse", 1.0, math.nan, REGRESSED),
        ("eval/nrmse", 1.0, math.inf, REGRESSED),
        ("eval/nrmse", 1.0, None, REGRESSED),
        ("eval/nrmse", 0.0, 0.0, UNCHANGED),
        ("eval/nrmse", 0.0, 0.1, REGRESSED),
        ("eval/nrmse", None, 1.0, NO_BASELINE),
        ("eval/coverage_90", 0.80, 0.90, IMPROVED),
        ("eval/coverage_90", 0.90, 0.80, REGRESSED),
        ("eval/coverage_90", 0.90, 0.81, UNCHANGED),
        ("eval/coverage_90", 0.90, 0.992, REGRESSED),
        ("eval/coverage_90", 0.85, 0.95, UNCHANGED),
        ("eval/ensemble/coverage_50@1", 0.6, 0.5, IMPROVED),
        ("eval/spread_skill", 1.4, 1.1, IMPROVED),
        ("eval/spread_skill", 1.0, 0.89, REGRESSED),
        ("eval/spread_skill", 1.0, 1.0, UNCHANGED),
    ],
)
def test_a_change_is_judged_by_its_size_and_direction(metric, reference, value, status):
    champion = row("a") | {"metrics": {metric: reference}}
    before = board_state(lines_of(champion, events=[promoted("a")]), "burgers-p1")
    run = row("b") | {"metrics": {metric: value}}
    against, history = compare(before, run, metrics=[metric])
    assert against.status == status and against.against == "champion"
    assert history.status == NO_BASELINE
    assert list(worst_regressions([against, history])) == ([metric] if status == REGRESSED else [])


def test_a_change_towards_the_ideal_is_measured_on_the_ideals_scale():
    champion = row("a", spread_skill=1.4, coverage_90=0.8)
    before = board_state(lines_of(champion, events=[promoted("a")]), "burgers-p1")
    run = row("b", spread_skill=1.1, coverage_90=0.9)
    found = compare(before, run, metrics=["eval/spread_skill", "eval/coverage_90"])
    assert found[0].change == pytest.approx(-0.3) and found[2].change == pytest.approx(-1 / 9)
    assert found[0].sentence == "eval/spread_skill is 1.1, champion 1.4, ideal 1: 30.0 % better"


def test_values_of_equal_cost_have_no_best():
    assert best_of("eval/nrmse", [1.0, None, 1.0]) is None
    assert best_of("eval/nrmse", []) is None
    assert best_of("eval/nrmse", [1.0, 2.0]) == 1.0


OLD_LINE = (
    '{"schema": 1, "kind": "run", "id": "old", "board": "burgers-p1", "ship": "distilled", '
    '"seeds": 3, "recipe": "0123abcd", "seed": 0, "spread": 0.001, "name": "burgers-seed0", '
    '"metrics": {"eval/val/nrmse": 0.01, "eval/crps": 0.003, "eval/crps/crps": 0.002, '
    '"eval/val/distill/loss": 0.5, "eval/continued/nrmse@1": 0.02, '
    '"eval/rivals/distilled/nrmse": 0.03, "params/crps": 7, "params/distill": 5, '
    '"params/shipped": 12, "wall/train_s": 9.0}, '
    '"gates": {"met": 1, "of": 2, "failed": ["skill"]}, "regressions": {"regressed": '
    '["eval/crps/crps"], "improved": [], "baseline": "older"}, '
    '"config": {"fit": {"crps": {"lr": 0.001}}}}'
)


def test_a_line_of_schema_1_is_read_with_the_names_of_today(tmp_path):
    path = tmp_path / "board.jsonl"
    path.write_text(OLD_LINE + "\n")
    found = read(path)
    (old,) = found.runs
    assert not found.problems and old["schema"] == ROW_SCHEMA
    assert (old["selected"], old["num_seeds"]) == ("student", 3)
    assert old["seedless_fingerprint"] == "0123abcd" and not {"ship", "seeds", "recipe"} & set(old)
    assert old["metrics"] == {
        "eval/val/nrmse": 0.01, "eval/crps": 0.003, "eval/ensemble/crps": 0.002,
        "eval/val/student/loss": 0.5, "eval/control/nrmse@1": 0.02,
        "eval/selection/student/nrmse": 0.03, "params/ensemble": 7, "params/student": 5,
        "params/selected": 12, "wall/train_s": 9.0,
    }  # fmt: skip
    assert old["gates"] == {"met": 1, "total": 2, "failed": ["skill"]}
    assert old["regressions"]["regressed"] == ["eval/ensemble/crps"]
    assert leaderboard.upgrade_row(old) == old
    append(path, old)
    assert read(path).runs == [old]


def test_without_a_champion_nothing_is_passed_that_was_not_earned():
    regressions = compare(
        board_state(lines_of(), "burgers-p1"), row("b"), metrics=["eval/nrmse", RANKING_METRIC]
    )
    assert {each.status for each in regressions} == {NO_BASELINE} and len(regressions) == 4
    assert not worst_regressions(regressions)


def test_a_change_within_the_spread_of_seeds_is_none():
    runs = [row(str(i), nrmse=value) for i, value in enumerate((1.0, 1.3, 0.7))]
    before = board_state(lines_of(*runs, events=[promoted("0")]), "burgers-p1")
    inside, _ = compare(before, row("b", nrmse=1.25), metrics=["eval/nrmse"])
    beyond, _ = compare(before, row("b", nrmse=1.35), metrics=["eval/nrmse"])
    assert inside.spread == pytest.approx(0.3)
    assert (inside.status, beyond.status) == (UNCHANGED, REGRESSED)


def test_history_is_the_median_of_the_last_runs():
    values = [9.0, 9.0, 1.0, 1.02, 0.98, 5.0, 1.0]
    runs = [row(str(i), nrmse=value, fingerprint=str(i)) for i, value in enumerate(values)]
    before = board_state(lines_of(*runs), "burgers-p1")
    champion, history = compare(before, row("b", nrmse=1.2), metrics=["eval/nrmse"], history=5)
    assert champion.status == NO_BASELINE
    assert history.reference == 1.0
    assert history.spread == pytest.approx(1.4826 * 0.02)
    assert history.status == REGRESSED and history.change == pytest.approx(0.2)


@pytest.fixture
def board(tmp_path):
    path = tmp_path / "leaderboard.jsonl"
    for each in (row("aaaa", val=0.01, nrmse=0.011), row("bbbb", val=0.008, nrmse=0.009)):
        append(path, each)
    append(path, row("cccc", board="kuramoto-p1", val=0.5, failed=["accuracy"]))
    append(path, promoted("aaaa"))
    return path


def call(capsys, path, *argv):
    code = runner.main([*argv, "--path", str(path)])
    return code, *capsys.readouterr()


def test_the_runner_shows_each_board_ranked_with_its_champion(board, capsys):
    code, out, _ = call(capsys, board)
    assert code == 0
    first, second = out.strip().split("\n\n")
    assert first.startswith("burgers-p1:") and second.startswith("kuramoto-p1:")
    table = first.splitlines()[2:]
    assert [line.split()[0] for line in table] == ["1", "2"]
    assert "bbbb" in table[0] and "champion" in table[1] and "aaaa" in table[1]
    entries = lines_of(row("a") | {"gates": NO_GATES})
    columns, (only,) = tables.ranking_table(entries, "burgers-p1")
    assert only[columns.index("gates met")] == "none"


def test_the_runner_compares_exports_and_writes_the_page(board, capsys, tmp_path):
    code, out, _ = call(capsys, board, "compare", "aaaa", "bbbb")
    assert code == 0 and "no config key differs" in out
    line = next(line for line in out.splitlines() if line.startswith("eval/nrmse"))
    assert line.split() == ["eval/nrmse", "0.011", "0.009*"]
    code, out, err = call(capsys, board, "compare", "aaaa", "cccc")
    assert code == 0 and "different boards" in err
    code, out, _ = call(capsys, board, "export", "--board", "burgers-p1")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [r["run"] for r in rows] == ["bbbb", "aaaa"] and rows[0]["test nRMSE"] == "0.009"
    code, out, _ = call(capsys, board, "export", "--format", "md")
    assert "| 1 |  | bbbb |" in out
    code, _, _ = call(capsys, board, "export", "--format=latex", "--out", str(tmp_path / "t.tex"))
    assert r"\begin{tabular}" in (tmp_path / "t.tex").read_text()
    code, out, _ = call(capsys, board, "page")
    assert code == 0 and "<html" in board.with_suffix(".html").read_text()


def test_the_runner_promotes_and_demotes_and_says_why_not(board, capsys):
    code, _, err = call(capsys, board, "promote", "cccc")
    assert code == 2 and "gates are not met: accuracy" in err and "--force" in err
    assert call(capsys, board, "promote", "cccc", "--force", "--reason", "first")[0] == 0
    code, _, err = call(capsys, board, "demote", "bbbb")
    assert code == 2 and "the champion is aaaa" in err
    assert call(capsys, board, "promote", "bbbb")[0] == 0
    leads = leaderboard.champions(read(board).events)
    assert leads == {"burgers-p1": "bbbb", "kuramoto-p1": "cccc"}
    assert call(capsys, board, "demote", "bbbb")[0] == 0
    last = read(board).events[-1]
    assert (last["kind"], last["id"], last["by"]) == ("demote", "bbbb", "user")
    assert board.with_suffix(".html").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["shw"], "did you mean 'show'"),
        (["promote"], "promote takes 1 run ids, got 0"),
        (["compare", "aaaa"], "compare takes 2 or more run ids, got 1"),
        (["promote", "aaab"], "did you mean 'aaaa'"),
        (["show", "--board", "burger-p1"], "did you mean 'burgers-p1'"),
    ],
)
def test_errors_of_the_runner_have_two_lines(board, capsys, argv, message):
    code, out, err = call(capsys, board, *argv)
    assert code == 2 and message in err and not out and len(err.splitlines()) <= 2


def test_a_missing_leaderboard_is_an_error_and_wandb_is_not_needed(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    code, _, err = call(capsys, tmp_path / "none.jsonl")
    assert code == 2 and "a finished run creates a leaderboard" in err
    append(tmp_path / "none.jsonl", row("a"))
    assert call(capsys, tmp_path / "none.jsonl")[0] == 0
