"""Seconds from process start to a target validation error: our operators and PyTorch's networks.

`python benchmarks/time_to_target.py` needs the peers' environment (`make .venv-peers/.ready`). The
task is Burgers at Nu = .001 on 256 points; the error is nRMSE over 40 steps from the initial frame
(P1), mean of 64 validation trajectories.

`--task apebench` is APEBench's `1d_diff_burgers`, GMean100 on 30 validation trajectories, ours
alone: APEBench's own training, which takes 10,000 updates whatever they cost, is timed by
`peers/apebench_families.py`. `--task full` is P10 on 1,024 points with 10,000 trajectories, ours
alone: for one GPU.

Every contender trains in a fresh process, on the same arrays, for `--seconds`. The clock starts
just before its process does: imports, reading the data, statistics and compilation count. It stands
still during validation, for everyone, since that is the measuring instrument; making the data is
apart. The number of updates is fixed beforehand by a probe in another process, so that each
learning-rate schedule ends at the budget.

`--only NAME,...` runs some and keeps the other rows of the JSON. Prints a table, writes JSON with
all curves, and a figure.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from record import RESULTS, write

import ups_jax as ups
from ups_jax.data import save_npz
from ups_jax.experiment.datasets import eval_steps, split_key

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
VALIDATIONS = 16


class Task(NamedTuple):
    """What is learnt, how it is judged, and the errors whose seconds are told."""

    config: str
    metric: str
    targets: tuple[float, ...]
    label: str
    start: int = 0
    """The given frame, from which a forecast goes on."""


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
        "configs/apebench_burgers.py",
        "nrmse_gmean100",
        (0.013, 0.005, 0.002, 0.001),
        "validation GMean100",
    ),
    # PDEBench's official FNO, the best published, and what a GPU is to reach in ten minutes.
    "full": Task(
        "configs/burgers.py:full",
        "nrmse",
        (0.1, 0.036, 0.0108, 0.008),
        "validation nRMSE after ten frames (P10), 1,024 points",
        start=9,
    ),
}


def _fno(**size):
    words = {"operator.name": "fno", **{f"operator.{key}": n for key, n in size.items()}}
    return dict(config="configs/burgers.py", overrides=words)


def _peer(network, recipe, **size):
    return dict(network=network, size=size, recipe=recipe)


FNO = dict(width=32, modes=16, layers=4)
BURGERS = {
    "resnet": dict(config="configs/burgers.py", overrides={}),
    "hybrid": dict(config="configs/burgers.py:hybrid", overrides={}),
    "fno": _fno(**FNO),
    "fno-official": _fno(width=20, modes=12, layers=4),
    "neuraloperator": _peer("neuraloperator", "usual", **FNO),
    # Shifts, which our recipe draws, leave an embedded grid without meaning.
    "neuraloperator:ours": _peer("neuraloperator", "ours", positional_embedding=None, **FNO),
    "torch-unet": _peer("unet", "usual", features=32),
    "torch-unet:ours": _peer("unet", "ours", features=32),
}
"""Ours by their config; peers by network, recipe and size."""
ONE_PHASE = {"fit.operator.unroll": (1,), "fit.operator.phase_fractions": (1.0,)}
TWO_PHASES = {"fit.operator.unroll": (1, 2), "fit.operator.phase_fractions": (0.7, 0.3)}
APEBENCH = dict(config="configs/apebench_burgers.py")
CONTENDERS = {
    "burgers": BURGERS,
    # A phase more is a compilation more, which short budgets feel.
    "apebench": {
        "resnet": dict(**APEBENCH, overrides={}),
        "resnet:unroll-1-2": dict(**APEBENCH, overrides=TWO_PHASES),
        "resnet:unroll-1": dict(**APEBENCH, overrides=ONE_PHASE),
    },
    "full": {
        "resnet": dict(config="configs/burgers.py:full", overrides={}),
        "resnet:bfloat16": dict(
            config="configs/burgers.py:full", overrides={"operator.matmul": "bfloat16"}
        ),
    },
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=150, help="budget of each contender")
    parser.add_argument("--task", choices=TASKS, default="burgers")
    parser.add_argument("--only", help="contenders, comma separated")
    parser.add_argument("--train", type=int, help="training trajectories, else the config's")
    parser.add_argument("--val", type=int, default=64, help="validation trajectories, at most")
    args = parser.parse_args()
    task, contenders = TASKS[args.task], CONTENDERS[args.task]
    names = args.only.split(",") if args.only else list(contenders)
    if unknown := set(names) - set(contenders):
        sys.exit(f"unknown contenders {sorted(unknown)}; known: {', '.join(contenders)}")
    record = "time_to_target" + ("" if args.task == "burgers" else f"_{args.task}")
    path = RESULTS / f"{record}.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        data, sizes = make_data(Path(folder), args, task)
        for name in names:
            print(f"{name}: probing, then {args.seconds:.0f} s", file=sys.stderr, flush=True)
            rows[name] = contend(contenders[name], task, data, args.seconds) | sizes
            ordered = {name: rows[name] for name in contenders if name in rows}
            write(record, {"rows": ordered, "targets": task.targets})
            draw(ordered, contenders, task).savefig(RESULTS / f"{record}.png", dpi=120)
    show(ordered, task)
    print(path)


def make_data(folder, args, task):
    """The run's own splits as npz files, made once for all contenders, and their sizes."""
    cfg = ups.load_config(task.config)
    sizes = {"train": args.train or cfg.data.train, "val": min(args.val, cfg.data.val)}
    pde, paths = ups.build(cfg).pde, []
    for name, n in sizes.items():
        paths.append(str(folder / f"{name}.npz"))
        steps = cfg.data.steps if name == "train" else eval_steps(cfg)
        save_npz(paths[-1], ups.simulate(pde, split_key(cfg, name), n=n, steps=steps))
    return paths, sizes


