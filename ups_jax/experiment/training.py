"""Training stages of a run: `train_stage` with hooks for checkpoints and the run's record."""

import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax import config, tracking
from ups_jax.emulator import Emulator, init
from ups_jax.emulator.transfer import transfer
from ups_jax.evaluate.rollouts import Rollouts
from ups_jax.experiment import distributed, schedule
from ups_jax.experiment.checkpoint import Checkpoint, Checkpoints, newest_intact
from ups_jax.experiment.context import ResumeState, RunContext
from ups_jax.experiment.datasets import Splits, last_given_frame
from ups_jax.experiment.environment import machine_info
from ups_jax.files import set_aside
from ups_jax.sharding import to_host
from ups_jax.stages import STAGES
from ups_jax.train import (
    FitResult,
    Hooks,
    Progress,
    TrainSnapshot,
    TrainState,
    Validation,
    init_state,
    init_states,
    train_stage,
)
from ups_jax.types import Array, Key, Params


def run_keys(cfg: Any, name: str = "operator") -> Key:
    """Return the run's key, or a row of keys; network i is that of a run with seed `seed + i`.

    Learning rates that are compared in stage operator share the run's key.
    """
    if cfg.num_seeds == 1:
        key, many = jax.random.key(cfg.seed), len(cfg.sweep.lr_factors)
        return jnp.broadcast_to(key, (many,)) if name == "operator" and many > 1 else key
    return jax.vmap(jax.random.key)(cfg.seed + jnp.arange(cfg.num_seeds))


def init_params(
    emulator: Emulator,
    cfg: Any,
    stats: Mapping[str, Any] | None = None,
    *,
    name: str = "operator",
    source: Params | None = None,
) -> Params:
    """Return initial parameters for stage `name`, stacked if it trains several networks.

    Those that `source` has are taken from there.
    """

    def make(key: Key) -> Params:
        params = init(emulator, key, stats)
        return params if source is None else transfer(params, source)

    return _maybe_vmap(make, run_keys(cfg, name))


def best_variant(params: Params, cfg: Any, index: int) -> Params:
    """Return the network of the best learning rate; the parameters unchanged without a sweep."""
    if len(cfg.sweep.lr_factors) == 1:
        return params
    return jax.tree.map(lambda x: x[index], params)


def variants(cfg: Any, progress: Progress) -> list[list[Any]]:
    """Return a row of "Variants" for each compared learning rate, the best on validation first."""
    factors = cfg.sweep.lr_factors
    if len(factors) == 1:
        return []
    results = zip(factors, progress.best_value, progress.best_step, strict=True)
    # A rate that diverged before its first validation has no error.
    ranked = sorted(results, key=lambda result: result[1])
    return [
        [rank, float(f"{factor * cfg.fit.operator.lr:.6g}")]
        + ([error, step] if step > 0 else [None, None])
        for rank, (factor, error, step) in enumerate(ranked, 1)
    ]


def unstack_networks(params: Params, cfg: Any) -> list[Params]:
    """Return the parameters of each network of a stack."""
    if cfg.num_seeds == 1:
        return [params]
    return [jax.tree.map(lambda x, i=i: x[i], params) for i in range(cfg.num_seeds)]


def load_checkpoints(context: RunContext) -> ResumeState:
    """Read the newest intact checkpoint of every stage, and set damaged ones aside.

    Raises ValueError if one does not fit the run.
    """
    saved = {}
    for name in context.cfg.stages:
        folder = context.workdir / "ckpt" / name
        if not folder.exists():
            continue
        if not folder.is_dir():
            set_aside(folder, "it is no folder", f"stage {name} starts again")
            continue
        number, damaged = newest_intact(folder)
        for path in damaged:
            then = f"stage {name} " + (
                f"resumes from checkpoint {number}" if number else "starts again"
            )
            set_aside(path, "its files are not those that were written", then)
        if number is None:
            continue
        with Checkpoints(folder) as checkpoints:
            saved[name] = checkpoints.restore(number, _abstract_state(context, name))
        notes = saved[name].meta
        assert context.splits is not None
        expected = {"schema": config.SCHEMA, "data_hash": context.splits.record["hash"]["train"]}
        for key, value in expected.items():
            if notes[key] != value:
                raise ValueError(
                    f"{folder} was written with {key} {notes[key]}, now it is {value}; "
                    "use --restart"
                )
    return ResumeState(saved)


def share_checkpoints(context: RunContext, notes: Mapping[str, dict[str, Any]]) -> ResumeState:
    """Return the primary's checkpoints, whose metadata are `notes`, on every process."""
    if not context.mesh.is_multi_process:
        return context.resumed
    saved = {}
    for name, meta in notes.items():
        tree = context.resumed.saved[name].tree if distributed.is_primary() else None
        tree = distributed.broadcast_arrays(tree, _abstract_state(context, name))
        saved[name] = Checkpoint(tree, meta)
    return ResumeState(saved)


