"""The table of APEBench's scenarios, at the sizes of `-smoke`."""

import json
from argparse import ArgumentParser

import numpy as np
import pytest

from benchmarks.accuracy import apebench
from benchmarks.tables import questions, runs


def options(out, *flags):
    parser = ArgumentParser()
    apebench.add_flags(parser)
    chosen = parser.parse_args(["--scenario", "1d_diff_disp", *flags])
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
