"""Sweeps: parallel rates equal separate runs; trials resume, are pruned, and have one winner."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from runners import fast_to_sota, sweep
from runs import ROOT, TINY, stored
from ups_jax.jobs import cli, commands
from ups_jax.jobs import sweep as sweeps
from ups_jax.jobs.sweep.space import parse
from ups_jax.leaderboard import read

FAKE = """
import fcntl, json, os, pathlib, signal, sys, time
words = dict(w.split("=", 1) for w in sys.argv if "=" in w)
folder = pathlib.Path(sys.argv[sys.argv.index("--workdir") + 1])
folder.mkdir(parents=True, exist_ok=True)
lock = open(folder.parent / f".{folder.name}.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("process 7 on here", file=lock, flush=True)
width = int(words["--config.operator.width"])
with open(folder.parent / "started.txt", "a") as f: f.write(f"{width}\\n")
if width == 8 and not (folder.parent / "again").exists():
    (folder.parent / "again").touch(); sys.exit(7)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
row = json.dumps({"operator/step": 5, "operator/val_nrmse": float(width)}) + "\\n"
(folder / "metrics.jsonl").write_text(row)
if width == 64:
    time.sleep(float(os.environ.get("FAKE_S", 30)))
board = pathlib.Path(words["--config.leaderboard.path"])
line = {"schema": 1, "kind": "run", "id": f"w{width}", "board": "b", "name": folder.name,
        "metrics": {"eval/val/nrmse": float(width)}, "report": f"{folder.name}/report.html",
        "gates": {"failed": ["skill"] if width == 2 else []}}
with board.open("a") as f: f.write(json.dumps(line) + "\\n")
(folder / "summary.json").write_text(json.dumps({"eval/val/nrmse": float(width)}))
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["operator.width="], "has no values"),
        (["operator.width=4,4"], "each value once"),
        (["operator.width=8:4"], "with LOW below HIGH"),
        (["operator.widht=4,8"], "did you mean 'operator.width'"),
        (["operator.width=4:8"], "add --trials"),
        (["fit.operator.lr=1e-3,x"], "could not convert"),
        (["operator.patch=1,3", "operator.width=4,8"], "patch is 3; it must divide"),
        (
            ["seed=0:9", *(f"{key}=1,2,3,4,5,6,7,8,9" for key in ("data.seed", "num_seeds", "a"))],
            "--sweep has 1458 combinations; at most 1000",
        ),
    ],
)
def test_bad_input_is_an_error_before_anything_runs(tmp_path, capsys, words, message):
    argv = ["--config=configs/burgers.py:smoke", f"--workdir={tmp_path / 'w'}"]
    argv += ["--trials=2"] if message.startswith("--sweep has") else []
    assert sweep.main([*argv, *(f"--sweep={word}" for word in words)]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) <= 2 and not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--trials=2", "--trials needs a range"),
        *((f"--name={name}", "the name of one folder") for name in ("a/b", "..", ".", "a\nb")),
    ],
)  # fmt: skip
def test_flags_that_do_not_fit_are_bad_input(tmp_path, monkeypatch, capsys, flag, message):
    monkeypatch.chdir(tmp_path)
    argv = ["--config=burgers:smoke", "--sweep=operator.width=4,8", flag]
    assert sweep.main(argv) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) <= 2 and not list(tmp_path.iterdir())


