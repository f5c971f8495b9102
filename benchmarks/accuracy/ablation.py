"""Validation error of each choice in the golden recipe, at equal training seconds.

The golden recipe at reduced size (width 32, 1,024 training trajectories), and rows that differ from
it in one choice. Four calls of every phase are timed first; from the median seconds of the last
three follows a row's number of updates, so that its training (without compilation and validation)
takes `--seconds` a seed and its schedule ends there: a slower choice has fewer updates. Seeds run
one after another. A row is the mean and deviation over seeds of P1 nRMSE on 64 validation
trajectories; the test split is not used. `--only mse,fno` runs some rows and merges them into the
results; every row is written as soon as it is done.
"""

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from statistics import mean, median, stdev
from typing import Any, NamedTuple
from unittest.mock import patch

import jax
import jax.numpy as jnp

import ups_jax as ups
from benchmarks.record import choose_rows, merge_rows, write
from benchmarks.training import GOLDEN, train_timed
from ups_jax.emulator import fit_statistics
from ups_jax.experiment.datasets import split_key
from ups_jax.experiment.schedule import recipe_of
from ups_jax.models import OPERATORS, resnet
from ups_jax.train import Validation, train_stage

STEPS_PER_CALL, TIMED_CALLS = 20, 4
RESNET = {"operator.name": "resnet", "operator.width": 32, "operator.patch": 2}
SOLVER = {"operator.base": "solver", "operator.coarsen": 2, "operator.substeps": 11}
FNO = {"operator.name": "fno", "operator.width": 32, "operator.modes": 16, "operator.layers": 4}
BASE = {
    "data.train": 1024, "data.val": 64, "fit.operator.steps_per_call": STEPS_PER_CALL,
    "operator.galilean": True,
}  # fmt: skip
QUICK = {"pde.points": 64, "data.cells": (64,), "data.train": 32, "data.val": 4}
NETWORK_ARGUMENTS = ("width", "blocks", "dilations", "patch")


class Row(NamedTuple):
    """One choice: changes of the config, the operator, the statistics or the head's scale."""

    overrides: dict[str, Any] = {}
    operator: dict[str, Any] = RESNET
    direct: bool = False
    stats: Callable[[dict], dict] = lambda stats: stats
    head: float | None = None


def unroll(steps, fractions):
    return {"fit.operator.unroll": steps, "fit.operator.phase_fractions": fractions}


def unscaled(stats):
    """Return statistics with increments in physical units."""
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


def add_flags(parser):
    parser.add_argument("--seconds", type=float, default=40.0, help="of training a seed; 40")
    parser.add_argument("--seeds", type=int, default=3, help="networks of each row; 3")
    parser.add_argument("--only", help=f"some of {','.join(ROWS)}")


def run(options):
    names = choose_rows(options.only, list(ROWS))
    if options.quick:
        names, options.seconds, options.seeds = names[:2], 1.0, 1
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        # All seeds use the programs of the first; JAX looks for a cache at its first compilation.
        jax.config.update("jax_compilation_cache_dir", folder)
        train, val = splits(quick=options.quick)
        print(f"{'':12} P1 nRMSE   sd       updates  ms an update  train s  parameters")
        for name in names:
            rows.append({"row": name, **measure(ROWS[name], train, val, options)})
            show(rows[-1])
            if options.out:
                write(options.out, {"rows": merge_rows(options.out, rows[-1:])})
    return {"rows": merge_rows(options.out, rows)}


def load(row, *, quick):
    """Return the row's config: the golden recipe at reduced size, with the row's changes."""
    # A replaced operator starts from its factory's defaults, so the golden blocks are set again.
    golden = ups.load_config(GOLDEN).operator
    blocks = {f"operator.{key}": golden[key] for key in ("blocks", "dilations")}
    is_fno = row.operator["operator.name"] == "fno"
    operator = row.operator if is_fno else {**blocks, **row.operator}
    changes = {**BASE, **operator, **row.overrides}
    return ups.load_config(GOLDEN, {**changes, **(QUICK if quick else {})})


def splits(*, quick):
    """Return the training and validation trajectories of all rows."""
    cfg = load(ROWS["baseline"], quick=quick)
    pde, steps = ups.build(cfg).pde, cfg.data.steps
    return [
        ups.simulate(pde, split_key(cfg, name), n=cfg.data[name], steps=steps)
        for name in ("train", "val")
    ]


def build(row, cfg):
    """Return the row's emulator; a direct one adds to a field of zeros, which it also sees."""
    emulator = ups.build(cfg)
    if not row.direct:
        return emulator
    spec = {key: value for key, value in dict(cfg.operator).items() if key in NETWORK_ARGUMENTS}
    make = OPERATORS[cfg.operator.name]
    direct = make(ndim=1, channels=1, params=len(emulator.pde.params), inputs=2, **spec)
    return replace(emulator, operator=direct, base=lambda u, cond: jnp.zeros_like(u))


def measure(row, train, val, options):
    """Return mean and deviation of validation P1 nRMSE after `options.seconds` of training."""
    cfg = load(row, quick=options.quick)
    emulator = build(row, cfg)
    recipe = recipe_of(emulator, cfg, "operator")
    stats = row.stats(fit_statistics(emulator, train))
    head = nullcontext() if row.head is None else patch.object(resnet, "HEAD_SCALE", row.head)

    def init(seed):
        with head:
            return ups.init(emulator, jax.random.key(seed), stats)

    costs = []
    for length in recipe.unroll:
        timed = shortened(recipe, TIMED_CALLS, unroll=(length,), phase_fractions=(1.0,))
        rates = train_timed(emulator, init(0), train, jax.random.key(0), timed)[1]
        costs.append(1 / median(rates[1:]))
    fractions = cfg.fit.operator.phase_fractions
    update_s = sum(share * cost for share, cost in zip(fractions, costs, strict=True))
    calls = max(len(costs), round(options.seconds / update_s / STEPS_PER_CALL))
    validation = Validation(batch=cfg.eval.batch)
    results = [
        train_stage(
            "operator", emulator, init(seed), train, val, shortened(recipe, calls),
            jax.random.key(seed), validation=validation,
        )
        for seed in range(options.seeds)
    ]  # fmt: skip
    values = [result.progress.best_value[0] for result in results]
    return {
        "p1": mean(values),
        "sd": stdev(values) if len(values) > 1 else None,
        "values": values,
        "updates": calls * STEPS_PER_CALL,
        "ms": update_s * 1e3,
        "train_s": mean(result.progress.train_s for result in results),
        "parameters": ups.num_params(results[0].best["operator"]),
        "seconds": options.seconds,
        "seeds": options.seeds,
    }


def shortened(recipe, calls, **changes):
    """Return a recipe of so many calls, validated at its end."""
    steps = calls * STEPS_PER_CALL
    return replace(recipe, steps=steps, warmup=steps // 20, val_every=steps, **changes)


def show(row):
    spread = f"{row['sd']:.4f}" if row["sd"] is not None else "-"
    print(
        f"{row['row']:12} {row['p1']:<10.4f} {spread:8} {row['updates']:<8} {row['ms']:<13.1f} "
        f"{row['train_s']:<8.1f} {row['parameters']}",
        flush=True,
    )
