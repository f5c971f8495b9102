"""Break-even: error against milliseconds, learned and hybrid emulators beside solver grids.

`python benchmarks/rollout.py runs/burgers runs/burgers-hybrid` judges finished runs and our solver
at several grids on one and the same test split, and times all of them in turn, batched (16) and
alone, compiled before. A solver of more cells starts from the finer initial frame and is scored on
the points of the runs; one of fewer cells is scored on its own points. Prints a table, writes JSON
and a figure.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import jax
import numpy as np
from matplotlib.figure import Figure
from record import RESULTS, write

import ups_jax as ups
from ups_jax.emulator import Emulator, num_params
from ups_jax.experiment.datasets import split_key
from ups_jax.forecast import nudged_analysis
from ups_jax.metrics import nrmse
from ups_jax.pde import PDES

GRIDS = (64, 128, 256, 512, 1024)
BATCH, ROUNDS, CONTEXT = 16, 7, 10


def main():
    workdirs = [Path(word) for word in sys.argv[1:]] or [Path("runs/burgers")]
    models = {path.name: ups.load(path) for path in workdirs}
    emulator, params, cfg = next(iter(models.values()))
    steps, points = cfg.data.steps, emulator.pde.points[0]
    finest = _on(emulator.pde, max(GRIDS))
    test = ups.simulate(finest, split_key(cfg, "test"), n=cfg.data.test, steps=steps)
    found = []
    for cells in GRIDS:
        coarse = Emulator(_on(emulator.pde, cells), emulator.operator)
        run = partial(ups.forecast, coarse, params, mode="solver")
        found.append(_judge(f"solver, {cells} cells", run, test, cells, min(cells, points)))
    for path in workdirs:
        own, weights, own_cfg = models[path.name]
        run = partial(ups.forecast, own, weights, mode="operator")
        through = jax.jit(partial(nudged_analysis, own, weights, gain=own_cfg.eval.nudging_gain))
        row = _judge(path.name, run, test, points, points, through)
        summary = json.loads((path / "summary.json").read_text())
        row |= {
            "parameters": num_params(weights["operator"]),
            "train_s": summary["wall/train_s"] / own_cfg.seeds,
            "hybrid": own.base is not None,
        }
        found.append(row)
    _time(found, test, steps)
    for row in found:
        row["break_even"] = _break_even(row, found)
        del row["run"], row["cells"]
    _show(found)
    path = write("rollout", {"rows": found, "samples": len(test), "batch": BATCH, "steps": steps})
    _draw(found).savefig(RESULTS / "rollout.png", dpi=120)
    print(path)


def _on(pde, points):
    """The same PDE with another number of saved points: what its solver runs on in a forecast."""
    return PDES[pde.name](**{**pde.spec, "points": points})


def _judge(name, run, test, cells, scored, through=lambda frames, cond: frames[:, -1]):
    """nRMSE of a contender on `scored` points, from the initial frame and after ten of them."""
    row = {"name": name, "run": run, "cells": cells}
    u = np.asarray(test.u)
    truth = u[:, :, :: u.shape[2] // scored]
    for label, start in (("p1", 0), ("p10", CONTEXT - 1)):
        errors = []
        for i in range(0, len(u), BATCH):
            cond = np.asarray(test.cond[i : i + BATCH])
            given = through(u[i : i + BATCH, : start + 1, :: u.shape[2] // cells], cond)
            steps = u.shape[1] - 1 - start
            path = run(given, cond, jax.random.key(0), steps=steps).u[:, :, :: cells // scored]
            errors.append(np.asarray(nrmse(path, truth[i : i + BATCH, start + 1 :], 1)))
        row[label] = float(np.mean(np.concatenate(errors)))
    return row


def _time(rows, test, steps):
    """Median milliseconds a trajectory of every contender, in turn, batched and alone."""
    for size, label in ((BATCH, "ms"), (1, "ms_alone")):
        times = {row["name"]: [] for row in rows}
        for turn in range(ROUNDS + 1):
            for row in rows:
                given = jax.numpy.asarray(test.u[:size, 0, :: test.u.shape[2] // row["cells"]])
                cond = jax.numpy.asarray(test.cond[:size])
                began = time.perf_counter()
                out = row["run"](given, cond, jax.random.key(0), steps=steps)
                jax.block_until_ready(out.u)
                if turn:  # the first compiles
                    times[row["name"]].append((time.perf_counter() - began) * 1e3 / size)
        for row in rows:
            row[label] = median(times[row["name"]])


def _break_even(row, rows):
    """Rollouts after which training has paid off against the fastest solver of no larger error."""
    rivals = [r for r in rows if "train_s" not in r and r["p1"] <= row["p1"]]
    if "train_s" not in row or not rivals:
        return None
    saved = min(r["ms"] for r in rivals) - row["ms"]
    return row["train_s"] * 1e3 / saved if saved > 0 else None


def _show(rows):
    print(f"{'':24} P1 nRMSE  P10 nRMSE  ms batched  ms alone  train s  break-even (rollouts)")
    for row in rows:
        train = f"{row['train_s']:.0f}" if "train_s" in row else "-"
        even = f"{row['break_even']:.3g}" if row["break_even"] else "-"
        print(
            f"{row['name']:24} {row['p1']:<9.5f} {row['p10']:<10.5f} {row['ms']:<11.2f} "
            f"{row['ms_alone']:<9.2f} {train:8} {even}"
        )


def _draw(rows):
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    # The grid that made the data has no error, and no place on a logarithmic axis.
    rows = [row for row in rows if row["p1"] > 0]
    grids = [row for row in rows if "train_s" not in row]
    ax.loglog([r["ms"] for r in grids], [r["p1"] for r in grids], "s--", color="#D55E00")
    for row in rows:
        learned = "train_s" in row
        if learned:
            ax.loglog(row["ms"], row["p1"], "h" if row["hybrid"] else "o", color="#0072B2", ms=9)
        ax.annotate(
            row["name"], (row["ms"], row["p1"]), xytext=(6, 4), textcoords="offset points",
            fontsize=8, color="#0072B2" if learned else "#A04000",
        )  # fmt: skip
    ax.set_xlabel("milliseconds a trajectory of 40 steps, batch 16")
    ax.set_ylabel("test nRMSE from the initial condition (P1)")
    ax.set_title("Lower left is better; dashed: our solver's grids", fontsize=10, loc="left")
    ax.margins(x=0.25)
    ax.grid(True, which="major", color="0.9")
    return figure


if __name__ == "__main__":
    main()
