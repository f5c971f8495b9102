"""GMean100 of our networks, simple forecasts and published networks on APEBench's scenarios.

Columns: `constrained`, APEBench's 10,000 one-step updates of a batch of 20, and `free`, our recipe;
both from `configs/apebench.py`. Forecasts without a network stand in `free`: persistence, mean, a
Fourier multiplier fitted by least squares, and APEBench's coarse solver, one step of half the
difficulty. GMean100 is the geometric mean over 100 steps of the mean nRMSE of 30 test trajectories;
a row has the median over seeds. Rows `-symmetrized` average mirror images, two calls a step. A
scenario may have a number of points: `2d_diff_ks-32`.

Each network and seed is one part. Parts in the results file are kept, unless their config differs.
`--jobs` parts run side by side, each in one thread.
"""

import hashlib
import json
import time
from functools import partial
from itertools import product
from multiprocessing import parent_process

import jax
import jax.numpy as jnp
import numpy as np

import ups_jax as ups
from benchmarks.accuracy.bars import draw_bars
from benchmarks.accuracy.published import PUBLISHED
from benchmarks.processes import measure_each, num_cores
from benchmarks.record import choose_rows, write
from ups_jax.config import base, difference, to_dict
from ups_jax.experiment.datasets import load_splits
from ups_jax.experiment.schedule import recipe_of
from ups_jax.pde.apebench import stepper
from ups_jax.pde.base import rollout
from ups_jax.pde.scenarios import SCENARIOS

CONFIG = "configs/apebench.py"
COLUMNS = ("constrained", "free")
STEPS = 100
NETWORKS = {
    "resnet": {},
    "resnet-adamw": {"fit.operator.optimizer": "adamw"},
    "resnet-linear": {"operator.base": "linear"},
    "resnet-exponential": {"operator.base": "exponential"},
    "dilated": {"operator.name": "dilated", "operator.width": 32},
    "unet": {"operator.name": "unet", "operator.width": 12},
    "fno": {"operator.name": "fno", "operator.width": 18, "operator.modes": 12},
    "transformer": {"operator.name": "transformer", "operator.width": 32, "operator.layers": 3},
}
"""Overrides of the config, about 30,000 parameters in one dimension, the size of APEBench's."""
METRIC = "nrmse_gmean100"
DATA = ("pde.", "data.")
TRAINING = (*DATA, "operator.", "fit.operator.", "seed")
SIMPLE = ("persistence", "mean", "coarse", "multiplier", "published")
COLORS = dict(zip(SIMPLE, ("0.85", "0.72", "0.58", "0.44", "black"), strict=True))
PACKAGES = ("jax", "flax", "exponax")


def add_flags(parser):
    ten = [name for name in SCENARIOS if name.startswith("1d")]
    parser.add_argument("--scenario", default=",".join(ten), help="names; default: the ten 1d ones")
    parser.add_argument("--networks", default="resnet", help=f"some of {','.join(NETWORKS)}")
    parser.add_argument("--columns", default=",".join(COLUMNS), help="constrained, free or both")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each network: 0, 1, ...")
    parser.add_argument(
        "--jobs", type=int, default=num_cores(), help="parts at a time, of one thread"
    )


def run(options):
    networks = choose_rows(options.networks, list(NETWORKS))
    columns = choose_rows(options.columns, COLUMNS)
    scenarios = options.scenario.split(",")
    # Every name is checked before the first training.
    for scenario in scenarios:
        ups.load_config(f"{CONFIG}:{scenario}")
    parts = {}
    if options.out and options.out.exists():
        parts = json.loads(options.out.read_text())["parts"]
    planned = dict(_planned(scenarios, networks, columns, options))

    def done(label, values):
        parts[label] = {"config": planned[label], **values}
        if options.out:
            write(options.out, {"rows": rows_of(parts), "parts": parts}, PACKAGES)
        show_part(label, parts[label])

    missing = [name for name in planned if parts.get(name, {}).get("config") != planned[name]]
    for label in planned:
        if label not in missing:
            show_part(label, parts[label])
    measure_each(partial(measure, quick=options.quick), missing, done, jobs=options.jobs)
    rows = rows_of(parts)
    show(rows)
    if options.out:
        draw(rows).savefig(options.out.with_suffix(".png"), dpi=120)
    return {"rows": rows, "parts": parts}


