"""Time of ensembles and of test-time search over that of their network calls alone.

The plain program calls the same networks as often, on as many fields at once, without noise,
preconditioning, rewards or selection. Both take turns. Bars: below 1.3 for ensembles, below 1.2 for
the search.
"""

from functools import partial

import jax
import jax.numpy as jnp

import ups_jax as ups
from benchmarks.clock import interleaved
from ups_jax.diffusion import EMBEDDING_SIZE, SAMPLERS

BATCH, STEPS, MEMBERS, ROUNDS = 16, 10, 8, 9
FORECASTERS = ("ensemble", "student", "diffusion", "ttc")


def add_flags(parser):
    parser.add_argument("workdir", nargs="?", default="runs/burgers", help="a finished run")


def run(options):
    emulator, params, cfg = ups.load(options.workdir)
    data = ups.simulate(emulator.pde, jax.random.key(5), n=BATCH, steps=1)
    u, cond, key = jnp.asarray(data.u[:, 0]), jnp.asarray(data.cond), jax.random.key(0)
    rows = []
    for name in FORECASTERS:
        if name not in cfg.eval.forecasters:
            continue
        members = {} if name == "ttc" else {"members": MEMBERS}
        forecast = partial(
            ups.forecast, emulator, params, u, cond, key, steps=STEPS, forecaster=name, **members
        )
        plain = partial(jax.jit(partial(network_calls, emulator, name)), params, u, cond)
        seconds = interleaved(
            {
                "forecast": lambda run=forecast: jax.block_until_ready(run()),
                "calls": lambda run=plain: jax.block_until_ready(run()),
            },
            1 if options.quick else ROUNDS,
        )
        ms, calls_ms = (1e3 * seconds[part] / BATCH / STEPS for part in ("forecast", "calls"))
        rows.append({"row": name, "ms": ms, "calls_ms": calls_ms, "ratio": ms / calls_ms})
        print(f"{name:10} {ms:.3f} ms a step, calls alone {calls_ms:.3f}: {ms / calls_ms:.2f}")
    settings = {"batch": BATCH, "members": MEMBERS}
    if emulator.search is not None:
        settings |= {"beams": emulator.search.beams, "candidates": emulator.search.candidates}
    return {"rows": rows, "settings": settings}


def network_calls(emulator, name, params, u, cond):
    """Call the networks of a forecaster as often as it does, each on its previous output."""
    spec, searching = emulator.search, name == "ttc"
    copies = spec.beams * (spec.candidates - 1) if searching else MEMBERS
    source = spec.source if searching else name
    beams = spec.beams if searching else 1
    features = emulator.pde.features(cond)

    def repeat(x, times):
        return jnp.tile(x, (times, *(1,) * (x.ndim - 1)))

    def operator(u):
        return u + 0.1 * emulator.operator.apply(params["operator"], u, repeat(features, beams))

    def stochastic(wide):
        z = jnp.zeros((*wide.shape[:-1], emulator.noise_channels))
        network = emulator.networks["ensemble"]
        return wide + 0.1 * network.apply(params["ensemble"], wide, repeat(features, copies), z)

    def denoise(model, wide, context):
        sigma = jnp.zeros((len(wide), EMBEDDING_SIZE))
        inputs = jnp.concatenate([repeat(features, copies), sigma], -1)
        return wide + 0.1 * emulator.networks[model].apply(params[model], wide, context, inputs)

    def body(state, _):
        u, wide = state
        if source == "ensemble":
            return (operator(u) if searching else u, stochastic(wide)), None
        u_next = operator(u)
        context = repeat(jnp.concatenate([u, u_next], -1), copies // beams)
        model = "student" if source == "student" else "diffusion"
        calls = emulator.diffusion.student_steps
        if model == "diffusion":
            calls = SAMPLERS[emulator.diffusion.sampler].calls(emulator.diffusion.steps)
        for _i in range(calls):
            wide = denoise(model, wide, context)
        return (u_next, wide), None

    return jax.lax.scan(body, (repeat(u, beams), repeat(u, copies)), None, length=STEPS)[0]
