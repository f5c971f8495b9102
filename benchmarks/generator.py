"""Our Burgers solver as a generator: against exponax's spectral one, and what its cost hangs on.

`python benchmarks/generator.py`: both solve the same smooth initial conditions (a mean and three
sines) over t in [0, 2] and 40 saved intervals in float32, at several viscosities and settings, and
are judged by the exact solution (Cole-Hopf, in float64). A result is valid where it is finite and
its total variation never exceeds the initial one, which our own generator demands of every sample.
Trajectories a second: chunks of 32 on a thread a core for both, in turn, medians, compiled before;
ours by `ups.simulate`, its cache off, so with its drawing and its guard. Then our solver's cost
against cells, saved steps and batch. Needs exponax (`pip install 'ups_jax[pde]'`); without it only
our rows are shown, and nothing is written. `--tiny` tries it out in seconds.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from exact import cole_hopf
from record import write

import ups_jax as ups
from ups_jax.data.checks import LAW_TOLERANCE
from ups_jax.data.simulate import CPU_CHUNK_SAMPLES
from ups_jax.metrics import nrmse
from ups_jax.pde import PDES
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
SAMPLES, SCORED, ROUNDS = 64, 8, 3
CELLS, SAVED, BATCHES = (256, 512, 1024, 2048), (10, 160), (1, 4, 16, 64)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true", help="small sizes; nothing is written")
    tiny = parser.parse_args().tiny
    nus, grids = (NUS[1:2], GRIDS[:2]) if tiny else (NUS, GRIDS)
    n, settings = (CPU_CHUNK_SAMPLES, SPECTRAL[:2]) if tiny else (SAMPLES, SPECTRAL)
    start = {points: first_frames(points, n) for points, _, _ in settings}
    rows, reference = [], {}
    for nu in nus:
        found, reference[nu] = compare(nu, grids, settings, start)
        show(found)
        rows += found
    costs = cost(*(row[: 2 if tiny else None] for row in (CELLS, SAVED, BATCHES)), n)
    if exponax is None:
        print("exponax is not installed (pip install 'ups_jax[pde]'): nothing is written")
    elif not tiny:
        found = {
            "rows": rows,
            "reference_change": reference,
            "cost": costs,
            "both_valid": both(rows),
        }
        found |= {"samples": n, "scored": SCORED, "exponax": exponax.__version__}
        print(write("generator", found))


def sines(key, cond, cells):
    """A mean and three sines of random sizes, on the points i / n: the same on every grid."""
    k_mean, k_amp, k_phase = jax.random.split(key, 3)
    mean = jax.random.uniform(k_mean, minval=0.2, maxval=0.5)
    amp = jax.random.uniform(k_amp, (3, 1), minval=0.2, maxval=0.7)
    phase = jax.random.uniform(k_phase, (3, 1), maxval=2 * jnp.pi)
    x = jnp.arange(cells[0])[None, :] / cells[0]
    wave = 2 * jnp.pi * jnp.arange(1, 4)[:, None]
    return (mean + jnp.sum(amp * jnp.sin(wave * x + phase), 0))[:, None]


def burgers(nu, cells, points=POINTS, steps=STEPS):
    return replace(
        PDES["burgers"](nu=nu, cells=cells, points=points, dt=HORIZON / steps), initial=sines
    )


def first_frames(points, n):
    """The initial conditions (n, points, 1), the same for every viscosity."""
    return ups.simulate(
        burgers(0.1, points, points), jax.random.key(0), n=n, steps=1, cache=False
    ).u[:, 0]


def compare(nu, grids, settings, start):
    """Rows of one viscosity, and what doubling the quadrature changes in the reference."""
    key, n = jax.random.key(0), len(start[256])
    times = HORIZON / STEPS * np.arange(1, STEPS + 1)
    exact = np.stack([cole_hopf(u[:, 0], times, nu / np.pi, POINTS) for u in start[256][:SCORED]])
    finer = cole_hopf(start[256][0, :, 0], times, nu / np.pi, POINTS, finer=2)
    rows, runs = [], []
    for cells in grids:
        runs.append(ours(burgers(nu, cells), key, n))
        rows.append({"nu": nu, "code": "ours", "setting": f"{cells} cells"})
    for points, order, substeps in settings if exponax else ():
        runs.append(spectral(nu, points, order, substeps, start[points]))
        setting = f"{points} points, order {order}, {substeps} substeps"
        rows.append({"nu": nu, "code": "exponax", "setting": setting})
    for row, run in zip(rows, runs, strict=True):
        u, growth = run()
        row["valid"] = bool(np.isfinite(u).all() and growth <= LAW_TOLERANCE["bounded"])
        error = nrmse(u[:SCORED], exact[..., None], 1)
        row["nrmse"] = float(jnp.mean(error)) if row["valid"] else None
    for row, seconds in zip(rows, timed(runs), strict=True):
        row |= {"ms": seconds * 1e3 / n, "per_second": n / seconds}
    return rows, float(np.abs(finer - exact[0]).max())


def ours(pde, key, n):
    """A call -> frames after the first (n, t, POINTS, 1), growth of total variation over all."""

    def run():
        data = ups.simulate(pde, key, n=n, steps=STEPS, cache=False)
        return data.u[:, 1:], data.meta["laws"]["total_variation"]

    return run


def spectral(nu, points, order, substeps, start):
    """The same of exponax, from the given initial frames (n, points, 1)."""
    stepper = exponax.stepper.Burgers(
        1, 1.0, points, HORIZON / STEPS / substeps,
        diffusivity=nu / np.pi, convection_scale=1.0, single_channel=True, conservative=True,
        order=order,
    )  # fmt: skip
    path = exponax.rollout(exponax.RepeatedStepper(stepper, substeps), STEPS, include_init=False)

    @jax.jit
    def chunk(u):
        frames = jax.vmap(path)(u[:, None, :, 0])[:, :, 0, :, None]
        before = total_variation(u, 1)[:, None]
        growth = jnp.max(total_variation(frames, 1) - before) / jnp.min(before)
        return frames[:, :, :: points // POINTS], growth

    def run():
        parts = [start[i : i + CPU_CHUNK_SAMPLES] for i in range(0, len(start), CPU_CHUNK_SAMPLES)]
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
            done = list(pool.map(lambda u: jax.tree.map(np.asarray, chunk(u)), parts))
        return np.concatenate([u for u, _ in done]), max(float(growth) for _, growth in done)

    return run


def timed(runs):
    """Median seconds of every call, in turn; all have run before."""
    seconds = [[] for _ in runs]
    for _ in range(ROUNDS):
        for run, took in zip(runs, seconds, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(run())
            took.append(time.perf_counter() - began)
    return [median(took) for took in seconds]


def cost(cells, saved, batches, n):
    """Milliseconds a trajectory of ours at Nu = .001: by cells and saves as generated, by batch."""
    key, found = jax.random.key(0), {}
    cases = [("cells", count, burgers(0.001, count), STEPS) for count in cells]
    cases += [("saved", steps, burgers(0.001, 1024, steps=steps), steps) for steps in saved]
    runs = [
        lambda pde=pde, steps=steps: ups.simulate(pde, key, n=n, steps=steps, cache=False).u
        for _, _, pde, steps in cases
    ]
    labels = [(kind, size, n) for kind, size, _, _ in cases]
    pde = burgers(0.001, 1024, 1024)
    first = ups.simulate(pde, key, n=max(batches), steps=1, cache=False)
    path = jax.jit(rollout(pde.step, STEPS))
    for batch in batches:
        runs.append(lambda batch=batch: path(first.u[:batch, 0], first.cond[:batch]))
        labels.append(("batch", batch, batch))
    jax.block_until_ready([run() for run in runs])
    for (kind, size, count), seconds in zip(labels, timed(runs), strict=True):
        found.setdefault(kind, {})[str(size)] = seconds * 1e3 / count
    for kind, values in found.items():
        told = ", ".join(f"{size}: {value:.2f}" for size, value in values.items())
        print(f"ours, Nu .001, ms a trajectory by {kind:6} {told}")
    return found


def both(rows):
    """At every Nu where both are valid: the least ms of each at no more than each of our errors."""
    found = []
    for own in (row for row in rows if row["code"] == "ours" and row["valid"]):
        rivals = [row for row in rows if row["code"] == "exponax" and row["nu"] == own["nu"]]
        if not any(row["valid"] for row in rivals):
            continue
        equals = [row["ms"] for row in rivals if row["valid"] and row["nrmse"] <= own["nrmse"]]
        ratio = own["ms"] / min(equals) if equals else None
        found.append({"nu": own["nu"], "ours": own["setting"], "ours_to_exponax_ms": ratio})
    return found


def show(rows):
    print(f"Nu = {rows[0]['nu']:g}{'':35} nRMSE     ms  a second")
    for row in rows:
        error = f"{row['nrmse']:.2e}" if row["valid"] else "not valid"
        name = f"{row['code']}, {row['setting']}"
        print(f"{name:42} {error:9} {row['ms']:6.2f} {row['per_second']:8.0f}", flush=True)
    for row in both(rows):
        if row["ours_to_exponax_ms"]:
            ratio = f"{row['ours_to_exponax_ms']:.1f} times the ms of exponax at no larger error"
            print(f"  ours on {row['ours']}: {ratio}")


if __name__ == "__main__":
    main()
