"""Training: one loop (`fit`), one stage (`train_stage`), and the public `train`."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import jax

from ups_jax.arrays import as_key
from ups_jax.data import check_task, draw_windows, require_one_length
from ups_jax.data.missing import MASK, check_trajectories
from ups_jax.emulator import Emulator, fit_statistics, init
from ups_jax.emulator.states import on_states
from ups_jax.evaluate import ensemble_validator, loss_validator, validator
from ups_jax.evaluate.rollouts import Rollouts
from ups_jax.pde.base import Symmetry
from ups_jax.progress import ProgressBar
from ups_jax.registry import lookup
from ups_jax.sharding import Mesh
from ups_jax.stages import BUILT_IN_STAGES, STAGES, bind
from ups_jax.train.loop import (
    NO_HOOKS,
    FitResult,
    Hooks,
    TrainSnapshot,
    fit,
    init_state,
    init_states,
)
from ups_jax.train.recipe import Phases, Recipe
from ups_jax.train.sampling import SAMPLINGS, EquationSampling
from ups_jax.train.selection import Progress, Validate
from ups_jax.train.updates import TrainState, run_updates
from ups_jax.types import Array, BoundStage, Key, Params, Stage, Trajectories

PREPARE_WINDOWS = 256
"""Training windows from which a stage derives its initial parameters."""


@dataclass(frozen=True)
class Validation:
    """Settings of validation: trajectories a batch, and the ensemble of a stage scored by CRPS.

    Forecasts begin after frame `start`, 0 is P1, 9 is P10, from an analysis with `nudging_gain`.
    """

    batch: int = 16
    members: int = 8
    antithetic: bool = False
    num_trajectories: int = 128
    start: int = 0
    nudging_gain: float = 1.0


VALIDATION = Validation()


def train(
    emulator: Emulator,
    data: Trajectories,
    val: Trajectories,
    recipe: Recipe | None = None,
    *,
    key: Key | int,
    stage: str = "operator",
    params: Params | None = None,
    validation: Validation = VALIDATION,
    mesh: Mesh | None = None,
    hooks: Hooks = NO_HOOKS,
    progress: bool = True,
) -> Params:
    """Train one stage and return the parameters with the lowest validation error.

    `params` are those of the stages before; without them, networks and statistics of the training
    split are initialized. A number as `key` is a seed; results equal those of a run with that seed.
    Training uses JAX's default device alone, unless `mesh` shares every batch over several devices.
    A KeyboardInterrupt returns the best parameters so far, before the first validation the averaged
    ones of the last update; a line on stderr names their step. Raises ValueError where an earlier
    stage is missing, FloatingPointError where training diverges.
    """
    key = as_key(key)
    spec = lookup(STAGES, stage, "stage")
    recipe = recipe or Recipe.of_section(spec.defaults)
    if params is None:
        if spec.after:
            raise ValueError(
                f"stage {stage!r} needs the parameters of {', '.join(spec.after)}; train "
                "these first and pass params="
            )
        params = init(emulator, key, fit_statistics(emulator, data))
    bar = ProgressBar(on=progress)
    stopped: list[TrainSnapshot] = []
    show = ("loss", f"val_{spec.validate_by}")
    last: dict[str, float] = {}

    def on_log(step: int, row: Mapping[str, float]) -> None:
        last.update({name: value for name, value in row.items() if name in show})
        bar(stage, step, recipe.steps, **last)
        hooks.on_log(step, row)

    def on_compile(step: int) -> None:
        bar.compiling(stage)
        hooks.on_compile(step)

    def on_interrupt(snapshot: TrainSnapshot) -> None:
        stopped.append(snapshot)
        hooks.on_interrupt(snapshot)

    try:
        result = train_stage(
            stage, emulator, params, data, val, recipe, key,
            validation=validation, mesh=mesh,
            hooks=replace(hooks, on_log=on_log, on_compile=on_compile, on_interrupt=on_interrupt),
        )  # fmt: skip
    except KeyboardInterrupt:
        bar.close()
        found = _so_far(stopped[0], f"val_{spec.validate_by}") if stopped else None
        if found is None:
            raise
        trained, where = found
        print(
            f"interrupted: {stage} has the parameters of {where}; interrupt again to stop",
            file=sys.stderr,
        )
        return {**params, **trained}
    return result.best


def _so_far(snapshot: TrainSnapshot, error: str) -> tuple[Params, str] | None:
    """Return the parameters of an interrupted stage with their step, None before any update."""
    step, best = snapshot.progress.best_step, snapshot.progress.best_value
    if step and step[0] >= 0:
        return snapshot.best, f"step {step[0]}, {error} {best[0]:.3g}"
    state = snapshot.state
    # An interrupt between the donation of a state and the receipt of the next one loses both.
    if any(x.is_deleted() for x in jax.tree.leaves(state)) or not (updates := int(state.step)):
        return None
    return state.ema, f"step {updates}, not validated"


def train_stage(
    name: str,
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    val: Trajectories,
    recipe: Recipe,
    key: Key,
    *,
    validation: Validation = VALIDATION,
    lr_factors: Array | None = None,
    mesh: Mesh | None = None,
    hooks: Hooks = NO_HOOKS,
    resume: TrainSnapshot | None = None,
    rollouts: Rollouts | None = None,
) -> FitResult:
    """Train a stage on a split, selected on another; the key is that of the whole run.

    A row of keys trains that many networks side by side, as `fit` does; `params` are then stacked.
    Stages that train on the operator's forecasts compute those that `rollouts` lacks.
    Raises ValueError on an unknown stage and on parameters that lack an earlier one.
    """
    stage = lookup(STAGES, name, "stage")
    missing = [other for other in (*stage.after, name) if other not in params]
    if missing:
        raise ValueError(
            f"stage {name!r} needs {missing[0]!r} among the parameters {sorted(params)}; "
            "build the emulator with that stage, and train it first"
        )
    if recipe.match_flops_of is not None:
        raise ValueError(
            f"match_flops_of is {recipe.match_flops_of!r}, which only a run resolves; give steps"
        )
    if emulator.missing == MASK and not stage.observed:
        able = ", ".join(name for name, other in STAGES.items() if other.observed)
        raise ValueError(f"stage {name!r} cannot mask missing values; stages that can: {able}")
    for split in (data, val):
        check_task(split, emulator.pde)
        check_trajectories(split, emulator.missing)
    require_one_length(val, "the validation split")
    rollouts = rollouts or Rollouts(mesh, hooks.stop)
    bound = bind(stage, emulator, {**recipe.to_dict(), "rollouts": rollouts})
    lookup(dict.fromkeys(SAMPLINGS), recipe.sampling, "sampling")
    by_error = recipe.sampling == "validation" and stage.validate_by == "nrmse"
    sampling = EquationSampling(emulator.pde, data, val) if by_error else None
    number, run_key = key_number(name), key[0] if key.ndim else key
    stage_key = _maybe_vmap(lambda k: jax.random.fold_in(k, number), key)
    data, val = bound.data(params, data), bound.data(params, val)
    return fit(
        bound,
        _prepare(bound, params, data, recipe, run_key, stacked=bool(key.ndim)),
        data,
        stage_key,
        recipe,
        augment=_symmetries(stage, emulator) if recipe.augment else (),
        lr_factors=lr_factors,
        validate=_validator(
            bound, emulator, val, recipe, validation, sampling, mesh=mesh, stop=hooks.stop
        ),
        sampling=sampling,
        mesh=mesh,
        hooks=hooks,
        resume=resume,
    )


def _symmetries(stage: Stage, emulator: Emulator) -> tuple[Symmetry, ...]:
    """Return the symmetries of a stage's windows: of frames, or of the states of derived data."""
    symmetries = emulator.pde.symmetries
    return symmetries if stage.data is None else tuple(on_states(emulator, s) for s in symmetries)


