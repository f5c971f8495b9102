"""Training stages of a run: `fit` with its callbacks bound to checkpoints and to the one run."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax import config, optim, tracking
from ups_jax.data import draw_windows
from ups_jax.emulator import Emulator, init
from ups_jax.evaluate import ensemble_validator, loss_validator, validator
from ups_jax.experiment import distributed, schedule
from ups_jax.experiment.checkpoint import Checkpoints
from ups_jax.experiment.context import ResumeState, RunContext
from ups_jax.experiment.datasets import Splits
from ups_jax.experiment.environment import machine_info
from ups_jax.sharding import to_host
from ups_jax.stages import STAGES
from ups_jax.train import (
    FitResult,
    Progress,
    TrainSnapshot,
    TrainState,
    fit,
    init_state,
    init_states,
)
from ups_jax.types import Array, Key, Params, Stage, Trajectories

WINDOWS = 256
"""Training windows that a stage looks at before it starts."""


def run_keys(cfg: Any, name: str = "operator") -> Key:
    """The run's key, or a row of them: network i is that of a run whose seed is `seed + i`.

    Learning rates that are compared in stage operator all have the run's own.
    """
    if cfg.num_seeds == 1:
        key, many = jax.random.key(cfg.seed), len(cfg.sweep.lr_factors)
        return jnp.broadcast_to(key, (many,)) if name == "operator" and many > 1 else key
    return jax.vmap(jax.random.key)(cfg.seed + jnp.arange(cfg.num_seeds))


def init_params(
    emulator: Emulator, cfg: Any, stats: Mapping[str, Any] | None = None, *, name: str = "operator"
) -> Params:
    """Untrained parameters as stage `name` has them, stacked where it trains several networks."""
    return _maybe_vmap(lambda key: init(emulator, key, stats), run_keys(cfg, name))


def best_variant(params: Params, cfg: Any, chosen: int) -> Params:
    """Of compared learning rates the one that goes on; the parameters as they are without."""
    if len(cfg.sweep.lr_factors) == 1:
        return params
    return jax.tree.map(lambda x: x[chosen], params)


def variants(cfg: Any, at: Progress) -> list[list[Any]]:
    """A row of "Variants" for each compared learning rate, the best on validation first."""
    factors = cfg.sweep.lr_factors
    if len(factors) == 1:
        return []
    lr = cfg.fit.operator.lr
    told = zip(factors, at.best_value, at.best_step, strict=True)
    # A rate that diverged before its first validation has no error.
    ranked = sorted(told, key=lambda one: one[1])
    return [
        [number, float(f"{factor * lr:.6g}"), *((error, step) if step > 0 else (None, None))]
        for number, (factor, error, step) in enumerate(ranked, 1)
    ]


def unstack_networks(params: Params, cfg: Any) -> list[Params]:
    """The parameters of each network of a stack."""
    if cfg.num_seeds == 1:
        return [params]
    return [jax.tree.map(lambda x, i=i: x[i], params) for i in range(cfg.num_seeds)]


def _maybe_vmap(make: Callable[[Key], Any], key: Key) -> Any:
    return jax.vmap(make)(key) if key.ndim else make(key)


def load_checkpoints(plan: RunContext) -> ResumeState:
    """Read the newest checkpoint of every stage. ValueError on another schema, model or data."""
    saved = {}
    for name in plan.cfg.stages:
        folder = plan.workdir / "ckpt" / name
        if not folder.is_dir():
            continue
        with Checkpoints(folder) as checkpoints:
            newest = checkpoints.latest()
            if newest is None:
                continue
            saved[name] = checkpoints.restore(newest, _abstract_state(plan, name))
            note = saved[name].meta
            assert plan.splits is not None
            now = {"schema": config.SCHEMA, "data_hash": plan.splits.record["hash"]["train"]}
            for key, value in now.items():
                if note[key] != value:
                    raise ValueError(
                        f"{folder} was written with {key} {note[key]}, now it is {value}; "
                        "use --restart"
                    )
    return ResumeState(saved)


def warn_about_machine(resumed: ResumeState) -> None:
    """Say in one line that another machine goes on: its last bits may differ."""
    for saved in resumed.saved.values():
        before, now = saved.meta["machine"], machine_info()
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


def run_stage(
    name: str, params: Params, plan: RunContext, splits: Splits, run: tracking.RunRecord
) -> FitResult:
    """Train one stage of the plan, or go on with it, or take it as it was finished."""
    spec, opt = plan.cfg.fit[name], _optimizer(plan, name)
    what = schedule.stage_of(plan.emulator, plan.cfg, name)
    number = list(STAGES).index(name) + 1
    key = _maybe_vmap(lambda key: jax.random.fold_in(key, number), run_keys(plan.cfg, name))
    train, val = (what.data(params, split) for split in (splits.train, splits.val))
    params = _prepare(what, params, plan, train, key)
    phases = schedule.phases_of(plan.emulator, plan.cfg, name)
    shown: dict[str, float] = {}

    def on_log(step: int, row: Mapping[str, float]) -> None:
        run.log_training_metrics(name, row, step)
        shown.update({k: v for k, v in row.items() if k in ("loss", f"val_{what.judged}")})
        plan.bar(name, step, sum(steps for steps, _ in phases), **shown)

    folder = plan.workdir / "ckpt" / name
    with Checkpoints(folder) if distributed.is_primary() else nullcontext() as checkpoints:

        def on_save(now: TrainSnapshot) -> None:
            tree, at = to_host(plan.mesh, _state_tree(now)), now.progress
            if checkpoints is None:
                return
            step = int(np.ravel(tree["step"])[0])
            notes = {
                "schema": config.SCHEMA,
                "stage": name,
                "step": step,
                "key": jax.random.key_data(key).tolist(),
                "progress": at._asdict(),
                "offset": run.offset(),
                "data_hash": splits.record["hash"]["train"],
                "wall": _elapsed(plan),
                "machine": machine_info(),
            }
            improved = step in at.best_step and at.pending is None
            checkpoints.save(tree, notes, min(at.best_value) if improved else None)
            run.commit()

        fitted = fit(
            what,
            params,
            train,
            key,
            opt=opt,
            phases=phases,
            batch_size=spec.batch,
            steps_per_call=spec.steps_per_call,
            ema_decay=spec.ema_decay,
            start_bias=spec.start_bias,
            rates=_lr_factors(plan.cfg, name),
            augment=plan.emulator.pde.symmetries if spec.augment else (),
            validate=_validator(what, plan, val),
            mesh=plan.mesh,
            val_every=spec.val_every,
            on_log=on_log,
            on_save=on_save,
            stop=plan.stop,
            resume=_resume(plan.resumed, name),
        )
    if not plan.mesh.is_multi_process:
        return fitted
    # Between stages every process works with the whole of the parameters.
    return FitResult(*to_host(plan.mesh, (fitted.best, fitted.last)), fitted.progress)


def _prepare(
    what: Stage, params: Params, plan: RunContext, train: Trajectories, key: Key
) -> Params:
    """Where a stage starts from, by what was learnt before and some training windows."""
    spec = plan.cfg.fit[what.name]
    k_window, k_start = jax.random.split(jax.random.key(plan.cfg.seed))
    length = max(spec.unroll) + 1
    u, cond = draw_windows(
        k_window, train, batch=WINDOWS, length=length, start_bias=spec.start_bias
    )

    def begin(params: Params) -> Params:
        return what.prepare(params, {"u": u, "cond": cond}, k_start)

    return jax.jit(jax.vmap(begin) if key.ndim else begin)(params)


def _validator(
    what: Stage, plan: RunContext, val: Trajectories
) -> Callable[[Params], float | None]:
    """What a stage's parameters are picked by, on the validation split."""
    batch, spec = plan.cfg.eval.batch, plan.cfg.fit[what.name]
    asked: dict[str, Any] = dict(mesh=plan.mesh, stop=plan.stop)
    if what.judged == "loss":
        unroll, start_bias = max(spec.unroll), spec.start_bias
        return loss_validator(
            what, val, batch=spec.batch, unroll=unroll, start_bias=start_bias, **asked
        )
    if what.judged == "crps":
        spec = plan.cfg.ensemble
        val = val.take(slice(spec.num_trajectories))
        # As many as are judged: of two, the fair CRPS is right on average and too noisy to pick by.
        drawn = dict(members=spec.members, **({"antithetic": True} if spec.antithetic else {}))
        return ensemble_validator(plan.emulator, val, batch=batch, mode=what.name, **drawn, **asked)
    return validator(plan.emulator, val, batch=batch, mode=what.name, **asked)


