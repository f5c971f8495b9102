"""Seconds from process start to a target validation error: our operators and PyTorch's networks.

Needs the peers' environment (`make .venv-peers/.ready`). The task is Burgers at Nu = .001 on 256
points; the error is nRMSE over 40 steps from the initial frame (P1), mean of 64 validation
trajectories.

`--task apebench` is APEBench's `1d_diff_burgers`, GMean100 on 30 validation trajectories, our
operators alone: APEBench's own training takes 10,000 updates and is timed by `apebench_families`.
`--task full` is P10 on 1,024 points with 10,000 trajectories, our operators alone: for one GPU.

Every contender trains in a fresh process, on the same arrays, for `--seconds`. The clock starts
just before its process: imports, reading the data, statistics and compilation count. It stops
during validation, for all contenders; simulation of the data is excluded. The number of updates is
fixed beforehand by a probe in another process, so that each learning-rate schedule ends at the
budget. `--only NAME,...` runs some contenders and keeps the other rows.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

import ups_jax as ups
from benchmarks.record import PEERS_PYTHON, ROOT, choose_rows, merge_rows, write
from ups_jax.data import save_npz
from ups_jax.experiment.datasets import eval_steps, split_key

VALIDATIONS = 16


class Task(NamedTuple):
    """Config of the data, error, targets of that error, and the axis label."""

    config: str
    metric: str
    targets: tuple[float, ...]
    label: str
    start: int = 0
    """The given frame, from which the forecast starts."""


TASKS = {
    # The fifth target is our solver's error on 256 cells.
    "burgers": Task(
        "configs/burgers.py",
        "nrmse",
        (0.1, 0.05, 0.03, 0.02, 0.0136, 0.01),
        "validation nRMSE from the initial condition (P1)",
    ),
    # The first target is the best that Koehler et al. (2024) report.
    "apebench": Task(
        "configs/apebench.py",
        "nrmse_gmean100",
        (0.013, 0.005, 0.002, 0.001),
        "validation GMean100",
    ),
    # PDEBench's official FNO, the best published result, and our goal for ten minutes on a GPU.
    "full": Task(
        "configs/burgers.py:full",
        "nrmse",
        (0.1, 0.036, 0.0108, 0.008),
        "validation nRMSE after ten frames (P10), 1,024 points",
        start=9,
    ),
}


def _fno(**size):
    overrides = {"operator.name": "fno", **{f"operator.{key}": n for key, n in size.items()}}
    return dict(config="configs/burgers.py", overrides=overrides)


def _peer(network, recipe, **size):
    return dict(network=network, size=size, recipe=recipe)


FNO = dict(width=32, modes=16, layers=4)
BURGERS = {
    "resnet": dict(config="configs/burgers.py", overrides={}),
    "hybrid": dict(config="configs/burgers.py:hybrid", overrides={}),
    "fno": _fno(**FNO),
    "fno-official": _fno(width=20, modes=12, layers=4),
    "neuraloperator": _peer("neuraloperator", "usual", **FNO),
    # Random shifts, part of our recipe, contradict an embedded grid.
    "neuraloperator:ours": _peer("neuraloperator", "ours", positional_embedding=None, **FNO),
    "torch-unet": _peer("textbook_unet", "usual", features=32),
    "torch-unet:ours": _peer("textbook_unet", "ours", features=32),
}
"""Ours by their config; peers by network, recipe and size."""
ONE_PHASE = {"fit.operator.unroll": (1,), "fit.operator.phase_fractions": (1.0,)}
TWO_PHASES = {"fit.operator.unroll": (1, 2), "fit.operator.phase_fractions": (0.7, 0.3)}
APEBENCH = dict(config="configs/apebench.py")
CONTENDERS = {
    "burgers": BURGERS,
    # Each further phase is a further compilation, which matters in short budgets.
    "apebench": {
        "resnet": dict(**APEBENCH, overrides={}),
        "resnet:unroll-1-2": dict(**APEBENCH, overrides=TWO_PHASES),
        "resnet:unroll-1": dict(**APEBENCH, overrides=ONE_PHASE),
    },
    "full": {
        "resnet": dict(config="configs/burgers.py:full", overrides={}),
        # An eighth of the FLOPs an update, but not of the time: its kernels are too small.
        "resnet:narrow": dict(
            config="configs/burgers.py:full",
            overrides={
                "operator.matmul": "float32",
                "operator.width": 128,
                "fit.operator.batch": 32,
            },
        ),
    },
}
COLORS = (
    "#0072B2", "#009E73", "#56B4E9", "#000000", "#D55E00", "#D55E00", "#CC79A7", "#CC79A7",
)  # fmt: skip


def add_flags(parser):
    parser.add_argument("--seconds", type=float, default=150, help="budget of each contender; 150")
    parser.add_argument("--task", choices=TASKS, default="burgers")
    parser.add_argument("--only", help="contenders, comma separated")
    parser.add_argument("--train", type=int, help="training trajectories; default: the config's")
    parser.add_argument("--val", type=int, default=64, help="validation trajectories, at most; 64")


def file_name(options):
    return "time_to_target" + ("" if options.task == "burgers" else f"_{options.task}")


def run(options):
    task, contenders = TASKS[options.task], CONTENDERS[options.task]
    if options.quick:
        options.seconds, options.train, options.val = 20, 64, 4
    rows, result = [], {}
    with tempfile.TemporaryDirectory() as folder:
        data, sizes = make_data(Path(folder), options, task)
        for name in choose_rows(options.only, list(contenders)):
            print(f"{name}: probe, then {options.seconds:.0f} s", file=sys.stderr, flush=True)
            rows.append({"row": name, **contend(contenders[name], task, data, options.seconds)})
            rows[-1] |= sizes
            merged = {row["row"]: row for row in merge_rows(options.out, rows)}
            ordered = [merged[name] for name in contenders if name in merged]
            result = {"rows": ordered, "targets": task.targets}
            if options.out:
                write(options.out, result)
                draw(ordered, contenders, task).savefig(options.out.with_suffix(".png"), dpi=120)
    show(result["rows"], task)
    return result


def make_data(folder, options, task):
    """Write the run's splits as npz files for all contenders; return their paths and sizes."""
    cfg = ups.load_config(task.config)
    sizes = {"train": options.train or cfg.data.train, "val": min(options.val, cfg.data.val)}
    pde, paths = ups.build(cfg).pde, []
    for name, n in sizes.items():
        paths.append(str(folder / f"{name}.npz"))
        steps = cfg.data.steps if name == "train" else eval_steps(cfg)
        save_npz(paths[-1], ups.simulate(pde, split_key(cfg, name), n=n, steps=steps))
    return paths, sizes


