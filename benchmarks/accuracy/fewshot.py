"""Error on equations that a joint network never saw, after 0 to 50 trajectories of them.

`finetuned` starts from the network of a finished run of `configs/universal.py`, `scratch` from
random parameters; both have the network, the updates, the batches and the ten validation
trajectories in common, and a learning rate each. GMean100 is that of APEBench on 30 test
trajectories. Each training is one part: parts in the results file are kept.
"""

import json
import time
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import ups_jax as ups
from benchmarks.accuracy.apebench import METRIC
from benchmarks.record import write

EQUATIONS = {
    "burgers_disp": dict(convection=-1.5, gamma2=1.5, gamma3=4.0),
    "ks_disp": dict(convection=-1.0, gamma2=-2.0, gamma3=4.0, gamma4=-18.0, warmup=500),
}
"""Burgers with dispersion, and the equation of Kawahara (1983): in no training set."""
COUNTS = (0, 1, 4, 16, 50)
LEARNING_RATES = {"finetuned": 1e-3, "scratch": 4e-3}
DIVERGED = "diverged"
UPDATES, VAL, TEST, STEPS, EVAL_STEPS = 2000, 10, 30, 50, 100


def add_flags(parser):
    parser.add_argument("workdir", nargs="?", type=Path, default=Path("runs/universal"))
    parser.add_argument("--seed", type=int, default=0, help="of initialisation and batches; 0")


def run(options):
    source = ups.load(options.workdir)
    parts = {}
    if options.out and options.out.exists():
        saved = json.loads(options.out.read_text())
        parts = saved["parts"] if saved["run"] == options.workdir.name else {}
    quick = options.quick
    for equation in EQUATIONS:
        splits = None
        for count in COUNTS[:2] if quick else COUNTS:
            for row in LEARNING_RATES if count else ("finetuned",):
                label = f"{equation} {count} {row} {options.seed}"
                if label not in parts:
                    splits = splits or make_splits(source, equation, quick=quick)
                    parts[label] = train(source, splits, count, row, options)
                    if options.out:
                        write(options.out, result(parts, options))
                print(f"{label:40} {parts[label]['gmean100'] or DIVERGED}", flush=True)
    if options.out:
        draw(rows_of(parts)).savefig(options.out.with_suffix(".png"), dpi=120)
    return result(parts, options)


def result(parts, options):
    """Return rows and parts for the results file."""
    return {"rows": rows_of(parts), "parts": parts, "run": options.workdir.name}


def make_splits(source, equation, *, quick=False):
    """Return the emulator of an equation and its splits."""
    trained, _, cfg = source
    points = trained.pde.points[0]
    pde = ups.PDES["semilinear"](**EQUATIONS[equation], points=points, cells=points)
    spec = {key: value for key, value in cfg.operator.items() if key != "name"}
    emulator = ups.Emulator(pde, ups.OPERATORS[cfg.operator.name], **spec)
    sizes = dict(train=max(COUNTS), val=VAL, test=TEST, steps=STEPS, eval_steps=EVAL_STEPS)
    if quick:
        sizes = dict(train=4, val=2, test=2, steps=6, eval_steps=8)
    return emulator, ups.simulate_splits(pde, **sizes)


def train(source, splits, count, row, options):
    """Train on the first trajectories of an equation, and return the error on its test split."""
    emulator, (data, val, test) = splits
    _, given, cfg = source
    updates, phases = UPDATES, dict(unroll=(1, 2), phase_fractions=(0.7, 0.3))
    if options.quick:
        updates, phases = 4, dict(unroll=(1,))
    recipe = ups.Recipe(
        steps=updates,
        batch=8,
        lr=LEARNING_RATES[row],
        warmup=updates // 10,
        steps_per_call=updates // 40 or 1,
        val_every=updates // 4 or 1,
        ema_decay=0.997,
        optimizer=cfg.fit.operator.optimizer,
        input_noise=cfg.fit.operator.input_noise,
        **phases,
    )
    key, began = jax.random.key(options.seed), time.perf_counter()
    some = data.take(slice(count or 1))
    try:
        if not count:
            params = given
        elif row == "finetuned":
            _, params = ups.finetune(source[:2], some, val, recipe, emulator=emulator, key=key)
        else:
            params = ups.train(emulator, some, val, recipe, key=key)
    except FloatingPointError as error:
        # No parameters had a finite forecast on validation.
        print(error, flush=True)
        return {"gmean100": None, "train_s": time.perf_counter() - began}
    seconds = time.perf_counter() - began
    scalars = ups.evaluate(
        emulator,
        params,
        test,
        forecasters=("operator",),
        metrics={METRIC: ups.METRICS[METRIC]},
        context_frames=test.u.shape[1],
        batch=len(test),
        num_figures=0,
    ).scalars
    error = float(scalars[f"eval/operator/{METRIC}"])
    return {"gmean100": error if np.isfinite(error) else None, "train_s": seconds}


def rows_of(parts):
    """Return one row for each equation, number of trajectories and start: medians over seeds.

    A forecast that is not finite has no error.
    """
    groups: dict[tuple[str, ...], list[dict]] = {}
    for label, part in parts.items():
        groups.setdefault(tuple(label.split()[:3]), []).append(part)

    def median(values):
        # A seed that diverged leaves no median.
        return None if None in values else float(np.median(values))

    return [
        {
            "scenario": equation,
            "trajectories": int(count),
            "row": row,
            "held_out": True,
            "seeds": len(values),
            "gmean100": median([part["gmean100"] for part in values]),
            "train_s": float(np.median([part["train_s"] for part in values])),
        }
        for (equation, count, row), values in sorted(
            groups.items(), key=lambda group: (group[0][0], int(group[0][1]), group[0][2])
        )
    ]


def draw(rows):
    """Return the figure: error against the number of trajectories, a panel for each equation."""
    names = list(dict.fromkeys(row["scenario"] for row in rows))
    figure = Figure(figsize=(4.2 * len(names), 3.4), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for ax, name in zip(axes, names, strict=True):
        for row in LEARNING_RATES:
            line = [r for r in rows if (r["scenario"], r["row"]) == (name, row)]
            line = [r for r in line if r["gmean100"] is not None]
            counts = [r["trajectories"] for r in line]
            ax.plot(counts, [r["gmean100"] for r in line], marker="o", label=row)
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xticks(COUNTS, [str(count) for count in COUNTS])
        ax.set_yscale("log")
        ax.set(title=name, xlabel="training trajectories")
        ax.grid(True, color="0.9")
    axes[0].set_ylabel("GMean100 of nRMSE")
    axes[0].legend(fontsize=8)
    return figure
