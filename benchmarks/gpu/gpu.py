"""Correctness and speed on one GPU: one command, most valuable part first, within `--minutes`.

Parts: device, correctness (against the CPU), step_time, data, full (seconds to published errors),
golden, joint (ML4PS), ensemble, apebench, kernels. The results file is written after each task; the
same command continues with the tasks that are missing. Tasks for which no time is left are named. A
file of another device is refused. On a CPU and with `--quick` all sizes are small, and only the
shape of the results means something; a CPU writes `gpu_cpu.json`. Targets on one H100: nRMSE
1.08e-2 within 5 minutes, 40 % of the bfloat16 peak for the widest network, the golden operator in
under 60 s. benchmarks/GPU.md says what to carry to a machine without a network.
"""

import sys
import time

import jax

from benchmarks.gpu import STARTED, correctness, joint, kernels, machine, runs, updates
from benchmarks.gpu.findings import findings
from benchmarks.gpu.pack import PACKAGES, TARGETS, OtherResults, Pack, Setting, met, text
from benchmarks.record import choose_rows

__all__ = ["PACKAGES", "PARTS", "add_flags", "file_name", "run"]
PARTS = {
    "device": (machine.device, 0.04),
    "correctness": (correctness.correctness, 0.12),
    "step_time": (updates.step_time, 0.18),
    "data": (runs.data, 0.06),
    "full": (runs.full, 0.22),
    "golden": (runs.golden, 0.08),
    "joint": (joint.joint, 0.2),
    "ensemble": (runs.ensemble, 0.04),
    "apebench": (runs.apebench, 0.06),
    "kernels": (kernels.kernels, 0.04),
}
"""Parts in order: `part(setting) -> {task: function that returns rows}`, and a share of the time.

Seconds that a part leaves go to those after it.
"""


def add_flags(parser):
    parser.add_argument("--minutes", type=float, default=8.0, help="from process start; 8")
    parser.add_argument("--parts", help="parts to run, comma separated; default: all")
    parser.add_argument("--git_sha", default="", help="commit of a copy without .git")


def file_name(options):
    """Return the name of the results file: that of a CPU checks the pack and is not committed."""
    return "gpu_cpu" if jax.default_backend() == "cpu" else "gpu"


def run(options):
    small = options.quick or jax.default_backend() == "cpu"
    setting = Setting(small)
    try:
        pack = Pack(options.out, setting, options.git_sha)
    except OtherResults as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    chosen = {name: PARTS[name] for name in choose_rows(options.parts, list(PARTS))}
    tasks = {name: part(setting) for name, (part, _) in chosen.items()}
    names = [name for name in chosen if pack.missing(name, tasks[name])]
    end = STARTED + 60 * options.minutes
    print(f"{pack.origin['device']}: parts {', '.join(names) or 'all finished'}", flush=True)
    for i, name in enumerate(names):
        shares = [PARTS[other][1] for other in names[i:]]
        now = time.monotonic()
        setting.ends = now + (end - now) * shares[0] / sum(shares)
        pack.perform(name, tasks[name])
    result = {**pack.result(), "findings": findings(setting)}
    show(result)
    return result


def show(result):
    """Print the targets, what is slow, and what is missing."""
    for row in result["rows"]:
        if set(TARGETS) & set(row) and (row["part"] != "correctness" or not met(row)):
            print(f"target, {row['part']}: {text(row)}")
    for finding in result["findings"]:
        print(f"slow: {finding}")
    for name, part in result["parts"].items():
        for problem in dict.fromkeys(part["missing"].values()):
            tasks = [task for task, why in part["missing"].items() if why == problem]
            print(f"missing, {name}: {', '.join(tasks)} ({problem}); rerun the same command")
