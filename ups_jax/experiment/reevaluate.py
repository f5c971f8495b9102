"""A finished run looked at again: another evaluation, added to the same W&B run."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax import sharding, tracking
from ups_jax.data import save_predictions, simulate
from ups_jax.emulator import build
from ups_jax.evaluate import Report
from ups_jax.experiment import environment, workdir
from ups_jax.experiment.context import RunContext, RunOptions
from ups_jax.experiment.datasets import (
    apply_observation,
    eval_steps,
    from_file,
    load_splits,
    split_key,
)
from ups_jax.experiment.evaluation import SELECT_BEST, evaluate_run, format_evaluation
from ups_jax.experiment.signals import StopFlag
from ups_jax.files import read_json, write_json
from ups_jax.pde.base import PDE
from ups_jax.progress import ProgressBar
from ups_jax.registry import lookup
from ups_jax.types import Params, Trajectories

CHANGED_EVAL_KEYS = ("forecasters", "horizons", "select")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Settings of one more evaluation of a finished run; None keeps the value of its config."""

    workdir: Path
    wandb_mode: str | None = None
    forecasters: str | None = None
    """Names of forecasters, separated by commas."""
    data: Path | None = None
    """PDEBench HDF5 or npz file to test on."""
    points: int | None = None
    """Points along each axis."""
    horizon: float | None = None
    """Time to forecast, a multiple of the frame interval."""
    save_predictions: Path | None = None
    """The npz or h5 file to write the forecasts to."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A trained model, the trajectories to evaluate it on, and the changes to its config."""

    plan: RunContext
    params: Params
    test: Trajectories
    changed: dict[str, Any]
    save_predictions: Path | None


def prepare(options: EvaluateOptions, stop: StopFlag) -> Command:
    """Load the model and its test data; ValueError where either is missing or does not fit."""
    environment.enable_compilation_cache()
    emulator, params, cfg = workdir.load(options.workdir)
    if not workdir.is_finished(options.workdir):
        raise ValueError(
            f"{options.workdir} is not finished; the command that began it goes on with it"
        )
    changed = _config_changes(options, cfg, emulator.pde)
    with cfg.unlocked():
        cfg.eval.update({k: v for k, v in changed.items() if k in CHANGED_EVAL_KEYS})
        cfg.data.eval_steps = changed.get("steps", cfg.data.eval_steps)
        if "points" in changed:
            cfg.pde.points = changed["points"]
        if "data" in changed:
            cfg.data.path = changed["data"]
    emulator = build(cfg)
    bar = ProgressBar(on=cfg.log.progress)
    grid = sharding.make_mesh(data=cfg.mesh.data, fsdp=cfg.mesh.fsdp)
    run_options = RunOptions(config="", workdir=options.workdir, wandb_mode=options.wandb_mode)
    plan = RunContext(cfg, emulator, options.workdir, run_options, stop, 0.0, bar, grid)
    test = from_file(cfg, emulator.pde) if options.data else _test_data(plan)
    return Command(plan, params, test, changed, options.save_predictions)


def execute(visit: Command) -> int:
    """Evaluate, write `evaluation.json`, add summary and tables to the run -> exit code."""
    plan = visit.plan
    judged = evaluate_run(plan, [visit.params], 0, _selected(plan), visit.test)
    report = judged.report
    record = {
        "changed": visit.changed,
        "origin": visit.test.origin,
        "samples": len(visit.test),
        "scalars": {k: v if np.isfinite(v) else None for k, v in report.scalars.items()},
    }
    write_json(plan.workdir / "evaluation.json", record)
    if visit.save_predictions:
        save_predictions(visit.save_predictions, report.predictions, truth=visit.test)
    schema = tracking.Schema(stages=tuple(plan.cfg.stages))
    with tracking.reopen(plan.workdir, schema=schema, mode=plan.options.wandb_mode) as run:
        _log_evaluation(run, report, visit.changed)
    print(format_evaluation(judged))
    print(f"report: {plan.workdir / 'evaluation.json'}")
    return 0


def _selected(plan: RunContext) -> str:
    """What the run shipped, where that is among the modes asked for; else the last of them."""
    spec, record = plan.cfg.eval, plan.workdir / "metadata.json"
    ship = read_json(record, {}).get("ship") if spec.select == SELECT_BEST else spec.select
    return ship if ship in spec.forecasters else spec.forecasters[-1]


def _log_evaluation(run: tracking.RunRecord, report: Report, changed: dict[str, Any]) -> None:
    """Under `eval/` where nothing differs from the run's own evaluation, else under `again/`.

    Milliseconds stay those of the run: they would differ, and `summary.json` is not touched.
    """
    scalars = {key.removeprefix("eval/"): value for key, value in report.scalars.items()}
    scalars = {key: value for key, value in scalars.items() if changed or not key.endswith("ms")}
    run.log_eval_summary(scalars, prefix="again" if changed else "eval")
    suffix = " (again)" if changed else ""
    run.log_table(f"Evaluation Summary{suffix}", report.columns, report.rows)
    run.log_table(f"Physics Diagnostics{suffix}", report.physics_columns, report.physics_rows)


def _config_changes(options: EvaluateOptions, cfg: Any, pde: PDE) -> dict[str, Any]:
    """What the flags ask for beside the config, as config values."""
    from ups_jax.forecast import FORECASTERS

    changed: dict[str, Any] = {}
    if options.forecasters:
        names = tuple(options.forecasters.split(","))
        for name in names:
            lookup(FORECASTERS, name, "forecaster")
        if names != tuple(cfg.eval.forecasters):
            changed["forecasters"] = names
            changed["select"] = cfg.eval.select if cfg.eval.select in names else names[-1]
    if options.data:
        changed["data"] = str(options.data)
    if options.points and (options.points,) * pde.ndim != pde.points:
        if any(cells % options.points for cells in pde.cells):
            raise ValueError(f"--points is {options.points}; it must divide data.cells {pde.cells}")
        changed["points"] = (options.points,) * pde.ndim if pde.ndim > 1 else options.points
    if options.horizon:
        steps = round(options.horizon / pde.dt)
        if steps < 1 or abs(steps * pde.dt - options.horizon) > 1e-6:
            raise ValueError(f"--horizon is {options.horizon}, not a multiple of dt {pde.dt}")
        if steps != eval_steps(cfg):
            changed["steps"] = steps
            changed["horizons"] = tuple(h for h in cfg.eval.horizons if h <= options.horizon)
    return changed


def _test_data(plan: RunContext) -> Trajectories:
    """Return the run's test split, simulated again if it has no data file."""
    cfg, pde = plan.cfg, plan.emulator.pde
    if cfg.data.path:
        return load_splits(cfg, pde, stop=plan.stop).test
    data = simulate(
        pde,
        split_key(cfg, "test"),
        n=cfg.data.test,
        steps=eval_steps(cfg),
        stop=plan.stop,
        progress=lambda done, total: plan.bar("simulate test", done, total),
    )
    return apply_observation(cfg, "test", data)
