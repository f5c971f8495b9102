"""The same data, initial parameters and types where JAX computes in float64 by default."""

import json
import os
import subprocess
import sys
from functools import partial
from hashlib import sha256
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ups_jax as ups
from runs import QUICK
from ups_jax.config import load
from ups_jax.data import content_hash, sample_windows
from ups_jax.data.simulate import _Solver
from ups_jax.emulator import fit_statistics, init
from ups_jax.evaluate import beam_search, ensembles
from ups_jax.evaluate.batches import p1_forecast
from ups_jax.experiment.build import build
from ups_jax.forecast import FORECASTERS
from ups_jax.stages import STAGES, bind
from ups_jax.train import init_state
from ups_jax.train.updates import run_updates

TINY = {
    "pde.points": 32,
    "pde.nu": (0.01, 0.1),
    "data.cells": (32,),
    "operator.width": 8,
    "operator.dilations": (1,),
    "denoiser.width": 8,
    "denoiser.dilations": (1,),
    "search.rewards": ("energy", "pde_residual"),
    "search.weights": (1.0, 1.0),
}
OTHERS = {
    "advection": dict(points=(8, 8), cells=(16, 16)),
    "kuramoto": dict(points=32, cells=32, length=22.0),
    "apebench": {},
    "semilinear": dict(points=32, cells=32, convection=(-2.0, -1.0), gamma2=(1.0, 2.0), warmup=2),
}


def task():
    """Return a config, its emulator, some trajectories and initial parameters."""
    cfg = load(str(Path(__file__).parents[2] / "configs/burgers.py:smoke"), TINY)
    emulator = build(cfg)
    data = ups.simulate(emulator.pde, jax.random.key(0), n=4, steps=3, cache=False)
    return cfg, emulator, data, init(emulator, jax.random.key(1), fit_statistics(emulator, data))


def digests(data, params):
    """Return digests of data, of the programs that make other data, and of initial parameters."""
    found = {"burgers": content_hash(data)}
    for name, sizes in OTHERS.items():
        solver = _Solver(ups.PDES[name](**sizes), 2, "threefry2x32")
        found[name] = solver.identity(jax.random.key(0))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    found["parameters"] = sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()
    return found


def trace_every_stage(cfg, emulator, data, params):
    """Trace data, preparation and updates of every stage; train the operator."""
    u, cond = jnp.asarray(data.u), jnp.asarray(data.cond)
    for name in cfg.stages:
        section = {**cfg.fit[name].to_dict(), "match_flops_of": None}
        short = {"steps": 2, "steps_per_call": 2, "val_every": 2, "warmup": 1, "batch": 2}
        recipe = ups.Recipe.of_section(
            section | short | {"unroll": (1,), "phase_fractions": (1.0,)}
        )
        if name == "operator":
            params = ups.train(emulator, data, data, recipe, key=jax.random.key(2), progress=False)
        stage, opt = bind(STAGES[name], emulator, recipe.to_dict()), recipe.build_optimizer()
        fields = jnp.concatenate([u] * (stage.channels // u.shape[-1]), -1)
        prepared = jax.eval_shape(
            stage.prepare, params, {"u": fields, "cond": cond}, jax.random.key(0)
        )
        assert {leaf.dtype for leaf in jax.tree.leaves(prepared)} == {np.dtype(np.float32)}
        params = params | jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), prepared)
        state = init_state(name, params, opt).state
        draw = partial(sample_windows, batch=2, length=2, start_bias=2.0)
        updates = partial(run_updates, stage.loss, opt, emulator.pde.symmetries, 2, draw, 0.9, None)
        jax.eval_shape(updates, state, params, (fields, cond), jax.random.key(0))
    return params


def trace_every_forecaster(emulator, data, params):
    """Trace forecasts of float64 fields by every forecaster, and the tables' statistics."""
    u0, cond = np.asarray(data.u[:, 0], np.float64), np.asarray(data.cond, np.float64)
    # The baseline of static problems has a field of their data.
    params["stats"]["mean_field"] = np.ones((*data.points, 1), np.float32)
    for mode in FORECASTERS:
        run = partial(ups.forecast, emulator, steps=2, forecaster=mode)
        assert jax.eval_shape(run, params, u0, cond, jax.random.key(0)).u.dtype == np.float32
    keys = jax.random.split(jax.random.key(0), len(data))
    batch = (params, jnp.asarray(data.u), jnp.asarray(data.cond), keys)
    floor = np.ones(1, np.float32)
    more = {"mesh": None, "members": 2}
    rolls = {n: p1_forecast(emulator, n, **more) for n, f in FORECASTERS.items() if f.stochastic}
    run = partial(ensembles._evaluate_batch, emulator.pde.ndim, rolls, None, floor)
    jax.eval_shape(run, *batch)
    score = partial(beam_search._score, emulator, True, None, floor)
    jax.eval_shape(score, *batch)
    ups.evaluate(emulator, params, data, forecasters=("operator",), batch=4)


def test_data_and_types_are_those_of_float32(monkeypatch):
    # Part of the identity of data; the programs of this process are compiled before.
    monkeypatch.setenv("XLA_FLAGS", QUICK)
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "JAX_ENABLE_X64": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    _, _, data, params = task()
    assert json.loads(done.stdout) == digests(data, params)


if __name__ == "__main__":
    run = task()
    print(json.dumps(digests(*run[2:])))
    trace_every_forecaster(*run[1:3], trace_every_stage(*run))
