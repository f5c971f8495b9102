"""Start the runner as a user does, and a run small enough to be interrupted many times."""

import json
import subprocess
import sys
from pathlib import Path

import wandb_records

ROOT = Path(__file__).parent.parent
RUNNER = [sys.executable, str(ROOT / "runners" / "fast_to_sota.py")]
QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)
"""Flags of processes that compile far longer than they compute; all of them share one cache."""
TINY = [
    "--config=configs/burgers.py:smoke",
    "--config.data.train=32",
    "--config.data.val=8",
    "--config.data.test=8",
    "--config.operator.dilations=1",
    "--config.fit.operator.steps=400",
    "--config.fit.operator.unroll=1",
    "--config.fit.operator.phase_fractions=1",
    "--config.fit.operator.steps_per_call=5",
    "--config.fit.operator.val_every=100",
    "--config.stages=operator",
    "--config.eval.forecasters=operator",
    "--config.eval.select=operator",
    "--config.gates.skill.metric=",
    "--config.eval.num_figures=0",
    "--config.report.dpi=40",
]
SMALL = {
    "operator.width": 8,
    "operator.blocks": 1,
    "operator.dilations": 1,
    "operator.patch": 1,
    "fit.operator.warmup": 2,
    "fit.operator.batch": 8,
    "fit.operator.unroll": 1,
    "fit.operator.phase_fractions": 1,
    "stages": "operator",
    "eval.forecasters": "persistence,mean,operator",
    "eval.batch": 4,
    "report.dpi": 40,
}
"""Keys of a run of `configs/data.py:smoke` on a small file."""


def sh(argv, **options):
    """Run a command in the repository's root and capture its output."""
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, **options)


def summary(workdir):
    """Numbers of a finished run."""
    return json.loads((workdir / "summary.json").read_text())


def stored(workdir):
    """Return the contents of the W&B files of a folder that have a run record."""
    records = [wandb_records.read(file) for file in wandb_records.segments(workdir)]
    return [record for record in records if record.run is not None]
