"""Checkpoints: what is kept, what comes back, what is refused."""

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ups_jax import config
from ups_jax.experiment import verdict
from ups_jax.experiment import workdir as folders
from ups_jax.experiment.checkpoint import Checkpoints, newest_intact
from ups_jax.experiment.context import RunOptions
from ups_jax.files import (
    DamagedFile,
    atomic_path,
    read_json,
    salvage_json,
    scratch_files,
    write_json,
    write_text,
)

TREE = {"a": np.arange(4.0, dtype="f4"), "b": {"c": np.ones((2, 3), "f4")}}


@pytest.fixture
def checkpoints(tmp_path):
    with Checkpoints(tmp_path / "ckpt") as made:
        yield made


def kept(checkpoints):
    return sorted(int(p.name) for p in checkpoints.folder.iterdir() if p.name.isdigit())


def test_the_latest_two_are_kept(checkpoints):
    for left in ([1], [1, 2], [2, 3]):
        checkpoints.save(TREE, {})
        assert kept(checkpoints) == left


def test_every_flipped_byte_and_lost_file_is_noticed_and_the_one_before_is_used(checkpoints):
    for number in (1, 2):
        checkpoints.save(TREE, {"step": number})
    folder = checkpoints.folder / "2"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert newest_intact(checkpoints.folder) == (2, [])
    for path in files:
        content = path.read_bytes()
        for at in range(0, len(content), 1 + len(content) // 5):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert newest_intact(checkpoints.folder) == (1, [folder]), path
        path.write_bytes(b"")
        assert newest_intact(checkpoints.folder) == (1, [folder]), path
        path.write_bytes(content)
    shutil.rmtree(folder / "tree")
    assert newest_intact(checkpoints.folder) == (1, [folder])
    assert checkpoints.restore(1, TREE).meta == {"step": 1}


def test_a_checkpoint_without_a_digest_is_one_of_an_older_version(checkpoints):
    checkpoints.save(TREE, {})
    (checkpoints.folder / "1" / "digest").unlink()
    assert newest_intact(checkpoints.folder) == (1, [])


def test_absl_logs_to_others_as_before(checkpoints):
    before = logging.getLogger("absl").level
    checkpoints.save(TREE, {})
    assert logging.getLogger("absl").level == before


def test_what_is_saved_comes_back_to_the_bit(checkpoints):
    number = checkpoints.save(TREE, {"value": float("inf"), "rows": [1, 2]})
    tree, meta = checkpoints.restore(number, TREE)
    np.testing.assert_array_equal(tree["a"], TREE["a"])
    assert meta == {"value": float("inf"), "rows": [1, 2]}


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


CFG = config.load("configs/burgers.py:smoke", {})


def test_scratch_files_of_a_killed_write_are_ignored_and_removed(tmp_path):
    with atomic_path(tmp_path / "config.json") as scratch:
        scratch.write_text("{")
        left = scratch.with_name(scratch.name.replace("config", "left"))
        left.write_text("half")  # a kill would leave it
        assert scratch_files(tmp_path) == sorted([scratch, left])
    (tmp_path / "config.json").unlink()
    (tmp_path / ".probe.7.part").touch()
    folders.check_workdir(tmp_path, CFG)
    folders.create(tmp_path, CFG, restart=False)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    below = tmp_path / "tables" / ".left.json.1.part"
    below.parent.mkdir()
    below.touch()
    folders.create(tmp_path, CFG, restart=False)
    assert not below.exists()
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    with pytest.raises(ValueError, match="not empty"):
        folders.check_workdir(tmp_path, CFG)


def test_scratch_files_that_nobody_writes_any_more_are_removed_by_the_next_write(tmp_path):
    old, new = tmp_path / ".page.html.1.part", tmp_path / ".page.html.2.part"
    other = tmp_path / ".lines.html.1.part"
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    write_text(tmp_path / "page.html", "text")
    assert sorted(tmp_path.iterdir()) == sorted([other, new, tmp_path / "page.html"])


def test_one_folder_under_two_spellings_has_one_lock(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    with folders.lock(tmp_path / "run"):
        assert folders.lock_holder(tmp_path / "link")
        with pytest.raises(ValueError, match="works in"):
            folders.lock(tmp_path / "link")


DAMAGE = {
    "empty": b"",
    "torn": b'{"a": [1, ',
    "another type": b"7",
    "binary": b"\x80\xff\x00",
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("case", [*DAMAGE, "a folder"])
def test_a_damaged_file_is_named_with_its_damage(case, tmp_path, capsys):
    path = tmp_path / "state.json"
    path.mkdir() if case == "a folder" else path.write_bytes(DAMAGE[case])
    with pytest.raises(DamagedFile, match=re.escape(str(path)) + " is damaged"):
        read_json(path, {})
    assert salvage_json(path, {"new": 1}) == {"new": 1}
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line and "now state.json.damaged" in line
    assert not path.exists() and (tmp_path / "state.json.damaged").exists()
    assert read_json(path, 7) == 7


def test_only_plain_files_are_replaced(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "through")
    assert os.read(reader, 20) == b"through" and pipe.is_fifo()
    os.close(reader)
    with pytest.raises(ValueError, match="no plain file"), atomic_path(pipe):
        pass
    with pytest.raises(ValueError, match="is a folder; name a file"):
        write_text(tmp_path, "text")
    link.symlink_to("target")
    write_text(link, "text")
    assert link.is_symlink() and (tmp_path / "target").read_text() == "text"


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_config_is_written_again_where_the_metadata_know_it(known, case, tmp_path):
    write_json(tmp_path / "config.json", config.to_dict(CFG))
    metadata = {"fingerprint": config.fingerprint(CFG) if known else "another"}
    write_json(tmp_path / "metadata.json", metadata)
    (tmp_path / "config.json").write_bytes(DAMAGE[case])
    if known:
        folders.check_workdir(tmp_path, CFG)
        assert read_json(tmp_path / "config.json", None) == config.to_dict(CFG)
    else:
        with pytest.raises(ValueError, match="config.json is damaged.*\n.*--restart") as caught:
            folders.check_workdir(tmp_path, CFG)
        assert len(str(caught.value).splitlines()) == 2
        folders.create(tmp_path, CFG, restart=True)
        assert (tmp_path.with_name(f"{tmp_path.name}.unstarted") / "metadata.json").exists()


def test_a_folder_in_the_place_of_a_file_and_the_reverse_are_refused(tmp_path):
    for name, wrong in (("verdict.json", "folder"), ("tables/a.json", "folder"), ("ckpt", "file")):
        workdir = tmp_path / wrong / Path(name).name
        folders.create(workdir, CFG, restart=False)
        path = workdir / name
        path.mkdir(parents=True) if wrong == "folder" else path.touch()
        with pytest.raises(ValueError, match=f"{name} is a {wrong}"):
            folders.check_workdir(workdir, CFG)
    with pytest.raises(ValueError, match="is a file; use another --workdir"):
        folders.check_workdir(tmp_path / "file" / "ckpt" / "ckpt", CFG)


def test_a_damaged_summary_means_unfinished(tmp_path, capsys):
    write_json(tmp_path / "summary.json", {"eval/nrmse": 0.1})
    assert folders.is_finished(tmp_path) and not capsys.readouterr().err
    (tmp_path / "summary.json").write_text('{"eval/nrm')
    assert not folders.is_finished(tmp_path)
    assert "makes it again from its checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize("name", folders.RESULTS)
def test_a_changed_result_of_a_finished_run_is_named_and_its_gates_fail(tmp_path, capsys, name):
    write_json(tmp_path / "summary.json", {"eval/nrmse": 0.1})
    write_json(tmp_path / "verdict.json", {"gates_met": True, "worse": False})
    write_text(tmp_path / "table.txt", "nRMSE 0.1\n")
    folders.seal(tmp_path)
    options = RunOptions(config="burgers", fail_on_gate=True)
    assert verdict.exit_code(tmp_path, options) == 0 and not capsys.readouterr().err
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content.replace(b"1", b"0").replace(b"true", b"true "))
    assert verdict.exit_code(tmp_path, options) == (3 if name == "verdict.json" else 0)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name} differ from what the run wrote" in line
    folders.unseal(tmp_path)
    assert verdict.exit_code(tmp_path, options) == 0


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from ups_jax.experiment.checkpoint import Checkpoints
# Random numbers, which are not compressed to less than the limit.
sizes = dict(kernel=(300, 40), bias=(30,))
layers = {f"{name}{i}": np.random.rand(*sizes[name]) for i in range(40) for name in sizes}
several = [Checkpoints(Path(sys.argv[1]) / str(i)) for i in range(10)]
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for checkpoints in several:
    try:
        checkpoints.save(layers, {})
    except OSError as error:
        print(error.strerror)
"""


def test_a_full_disk_is_one_error_without_those_of_pending_writes(tmp_path):
    """A limit on the size of files stands for the disk's; the pending writes are those of threads.

    Without care, about every third save prints their errors.
    """
    argv = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == 10 * "File too large\n" and done.stderr == ""
