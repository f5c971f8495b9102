"""A network of several viscosities, judged at each of them.

`python benchmarks/viscosities.py runs/burgers-joint`: the run's own test split, taken apart
by Nu: P1 and P10 nRMSE of the network and, beside it, of our solver on the grid of the data, of the
mean and of persistence. Prints a table and writes JSON.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from record import write

import ups_jax as ups
from ups_jax.experiment.datasets import load_splits
from ups_jax.metrics import METRICS

MODES = ("operator", "solver", "mean", "persistence")


def main():
    workdir = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/burgers-joint")
    emulator, params, cfg = ups.load(workdir)
    test = load_splits(cfg, emulator.pde).test
    rows = []
    for nu in np.unique(test.cond):
        part = test.take(np.flatnonzero(test.cond[:, 0] == nu))
        report = ups.evaluate(
            emulator,
            params,
            part,
            jax.random.key(0),
            modes=MODES,
            metrics={"nrmse": METRICS["nrmse"]},
            context=cfg.eval.context_frames,
            nudging=cfg.eval.nudging_gain,
            batch=cfg.eval.batch,
        )
        errors = {
            protocol: {mode: report.scalars[f"eval/{mode}/{infix}nrmse"] for mode in MODES}
            for protocol, infix in (("p1", ""), ("p10", "p10/"))
        }
        rows.append({"nu": float(f"{nu:.3g}"), "samples": len(part), **errors})
        show(rows[-1])
    average = {
        protocol: float(np.mean([row[protocol]["operator"] for row in rows]))
        for protocol in ("p1", "p10")
    }
    print(f"average over Nu: P1 {average['p1']:.5f}, P10 {average['p10']:.5f}")
    summary = json.loads((workdir / "summary.json").read_text())
    found = {"rows": rows, "average": average, "train_s": summary["wall/train_s"]}
    print(write("viscosities", found | {"parameters": summary["params/operator"]}))


def show(row):
    for protocol in ("p1", "p10"):
        cells = "  ".join(f"{mode} {row[protocol][mode]:<9.3g}" for mode in MODES)
        print(f"Nu {row['nu']:<6g} {row['samples']:4} samples  {protocol:3}  {cells}", flush=True)


if __name__ == "__main__":
    main()
