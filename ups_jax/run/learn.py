"""Training stages of a run: `fit` with its callbacks bound to checkpoints and to the one run."""

import os
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp

from ups_jax import optim
from ups_jax.evaluate import validator
from ups_jax.lookup import lookup
from ups_jax.run import config, tracking
from ups_jax.run.checkpoint import Checkpoints
from ups_jax.run.plan import Plan, Resumed
from ups_jax.run.splits import Splits
from ups_jax.simulator import init
from ups_jax.stages import STAGES
from ups_jax.train import Fitted, Progress, Resume, TrainState, fit, start_state
from ups_jax.types import Params, Stage


def machine() -> dict[str, Any]:
    """What bit-identical results depend on beside the config: device, threads, versions."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "device": jax.devices()[0].device_kind,
        "threads": len(affinity(0)) if affinity else os.cpu_count(),
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
    }


def find(plan: Plan) -> Resumed:
    """Read the newest checkpoint of every stage. ValueError on another schema, model or data."""
    saved, best = {}, {}
    for name in plan.cfg.stages:
        folder = plan.workdir / "ckpt" / name
        if not folder.is_dir():
            continue
        with Checkpoints(folder) as checkpoints:
            newest = checkpoints.latest()
            if newest is None:
                continue
            saved[name] = checkpoints.restore(newest, _like(plan, name))
            note = saved[name].meta
            assert plan.splits is not None
            now = {"schema": config.SCHEMA, "data_hash": plan.splits.record["hash"]["train"]}
            for key, value in now.items():
                if note[key] != value:
                    raise ValueError(
                        f"{folder} was written with {key} {note[key]}, now it is {value}; "
                        "use --restart"
                    )
            if note["best_number"]:
                tree = checkpoints.restore(note["best_number"], _like(plan, name)).tree
                best[name] = tree["ema"]
    return Resumed(saved, best)


def warn_about_machine(resumed: Resumed) -> None:
    """Say in one line that another machine goes on: its last bits may differ."""
    for saved in resumed.saved.values():
        before, now = saved.meta["machine"], machine()
        changed = [
            f"{key} {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]
        ]
        if changed:
            print(
                f"warning: resumed on another machine ({', '.join(changed)}); "
                "results may differ from an uninterrupted run in the last bits",
                file=sys.stderr,
            )
            return


def stage(
    name: str, params: Params, plan: Plan, splits: Splits, run: tracking.WandBContext
) -> Fitted:
    """Train one stage of the plan, or go on with it, or take it as it was finished."""
    spec, what, opt = plan.cfg.fit[name], _stage(plan, name), _optimizer(plan, name)
    key = jax.random.fold_in(jax.random.key(plan.cfg.seed), list(STAGES).index(name) + 1)
    shown: dict[str, float] = {}

    def on_log(step: int, row: Mapping[str, float]) -> None:
        run.log_training_metrics(name, row, step)
        shown.update({k: v for k, v in row.items() if k in ("loss", "val_nrmse")})
        plan.bar(name, step, spec.steps, **shown)

    with Checkpoints(plan.workdir / "ckpt" / name) as checkpoints:
        found = plan.resumed.saved.get(name)
        best_number = found.meta["best_number"] if found else 0

        def on_save(state: TrainState, at: Progress) -> None:
            nonlocal best_number
            # The average that was just found best is the one in this state.
            fresh = at.best_step == int(state.step) and at.pending is None
            best_number = checkpoints.next() if fresh else best_number
            notes = {
                "schema": config.SCHEMA,
                "stage": name,
                "step": int(state.step),
                "key": jax.random.key_data(key).tolist(),
                "progress": at._asdict(),
                "best_number": best_number,
                "offset": run.offset(),
                "data_hash": splits.record["hash"]["train"],
                "wall": _wall(plan),
                "machine": machine(),
            }
            checkpoints.save(state._asdict(), notes, at.best_value if fresh else None)
            run.commit()

        return fit(
            what,
            params,
            splits.train,
            key,
            opt=opt,
            phases=config.phases(spec),
            batch_size=spec.batch,
            chunk=spec.chunk,
            ema=spec.ema,
            early=spec.early,
            augment=plan.sim.pde.symmetries if spec.augment else (),
            validate=validator(plan.sim, splits.val, batch=plan.cfg.eval.batch, stop=plan.stop),
            val_every=spec.val_every,
            on_log=on_log,
            on_save=on_save,
            stop=plan.stop,
            resume=_resume(plan.resumed, name, params),
        )


def _stage(plan: Plan, name: str) -> Stage:
    return lookup(STAGES, name, "stage")(plan.sim, loss=plan.cfg.fit[name].loss)


def _optimizer(plan: Plan, name: str) -> optim.Optimizer:
    spec = plan.cfg.fit[name]
    return optim.adamw(
        steps=spec.steps,
        lr=spec.lr,
        schedule=spec.schedule,
        warmup=spec.warmup,
        weight_decay=spec.weight_decay,
        clip=spec.clip,
    )


def _like(plan: Plan, name: str) -> dict[str, Any]:
    """Shapes of a stage's state, without computing one."""

    def make() -> dict[str, Any]:
        params = init(plan.sim, jax.random.key(0))
        return start_state(_stage(plan, name), params, _optimizer(plan, name))._asdict()

    return jax.eval_shape(make)


def _wall(plan: Plan) -> dict[str, float]:
    """Seconds up to now, for the next segment to start from."""
    earlier = plan.wall.get("earlier_s", 0.0) + time.monotonic() - plan.began
    return {"data_s": plan.wall["data_s"], "earlier_s": earlier}


def _resume(resumed: Resumed, name: str, params: Params) -> Resume | None:
    found = resumed.saved.get(name)
    if found is None:
        return None
    arrays = jax.tree.map(jnp.asarray, found.tree)
    best = {**params, **jax.tree.map(jnp.asarray, resumed.best.get(name, {}))}
    return Resume(TrainState(**arrays), best, Progress(**found.meta["progress"]))
