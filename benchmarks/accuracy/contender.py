"""One of our operators in a process of its own, started by time_to_target.

Its argument is JSON: `config` and `overrides` as a run takes them, `data` (npz files of the
splits), `metric`, `start` (the given frame), `started`, `seconds`, `validations` and, except in the
probe, `steps`. Without `steps` it times two calls of each phase and sends the number of updates
that fill the budget. With it, it trains with `fit` as a run does, and sends the clock and the
validation error, one line of JSON each time.
"""

import json
import sys
from dataclasses import replace

import jax

import ups_jax as ups
from benchmarks.clock import Clock, affordable, send
from ups_jax.data import load_npz
from ups_jax.emulator import fit_statistics
from ups_jax.evaluate import validator
from ups_jax.experiment.schedule import recipe_of
from ups_jax.stages import STAGES, bind
from ups_jax.train import Hooks, fit


def main():
    order = json.loads(sys.argv[1])
    clock = Clock(order["started"])
    cfg = ups.load_config(order["config"], order["overrides"])
    train, val = (load_npz(path) for path in order["data"])
    emulator = ups.build(cfg)
    params = ups.init(emulator, jax.random.key(cfg.seed), fit_statistics(emulator, train))
    recipe = recipe_of(emulator, cfg, "operator")
    if order.get("steps") is None:
        send(sys.stdout, steps=probe(order, clock, emulator, params, train, recipe))
        return
    steps, call = order["steps"], recipe.steps_per_call
    error = validator(emulator, val, batch=len(val), metric=order["metric"], start=order["start"])
    send(sys.stdout, parameters=ups.num_params(params["operator"]), steps=steps)

    def validate(params):
        with clock.paused():
            return error(params)

    def on_log(step, row):
        if "val_nrmse" in row:
            send(sys.stdout, s=clock.now(), val=row["val_nrmse"], step=step)

    send(sys.stdout, s=clock.now(), val=validate(params), step=0)
    every = max(1, round(steps / order["validations"] / call)) * call
    recipe = replace(recipe, steps=steps, warmup=min(recipe.warmup, steps // 4), val_every=every)
    train_operator(emulator, params, train, recipe, on_log=on_log, validate=validate)


def train_operator(emulator, params, train, recipe, *, on_log, validate=None):
    """Train as a run does, with a validation of this benchmark's own."""
    return fit(
        bind(STAGES["operator"], emulator, recipe.to_dict()),
        params,
        train,
        jax.random.key(1),
        recipe,
        augment=emulator.pde.symmetries if recipe.augment else (),
        validate=validate,
        hooks=Hooks(on_log=on_log),
    )


def probe(order, clock, emulator, params, train, recipe):
    """Return the updates that fill the budget after imports, data and compilation."""
    begun, rows = clock.now(), []
    phases, call = len(recipe.unroll), recipe.steps_per_call
    timed = replace(
        recipe,
        steps=2 * call * phases,
        warmup=0,
        val_every=0,
        phase_fractions=(1 / phases,) * phases,
    )
    result = train_operator(
        emulator, params, train, timed, on_log=lambda step, row: rows.append(row)
    )
    seconds = [1 / row["steps_per_s"] for row in rows[1::2]]
    spent = begun + result.progress.compile_s
    steps = affordable(order["seconds"], spent, seconds, recipe.phase_fractions, call)
    return max(steps, call * phases)


if __name__ == "__main__":
    main()
