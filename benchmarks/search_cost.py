"""Milliseconds of every ensemble and of the search over those of their network calls alone.

    python benchmarks/search_cost.py runs/burgers

The plain program calls the same networks as often, on as many fields at once, and does nothing
else: no noise, no preconditioning, no reward, no choice. Medians, both sides interleaved.
"""

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from record import write

import ups_jax as ups
from ups_jax.data import simulate
from ups_jax.diffusion import EMBEDDING_SIZE, SAMPLERS

BATCH, STEPS, MEMBERS, ROUNDS = 16, 10, 8, 9


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", nargs="?", default="runs/burgers")
    args = parser.parse_args()
    emulator, params, cfg = ups.load(args.workdir)
    data = simulate(emulator.pde, jax.random.key(5), n=BATCH, steps=1)
    u, cond = jnp.asarray(data.u[:, 0]), jnp.asarray(data.cond)
    modes = [
        mode for mode in ("crps", "student", "diffusion", "ttc") if mode in cfg.eval.forecasters
    ]
    rows = {}
    for mode in modes:
        options = {} if mode == "ttc" else {"members": MEMBERS}
        run = partial(
            ups.forecast, emulator, params, u, cond, jax.random.key(0), steps=STEPS, mode=mode
        )
        alone = partial(jax.jit(partial(calls_alone, emulator, mode)), params, u, cond)
        ours, plain = interleaved(partial(run, **options), alone)
        rows[mode] = {"ms": ours, "calls_ms": plain, "ratio": ours / plain}
    print(f"{'forecaster':<12}{'ms a step':>10}{'calls alone':>13}{'ratio':>8}")
    for mode, row in rows.items():
        print(f"{mode:<12}{row['ms']:>10.3f}{row['calls_ms']:>13.3f}{row['ratio']:>8.2f}")
    shape = {"batch": BATCH, "members": MEMBERS}
    if emulator.search is not None:
        shape |= {"beams": emulator.search.beams, "candidates": emulator.search.candidates}
    print(f"wrote {write('search_cost', {'rows': rows, 'settings': shape})}")


def interleaved(*programs):
    """Median milliseconds a sample and step of each, warm, in turns."""
    times = [[] for _ in programs]
    for turn in range(ROUNDS + 1):
        for program, kept in zip(programs, times, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(program())
            if turn:
                kept.append(time.perf_counter() - began)
    return [1e3 * float(np.median(kept)) / BATCH / STEPS for kept in times]


def calls_alone(emulator, mode, params, u, cond):
    """The networks of a mode as often as it calls them, each fed with what it last said."""
    spec = emulator.search
    copies = spec.beams * (spec.candidates - 1) if mode == "ttc" else MEMBERS
    source = spec.source if mode == "ttc" else mode
    lead = spec.beams if mode == "ttc" else 1
    told = emulator.pde.features(cond)

    def spread(x, times):
        return jnp.tile(x, (times, *(1,) * (x.ndim - 1)))

    def operator(u):
        return u + 0.1 * emulator.operator.apply(params["operator"], u, spread(told, lead))

    def noisy(wide):
        z = jnp.zeros((*wide.shape[:-1], emulator.noise_channels))
        many = spread(told, copies)
        return wide + 0.1 * emulator.networks["crps"].apply(params["crps"], wide, many, z)

    def denoised(name, wide, beside):
        told_all = jnp.concatenate(
            [spread(told, copies), jnp.zeros((len(wide), EMBEDDING_SIZE))], -1
        )
        return wide + 0.1 * emulator.networks[name].apply(params[name], wide, beside, told_all)

    def body(state, _):
        u, wide = state
        if source == "crps":
            return (operator(u) if mode == "ttc" else u, noisy(wide)), None
        ahead = operator(u)
        beside = spread(jnp.concatenate([u, ahead], -1), copies // lead)
        name = "student" if source == "student" else "diffusion"
        calls = emulator.diffusion.student_steps
        if name == "diffusion":
            calls = SAMPLERS[emulator.diffusion.sampler].calls(emulator.diffusion.steps)
        for _i in range(calls):
            wide = denoised(name, wide, beside)
        return (ahead, wide), None

    start = (spread(u, lead), spread(u, copies))
    return jax.lax.scan(body, start, None, length=STEPS)[0]


if __name__ == "__main__":
    main()
