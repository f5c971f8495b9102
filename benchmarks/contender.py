"""One of our operators in a process of its own, for time_to_target.py, which starts it.

Its argument is JSON: `config` and `overrides` as a run takes them, `data` (npz files of the
splits), `metric`, `start` (the given frame), `started`, `seconds`, `validations` and, except in the
probe, `steps`. Without `steps` it measures each phase for two chunks, and answers how many updates
fill the budget. With it, it trains with `fit` as a run does, and tells the clock and the validation
error, one line of JSON each time.
"""

import json
import sys

import jax
from clock import Clock, affordable, tell

import ups_jax as ups
from ups_jax import optim, stages
from ups_jax.config import phases
from ups_jax.data import load_npz
from ups_jax.emulator import fit_statistics, num_params
from ups_jax.evaluate import validator
from ups_jax.train import fit


def main():
    order = json.loads(sys.argv[1])
    clock = Clock(order["started"])
    cfg = ups.load_config(order["config"], order["overrides"])
    train, val = (load_npz(path) for path in order["data"])
    emulator = ups.build(cfg)
    params = ups.init(emulator, jax.random.key(cfg.seed), fit_statistics(emulator, train))
    spec = cfg.fit.operator
    if order.get("steps") is None:
        tell(sys.stdout, steps=probe(order, clock, emulator, params, train, spec))
        return
    judge = validator(emulator, val, batch=len(val), metric=order["metric"], start=order["start"])
    steps = order["steps"]
    tell(sys.stdout, parameters=num_params(params["operator"]), steps=steps)

    def validate(params):
        with clock.paused():
            return judge(params)

    def on_log(step, row):
        if "val_nrmse" in row:
            tell(sys.stdout, s=clock.now(), val=row["val_nrmse"], step=step)

    tell(sys.stdout, s=clock.now(), val=validate(params), step=0)
    every = max(1, round(steps / order["validations"] / spec.steps_per_call)) * spec.steps_per_call
    spec.update(steps=steps, warmup=min(spec.warmup, steps // 4))
    run(
        emulator,
        params,
        train,
        spec,
        phases(spec, spec.steps),
        validate=validate,
        val_every=every,
        on_log=on_log,
    )


def run(emulator, params, train, spec, timetable, **callbacks):
    """`fit` with the recipe of a config, as `ups_jax.experiment.training` calls it."""
    opt = optim.adamw(
        steps=spec.steps,
        lr=spec.lr,
        schedule=spec.schedule,
        warmup=spec.warmup,
        weight_decay=spec.weight_decay,
        clip_norm=spec.clip_norm,
    )
    return fit(
        stages.operator(emulator, loss=spec.loss, loss_floor=spec.loss_floor),
        params,
        train,
        jax.random.key(1),
        opt=opt,
        phases=timetable,
        batch_size=spec.batch,
        steps_per_call=spec.steps_per_call,
        ema_decay=spec.ema_decay,
        start_bias=spec.start_bias,
        augment=emulator.pde.symmetries if spec.augment else (),
        **callbacks,
    )


def probe(order, clock, emulator, params, train, spec):
    """Updates that fill the budget after imports, data and compilation."""
    begun, rows = clock.now(), []
    timetable = [(2 * spec.steps_per_call, unroll) for unroll in spec.unroll]
    fitted = run(
        emulator, params, train, spec, timetable, on_log=lambda step, row: rows.append(row)
    )
    seconds = [1 / row["steps_per_s"] for row in rows[1::2]]
    spent = begun + fitted.progress.compile_s
    return affordable(order["seconds"], spent, seconds, spec.phase_fractions, spec.steps_per_call)


if __name__ == "__main__":
    main()
