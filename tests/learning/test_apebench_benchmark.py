"""The table of APEBench's scenarios, at the sizes of `-smoke`."""

import json
import multiprocessing
import time
from argparse import ArgumentParser

import numpy as np
import pytest

from benchmarks.accuracy import apebench
from benchmarks.processes import measure_each
from benchmarks.tables import questions, runs
from runs import QUICK


def options(out, *flags):
    parser = ArgumentParser()
    apebench.add_flags(parser)
    chosen = parser.parse_args(["--scenario", "1d_diff_disp", "--jobs", "1", *flags])
    chosen.quick, chosen.out = True, out
    return chosen


def test_a_table_is_made_part_by_part_and_resumes(tmp_path, monkeypatch, capsys):
    out = tmp_path / "apebench.json"
    flags = ("--networks", "resnet", "--columns", "free")
    apebench.run(options(out, *flags))
    record = json.loads(out.read_text())
    rows = {row["row"]: row for row in record["rows"]}
    simple = {"persistence", "mean", "multiplier", "coarse", "published"}
    assert set(rows) == simple | {"resnet", "resnet-symmetrized"}
    assert 0 < rows["resnet-symmetrized"]["gmean100"] != rows["resnet"]["gmean100"]
    # The multiplier solves a linear equation; the coarse step covers half of the way.
    assert rows["multiplier"]["gmean100"] < 3e-6
    assert rows["coarse"]["gmean100"] == pytest.approx(rows["persistence"]["gmean100"] / 2, rel=0.1)
    assert rows["resnet"]["gmean100"] < rows["persistence"]["gmean100"] < rows["mean"]["gmean100"]
    assert {name for name, row in rows.items() if row["knows_equation"]} == {"coarse"}
    assert rows["resnet"]["published"] == rows["published"]["gmean100"] == 0.031
    assert rows["resnet"]["parameters"] > 0 < rows["resnet"]["train_s"]
    assert out.with_suffix(".png").exists() and "resnet free" in capsys.readouterr().out

    monkeypatch.setattr(apebench, "baselines", pytest.fail)
    monkeypatch.setattr(apebench, "train", lambda *_: dict(gmean100=1.0, parameters=9))
    again = apebench.run(options(out, "--networks", "resnet,unet", "--columns", "free"))
    assert {row["row"]: row["gmean100"] for row in again["rows"]} == {
        name: row["gmean100"] for name, row in rows.items()
    } | {"unet": 1.0}

    monkeypatch.setattr(runs, "read", lambda name: record | {"git_sha": "0" * 40})
    columns, row = (line.split(" | ") for line in runs.apebench_scenarios().splitlines()[-3::2])
    assert columns[0] == "| scenario" and row[columns.index("published")] == "0.031"
    assert questions._apebench(record) == f"1d disp {rows['resnet']['gmean100']:.3g}"


def test_the_best_retrained_family_of_a_scenario_is_a_column(monkeypatch):
    ours = dict(row="resnet", column="free", parameters=9, seeds=1, gmean100=1e-3, train_s=60.0)
    ours |= dict(knows_equation=False, gmean100_std=0.0, published=None)
    names = ("1d_diff_adv", "1d_diff_burgers")
    own = dict(configuration="", train_s=85.0, parameters=5)
    families = [
        dict(**own, row=row, scenario=row.split()[0], gmean100=error)
        for row, error in (("1d_diff_adv Conv", 0.02), ("1d_diff_adv Res", 0.01), ("Res", 1e-9))
    ]
    origin = dict(command="c", device="2 CPU cores", date="d", git_sha="0" * 40)
    records = {
        "apebench": {"rows": [ours | {"scenario": name} for name in names], **origin},
        "apebench_families": {"rows": families, **origin},
    }
    monkeypatch.setattr(runs, "read", records.get)
    header, _, adv, burgers = runs.apebench_scenarios().splitlines()[-4:]
    assert header == "| scenario | resnet, free | APEBench's best retrained family |"
    assert adv == "| 1d_diff_adv | 0.001 (60 s) | 0.01 (Res, 85 s) |"
    assert burgers == "| 1d_diff_burgers | 0.001 (60 s) |  |"
    # The table of Burgers alone has none of the other scenarios.
    monkeypatch.setattr(runs, "read_run", lambda name: None)
    assert "Conv" not in runs.apebench()


def test_two_parts_side_by_side_are_those_one_after_the_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", QUICK)
    out = tmp_path / "apebench.json"
    flags = ("--networks", "resnet", "--columns", "constrained", "--jobs", "2")
    apebench.run(options(out, *flags))
    lines = capsys.readouterr().out.splitlines()
    assert {line.split("  ")[0] for line in lines[:2]} == {
        "1d_diff_disp free baselines -", "1d_diff_disp constrained resnet 0"
    }  # fmt: skip
    parts = json.loads(out.read_text())["parts"]
    assert len(parts) == 2
    alone = apebench.measure("1d_diff_disp constrained resnet 0", quick=True)
    both = parts["1d_diff_disp constrained resnet 0"]
    assert both["gmean100"] == pytest.approx(alone["gmean100"], rel=1e-3)


def test_a_part_that_fails_ends_the_others():
    with pytest.raises(ZeroDivisionError):
        measure_each(fail_or_wait, ["wait", "fail"], lambda *_: None, jobs=2)
    assert not multiprocessing.active_children()


def fail_or_wait(name):
    time.sleep(60.0) if name == "wait" else 1 / 0


def test_a_row_has_the_median_and_the_deviation_of_its_seeds():
    parts = {
        f"1d_diff_kdv free resnet {seed}": dict(gmean100=error, train_s=2.0, parameters=7)
        for seed, error in enumerate((0.1, 0.2, 0.6))
    }
    row = next(row for row in apebench.rows_of(parts) if row["row"] == "resnet")
    assert (row["seeds"], row["gmean100"]) == (3, 0.2)
    assert row["gmean100_std"] == pytest.approx(np.std([0.1, 0.2, 0.6]))


def test_unknown_names_stop_before_any_training(tmp_path):
    with pytest.raises(SystemExit, match="unknown rows resnett"):
        apebench.run(options(None, "--networks", "resnett"))
    with pytest.raises(ValueError, match="did you mean '1d_diff_kdv'"):
        apebench.run(options(None, "--scenario", "1d_diff_disp,1d_diff_kvd"))
