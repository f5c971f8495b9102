"""Error and cost of our Burgers solver as a data generator, against exponax's spectral solver.

Both solve the same smooth initial conditions (a mean and three sines) over t in [0, 2] and 40 saved
intervals in float32, at several viscosities and settings, and are compared with the exact solution
(Cole-Hopf, in float64). A result is valid where it is finite and its total variation never exceeds
the initial one, the law that our own generator demands of every sample. Trajectories a second:
chunks of 32 on one thread a core for both, in turns, medians, compiled before; ours by
`ups.simulate` without its cache, so with its initial conditions and checks. Then our solver's cost
against cells, saved steps and batch. Needs exponax (`pip install 'ups_jax[pde]'`); without it only
our rows are shown, and nothing is written.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ups_jax as ups
from benchmarks.accuracy.exact import cole_hopf
from benchmarks.clock import interleaved
from ups_jax.data.checks import LAW_TOLERANCE
from ups_jax.data.simulate import CPU_CHUNK_SAMPLES
from ups_jax.metrics import nrmse
from ups_jax.pde.base import rollout, total_variation

try:
    import exponax
except ImportError:
    exponax = None

NUS = (0.001, 0.01, 0.1, 4.0)
GRIDS = (128, 256, 1024)
SPECTRAL = ((256, 2, 32), (256, 4, 8), (256, 4, 32), (1024, 4, 32))
"""Points, order of the exponential Runge-Kutta scheme, substeps a saved interval."""
HORIZON, STEPS, POINTS = 2.0, 40, 64
SAMPLES, SCORED_SAMPLES, ROUNDS = 64, 8, 3
CELLS, SAVED_STEPS, BATCHES = (256, 512, 1024, 2048), (10, 160), (1, 4, 16, 64)


def run(options):
    quick = options.quick
    nus, grids = (NUS[1:2], GRIDS[:2]) if quick else (NUS, GRIDS)
    n, settings = (SCORED_SAMPLES, SPECTRAL[:2]) if quick else (SAMPLES, SPECTRAL)
    start = {points: first_frames(points, n) for points, _, _ in settings}
    rows, reference = [], {}
    for nu in nus:
        compared, reference[nu] = compare(nu, grids, settings, start)
        show(compared)
        rows += compared
    some = slice(2 if quick else None)
    costs = cost(CELLS[some], SAVED_STEPS[some], BATCHES[some], n)
    if exponax is None:
        print("exponax is not installed (pip install 'ups_jax[pde]'): nothing is written")
        return None
    return {
        "rows": rows,
        "reference_change": reference,
        "cost": costs,
        "equal_error": equal_error(rows),
        "samples": n,
        "scored": SCORED_SAMPLES,
        "exponax": exponax.__version__,
    }


def sines(key, cond, cells):
    """Return a mean and three sines of random sizes on the points i / n, equal on every grid."""
    k_mean, k_amp, k_phase = jax.random.split(key, 3)
    mean = jax.random.uniform(k_mean, minval=0.2, maxval=0.5)
    amp = jax.random.uniform(k_amp, (3, 1), minval=0.2, maxval=0.7)
    phase = jax.random.uniform(k_phase, (3, 1), maxval=2 * jnp.pi)
    x = jnp.arange(cells[0])[None, :] / cells[0]
    wave = 2 * jnp.pi * jnp.arange(1, 4)[:, None]
    return (mean + jnp.sum(amp * jnp.sin(wave * x + phase), 0))[:, None]


def burgers(nu, cells, points=POINTS, steps=STEPS):
    pde = ups.PDES["burgers"](nu=nu, cells=cells, points=points, dt=HORIZON / steps)
    return replace(pde, initial=sines)


def first_frames(points, n):
    """Return the initial conditions (n, points, 1), the same for every viscosity."""
    pde = burgers(0.1, points, points)
    return ups.simulate(pde, jax.random.key(0), n=n, steps=1, cache=False).u[:, 0]


def compare(nu, grids, settings, start):
    """Return the rows of one viscosity, and the reference's change at twice the quadrature."""
    key, n = jax.random.key(0), len(start[256])
    times = HORIZON / STEPS * np.arange(1, STEPS + 1)
    scored = start[256][:SCORED_SAMPLES]
    exact = np.stack([cole_hopf(u[:, 0], times, nu / np.pi, POINTS) for u in scored])
    finer = cole_hopf(scored[0, :, 0], times, nu / np.pi, POINTS, finer=2)
    rows, programs = [], {}
    for cells in grids:
        programs[f"ours, {cells} cells"] = ours(burgers(nu, cells), key, n)
        rows.append({"nu": nu, "code": "ours", "setting": f"{cells} cells"})
    for points, order, substeps in settings if exponax else ():
        setting = f"{points} points, order {order}, {substeps} substeps"
        programs[f"exponax, {setting}"] = spectral(nu, points, order, substeps, start[points])
        rows.append({"nu": nu, "code": "exponax", "setting": setting})
    for row, program in zip(rows, programs.values(), strict=True):
        u, growth = program()
        row["valid"] = bool(np.isfinite(u).all() and growth <= LAW_TOLERANCE["bounded"])
        error = nrmse(u[:SCORED_SAMPLES], exact[..., None], 1)
        row["nrmse"] = float(jnp.mean(error)) if row["valid"] else None
    seconds = interleaved(programs, ROUNDS, warm_up=False)
    for row, value in zip(rows, seconds.values(), strict=True):
        row |= {"ms": value * 1e3 / n, "per_second": n / value}
    return rows, float(np.abs(finer - exact[0]).max())


