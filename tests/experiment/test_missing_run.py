"""A whole run on data with missing values, selected and judged after its context frames."""

import json

import numpy as np
import pytest

import ups_jax as ups
from runners import evaluate, fast_to_sota
from runs import SMALL, summary

FLAGS = SMALL | {
    "data.missing": "mask",
    "data.static": "depth",
    "operator.history": 2,
    "fit.operator.steps": 20,
    "fit.operator.steps_per_call": 10,
    "fit.operator.val_every": 10,
    "eval.protocol": "p10",
    "eval.context_frames": 4,
    "eval.select": "best",
}


def waves(n=40, frames=12, points=16):
    """Travelling waves (n, t, x, 2) with a depth, 30 % missing, one trajectory without frame 6."""
    rng = np.random.default_rng(0)
    x, t = np.arange(points) / points, np.arange(frames)[:, None] / 20
    phase = rng.uniform(size=(n, 1, 1))
    u = np.sin(2 * np.pi * (x - t + phase)).astype(np.float32)
    u = np.where(rng.uniform(size=u.shape) < 0.3, np.nan, u)
    u[:, 6, :] = np.where(np.arange(n)[:, None] % 3, u[:, 6, :], np.nan)
    depth = np.broadcast_to(1 + 0.1 * np.cos(2 * np.pi * x), u.shape)
    return np.stack([u, depth], -1).astype(np.float32)


def run(folder, u):
    """Save trajectories and train on them: (exit code, folder of the run)."""
    data = ups.Trajectories(u, dt=0.05, channels=("h", "depth"))
    ups.save_npz(folder / "gaps.npz", data)
    argv = ["--config=configs/data.py:smoke", f"--config.data.path={folder / 'gaps.npz'}"]
    argv += [f"--workdir={folder / 'w'}", "--wandb_mode=disabled"]
    return fast_to_sota.main([*argv, *(f"--config.{k}={v}" for k, v in FLAGS.items())])


def test_a_run_is_selected_judged_reported_and_evaluated_again(tmp_path, capsys):
    assert run(tmp_path, waves()) == 0
    out = capsys.readouterr()
    assert "note: missing values are masked" in out.err
    found = summary(tmp_path / "w")
    numbers = [v for k, v in found.items() if k.startswith("eval/") and "nrmse" in k]
    assert np.isfinite(numbers).all() and found["eval/val/nrmse"] < 2
    assert not [key for key in found if "physics" in key or "spectrum" in key]
    assert 0 < found["eval/operator/p10/correlation_time"] <= 8 * 0.05 + 1e-6
    page = (tmp_path / "w" / "report.html").read_text()
    assert "missing values" in page and "diverged" not in page
    assert (tmp_path / "w" / "figures" / "static_0.png").exists()
    rows = [json.loads(x) for x in (tmp_path / "w" / "metrics.jsonl").read_text().splitlines()]
    best = min(row["operator/val_nrmse"] for row in rows if "operator/val_nrmse" in row)
    assert found["eval/val/nrmse"] == pytest.approx(best, rel=1e-4)
    assert evaluate.main(["--workdir", str(tmp_path / "w"), "--forecasters", "operator"]) == 0


def test_a_trajectory_that_ends_with_its_context_is_refused_before_training(tmp_path, capsys):
    u = waves()
    u[:, 4:, :, 0] = np.nan
    u[:2, 4:, :, 0] = 0.5
    assert run(tmp_path, u) == 2
    error = capsys.readouterr().err
    assert "trajectory" in error and "has no observed value after frame 3" in error