def warn_about_machine(context: RunContext) -> None:
    """Warn in one line if a run resumes on another machine: its last bits may differ."""
    now = machine_info(context.mesh)
    for saved in context.resumed.saved.values():
        before = saved.meta["machine"]
        # Checkpoints of earlier versions do not record all of it.
        changed = [
            f"{key} {before[key]} -> {now[key]}"
            for key in now
            if before.get(key, now[key]) != now[key]
        ]
        if changed:
            print(
                f"warning: resumed on another machine ({', '.join(changed)}); "
                "results may differ from an uninterrupted run in the last bits",
                file=sys.stderr,
            )
            return


def run_stage(
    name: str,
    params: Params,
    context: RunContext,
    splits: Splits,
    run: tracking.RunRecord,
    rollouts: Rollouts,
) -> FitResult:
    """Train a stage, resume it, or return it if it is finished."""
    cfg, mesh = context.cfg, context.mesh
    recipe = schedule.recipe_of(context.emulator, cfg, name)
    stage, key, shown = STAGES[name], run_keys(cfg, name), {}

    def on_log(step: int, row: Mapping[str, float]) -> None:
        run.log_training_metrics(stage.series, row, step)
        keys = ("loss", f"val_{stage.validate_by}")
        shown.update({k: v for k, v in row.items() if k in keys})
        context.bar(name, step, recipe.steps, **shown)

    folder = context.workdir / "ckpt" / name
    with Checkpoints(folder) if distributed.is_primary() else nullcontext() as checkpoints:

        def on_save(snapshot: TrainSnapshot) -> None:
            tree, progress = to_host(mesh, _state_tree(snapshot)), snapshot.progress
            if checkpoints is None:
                return
            step = int(np.ravel(tree["step"])[0])
            notes = {
                "schema": config.SCHEMA,
                "stage": name,
                "step": step,
                "key": jax.random.key_data(key).tolist(),
                "progress": progress._asdict(),
                "offset": run.offset(),
                "rows_digest": run.digest(),
                "data_hash": splits.record["hash"]["train"],
                "wall": {"data_s": context.wall["data_s"], "earlier_s": context.elapsed()},
                "machine": machine_info(mesh),
            }
            checkpoints.save(tree, notes)
            run.commit()

        result = train_stage(
            name,
            context.emulator,
            params,
            splits.train,
            splits.val,
            recipe,
            key,
            validation=_validation(cfg),
            lr_factors=_lr_factors(cfg, name),
            mesh=mesh,
            hooks=Hooks(on_log, lambda step: context.bar.compiling(name), on_save, context.stop),
            resume=_resume(context.resumed, name),
            rollouts=rollouts,
        )
    if not mesh.is_multi_process:
        return result
    # Between stages every process works with all of the parameters.
    return FitResult(*to_host(mesh, (result.best, result.last)), result.progress)


def _validation(cfg: Any) -> Validation:
    spec = cfg.ensemble
    return Validation(
        cfg.eval.batch,
        spec.members,
        spec.antithetic,
        spec.num_trajectories,
        start=last_given_frame(cfg),
        nudging_gain=cfg.eval.nudging_gain,
    )


def _lr_factors(cfg: Any, name: str) -> Array | None:
    """Return the factors of the learning rate of networks trained side by side."""
    factors = cfg.sweep.lr_factors
    return jnp.asarray(factors, jnp.float32) if name == "operator" and len(factors) > 1 else None


def _state_tree(snapshot: TrainSnapshot) -> dict[str, Any]:
    """Return the arrays of a snapshot, as a checkpoint stores them."""
    return {**snapshot.state._asdict(), "best": snapshot.best}


def _abstract_state(context: RunContext, name: str) -> dict[str, Any]:
    """Return the shapes of a stage's snapshot, without computing one."""
    begin = init_states if run_keys(context.cfg, name).ndim else init_state
    opt = schedule.recipe_of(context.emulator, context.cfg, name).build_optimizer()

    def make() -> dict[str, Any]:
        return _state_tree(begin(name, init_params(context.emulator, context.cfg, name=name), opt))

    return jax.eval_shape(make)


def _resume(resumed: ResumeState, name: str) -> TrainSnapshot | None:
    saved = resumed.saved.get(name)
    if saved is None:
        return None
    arrays = jax.tree.map(jnp.asarray, saved.tree)
    best = arrays.pop("best")
    return TrainSnapshot(TrainState(**arrays), best, Progress(**saved.meta["progress"]))


def _maybe_vmap(make: Callable[[Key], Any], key: Key) -> Any:
    return jax.vmap(make)(key) if key.ndim else make(key)
