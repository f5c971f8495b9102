"""Error of one network of several viscosities at each of them.

The test split of `configs/burgers.py:joint`, separated by Nu: P1 and P10 nRMSE of the network, of
the solver on the grid of the data, of the mean and of persistence.
"""

from pathlib import Path

import jax
import numpy as np

import ups_jax as ups
from benchmarks.collect import read_summary
from ups_jax.experiment.datasets import load_splits

FORECASTERS = ("operator", "solver", "mean", "persistence")
PROTOCOLS = {"P1": "", "P10": "p10/"}


def add_flags(parser):
    parser.add_argument("workdir", nargs="?", type=Path, default=Path("runs/burgers-joint"))


def run(options):
    emulator, params, cfg = ups.load(options.workdir)
    test = load_splits(cfg, emulator.pde).test
    test = test.take(slice(40)) if options.quick else test
    rows = []
    for nu in np.unique(np.asarray(test.cond)):
        part = test.take(np.flatnonzero(test.cond[:, 0] == nu))
        scalars = ups.evaluate(
            emulator,
            params,
            part,
            jax.random.key(0),
            forecasters=FORECASTERS,
            metrics={"nrmse": ups.METRICS["nrmse"]},
            context_frames=cfg.eval.context_frames,
            nudging_gain=cfg.eval.nudging_gain,
            batch=cfg.eval.batch,
        ).scalars
        for protocol, infix in PROTOCOLS.items():
            errors = {name: scalars[f"eval/{name}/{infix}nrmse"] for name in FORECASTERS}
            rows.append(
                {"nu": float(f"{nu:.3g}"), "protocol": protocol, "samples": len(part), **errors}
            )
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    average = {
        name: float(np.mean([row["operator"] for row in rows if row["protocol"] == name]))
        for name in PROTOCOLS
    }
    print(f"average over Nu: P1 {average['P1']:.5f}, P10 {average['P10']:.5f}")
    summary = read_summary(options.workdir)
    return {
        "rows": rows, "average": average, "train_s": summary["wall/train_s"],
        "parameters": summary["params/operator"],
    }  # fmt: skip
