"""Growth of seconds and memory: updates of resnet and fno, and the data generator.

Updates of `configs/burgers.py` (unroll 1, batch 8, 256 points) and of an fno of 4 layers and 16
modes, in calls as `fit` runs them, against points, batch and width; trajectories of the generator
against their number and its cells. Memory is that of the compiled program: arguments, temporaries
and outputs. A slope is that of the logarithms, by least squares: 1 is linear, 0 is constant.
"""

import time
from functools import cache, partial
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import ups_jax as ups
from benchmarks.training import GOLDEN
from ups_jax.data import sample_windows
from ups_jax.data.simulate import _solver
from ups_jax.experiment.schedule import recipe_of
from ups_jax.pde import PDES
from ups_jax.stages import STAGES, bind
from ups_jax.train import init_state, run_updates

SWEEPS = {
    "points": (256, 512, 2048, 8192),
    "batch": (4, 8, 16, 64),
    "width": (16, 32, 64, 128),
}
GENERATOR_SWEEPS = {"trajectories": (64, 128, 256, 512), "cells": (256, 512, 1024, 2048)}
CENTRES = {
    "resnet": {"points": 256, "batch": 8, "width": 64},
    "fno": {"points": 256, "batch": 8, "width": 32},
    "generator": {"trajectories": 64, "cells": 256},
}
UPDATES, ROUNDS, STEPS = 2, 3, 10
COLORS = {"resnet": "#0072B2", "fno": "#D55E00", "generator": "#009E73"}


def run(options):
    sizes = slice(0, 2 if options.quick else None)
    rows = [
        measure(name, variable, values[sizes], partial(update, name))
        for name in ("resnet", "fno")
        for variable, values in SWEEPS.items()
    ]
    rows += [
        measure("generator", variable, values[sizes], generate)
        for variable, values in GENERATOR_SWEEPS.items()
    ]
    if options.out:
        draw(rows).savefig(options.out.with_suffix(".png"), dpi=120)
    return {"rows": rows, "centres": CENTRES}


def measure(name, variable, sizes, program):
    """Return seconds and bytes at every size, and both slopes."""
    values = [program(**{**CENTRES[name], variable: size}) for size in sizes]
    row = {"row": f"{name} against {variable}", "name": name, "against": variable, "sizes": sizes}
    for i, key in enumerate(("seconds", "bytes")):
        row[key] = [value[i] for value in values]
        row[f"{key}_slope"] = float(np.polyfit(np.log(sizes), np.log(row[key]), 1)[0])
    print(row["row"])
    print(f"{'':10}" + "".join(f"{size:10}" for size in sizes) + "     slope")
    for label, key, scale in (("ms", "seconds", 1e3), ("MiB", "bytes", 2**-20)):
        cells = "".join(f"{value * scale:10.1f}" for value in row[key])
        print(f"{label:10}{cells}{row[f'{key}_slope']:10.2f}", flush=True)
    return row


@cache
def update(name, *, points, batch, width):
    """Return the seconds of an update, and the bytes of the program of `UPDATES` of them."""
    overrides = {"operator.name": name, "operator.width": width}
    if name == "resnet":
        operator = ups.load_config(GOLDEN).operator
        overrides |= {f"operator.{key}": operator[key] for key in ("blocks", "dilations", "patch")}
    overrides |= {"pde.points": points, "data.cells": (points,)}
    cfg = ups.load_config(GOLDEN, overrides)
    emulator, key = ups.build(cfg), jax.random.key(0)
    recipe = recipe_of(emulator, cfg, "operator")
    params, opt = ups.init(emulator, key), recipe.build_optimizer()
    stage = bind(STAGES["operator"], emulator, recipe.to_dict())
    state = init_state("operator", params, opt).state
    frozen = {"stats": params["stats"]}
    u, cond = jax.random.normal(key, (batch, 2, points, 1)), jnp.full((batch, 1), 1e-3)
    windows = partial(sample_windows, batch=batch, length=2, start_bias=recipe.start_bias)
    call = partial(
        run_updates, stage.loss, opt, emulator.pde.symmetries, UPDATES, windows, recipe.ema_decay,
        None,
    )  # fmt: skip
    compiled = jax.jit(call, donate_argnums=0).lower(state, frozen, (u, cond), key).compile()
    times = []
    for turn in range(ROUNDS + 1):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, frozen, (u, cond), key))
        if turn:  # the first call warms up
            times.append((time.perf_counter() - began) / UPDATES)
    return median(times), program_bytes(compiled)


@cache
def generate(*, trajectories, cells):
    """Return the seconds of simulating with checks, and the bytes of one chunk's program."""
    pde, key = PDES["burgers"](points=256, cells=cells), jax.random.key(0)
    times = []
    for turn in range(ROUNDS + 1):
        began = time.perf_counter()
        ups.simulate(pde, key, n=trajectories, steps=STEPS, cache=False)
        if turn:  # the first call compiles
            times.append(time.perf_counter() - began)
    compiled = _solver(pde, STEPS, str(jax.random.key_impl(key))).on(None)[1]
    return median(times), program_bytes(compiled)


def program_bytes(compiled):
    """Return the bytes that a program needs at once; donated buffers count once."""
    sizes = compiled.memory_analysis()
    outputs = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + outputs


def draw(rows):
    variables = list(dict.fromkeys(row["against"] for row in rows))
    figure = Figure(figsize=(2.6 * len(variables), 5.2), layout="constrained")
    axes = figure.subplots(2, len(variables), sharex="col")
    for column, variable in enumerate(variables):
        for line, (key, scale) in enumerate({"seconds": 1e3, "bytes": 2**-20}.items()):
            ax = axes[line, column]
            for row in (row for row in rows if row["against"] == variable):
                label = f"{row['name']}, slope {row[f'{key}_slope']:.2f}"
                values = np.array(row[key]) * scale
                ax.loglog(row["sizes"], values, "o-", color=COLORS[row["name"]], label=label)
                ax.set_xticks(row["sizes"], [str(size) for size in row["sizes"]])
            ax.xaxis.minorticks_off()
            ax.grid(True, which="major", color="0.9")
            ax.legend(fontsize=7, frameon=False)
        axes[0, column].set_title(f"against {variable}", fontsize=10, loc="left")
        axes[1, column].set_xlabel(variable)
    axes[0, 0].set_ylabel("ms (an update; all trajectories)")
    axes[1, 0].set_ylabel("MiB of the program")
    return figure
