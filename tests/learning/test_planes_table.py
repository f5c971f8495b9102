"""The table of runs in two dimensions, with forecasters that were evaluated later."""

import json

import pytest

from benchmarks import collect
from benchmarks.tables import planes


@pytest.fixture
def run():
    config = {
        "eval": {"protocol": "p1", "coarsen": 2},
        "pde": {"points": [64, 64]},
        "num_seeds": 1,
    }
    summary = {"eval/operator/nrmse": 0.1, "eval/persistence/nrmse": 0.9, "wall/train_s": 60.0}
    return {"config": config, "summary": summary, "device": "2 CPU cores"}


def test_a_coarse_solver_has_the_points_of_its_grid(run, monkeypatch):
    run["summary"]["eval/coarse_solver/nrmse"] = 0.5
    monkeypatch.setattr(planes, "read", lambda name: run if name == "kolmogorov" else None)
    lines = planes.planes().splitlines()
    assert "| `kolmogorov`, 64 x 64, P1 | solver, 32 x 32 | 0.5 |  |  |" in lines
    assert any("operator | 0.1" in line and "60, 2 cores" in line for line in lines)


def test_forecasters_of_later_evaluations_of_the_same_data_are_collected(run, tmp_path):
    def write(name, changed, scalars):
        record = {"changed": changed, "scalars": scalars}
        (tmp_path / f"evaluation-{name}.json").write_text(json.dumps(record))

    names = {"forecasters": ["operator", "coarse_solver"], "select": "operator"}
    later = {"eval/operator/nrmse": 0.2, "eval/coarse_solver/nrmse": 0.5, "eval/nrmse": 0.2}
    write("a", names, later)
    write("b", {**names, "points": [32, 32]}, {"eval/coarse_solver/nrmse": 0.7})
    (tmp_path / "summary.json").write_text(json.dumps(run["summary"]))
    assert collect.read_summary(tmp_path) == {**run["summary"], "eval/coarse_solver/nrmse": 0.5}
