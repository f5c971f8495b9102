"""A trained operator, untouched, on data it was not made for; the solver's row beside each.

`python benchmarks/transfer.py runs/burgers runs/burgers-hybrid`: other resolutions, viscosities,
initial conditions, horizons, and trajectories of another second-order scheme (the minmod limiter).
The solver is the one that ships, on the grid of the data. Test key of the runs, 200 trajectories a
case. A step is tied to the points it was trained on, so other resolutions show what is lost.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import write

import ups_jax as ups
from ups_jax.emulator import Emulator
from ups_jax.experiment.datasets import split_key
from ups_jax.metrics import nrmse
from ups_jax.pde import PDES

SAMPLES, BATCH = 200, 20


def more_modes(key, cond, cells):
    """Six sines of wavenumbers 1 to 8, all drawn: rougher than what the law gives. -> (x, 1)."""
    k_wave, k_amp, k_phase = jax.random.split(key, 3)
    wave = jax.random.randint(k_wave, (6, 1), 1, 9)
    amp = jax.random.uniform(k_amp, (6, 1), maxval=0.7)
    phase = jax.random.uniform(k_phase, (6, 1), maxval=2 * jnp.pi)
    x = (jnp.arange(cells[0]) + 0.5)[None, :] / cells[0]
    return jnp.sum(amp * jnp.sin(2 * jnp.pi * wave * x + phase), 0)[:, None]


def cases(pde, steps):
    """Name -> the PDE that makes the data, and how many intervals of it."""

    def other(**changes):
        return PDES[pde.name](**{**pde.spec, **changes})

    return {
        "as trained": (pde, steps),
        "512 points": (other(points=512), steps),
        "1024 points": (other(points=1024), steps),
        "Nu = .002": (other(nu=0.002), steps),
        "Nu = .01": (other(nu=0.01), steps),
        "more modes": (replace(pde, initial=more_modes), steps),
        "twice the horizon": (pde, 2 * steps),
        "another scheme": (other(limiter="minmod"), steps),
    }


def main():
    workdirs = [Path(word) for word in sys.argv[1:]] or [Path("runs/burgers")]
    models = {path.name: ups.load(path) for path in workdirs}
    emulator, _, cfg = next(iter(models.values()))
    rows = []
    for name, (pde, steps) in cases(emulator.pde, cfg.data.steps).items():
        data = ups.simulate(pde, split_key(cfg, "test"), n=SAMPLES, steps=steps)
        grid = Emulator(
            PDES[pde.name](**{**emulator.pde.spec, "points": pde.points}), emulator.operator
        )
        row = {"case": name, "solver": _error(grid, {}, data, "solver")}
        for label, (own, params, _) in models.items():
            moved = replace(own, pde=replace(own.pde, points=pde.points))
            row[label] = _error(moved, params, data, "operator")
        rows.append(row)
        print("  ".join(f"{key} {_shown(value):14}" for key, value in row.items()), flush=True)
    print(write("transfer", {"rows": rows, "samples": SAMPLES, "metric": "P1 nRMSE"}))


def _error(emulator, params, data, mode):
    steps, errors = data.u.shape[1] - 1, []
    run = partial(ups.forecast, emulator, params, steps=steps, mode=mode)
    for i in range(0, len(data), BATCH):
        u = jnp.asarray(data.u[i : i + BATCH])
        path = run(u[:, 0], jnp.asarray(data.cond[i : i + BATCH]), jax.random.key(0)).u
        errors.append(np.asarray(nrmse(path, u[:, 1:], 1)))
    value = float(np.mean(np.concatenate(errors)))
    return value if np.isfinite(value) else None


def _shown(value):
    return "diverged" if value is None else value if isinstance(value, str) else f"{value:.4f}"


if __name__ == "__main__":
    main()