def _planned(scenarios, networks, columns, options):
    """Yield label and fingerprint of every part."""
    for scenario in scenarios:
        label = f"{scenario} free baselines -"
        yield label, fingerprint(config_of(label, quick=options.quick), DATA)
        for column, network in product(columns, networks):
            for seed in range(options.seeds):
                label = f"{scenario} {column} {network} {seed}"
                yield label, fingerprint(config_of(label, quick=options.quick), TRAINING)


def config_of(label, *, quick):
    """Return the config of a part, "SCENARIO COLUMN NETWORK SEED"."""
    scenario, column, network, seed = label.split()
    kind = ("-constrained" if column == "constrained" else "") + ("-smoke" if quick else "")
    overrides = {} if network == "baselines" else {**NETWORKS[network], "seed": int(seed)}
    return ups.load_config(f"{CONFIG}:{scenario}{kind}", overrides)


def measure(label, *, quick):
    """Return the results of a part."""
    cfg = config_of(label, quick=quick)
    splits = load_splits(cfg, ups.build(cfg).pde)
    _, column, network, _ = label.split()
    return baselines(cfg, splits) if network == "baselines" else train(cfg, splits, column)


def fingerprint(cfg, sections):
    """Return a hash of what a config changes in some sections; a new default is no change."""
    changes = difference(to_dict(base.get_config()), to_dict(cfg))
    return hashlib.sha256(
        "\n".join(c for c in changes if c.startswith(sections)).encode()
    ).hexdigest()


def train(cfg, splits, column):
    """Train one network and return its GMean100 on the test split, seconds and size.

    In column `free` the error of forecaster `symmetrized` too, if the equation has a reflection.
    """
    emulator = ups.build(cfg)
    began = time.perf_counter()
    params = ups.train(
        emulator,
        splits.train,
        splits.val,
        recipe_of(emulator, cfg, "operator"),
        key=jax.random.key(cfg.seed),
        progress=parent_process() is None,
    )
    train_s = time.perf_counter() - began
    mirrored = emulator.pde.reflection is not None and column == "free"
    names = ("operator", "symmetrized") if mirrored else ("operator",)
    errors = _evaluate(emulator, params, splits.test, names)
    extra = {"symmetrized": errors["symmetrized"]} if mirrored else {}
    return {
        "gmean100": errors["operator"],
        **extra,
        "train_s": train_s,
        "parameters": ups.num_params(params["operator"]),
    }


def _evaluate(emulator, params, test, forecasters):
    scalars = ups.evaluate(
        emulator,
        params,
        test,
        forecasters=forecasters,
        metrics={METRIC: ups.METRICS[METRIC]},
        context_frames=test.u.shape[1],
        batch=len(test),
        num_figures=0,
    ).scalars
    return {name: float(scalars[f"eval/{name}/{METRIC}"]) for name in forecasters}


def baselines(cfg, splits):
    """Return the GMean100 of persistence, mean, Fourier multiplier and coarse solver."""
    emulator, test = ups.build(cfg), splits.test
    params = ups.init(emulator, jax.random.key(0))
    errors = _evaluate(emulator, params, test, ("persistence", "mean"))
    steps = test.u.shape[1] - 1
    steppers = {
        "multiplier": multiplier(splits.train.u, emulator.pde.ndim),
        "coarse": coarse(emulator.pde, cfg.pde.scenario),
    }
    for name, step in steppers.items():
        u0, cond = jnp.asarray(test.u[:, 0]), jnp.zeros((len(test), 0))
        path = jax.jit(rollout(step, steps))(u0, cond)
        metric = ups.METRICS[METRIC]
        values = metric.per_sample(path, jnp.asarray(test.u[:, 1:]), emulator.pde.ndim)
        errors[name] = float(metric.reduce(np.asarray(values)))
    return errors


