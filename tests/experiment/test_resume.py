"""Runs that are stopped at any moment, and gone on with."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np

import ups_jax as ups
from runs import QUICK, ROOT, RUNNER, TINY, stored, summary
from ups_jax.experiment.checkpoint import newest_intact


def start(workdir, *extra):
    return subprocess.Popen(
        [*RUNNER, *TINY, f"--workdir={workdir}", *extra],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": QUICK},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Exit code of a process that is left to end, its pipe closed."""
    process.communicate()
    return process.returncode


def rows_of(workdir):
    file = workdir / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def stop(workdir, signum, rows):
    """Run until there are `rows` more rows, then send the signal -> exit code, seconds, stderr."""
    process, before = start(workdir), rows_of(workdir)
    while rows_of(workdir) < before + rows:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    asked = time.monotonic()
    os.kill(process.pid, signum)
    told = process.communicate()[1]
    return process.returncode, time.monotonic() - asked, told


def test_stopped_by_every_signal_it_ends_in_the_same_bits_and_a_restart_moves_it_aside(tmp_path):
    whole, cut = tmp_path / "one" / "whole", tmp_path / "two" / "cut"  # each its own leaderboard
    assert finish(start(whole)) == 0
    moments = random.Random(os.getpid())
    for signum, expected in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        assert stop(cut, signal.SIGKILL, moments.randint(3, 15))[0] == -9
        code, seconds, told = stop(cut, signum, 2)
        assert code == expected and seconds < 15 and "resume with: python" in told
    assert stored(cut)[-1].exit_codes == [143] and stored(cut)[-1].preempting
    assert stop(cut, signal.SIGKILL, moments.randint(3, 15))[0] == -9
    number = newest_intact(cut / "ckpt" / "operator")[0]
    file = cut / "ckpt" / "operator" / str(number) / "meta" / "metadata"
    file.write_bytes(file.read_bytes()[:-1])
    process = start(cut)
    told = process.communicate()[1]
    assert process.returncode == 0 and f"{number} is damaged" in told
    steps = [json.loads(row)["step"] for row in (cut / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(5, 401, 5))
    assert len({i for s in stored(cut) for i in s.ids}) == 1
    ours, theirs = (ups.load(folder)[1] for folder in (cut, whole))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    for key, value in summary(whole).items():
        if not key.startswith(("wall/", "memory/")) and not key.endswith("ms"):
            assert summary(cut)[key] == value, key
    restart(cut)


def restart(workdir):
    """Start a finished folder anew, and stop: what it held is kept under the old run's id."""
    file = workdir / "run_id.txt"
    old = file.read_text().strip()
    process = start(workdir, "--restart")
    while not file.exists() or file.read_text().strip() in ("", old):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert finish(process) == 143
    assert (workdir.parent / f"{workdir.name}.{old}" / "run_id.txt").exists()


def test_a_process_that_is_busy_in_a_compiler_is_ended_all_the_same():
    # Python's handlers wait for the C call to return, as they do for XLA's compiler.
    program = """
import ctypes
from ups_jax.experiment import signals
signals.GRACE_S = 0.2
with signals.stop_on_signal() as stop:
    stop.line = "resume with: python x"
    print("ready", flush=True)
    ctypes.CDLL(None).sleep(60) and ctypes.CDLL(None).sleep(60)
"""
    argv = [sys.executable, "-c", program]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=5)[1]
    assert process.returncode == 143 and told == "resume with: python x\n"
