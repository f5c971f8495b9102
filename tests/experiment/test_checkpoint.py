"""Checkpoints: what is kept, what comes back, what is refused."""

import math

import numpy as np
import pytest

from ups_jax import config
from ups_jax.experiment import workdir as folders
from ups_jax.experiment.checkpoint import Checkpoints
from ups_jax.files import atomic_path, scratch_files

TREE = {"a": np.arange(4.0, dtype="f4"), "b": {"c": np.ones((2, 3), "f4")}}


@pytest.fixture
def checkpoints(tmp_path):
    with Checkpoints(tmp_path / "ckpt") as made:
        yield made


def kept(checkpoints):
    return sorted(int(p.name) for p in checkpoints.folder.iterdir() if p.name.isdigit())


def test_the_latest_and_the_best_are_kept(checkpoints):
    for value, left in ((3.0, [1]), (1.0, [2]), (None, [2, 3]), (2.0, [2, 4]), (math.nan, [2, 5])):
        checkpoints.save(TREE, {}, value)
        assert kept(checkpoints) == left


def test_what_is_saved_comes_back_to_the_bit(checkpoints):
    number = checkpoints.save(TREE, {"value": math.inf, "rows": [1, 2]})
    tree, meta = checkpoints.restore(number, TREE)
    np.testing.assert_array_equal(tree["a"], TREE["a"])
    assert meta == {"value": math.inf, "rows": [1, 2]}


@pytest.mark.parametrize(
    "like",
    [
        {"a": np.zeros(5, "f4"), "b": TREE["b"]},
        {"a": TREE["a"]},
        {"a": TREE["a"], "b": TREE["b"] | {"d": np.zeros(1, "f4")}},
    ],
)
def test_another_shape_or_structure_is_refused(checkpoints, like):
    number = checkpoints.save(TREE, {})
    with pytest.raises(ValueError, match="does not fit this config's model"):
        checkpoints.restore(number, like)


def test_scratch_files_of_a_killed_write_are_ignored_and_removed(tmp_path):
    with atomic_path(tmp_path / "config.json") as scratch:
        scratch.write_text("{")
        left = scratch.with_name(scratch.name.replace("config", "left"))
        left.write_text("half")  # a kill would leave it
        assert scratch_files(tmp_path) == sorted([scratch, left])
    (tmp_path / "config.json").unlink()
    cfg = config.load("configs/burgers.py:smoke", {})
    folders.check_workdir(tmp_path, cfg)
    folders.create(tmp_path, cfg, restart=False)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    with pytest.raises(ValueError, match="not empty"):
        folders.check_workdir(tmp_path, cfg)