def key_number(name: str) -> int:
    """Return the number that is folded into a run's key for a stage.

    A stage of the user has a hash of its name: it must not depend on what else is registered.
    """
    if name in BUILT_IN_STAGES:
        return BUILT_IN_STAGES.index(name) + 1
    return 2**16 + crc32(name.encode()) % 2**30


def _prepare(
    stage: BoundStage,
    params: Params,
    data: Trajectories,
    recipe: Recipe,
    key: Key,
    *,
    stacked: bool,
) -> Params:
    """Return a stage's initial parameters, from those before it and some training windows."""
    k_window, k_start = jax.random.split(key)
    u, cond = draw_windows(
        k_window,
        data,
        batch=PREPARE_WINDOWS,
        length=max(recipe.unroll) + 1,
        start_bias=recipe.start_bias,
        history=stage.history,
    )

    u = u if stage.fill is None else stage.fill(u)

    def begin(params: Params) -> Params:
        return stage.prepare(params, {"u": u, "cond": cond}, k_start)

    return jax.jit(jax.vmap(begin) if stacked else begin)(params)


def _validator(
    stage: BoundStage,
    emulator: Emulator,
    val: Trajectories,
    recipe: Recipe,
    spec: Validation,
    sampling: EquationSampling | None,
    **options: Any,
) -> Validate:
    """Return the validation error that selects a stage's parameters."""
    if stage.validate_by == "loss":
        unroll, bias = max(recipe.unroll), recipe.start_bias
        return loss_validator(
            stage, val, batch=recipe.batch, unroll=unroll, start_bias=bias, **options
        )
    options |= dict(forecaster=STAGES[stage.name].forecaster, batch=spec.batch)
    options |= dict(start=spec.start, nudging_gain=spec.nudging_gain)
    if stage.validate_by == "crps":
        # As many members as evaluation uses: the fair CRPS of two is unbiased but too noisy.
        options |= dict(members=spec.members)
        options |= dict(antithetic=True) if spec.antithetic else {}
        return ensemble_validator(emulator, val.take(slice(spec.num_trajectories)), **options)
    options |= dict(average=recipe.val_average)
    options |= dict(record=sampling.record) if sampling else {}
    return validator(emulator, val, **options)


def _maybe_vmap(function: Callable[[Key], Any], key: Key) -> Any:
    return jax.vmap(function)(key) if key.ndim else function(key)