def contend(contender, task, data, seconds):
    """Probe and train one contender -> its parameters, updates, curve and seconds to targets."""
    order = {
        **contender,
        "metric": task.metric,
        "start": task.start,
        "data": data,
        "seconds": seconds,
        "validations": VALIDATIONS,
    }
    probed = _child(order)
    if not probed or "steps" not in probed[0]:
        return {"failed": "probe", "seconds": seconds}
    told = _child({**order, "steps": probed[0]["steps"]})
    curve = [line for line in told if "val" in line]
    reached = {
        str(target): min(
            (line["s"] for line in curve if line["val"] is not None and line["val"] <= target),
            default=None,
        )
        for target in task.targets
    }
    first = told[0] if told else {}
    return {
        "seconds": seconds,
        "parameters": first.get("parameters"),
        "updates": first.get("steps"),
        "curve": curve,
        "reached": reached,
        "final": curve[-1]["val"] if curve else None,
    }


def _child(order):
    """The lines a contender's process tells; its start is taken just before it."""
    ours = "config" in order
    script = ROOT / "benchmarks" / ("contender.py" if ours else "peers/contender.py")
    # Nobody finds programs that an earlier process compiled.
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    order = {**order, "started": time.time()}
    done = subprocess.run(
        [sys.executable if ours else PEERS, script, json.dumps(order)],
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
    for name, row in rows.items():
        if "failed" in row or row["final"] is None:
            print(f"{name:22} failed")
            continue
        cells = (row["reached"][str(target)] for target in task.targets)
        text = "".join(f"{_cell(cell, row['curve']):8}" for cell in cells)
        print(f"{name:22} {row['parameters']:<11} {row['updates']:<8} {text}{row['final']:.5f}")


def _cell(seconds, curve):
    """Seconds; an asterisk where the target was met before the first update (a hybrid's solver)."""
    if seconds is None:
        return "-"
    return f"{seconds:.0f}" + ("*" if curve[0]["step"] == 0 and seconds == curve[0]["s"] else "")


def draw(rows, contenders, task):
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    ax = figure.subplots()
    for target in task.targets:
        ax.axhline(target, color="0.9", lw=1)
    colors = (
        "#0072B2",
        "#009E73",
        "#56B4E9",
        "#000000",
        "#D55E00",
        "#D55E00",
        "#CC79A7",
        "#CC79A7",
    )
    for (name, contender), color in zip(contenders.items(), colors, strict=False):
        curve = [line for line in rows.get(name, {}).get("curve", []) if line["val"] is not None]
        ours = "config" in contender
        dashed = contender.get("recipe") == "usual"
        if curve:
            times, errors = zip(*((line["s"], line["val"]) for line in curve), strict=True)
            style = "o-" if ours else ("s--" if dashed else "s-")
            label = f"{name} ({'ups_jax' if ours else 'PyTorch'})"
            ax.loglog(times, errors, style, color=color, ms=4, label=label)
    ax.set_xlabel("seconds from process start, validation apart")
    ax.set_ylabel(task.label)
    ax.set_title("Lower left is better; grey lines: the targets", fontsize=10, loc="left")
    ax.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