def multiplier(u, ndim):
    """Return the step that multiplies each wave by the factor fitted to u (n, t, *s, c).

    The factor minimizes the squared error of one step, for each wave and channel. Waves of less
    than 1e-12 of the largest power are rounding errors, and are removed.
    """
    axes = tuple(range(-1 - ndim, -1))
    power = product = np.zeros(())
    for sample in u:
        waves = np.fft.rfftn(sample.astype(np.float64), axes=axes)
        power = power + np.sum(np.abs(waves[:-1]) ** 2, 0)
        product = product + np.sum(waves[1:] * np.conj(waves[:-1]), 0)
    kept = power > 1e-12 * power.max()
    factors = jnp.asarray(np.where(kept, product / np.where(kept, power, 1), 0), jnp.complex64)

    def step(u, cond):
        waves = factors[None] * jnp.fft.rfftn(u, axes=axes)
        return jnp.fft.irfftn(waves, u.shape[-1 - ndim : -1], axes)

    return step


def coarse(pde, scenario):
    """Return APEBench's coarse step: half the difficulty, or half the interval."""
    solver = stepper(scenario, pde.points[0], 0.5)

    def step(u, cond):
        with jax.numpy_rank_promotion("allow"):
            return jnp.moveaxis(jax.vmap(solver)(jnp.moveaxis(u, -1, 1)), 1, -1)

    return step


def show_part(label, part):
    values = "  ".join(f"{key} {value:.4g}" for key, value in part.items() if key != "config")
    print(f"{label:55} {values}", flush=True)


def rows_of(parts):
    """Return one row for each scenario, column and network or forecast: medians over the parts."""
    groups = {}
    for label, part in parts.items():
        scenario, column, row, _ = label.split()
        named = {row: part}
        if row == "baselines":
            named = {k: {"gmean100": v} for k, v in part.items() if k != "config"}
        if "symmetrized" in part:
            named[f"{row}-symmetrized"] = {**part, "gmean100": part["symmetrized"]}
        for name, values in named.items():
            groups.setdefault((scenario, column, name), []).append(values)
    for scenario in {key[0] for key in groups} & PUBLISHED.keys():
        best = min(PUBLISHED[scenario].values())
        groups[scenario, "constrained", "published"] = [{"gmean100": best}]
    rows = []
    for (scenario, column, name), values in sorted(groups.items(), key=_position):
        errors, seconds = ([v[k] for v in values if k in v] for k in ("gmean100", "train_s"))
        rows.append(
            {
                "scenario": scenario,
                "column": column,
                "row": name,
                "knows_equation": "-linear" in name or name == "coarse",
                "seeds": len(values),
                "gmean100": float(np.median(errors)),
                "gmean100_std": float(np.std(errors)),
                "parameters": values[0].get("parameters"),
                "train_s": float(np.median(seconds)) if seconds else None,
                "published": min(PUBLISHED.get(scenario, {}).values(), default=None),
            }
        )
    return rows


def _position(item):
    """Order rows by scenario, then simple forecasts, published networks, ours by column."""
    scenario, column, name = item[0]
    simple = SIMPLE.index(name) if name in SIMPLE else len(SIMPLE)
    return scenario, simple, COLUMNS.index(column), name


def cells(rows):
    """Return {scenario: {label: GMean100}}; the labels of networks have their column."""
    table = {}
    for row in rows:
        learned = row["parameters"] is not None
        label = f"{row['row']} {row['column']}" if learned else row["row"]
        table.setdefault(row["scenario"], {})[label] = row["gmean100"]
    return table


def show(rows):
    table = cells(rows)
    labels = list(dict.fromkeys(label for values in table.values() for label in values))
    width = 2 + max(map(len, labels), default=0)
    print(f"\n{'GMean100':20}" + "".join(f"{label:>{width}}" for label in labels))
    for scenario, values in table.items():
        numbers = (f"{values[label]:.3g}" if label in values else "-" for label in labels)
        print(f"{scenario:20}" + "".join(f"{text:>{width}}" for text in numbers))


def draw(rows):
    """Return the figure: a group of bars for each scenario."""
    table = cells(rows)
    return draw_bars(table, list(dict.fromkeys(x for row in table.values() for x in row)), COLORS)
