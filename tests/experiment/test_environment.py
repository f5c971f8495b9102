"""The machine's description: the library's commit, and a user without a home."""

import os
import subprocess
from types import SimpleNamespace

import jax
import pytest

from ups_jax.config import load
from ups_jax.experiment import environment

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]


@pytest.mark.parametrize("place", [".", "venv/lib"])
def test_only_a_checkout_whose_root_holds_the_library_has_its_commit(tmp_path, monkeypatch, place):
    file = tmp_path / place / "ups_jax" / "experiment" / "environment.py"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(environment, "__file__", str(file))
    subprocess.run([*GIT, "init", "-q"], cwd=tmp_path, check=True)
    assert environment.git_sha() is None
    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "a"], cwd=tmp_path, check=True)
    head = [*GIT, "rev-parse", "HEAD"]
    commit = subprocess.run(head, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert environment.git_sha() == (commit.strip() if place == "." else None)


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment.git_sha() is None


def test_a_user_without_a_home_is_refused(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 3)
    with pytest.raises(ValueError, match="user 2147483645 has no home folder; set HOME"):
        environment.enable_compilation_cache()


def test_every_usable_core_becomes_a_device(monkeypatch):
    set_values = []
    monkeypatch.setenv("XLA_FLAGS", "--xla_other=1")
    monkeypatch.setattr(environment, "num_threads", lambda: 3)
    monkeypatch.setattr(jax.config, "update", lambda key, value: set_values.append((key, value)))
    environment.use_every_core()
    assert set_values == [("jax_num_cpu_devices", 3)]


def test_a_number_of_devices_that_is_set_stays(monkeypatch):
    def refuse(key, value):
        raise AssertionError(f"{key} was set to {value}")

    for flags, number in (("--xla_force_host_platform_device_count=2", -1), ("", 2)):
        values = {"jax_num_cpu_devices": number}
        monkeypatch.setattr(jax, "config", SimpleNamespace(values=values, update=refuse))
        monkeypatch.setenv("XLA_FLAGS", flags)
        environment.use_every_core()


def test_devices_of_a_process_that_has_begun_jax_stay():
    assert jax.device_count() == 1
    environment.use_every_core()
    assert jax.device_count() == 1


def test_one_device_is_in_the_log_and_in_the_metadata():
    cfg = load("configs/burgers.py:smoke", {})
    mesh = environment.mesh_of(cfg)
    assert environment.mesh_line(cfg, mesh) == "one device computes every batch"
    info = environment.machine_info(mesh)
    assert (info["devices"], info["mesh_devices"]) == (1, 1)
