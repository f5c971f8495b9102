"""Tables of the joint network: by equation, and after few trajectories of an equation unseen."""

import json
from argparse import ArgumentParser

import jax
import pytest

import ups_jax as ups
from benchmarks.accuracy import fewshot, universal
from benchmarks.tables import joint

OPTIONS = dict(width=4, blocks=1, dilations=(1,))


def saved(folder, **options):
    """Save an untrained network of a mixture that holds out Burgers; return its emulator."""
    names = dict(equations=("adv_diff", "kdv"), test_equations=("kdv", "burgers"))
    pde = ups.PDES["mixture"](**names, points=32, cells=32)
    emulator = ups.Emulator(pde, ups.OPERATORS["resnet"], **OPTIONS, **options)
    ups.save(folder, emulator, ups.init(emulator, jax.random.key(0)))
    return emulator


def options(module, *flags, out=None):
    parser = ArgumentParser()
    module.add_flags(parser)
    chosen = parser.parse_args([str(flag) for flag in flags])
    chosen.quick, chosen.out = True, out
    return chosen


def test_a_row_for_each_equation_has_the_median_of_its_runs(tmp_path, capsys):
    folders = {"universal": 0.01, "universal-seed1": 0.03, "universal-linear": 0.002}
    made = {}
    for name, error in folders.items():
        base = {"base": "linear"} if name.endswith("linear") else {}
        made[name] = saved(tmp_path / name, **base)
        keys = {
            f"eval/{mode}/equations/{equation}/nrmse_gmean100": factor * error
            for mode, factor in {"operator": 1, "persistence": 100, "mean": 50}.items()
            for equation in ("kdv", "burgers")
        }
        summary = json.dumps(keys | {"wall/train_s": 9.0})
        (tmp_path / name / "summary.json").write_text(summary)
    out = tmp_path / "universal.json"
    result = universal.run(options(universal, *(tmp_path / name for name in folders), out=out))
    rows = {(row["scenario"], row["row"]): row for row in result["rows"]}
    assert {scenario for scenario, _ in rows} == {"1d_diff_kdv", "1d_diff_burgers"}
    joint = rows["1d_diff_kdv", "universal"]
    assert joint["gmean100"] == pytest.approx(0.02) and joint["seeds"] == 2
    params = ups.init(made["universal"], jax.random.key(0))
    assert joint["parameters"] == ups.num_params(params["operator"])
    assert not joint["held_out"] and rows["1d_diff_burgers", "universal"]["held_out"]
    assert rows["1d_diff_kdv", "universal-linear"]["knows_equation"]
    assert not joint["knows_equation"] and joint["train_s"] == 9.0
    assert rows["1d_diff_kdv", "persistence"]["gmean100"] == pytest.approx(0.2)
    assert rows["1d_diff_kdv", "published"]["gmean100"] == 0.0769
    assert rows["1d_diff_burgers", "published, joint"]["gmean100"] == 0.0548
    assert rows["1d_diff_burgers", "published, joint hybrid"]["gmean100"] == 0.0276
    assert out.with_suffix(".png").exists()
    titles, *_, size, seconds = capsys.readouterr().out.splitlines()
    assert "universal-linear" in titles and size.endswith(str(joint["parameters"] + 20))
    assert seconds.split()[-2:] == ["9", "9"]


def test_the_reference_of_one_equation_is_one_named_network(tmp_path, monkeypatch):
    """The better one of two networks on the test data would be selected by the test."""
    row = dict(scenario="1d_diff_kdv", column="free", knows_equation=False, seeds=1)
    row |= dict(gmean100_std=0.0, parameters=9, train_s=1.0)
    rows = [{**row, "row": "resnet", "gmean100": 0.2}, {**row, "row": "other", "gmean100": 0.1}]
    (tmp_path / "apebench.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(universal, "RESULTS", tmp_path)
    found = [row for row in universal.references({"1d_diff_kdv"}) if row["row"] == "single"]
    assert [(row["gmean100"], row["parameters"]) for row in found] == [(0.2, 9)]


def test_the_best_retrained_network_stands_where_nothing_is_published(tmp_path, monkeypatch):
    names = {"1d_diff_diff": (0.2, 0.1), "1d_diff_kdv": (0.3,)}
    rows = [
        {"row": f"{name} {i}", "scenario": name, "gmean100": error}
        for name, errors in names.items()
        for i, error in enumerate(errors)
    ]
    (tmp_path / "apebench_families.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(universal, "RESULTS", tmp_path)
    found = universal.references(set(names))
    errors = {row["scenario"]: row["gmean100"] for row in found if "retrained" in row["row"]}
    assert errors == {"1d_diff_diff": 0.1}


def test_the_table_marks_as_held_out_what_the_network_of_a_column_has_not_seen(monkeypatch):
    row = dict(scenario="1d_diff_burgers", parameters=9, train_s=1.0)
    rows = [
        {**row, "row": "universal", "held_out": False, "gmean100": 0.1},
        {**row, "row": "published, joint", "held_out": True, "gmean100": 0.2},
    ]
    record = dict(rows=rows, command="", device="", date="", git_sha="")
    monkeypatch.setattr(joint, "read", lambda name: record)
    line = next(line for line in joint.universal().splitlines() if "burgers |" in line)
    assert line == "| 1d_diff_burgers | 0.2 (held out) | 0.1 |"


def test_few_trajectories_of_an_equation_start_from_the_network_of_the_run(tmp_path, monkeypatch):
    saved(tmp_path / "joint")
    monkeypatch.setattr(fewshot, "EQUATIONS", dict(heat=dict(gamma2=1.0)))
    out = tmp_path / "fewshot.json"
    result = fewshot.run(options(fewshot, tmp_path / "joint", out=out))
    rows = {(row["trajectories"], row["row"]): row["gmean100"] for row in result["rows"]}
    assert set(rows) == {(0, "finetuned"), (1, "finetuned"), (1, "scratch")}
    # Without training the network is that of the run, here untrained: persistence.
    _, (_, _, test) = fewshot.make_splits(ups.load(tmp_path / "joint"), "heat", quick=True)
    metric = ups.METRICS["nrmse_gmean100"]
    given = test.u[:, :1].repeat(test.u.shape[1] - 1, 1)
    values = metric.per_sample(given, test.u[:, 1:], 1)
    assert rows[0, "finetuned"] == pytest.approx(float(metric.reduce(values)), rel=0.05)
    assert rows[1, "finetuned"] != rows[1, "scratch"]

    monkeypatch.setattr(fewshot, "train", pytest.fail)
    again = fewshot.run(options(fewshot, tmp_path / "joint", out=out))
    assert again["rows"] == json.loads(out.read_text())["rows"] == result["rows"]
