"""Whole runs on files as others write them: walls, several channels, and what a file states."""

import json

import numpy as np
import pytest

from fixtures import write_groups, write_well
from runners import fast_to_sota
from runs import SMALL, summary

FLAGS = SMALL | {
    "fit.operator.steps": 40,
    "fit.operator.steps_per_call": 20,
    "fit.operator.val_every": 20,
    "eval.num_figures": 0,
}
N, T, POINTS = 20, 6, 8


def modes():
    """Two fields (n, t, x, y) that decay between walls, by their lowest modes."""
    x = (np.arange(POINTS) + 0.5) / POINTS
    across, along = np.meshgrid(np.cos(np.pi * x), np.cos(np.pi * x), indexing="ij")
    a, b = np.random.default_rng(0).uniform(0.5, 1.5, (2, N, 1, 1, 1))
    t = np.arange(T)[:, None, None]
    return a * 0.7**t * across, b * 0.8**t * along


def reaction_diffusion(folder):
    return write_groups(folder / "2D_diff-react_NA_NA.h5", list(np.stack(modes(), -1)))


def well(folder):
    u, v = modes()
    return write_well(folder / "channel.hdf5", u, np.stack([u, v], -1), np.ones(N))


@pytest.mark.parametrize(
    ("write", "boundary", "channels"),
    [
        (reaction_diffusion, ["neumann", "neumann"], ["u0", "u1"]),
        (well, ["periodic", "wall"], ["tracer", "velocity_x", "velocity_y"]),
    ],
)
def test_a_run_trains_on_a_file_as_others_write_it(tmp_path, capsys, write, boundary, channels):
    argv = ["--config=configs/data.py:smoke", f"--config.data.path={write(tmp_path)}"]
    argv += [f"--workdir={tmp_path / 'w'}", "--wandb_mode=disabled"]
    code = fast_to_sota.main([*argv, *(f"--config.{k}={v}" for k, v in FLAGS.items())])
    printed = capsys.readouterr().err
    assert code == 0, printed
    assert f"pde.boundary={','.join(boundary)}" in printed and "not stated" not in printed
    pde = json.loads((tmp_path / "w" / "config.json").read_text())["pde"]
    assert (pde["boundary"], pde["channels"]) == (boundary, channels)
    found = summary(tmp_path / "w")
    # The fields decay to zero: standing still is wrong, and the network learns that.
    assert 0 < found["eval/operator/nrmse"] < found["eval/persistence/nrmse"]
    assert (tmp_path / "w" / "report.html").exists()