def ours(pde, key, n):
    """Return a program: frames after the first (n, t, POINTS, 1), growth of total variation."""

    def program():
        data = ups.simulate(pde, key, n=n, steps=STEPS, cache=False)
        return data.u[:, 1:], data.meta["laws"]["total_variation"]

    return program


def spectral(nu, points, order, substeps, start):
    """Return the same program of exponax, from initial frames (n, points, 1)."""
    stepper = exponax.stepper.Burgers(
        1, 1.0, points, HORIZON / STEPS / substeps,
        diffusivity=nu / np.pi, convection_scale=1.0, single_channel=True, conservative=True,
        order=order,
    )  # fmt: skip
    path: Any = exponax.rollout(
        exponax.RepeatedStepper(stepper, substeps), STEPS, include_init=False
    )

    @jax.jit
    def chunk(u):
        frames = jax.vmap(path)(u[:, None, :, 0])[:, :, 0, :, None]
        before = total_variation(u, 1)[:, None]
        growth = jnp.max(total_variation(frames, 1) - before) / jnp.min(before)
        return frames[:, :, :: points // POINTS], growth

    def program():
        parts = [start[i : i + CPU_CHUNK_SAMPLES] for i in range(0, len(start), CPU_CHUNK_SAMPLES)]
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
            done = list(pool.map(lambda u: jax.tree.map(np.asarray, chunk(u)), parts))
        return np.concatenate([u for u, _ in done]), max(float(growth) for _, growth in done)

    return program


def cost(cells, saved_steps, batches, n):
    """Return our milliseconds a trajectory at Nu = .001 by cells, saved steps and batch."""
    key = jax.random.key(0)
    settings = [("cells", count, burgers(0.001, count), STEPS) for count in cells]
    settings += [
        ("saved", steps, burgers(0.001, 1024, steps=steps), steps) for steps in saved_steps
    ]
    programs, counts = {}, {}
    for kind, size, pde, steps in settings:
        programs[kind, size] = lambda pde=pde, steps=steps: ups.simulate(
            pde, key, n=n, steps=steps, cache=False
        )
        counts[kind, size] = n
    pde = burgers(0.001, 1024, 1024)
    first = ups.simulate(pde, key, n=max(batches), steps=1, cache=False)
    path = jax.jit(rollout(pde.step, STEPS))
    for batch in batches:
        programs["batch", batch] = lambda batch=batch: jax.block_until_ready(
            path(first.u[:batch, 0], first.cond[:batch])
        )
        counts["batch", batch] = batch
    costs = {}
    for (kind, size), seconds in interleaved(programs, ROUNDS).items():
        costs.setdefault(kind, {})[str(size)] = seconds * 1e3 / counts[kind, size]
    for kind, values in costs.items():
        cells_text = ", ".join(f"{size}: {value:.2f}" for size, value in values.items())
        print(f"ours, Nu .001, ms a trajectory by {kind:6} {cells_text}")
    return costs


def equal_error(rows):
    """Return, for each valid row of ours, its ms over exponax's fastest of no larger error."""
    ratios = []
    for row in (row for row in rows if row["code"] == "ours" and row["valid"]):
        peers = [r for r in rows if r["code"] == "exponax" and r["nu"] == row["nu"] and r["valid"]]
        if not peers:
            continue
        equals = [r["ms"] for r in peers if r["nrmse"] <= row["nrmse"]]
        ratio = row["ms"] / min(equals) if equals else None
        ratios.append({"nu": row["nu"], "ours": row["setting"], "ours_to_exponax_ms": ratio})
    return ratios


def show(rows):
    print(f"Nu = {rows[0]['nu']:g}{'':35} nRMSE     ms  a second")
    for row in rows:
        error = f"{row['nrmse']:.2e}" if row["valid"] else "not valid"
        name = f"{row['code']}, {row['setting']}"
        print(f"{name:42} {error:9} {row['ms']:6.2f} {row['per_second']:8.0f}", flush=True)
    for row in equal_error(rows):
        if row["ours_to_exponax_ms"]:
            ratio = f"{row['ours_to_exponax_ms']:.1f} times the ms of exponax at no larger error"
            print(f"  ours on {row['ours']}: {ratio}")
