"""A tiny run with all stages, started as a user does, and compared bit by bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.record import ROOT

STAGES = ("operator", "diffusion", "student", "ensemble", "control")
SERIES = {"student": "distill"}
"""Series of the stages that are named otherwise."""
SIZES = {
    "data.train": 32,
    "data.val": 8,
    "data.test": 8,
    "operator.dilations": "1",
    "eval.batch": 8,
    "eval.num_figures": 0,
    "eval.selection_trajectories": 4,
    "ensemble.members": 2,
    "ensemble.num_trajectories": 4,
    "search.num_trajectories": 4,
    "log.progress": False,
    "report.dpi": 40,
}
SIZES |= {f"fit.{stage}.steps": 60 for stage in STAGES if stage != "control"}
SIZES |= {f"fit.{stage}.batch": 8 for stage in STAGES}
SIZES |= {f"fit.{stage}.steps_per_call": 5 for stage in STAGES}
SIZES |= {f"fit.{stage}.val_every": 20 for stage in STAGES}
TIMES = ("wall/", "memory/")
VERDICT = ("eval/gates/", "eval/regression/", "eval/leaderboard/")
"""Keys that depend on the board as well."""


class Ending(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    def is_clear(self, *codes: int) -> bool:
        """Return True for one of `codes` with one or two lines on stderr, none of a traceback."""
        lines = self.err.splitlines()
        return self.code in codes and 1 <= len(lines) <= 2 and "Traceback" not in self.err


class Runner:
    """Starts commands with a home and caches of their own, shared by all."""

    def __init__(self, home: Path) -> None:
        self.env = {**os.environ, "HOME": str(home), "UPS_DATA": str(home / "data")}
        self.env |= {"WANDB_MODE": "disabled", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        self.env.pop("JAX_COMPILATION_CACHE_DIR", None)

    def start(self, workdir: Path, *words: str) -> subprocess.Popen[str]:
        """Start the run of a folder."""
        sizes = [f"--config.{key}={value}" for key, value in SIZES.items()]
        argv = ["--config=configs/burgers.py:smoke", *sizes, f"--workdir={workdir}", *words]
        return self.command("train", *argv)

    def command(self, *words: str) -> subprocess.Popen[str]:
        """Start any command of the library, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ups_jax", *words],
            cwd=ROOT,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, workdir: Path, *words: str) -> Ending:
        """Run or resume the run of a folder to its end."""
        return end(self.start(workdir, *words))


def end(process: subprocess.Popen[str]) -> Ending:
    """Wait for a process."""
    out, err = process.communicate()
    return Ending(process.returncode, out, err)


def kill(process: subprocess.Popen[str]) -> None:
    """End a process and its children with SIGKILL, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(process: subprocess.Popen[str], workdir: Path, stage: str) -> None:
    """Wait until a run has logged a row of a stage, or begun its evaluation, or ended."""
    mark = f'"stage": "{SERIES.get(stage, stage)}"'.encode()
    series = workdir / "metrics.jsonl"
    while process.poll() is None:
        if stage == "evaluation" and (workdir / "ckpt" / "selected").exists():
            return
        if series.is_file() and mark in series.read_bytes():
            return
        time.sleep(0.02)


def copy(template: Path, target: Path) -> Path:
    """Copy a folder and the files next to it, such as its board; return the folder."""
    shutil.copytree(template.parent, target)
    return target / template.name


def result(workdir: Path) -> dict[str, Any]:
    """Return what must be equal to the bit: parameters, summary, verdict, series; no times."""
    import ups_jax as ups  # here, since a process that only starts others needs no JAX

    summary = json.loads((workdir / "summary.json").read_text())
    summary = {
        key: value
        for key, value in summary.items()
        if not key.startswith(TIMES) and not key.endswith("ms")
    }
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {
        "params": _leaves(ups.load(workdir)[1]),
        "summary": {k: v for k, v in summary.items() if not k.startswith(VERDICT)},
        "verdict": {k: v for k, v in summary.items() if k.startswith(VERDICT)},
        "series": [
            {key: value for key, value in row.items() if "per_s" not in key} for row in rows
        ],
    }


def _leaves(params: Any) -> list[bytes]:
    import jax

    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)]
