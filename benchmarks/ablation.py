"""What each choice of the recipe is worth: one row a choice, equal training seconds, three seeds.

`python benchmarks/ablation.py --seconds 40 --seeds 3`: the golden recipe at reduced size (width 32,
1,024 training trajectories), and rows that differ from it in one choice. Four chunks of every phase
are run first; from the median seconds of the last three follows a row's number of updates, so that
its training (compilation and validation apart) takes `--seconds` a seed and its schedule ends
there. Seeds run one after another, as a user's run does. Mean and deviation over seeds of P1 nRMSE
on 64 validation trajectories; the test split is not touched. `--only mse,fno` runs some rows and
merges them into the JSON; every row is written as soon as it is done. `--tiny` tries it out.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from statistics import mean, median, stdev
from typing import Any, NamedTuple
from unittest.mock import patch

import jax
import jax.numpy as jnp
from record import RESULTS, write

import ups_jax as ups
from ups_jax import config
from ups_jax.emulator import fit_statistics, init, num_params
from ups_jax.evaluate import validator
from ups_jax.experiment.datasets import split_key
from ups_jax.models import OPERATORS, operators
from ups_jax.optim import adamw
from ups_jax.stages import STAGES
from ups_jax.train import fit

CONFIG, TRAIN, VAL, CHUNK, TIMED = "configs/burgers.py", 1024, 64, 20, 4
RESNET = {"operator.name": "resnet", "operator.width": 32, "operator.patch": 2}
SOLVER = {"operator.base": "solver", "operator.coarsen": 2, "operator.substeps": 11}
FNO = {"operator.name": "fno", "operator.width": 32, "operator.modes": 16, "operator.layers": 4}
BASE = {"data.train": TRAIN, "data.val": VAL, "fit.operator.steps_per_call": CHUNK}
BASE |= {"operator.galilean": True}
TINY = {"pde.points": 64, "data.cells": (64,), "data.train": 32, "data.val": 4}


class Row(NamedTuple):
    """One choice: what it changes of the config, the simulator, the statistics or the head."""

    overrides: dict[str, Any] = {}
    operator: dict[str, Any] = RESNET
    direct: bool = False
    stats: Callable[[dict], dict] = lambda stats: stats
    head: float | None = None


def unroll(steps, shares):
    return {"fit.operator.unroll": steps, "fit.operator.phase_fractions": shares}


def unscaled(stats):
    """Increments in physical units."""
    return {**stats, "increment_std": jnp.ones_like(stats["increment_std"])}


ROWS = {
    "baseline": Row(),
    "mse": Row({"fit.operator.loss": "mse"}),
    "direct": Row(direct=True),
    "unscaled": Row(stats=unscaled),
    "full-head": Row(head=1.0),
    "fno": Row(operator=FNO),
    "hybrid": Row(operator={**RESNET, **SOLVER}),
    "unroll-1": Row(unroll((1,), (1.0,))),
    "unroll-1-2": Row(unroll((1, 2), (0.5, 0.5))),
    "no-ema": Row({"fit.operator.ema_decay": 0.0}),
    "no-augment": Row({"fit.operator.augment": False}),
    "no-galilean": Row({"operator.galilean": False}),
    "zero-mean": Row(operator={**RESNET, "operator.zero_mean": True}),
    "start_bias-1": Row({"fit.operator.start_bias": 1.0}),
    "patch-1": Row(operator={**RESNET, "operator.patch": 1}),
    "batch-32": Row({"fit.operator.batch": 32}),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=40.0, help="of training, a seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help=f"some of {','.join(ROWS)}")
    parser.add_argument("--tiny", action="store_true", help="small data; nothing is written")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(ROWS)
    if unknown := set(names) - set(ROWS):
        parser.error(f"unknown rows {sorted(unknown)}; known: {','.join(ROWS)}")
    path = RESULTS / "ablation.json"
    with tempfile.TemporaryDirectory() as folder:
        # Every seed has the programs of the first; JAX looks for a cache at its first compilation.
        jax.config.update("jax_compilation_cache_dir", folder)
        data = splits(args.tiny)
        print(f"{'':12} P1 nRMSE   sd       updates  ms an update  train s  parameters")
        for name in names:
            row = measure(ROWS[name], data, args)
            show(name, row)
            if not args.tiny:
                # Read again each time: another process may be at other rows.
                others = json.loads(path.read_text())["rows"] if path.exists() else {}
                write("ablation", {"rows": others | {name: row}})
    if not args.tiny:
        print(path)


def load(row, tiny, **more):
    """The row's config: the golden recipe at reduced size, and what the row changes."""
    # A new operator starts from its factory's defaults, so the golden blocks are named again.
    golden = config.load(CONFIG).operator
    same = {f"operator.{key}": golden[key] for key in ("blocks", "dilations")}
    own = row.operator if row.operator["operator.name"] == "fno" else {**same, **row.operator}
    changes = {**BASE, **own, **row.overrides, **more}
    return config.load(CONFIG, {**changes, **(TINY if tiny else {})})