def _optimizer(plan: RunContext, name: str) -> optim.Optimizer:
    spec = plan.cfg.fit[name]
    return optim.adamw(
        steps=sum(steps for steps, _ in schedule.phases_of(plan.emulator, plan.cfg, name)),
        lr=spec.lr,
        schedule=spec.schedule,
        warmup=spec.warmup,
        weight_decay=spec.weight_decay,
        clip_norm=spec.clip_norm,
    )


def _lr_factors(cfg: Any, name: str) -> Array | None:
    """What the learning rate is multiplied by in each network."""
    factors = cfg.sweep.lr_factors
    return jnp.asarray(factors, jnp.float32) if name == "operator" and len(factors) > 1 else None


def _state_tree(snapshot: TrainSnapshot) -> dict[str, Any]:
    """What of a snapshot is arrays, as it lies on disk."""
    return {**snapshot.state._asdict(), "best": snapshot.best}


def _abstract_state(plan: RunContext, name: str) -> dict[str, Any]:
    """Shapes of a stage's snapshot, without computing one."""
    begin = init_states if run_keys(plan.cfg, name).ndim else init_state

    def make() -> dict[str, Any]:
        params = init_params(plan.emulator, plan.cfg, name=name)
        return _state_tree(
            begin(schedule.stage_of(plan.emulator, plan.cfg, name), params, _optimizer(plan, name))
        )

    return jax.eval_shape(make)


def _elapsed(plan: RunContext) -> dict[str, float]:
    """Seconds up to now, for the next segment to start from."""
    earlier = plan.wall.get("earlier_s", 0.0) + time.monotonic() - plan.began
    return {"data_s": plan.wall["data_s"], "earlier_s": earlier}


def _resume(resumed: ResumeState, name: str) -> TrainSnapshot | None:
    found = resumed.saved.get(name)
    if found is None:
        return None
    arrays = jax.tree.map(jnp.asarray, found.tree)
    best = arrays.pop("best")
    return TrainSnapshot(TrainState(**arrays), best, Progress(**found.meta["progress"]))