def test_trials_take_no_id_of_one_wandb_run(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_RUN_ID", "agent1")
    assert sweep.main(["--config=configs/burgers.py:smoke", "--sweep=operator.width=4,8"]) == 2
    assert "unset WANDB_RUN_ID" in capsys.readouterr().err


@pytest.mark.parametrize("trials", ["0", "-1", "1.5", "1e6", "nan", "many"])
def test_the_number_of_trials_has_bounds(trials, capsys):
    with pytest.raises(SystemExit) as ended:
        sweep.main(["--config=configs/burgers.py:smoke", f"--trials={trials}"])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and len(err.splitlines()) == 1
    assert f"got {trials!r}; it must be a whole number from 1 to 100000" in err


def test_a_bar_separates_values_with_commas():
    space = parse(["fit.operator.unroll=1,2|1,4", "operator.width=4:8:log"])
    assert space.lists == {"fit.operator.unroll": ["1,2", "1,4"]}
    assert space.ranges["operator.width"] == (4.0, 8.0, True)


def trials(base, values, *more):
    """A sweep over widths with the fake runner -> exit code."""
    (base / "fake.py").write_text(FAKE)
    argv = ["--config=configs/burgers.py:smoke", f"--workdir={base / 's'}", *more]
    program = (sys.executable, str(base / "fake.py"))
    argv = [*argv, f"--sweep=operator.width={values}"]
    entry = commands.COMMANDS["sweep"]
    flags = cli.parse(argv, entry.add_flags, prog="sweep.py", description="")
    options = sweeps.SweepOptions(**flags, program=program)
    return cli.run_main(options, sweeps.prepare, sweeps.execute)


def test_an_interrupted_study_resumes_prunes_and_enters_one_winner(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    values = "2,4,6,8,64"
    assert trials(tmp_path, values) == 1 and "code 7" in capsys.readouterr().err
    started = tmp_path / "s" / "started.txt"
    assert started.read_text().split() == ["2", "4", "6", "8"]
    assert trials(tmp_path, values) == 0
    captured = capsys.readouterr()
    assert "trial 4: pruned" in captured.err and "winner: trial-0001 (w4)" in captured.out
    record = tmp_path / "s" / "sweep.json"
    saved = json.loads(record.read_text())
    saved["config"]["schema"], saved["config"]["seeds"] = 2, saved["config"].pop("num_seeds")
    record.write_text(json.dumps(saved))
    assert trials(tmp_path, values) == 0, "older keys are renamed"
    # Width 8 was interrupted and started twice; finished trials did not restart.
    assert started.read_text().split() == ["2", "4", "6", "8", "8", "64"]
    board = read(tmp_path / "leaderboard.jsonl")
    assert [row["id"] for row in board.runs] == ["w4"] and board.events[0]["id"] == "w4"
    assert board.runs[0]["report"] == "s/trial-0001/report.html"
    assert trials(tmp_path, "2,4") == 2
    assert "has a different sweep (--sweep operator.width=2,4,6,8,64)" in capsys.readouterr().err
    assert trials(tmp_path, values, "--config.seed=1") == 2
    assert "has a different sweep (seed: 0 -> 1)" in capsys.readouterr().err


PARENT = """
import sys
from ups_jax.jobs import cli, commands, sweep
entry = commands.COMMANDS["sweep"]
flags = cli.parse(sys.argv[2:], entry.add_flags, prog="sweep.py", description="")
options = sweep.SweepOptions(**flags, program=(sys.executable, sys.argv[1]))
sys.exit(cli.run_main(options, sweep.prepare, sweep.execute))
"""


def test_no_trial_runs_twice_if_the_parent_is_stopped_or_killed(tmp_path):
    fake, started = tmp_path / "fake.py", tmp_path / "s" / "started.txt"
    fake.write_text(FAKE)
    argv = ["--config=configs/burgers.py:smoke", f"--workdir={tmp_path / 's'}"]
    argv = [sys.executable, "-c", PARENT, str(fake), *argv, "--sweep=operator.width=4,64"]

    def begin(count, seconds):
        parent = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, "FAKE_S": str(seconds)},
            stderr=subprocess.PIPE,
            text=True,
        )
        while not started.exists() or len(started.read_text().split()) < count:
            assert parent.poll() is None, parent.communicate()
            time.sleep(0.02)
        return parent

    parent = begin(2, 30)
    parent.send_signal(signal.SIGINT)
    assert "finished trials are not repeated" in parent.communicate(timeout=20)[1]
    assert parent.returncode == 130
    parent = begin(3, 20)
    parent.kill()
    parent.communicate()
    parent = begin(4, 0)
    err = parent.communicate(timeout=60)[1]
    assert parent.returncode == 0 and "process 7 on here still runs trial-0001" in err
    # The lock of the fake fails if two of them run in one folder.
    assert started.read_text().split() == ["4", "64", "64", "64"]
    assert (tmp_path / "s" / "trial-0001" / "summary.json").exists()


def test_a_range_gets_the_requested_number_of_trials(tmp_path, capsys):
    base = tmp_path / "50%?"  # a database's URL would read these as its own
    base.mkdir()
    assert trials(base, "11:60", "--trials=3") == 0
    assert trials(base, "11:60", "--trials=4") == 0
    widths = [int(x) for x in (base / "s" / "started.txt").read_text().split()]
    assert len(widths) == 4 and all(11 <= width <= 60 for width in widths)
    assert f"(w{min(widths)})" in capsys.readouterr().out


def test_without_optuna_the_error_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert trials(tmp_path, "2,4") == 2
    assert "pip install 'ups_jax[sweep]'" in capsys.readouterr().err


def test_rates_are_one_run_with_a_table_of_variants(tmp_path):
    recipe = ("--config.fit.operator.steps=200", "--config.fit.operator.weight_decay=1")
    argv = [*TINY, *recipe, f"--workdir={tmp_path / 'w'}"]
    assert sweep.main([*argv, "--sweep=fit.operator.lr=1e-3,1e3,3e-3"]) == 0
    (one,) = stored(tmp_path / "w")
    assert "Variants" in {key for line in one.history for key in line}
    page = (tmp_path / "w" / "report.html").read_text()
    assert "<h2>Variants" in page
    cfg = json.loads((tmp_path / "w" / "config.json").read_text())
    assert cfg["sweep"]["lr_factors"] == pytest.approx([1.0, 1e6, 3.0])
    # The diverged rate has no errors in its row, and does not affect the others.
    rows = json.loads((tmp_path / "w" / "tables" / "variants.json").read_text())["rows"]
    assert [row[1] for row in rows] == [3e-3, 1e-3, 1e3] and rows[2][2:] == [None, None]
    assert all(0 < row[2] < 2 for row in rows[:2])
    assert fast_to_sota.main([*argv, "--config.sweep.lr_factors=1,2", "--config.num_seeds=2"]) == 2