def splits(tiny):
    """Training and validation trajectories, which all rows share."""
    cfg = load(ROWS["baseline"], tiny)
    pde, steps = ups.build(cfg).pde, cfg.data.steps
    return [
        ups.simulate(pde, split_key(cfg, name), n=cfg.data[name], steps=steps)
        for name in ("train", "val")
    ]


def simulator(row, cfg):
    """The row's simulator; a direct one adds to a field of zeros, which it also sees."""
    emulator = ups.build(cfg)
    if not row.direct:
        return emulator
    spec = {key: value for key, value in dict(cfg.operator).items() if key in ARGUMENTS}
    make = OPERATORS[cfg.operator.name]
    direct = make(ndim=1, channels=1, params=len(emulator.pde.params), inputs=2, **spec)
    return replace(emulator, operator=direct, base=lambda u, cond: jnp.zeros_like(u))


ARGUMENTS = ("width", "blocks", "dilations", "patch")


def measure(row, data, args):
    """Mean and deviation of validation P1 nRMSE after `args.seconds` of training."""
    cfg = load(row, args.tiny)
    emulator = simulator(row, cfg)
    stats = row.stats(fit_statistics(emulator, data[0]))
    shares, lengths = cfg.fit.operator.phase_fractions, cfg.fit.operator.unroll

    def run(seed=0, steps=TIMED * CHUNK, length=None):
        more = {"seed": seed, "fit.operator.steps": steps, "fit.operator.warmup": steps // 20}
        more |= {"fit.operator.val_every": steps} | (unroll((length,), (1.0,)) if length else {})
        check = None if length else validator(emulator, data[1], batch=cfg.eval.batch)
        return train(row, emulator, stats, data[0], load(row, args.tiny, **more), check)

    costs = [1 / median(run(length=length)[1][1:]) for length in lengths]
    an_update = sum(share * cost for share, cost in zip(shares, costs, strict=True))
    chunks = max(len(lengths), round(args.seconds / an_update / CHUNK))
    runs = [run(seed, chunks * CHUNK)[0] for seed in range(args.seeds)]
    values = [fitted.progress.best_value[0] for fitted in runs]
    return {
        "p1": mean(values),
        "sd": stdev(values) if len(values) > 1 else None,
        "each": values,
        "updates": chunks * CHUNK,
        "ms": an_update * 1e3,
        "train_s": mean(fitted.progress.train_s for fitted in runs),
        "parameters": num_params(runs[0].best["operator"]),
        "seconds": args.seconds,
        "seeds": args.seeds,
    }


def train(row, emulator, stats, data, cfg, validate):
    """`fit` as a run calls it -> what it made, and each chunk's updates a second."""
    spec, rates = cfg.fit.operator, []
    head = nullcontext() if row.head is None else patch.object(operators, "HEAD_SCALE", row.head)
    with head:
        params = init(emulator, jax.random.key(cfg.seed), stats)
    opt = {key: spec[key] for key in ("steps", "lr", "schedule", "warmup", "weight_decay", "clip")}
    fitted = fit(
        STAGES["operator"](emulator, loss=spec.loss, loss_floor=spec.loss_floor),
        params,
        data,
        jax.random.fold_in(jax.random.key(cfg.seed), 1),
        opt=adamw(**opt),
        phases=config.phases(spec, spec.steps),
        batch_size=spec.batch,
        steps_per_call=spec.steps_per_call,
        ema_decay=spec.ema_decay,
        start_bias=spec.start_bias,
        augment=emulator.pde.symmetries if spec.augment else (),
        validate=validate,
        on_log=lambda step, told: rates.append(told["steps_per_s"]),
    )
    return fitted, rates


def show(name, row):
    spread = f"{row['sd']:.4f}" if row["sd"] is not None else "-"
    print(
        f"{name:12} {row['p1']:<10.4f} {spread:8} {row['updates']:<8} {row['ms']:<13.1f} "
        f"{row['train_s']:<8.1f} {row['parameters']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
