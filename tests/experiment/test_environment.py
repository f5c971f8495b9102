"""The machine's description: the library's commit, and a user without a home."""

import os
import subprocess

import pytest

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
