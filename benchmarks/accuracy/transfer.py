"""Error of trained operators on data unlike their training data, next to the solver's.

Other resolutions, viscosities, initial conditions and horizons, and trajectories of another
second-order scheme (the minmod limiter). The solver is the library's own, on the grid of the data.
Test key of the runs, 200 trajectories a case. A step is tied to the points that it was trained on,
so other resolutions show the loss.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ups_jax as ups
from ups_jax.experiment.datasets import split_key
from ups_jax.metrics import nrmse

SAMPLES, BATCH = 200, 20


def add_flags(parser):
    parser.add_argument("workdirs", nargs="*", type=Path, default=[Path("runs/burgers")])


def run(options):
    models = {path.name: ups.load(path) for path in options.workdirs}
    emulator, _, cfg = next(iter(models.values()))
    samples, rows = BATCH if options.quick else SAMPLES, []
    for name, (pde, steps) in cases(emulator.pde, cfg.data.steps).items():
        data = ups.simulate(pde, split_key(cfg, "test"), n=samples, steps=steps)
        grid = ups.Emulator(with_points(emulator.pde, pde.points), emulator.operator)
        row = {"row": name, "solver": error(grid, {}, data, "solver")}
        for label, (model, params, _) in models.items():
            moved = replace(model, pde=replace(model.pde, points=pde.points))
            row[label] = error(moved, params, data, "operator")
        rows.append(row)
        print("  ".join(f"{key} {shown(value):14}" for key, value in row.items()), flush=True)
    return {"rows": rows, "samples": samples, "metric": "P1 nRMSE"}


def cases(pde, steps):
    """Return the PDE that makes the data of each case, and the number of its intervals."""

    def other(**changes):
        return ups.PDES[pde.name](**{**pde.spec, **changes})

    finer = {
        f"{points} points": (other(points=points), steps)
        for points in (512, 1024)
        if pde.cells[0] % points == 0
    }
    return {
        "as trained": (pde, steps),
        **finer,
        "Nu = .002": (other(nu=0.002), steps),
        "Nu = .01": (other(nu=0.01), steps),
        "more modes": (replace(pde, initial=more_modes), steps),
        "twice the horizon": (pde, 2 * steps),
        "another scheme": (other(limiter="minmod"), steps),
    }


def with_points(pde, points):
    return ups.PDES[pde.name](**{**pde.spec, "points": points})


def more_modes(key, cond, cells):
    """Return six sines of wavenumbers 1 to 8: rougher than the training law. -> (x, 1)."""
    k_wave, k_amp, k_phase = jax.random.split(key, 3)
    wave = jax.random.randint(k_wave, (6, 1), 1, 9)
    amp = jax.random.uniform(k_amp, (6, 1), maxval=0.7)
    phase = jax.random.uniform(k_phase, (6, 1), maxval=2 * jnp.pi)
    x = (jnp.arange(cells[0]) + 0.5)[None, :] / cells[0]
    return jnp.sum(amp * jnp.sin(2 * jnp.pi * wave * x + phase), 0)[:, None]


def error(emulator, params, data, mode):
    """Return the P1 nRMSE of a forecaster, None where it diverges."""
    steps, errors = data.u.shape[1] - 1, []
    run = partial(ups.forecast, emulator, params, steps=steps, forecaster=mode)
    for i in range(0, len(data), BATCH):
        u = jnp.asarray(data.u[i : i + BATCH])
        path = run(u[:, 0], jnp.asarray(data.cond[i : i + BATCH]), jax.random.key(0)).u
        errors.append(np.asarray(nrmse(path, u[:, 1:], 1)))
    value = float(np.mean(np.concatenate(errors)))
    return value if np.isfinite(value) else None


def shown(value):
    return "diverged" if value is None else value if isinstance(value, str) else f"{value:.4f}"