def contend(contender, task, data, seconds):
    """Probe and train one contender; return its parameters, updates, curve, seconds to targets."""
    order = {
        **contender,
        "metric": task.metric,
        "start": task.start,
        "data": data,
        "seconds": seconds,
        "validations": VALIDATIONS,
    }
    probe = run_contender(order)
    if not probe or "steps" not in probe[0]:
        return {"failed": "probe", "seconds": seconds}
    lines = run_contender({**order, "steps": probe[0]["steps"]})
    curve = [line for line in lines if "val" in line]
    first = lines[0] if lines else {}
    return {
        "seconds": seconds,
        "parameters": first.get("parameters"),
        "updates": first.get("steps"),
        "curve_s": [line["s"] for line in curve],
        "curve_val": [line["val"] for line in curve],
        "curve_step": [line["step"] for line in curve],
        "reached_s": [first_time(curve, target) for target in task.targets],
        "final": curve[-1]["val"] if curve else None,
    }


def first_time(curve, target):
    """Return the seconds at which the validation error is first at most a target, or None."""
    times = (line["s"] for line in curve if line["val"] is not None and line["val"] <= target)
    return min(times, default=None)


def run_contender(order):
    """Return the lines that a contender's process sends; its start is taken just before it."""
    peer = [PEERS_PYTHON, ROOT / "benchmarks" / "peers" / "contender.py"]
    ours = [sys.executable, "-m", "benchmarks.accuracy.contender"]
    # Without the compilation cache, so that all contenders compile.
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    order = {**order, "started": time.time()}
    done = subprocess.run(
        [*(ours if "config" in order else peer), json.dumps(order)],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        print(f"a contender ended with {done.returncode}; see above", file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def show(rows, task):
    targets = "".join(f"{t:<8}" for t in task.targets)
    print(f"{'':22} parameters  updates  {targets}final val")
    for row in rows:
        if "failed" in row or row["final"] is None:
            print(f"{row['row']:22} failed")
            continue
        text = "".join(f"{seconds_cell(seconds, row):8}" for seconds in row["reached_s"])
        print(
            f"{row['row']:22} {row['parameters']:<11} {row['updates']:<8} {text}{row['final']:.5f}"
        )


def seconds_cell(seconds, row):
    """Return seconds, starred where a hybrid's solver met the target before the first update."""
    if seconds is None:
        return "-"
    before_training = row["curve_step"][0] == 0 and seconds == row["curve_s"][0]
    return f"{seconds:.0f}" + ("*" if before_training else "")


def draw(rows, contenders, task):
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    ax = figure.subplots()
    for target in task.targets:
        ax.axhline(target, color="0.9", lw=1)
    by_name = {row["row"]: row for row in rows}
    for (name, contender), color in zip(contenders.items(), COLORS, strict=False):
        row, ours = by_name.get(name, {}), "config" in contender
        points = zip(row.get("curve_s", ()), row.get("curve_val", ()), strict=True)
        points = [(s, val) for s, val in points if val is not None]
        if points:
            style = "o-" if ours else ("s--" if contender.get("recipe") == "usual" else "s-")
            label = f"{name} ({'ups_jax' if ours else 'PyTorch'})"
            ax.loglog(*zip(*points, strict=True), style, color=color, ms=4, label=label)
    ax.set_xlabel("seconds from process start, without validation")
    ax.set_ylabel(task.label)
    ax.set_title("Lower left is better; grey lines: the targets", fontsize=10, loc="left")
    ax.legend(fontsize=8)
    return figure
