"""How seconds and memory grow: an update of the resnet and the fno, and the generator.

`python benchmarks/scaling.py`: updates of `configs/burgers.py` (unroll 1, batch 8, 256 points) and
of an fno of 4 layers and 16 modes, in chunks as `fit` runs them, against points, batch and width;
trajectories of the generator against their number and its cells. Medians, compiled before. Memory
is what the compiled program asks for: arguments, temporaries, and outputs of their own. A slope is
that of the logarithms, by least squares: 1 is linear, 0 is free. Prints tables, writes JSON and a
figure. `--tiny` tries it out.
"""

import argparse
import time
from functools import cache, partial
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from record import RESULTS, write

import ups_jax as ups
from ups_jax import config
from ups_jax.data.simulate import _solver
from ups_jax.emulator import init
from ups_jax.optim import adamw
from ups_jax.pde import PDES
from ups_jax.stages import STAGES
from ups_jax.train import _chunk, init_state

SWEEPS = {
    "points": (256, 512, 2048, 8192),
    "batch": (4, 8, 16, 64),
    "width": (16, 32, 64, 128),
}
CENTRES = {
    "resnet": {"points": 256, "batch": 8, "width": 64},
    "fno": {"points": 256, "batch": 8, "width": 32},
    "generator": {"trajectories": 64, "cells": 256},
}
TRAJECTORIES, CELLS = (64, 128, 256, 512), (256, 512, 1024, 2048)
UPDATES, ROUNDS, STEPS = 2, 3, 10
COLORS = {"resnet": "#0072B2", "fno": "#D55E00", "generator": "#009E73"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true", help="two small sizes a sweep, no JSON")
    tiny = parser.parse_args().tiny
    few = slice(0, 2 if tiny else None)
    rows = [
        sweep(name, kind, sizes[few], partial(update, name))
        for name in ("resnet", "fno")
        for kind, sizes in SWEEPS.items()
    ]
    rows.append(sweep("generator", "trajectories", TRAJECTORIES[few], generated))
    rows.append(sweep("generator", "cells", CELLS[few], generated))
    if tiny:
        return
    path = write("scaling", {"rows": rows, "centres": CENTRES})
    draw(rows).savefig(RESULTS / "scaling.png", dpi=120)
    print(path)


def sweep(name, kind, sizes, measure):
    """Seconds and bytes at every size, and both slopes; told as one line."""
    found = [measure(**{**CENTRES[name], kind: at}) for at in sizes]
    row = {"name": name, "against": kind, "sizes": sizes}
    for i, key in enumerate(("seconds", "bytes")):
        row[key] = [one[i] for one in found]
        row[f"{key}_slope"] = float(np.polyfit(np.log(sizes), np.log(row[key]), 1)[0])
    print(f"{name} against {kind}")
    print(f"{'':10}" + "".join(f"{size:10}" for size in sizes) + "     slope")
    for label, key, scale in (("ms", "seconds", 1e3), ("MiB", "bytes", 2**-20)):
        values = "".join(f"{value * scale:10.1f}" for value in row[key])
        print(f"{label:10}{values}{row[f'{key}_slope']:10.2f}", flush=True)
    return row


@cache
def update(name, *, points, batch, width):
    """Seconds of an update, and bytes of the program that makes `UPDATES` of them."""
    args = {"operator.name": name, "operator.width": width}
    if name == "resnet":
        golden = config.load("configs/burgers.py").operator
        args |= {f"operator.{key}": golden[key] for key in ("blocks", "dilations", "patch")}
    grid = {"pde.points": points, "data.cells": (points,)}
    cfg = config.load("configs/burgers.py", {**args, **grid})
    spec, emulator, key = cfg.fit.operator, ups.build(cfg), jax.random.key(0)
    stage, opt = STAGES["operator"](emulator), adamw(steps=spec.steps)
    params = init(emulator, key)
    state = init_state(stage, params, opt).state
    frozen = {"stats": params["stats"]}
    u, cond = jax.random.normal(key, (batch, 2, points, 1)), jnp.full((batch, 1), 1e-3)
    symmetries = emulator.pde.symmetries
    chunk = partial(
        _chunk, stage.loss, opt, symmetries, UPDATES, batch, 2, spec.ema_decay, spec.start_bias
    )
    made = jax.jit(chunk, donate_argnums=0).lower(state, frozen, u, cond, key).compile()
    times = []
    for turn in range(ROUNDS + 1):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(made(state, frozen, u, cond, key))
        if turn:  # the first warms up
            times.append((time.perf_counter() - began) / UPDATES)
    return median(times), size(made)


@cache
def generated(*, trajectories, cells):
    """Seconds of making them, their guard included, and bytes of one chunk's program."""
    pde, key = PDES["burgers"](points=256, cells=cells), jax.random.key(0)
    times = []
    for turn in range(ROUNDS + 1):
        began = time.perf_counter()
        ups.simulate(pde, key, n=trajectories, steps=STEPS, cache=False)
        if turn:  # the first compiles
            times.append(time.perf_counter() - began)
    made = _solver(pde, STEPS, str(jax.random.key_impl(key))).on(None)[1]
    return median(times), size(made)


def size(compiled):
    """Bytes that a program asks for at once; what is donated counts once."""
    told = compiled.memory_analysis()
    own = told.output_size_in_bytes - told.alias_size_in_bytes
    return told.argument_size_in_bytes + told.temp_size_in_bytes + own


def draw(rows):
    kinds = list(dict.fromkeys(row["against"] for row in rows))
    figure = Figure(figsize=(2.6 * len(kinds), 5.2), layout="constrained")
    axes = figure.subplots(2, len(kinds), sharex="col")
    for column, kind in enumerate(kinds):
        for at, (key, scale) in enumerate({"seconds": 1e3, "bytes": 2**-20}.items()):
            ax = axes[at, column]
            for row in (row for row in rows if row["against"] == kind):
                label = f"{row['name']}, slope {row[f'{key}_slope']:.2f}"
                values = np.array(row[key]) * scale
                ax.loglog(row["sizes"], values, "o-", color=COLORS[row["name"]], label=label)
                ax.set_xticks(row["sizes"], [str(size) for size in row["sizes"]])
            ax.xaxis.minorticks_off()
            ax.grid(True, which="major", color="0.9")
            ax.legend(fontsize=7, frameon=False)
        axes[0, column].set_title(f"against {kind}", fontsize=10, loc="left")
        axes[1, column].set_xlabel(kind)
    axes[0, 0].set_ylabel("ms (an update; all trajectories)")
    axes[1, 0].set_ylabel("MiB of the program")
    return figure


if __name__ == "__main__":
    main()
