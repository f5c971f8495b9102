"""Error against milliseconds of learned and hybrid emulators and of solver grids.

Evaluates finished runs and our solver at several grids on the same test split, and times them all
in turns, batched (16) and alone, compiled before. A solver of more cells starts from the finer
initial frame and is scored on the points of the runs; one of fewer cells is scored on its own
points. `break_even` is the number of rollouts after which training has paid off against the fastest
solver of no larger error.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

import ups_jax as ups
from benchmarks.accuracy.transfer import with_points
from benchmarks.clock import interleaved
from benchmarks.collect import read_summary
from ups_jax.experiment.datasets import split_key
from ups_jax.forecast import nudged_analysis
from ups_jax.metrics import nrmse

GRIDS = (64, 128, 256, 512, 1024)
BATCH, ROUNDS, CONTEXT_FRAMES = 16, 7, 10


class Contender(NamedTuple):
    """A forecast program, its grid, the points it is scored on, and its analysis of context."""

    run: Any
    cells: int
    scored: int
    analysis: Any = lambda frames, cond: frames[:, -1]


def add_flags(parser):
    parser.add_argument("workdirs", nargs="*", type=Path, default=[Path("runs/burgers")])


def run(options):
    models = {path.name: ups.load(path) for path in options.workdirs}
    emulator, params, cfg = next(iter(models.values()))
    steps, points = cfg.data.steps, emulator.pde.points[0]
    grids = [cells for cells in GRIDS if emulator.pde.cells[0] % cells == 0]
    finest = with_points(emulator.pde, max(grids))
    samples = BATCH if options.quick else cfg.data.test
    test = ups.simulate(finest, split_key(cfg, "test"), n=samples, steps=steps)
    rows, contenders = [], {}
    for cells in grids:
        grid = ups.Emulator(with_points(emulator.pde, cells), emulator.operator)
        name, program = (
            f"solver, {cells} cells",
            partial(ups.forecast, grid, params, forecaster="solver"),
        )
        contenders[name] = Contender(program, cells, min(cells, points))
        rows.append({"row": name})
    for path in options.workdirs:
        model, weights, model_cfg = models[path.name]
        gain = model_cfg.eval.nudging_gain
        analysis = jax.jit(partial(nudged_analysis, model, weights, gain=gain))
        program = partial(ups.forecast, model, weights, forecaster="operator")
        contenders[path.name] = Contender(program, points, points, analysis)
        summary = read_summary(path)
        rows.append({
            "row": path.name, "parameters": ups.num_params(weights["operator"]),
            "train_s": summary["wall/train_s"] / model_cfg.num_seeds,
            "hybrid": model.base is not None,
        })  # fmt: skip
    for row in rows:
        row |= errors(contenders[row["row"]], test)
    for batch, label in ((BATCH, "ms"), (1, "ms_alone")):
        rounds = 1 if options.quick else ROUNDS
        for row, ms in zip(rows, milliseconds(contenders, test, batch, rounds), strict=True):
            row[label] = ms
    for row in rows:
        row["break_even"] = break_even(row, rows)
    show(rows)
    if options.out:
        draw(rows).savefig(options.out.with_suffix(".png"), dpi=120)
    return {"rows": rows, "samples": len(test), "batch": BATCH, "steps": steps}


def errors(contender, test):
    """Return the nRMSE on the scored points, from the initial frame and after ten frames."""
    row, u = {}, np.asarray(test.u)
    truth = u[:, :, :: u.shape[2] // contender.scored]
    for label, start in (("p1", 0), ("p10", CONTEXT_FRAMES - 1)):
        values = []
        for i in range(0, len(u), BATCH):
            cond = np.asarray(test.cond[i : i + BATCH])
            frames = u[i : i + BATCH, : start + 1, :: u.shape[2] // contender.cells]
            u0, steps = contender.analysis(frames, cond), u.shape[1] - 1 - start
            path = contender.run(u0, cond, jax.random.key(0), steps=steps).u
            path = path[:, :, :: contender.cells // contender.scored]
            values.append(np.asarray(nrmse(path, truth[i : i + BATCH, start + 1 :], 1)))
        row[label] = float(np.mean(np.concatenate(values)))
    return row


def milliseconds(contenders, test, batch, rounds):
    """Return the median milliseconds a trajectory of each contender, in turns."""
    cond, steps = jax.numpy.asarray(test.cond[:batch]), test.u.shape[1] - 1

    def program(contender):
        stride = test.u.shape[2] // contender.cells
        u0 = jax.numpy.asarray(test.u[:batch, 0, ::stride])
        key = jax.random.key(0)
        return lambda: jax.block_until_ready(contender.run(u0, cond, key, steps=steps).u)

    seconds = interleaved({name: program(c) for name, c in contenders.items()}, rounds)
    return [1e3 * value / batch for value in seconds.values()]


def break_even(row, rows):
    """Return the rollouts that pay off training against the fastest solver of no larger error."""
    solvers = [r for r in rows if "train_s" not in r and r["p1"] <= row["p1"]]
    if "train_s" not in row or not solvers:
        return None
    saved = min(r["ms"] for r in solvers) - row["ms"]
    return row["train_s"] * 1e3 / saved if saved > 0 else None


def show(rows):
    print(f"{'':24} P1 nRMSE  P10 nRMSE  ms batched  ms alone  train s  break-even (rollouts)")
    for row in rows:
        train = f"{row['train_s']:.0f}" if "train_s" in row else "-"
        even = f"{row['break_even']:.3g}" if row["break_even"] else "-"
        print(
            f"{row['row']:24} {row['p1']:<9.5f} {row['p10']:<10.5f} {row['ms']:<11.2f} "
            f"{row['ms_alone']:<9.2f} {train:8} {even}"
        )


def draw(rows):
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
            row["row"], (row["ms"], row["p1"]), xytext=(6, 4), textcoords="offset points",
            fontsize=8, color="#0072B2" if learned else "#A04000",
        )  # fmt: skip
    ax.set_xlabel("milliseconds a trajectory of 40 steps, batch 16")
    ax.set_ylabel("test nRMSE from the initial condition (P1)")
    ax.set_title("Lower left is better; dashed: our solver's grids", fontsize=10, loc="left")
    ax.margins(x=0.25)
    ax.grid(True, which="major", color="0.9")
    return figure
