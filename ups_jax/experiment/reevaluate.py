"""A finished run looked at again: another evaluation, added to the same W&B run."""

import dataclasses
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax import sharding, tracking
from ups_jax.data import save_predictions, simulate
from ups_jax.emulator import build
from ups_jax.evaluate import Report
from ups_jax.experiment import environment, workdir
from ups_jax.experiment.context import RunContext
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


@dataclasses.dataclass(frozen=True)
class Command:
    """A trained model, the trajectories to judge it on, and what differs from its own config."""

    plan: RunContext
    params: Params
    test: Trajectories
    changed: dict[str, Any]


def prepare(args: Namespace, stop: StopFlag) -> Command:
    """Load the model and its test data; ValueError where either is missing or does not fit."""
    environment.enable_compilation_cache()
    emulator, params, cfg = workdir.load(args.workdir)
    if not workdir.is_finished(args.workdir):
        raise ValueError(
            f"{args.workdir} is not finished; the command that began it goes on with it"
        )
    changed = _config_changes(args, cfg, emulator.pde)
    with cfg.unlocked():
        cfg.eval.update({k: v for k, v in changed.items() if k in ("modes", "horizons", "ship")})
        cfg.data.eval_steps = changed.get("steps", cfg.data.eval_steps)
        if "points" in changed:
            cfg.pde.points = changed["points"]
        if "data" in changed:
            cfg.data.path = changed["data"]
    emulator = build(cfg)
    bar = ProgressBar(on=cfg.log.progress)
    grid = sharding.make_mesh(data=cfg.mesh.data, fsdp=cfg.mesh.fsdp)
    plan = RunContext(cfg, emulator, Path(args.workdir), args, stop, 0.0, bar, grid)
    test = _test_data(plan)
    return Command(plan, params, test, changed)


def execute(visit: Command) -> int:
    """Evaluate, write `evaluation.json`, add summary and tables to the run -> exit code."""
    plan, args = visit.plan, visit.plan.args
    judged = evaluate_run(plan, [visit.params], 0, _selected(plan), visit.test)
    report = judged.report
    record = {
        "changed": visit.changed,
        "origin": visit.test.origin,
        "samples": len(visit.test),
        "scalars": {k: v if np.isfinite(v) else None for k, v in report.scalars.items()},
    }
    write_json(plan.workdir / "evaluation.json", record)
    if args.save_predictions:
        save_predictions(args.save_predictions, report.predictions, truth=visit.test)
    schema = tracking.Schema(stages=tuple(plan.cfg.stages))
    with tracking.reopen(plan.workdir, schema=schema, mode=args.wandb_mode) as run:
        _log_evaluation(run, report, visit.changed)
    print(format_evaluation(judged))
    print(f"report: {plan.workdir / 'evaluation.json'}")
    return 0


def _selected(plan: RunContext) -> str:
    """What the run shipped, where that is among the modes asked for; else the last of them."""
    spec, record = plan.cfg.eval, plan.workdir / "metadata.json"
    ship = read_json(record, {}).get("ship") if spec.select == SELECT_BEST else spec.select
    return ship if ship in spec.forecasters else spec.forecasters[-1]


def _log_evaluation(run: tracking.WandBContext, report: Report, changed: dict[str, Any]) -> None:
    """Under `eval/` where nothing differs from the run's own evaluation, else under `again/`.

    Milliseconds stay those of the run: they would differ, and `summary.json` is not touched.
    """
    scalars = {key.removeprefix("eval/"): value for key, value in report.scalars.items()}
    scalars = {key: value for key, value in scalars.items() if changed or not key.endswith("ms")}
    run.log_eval_summary(scalars, prefix="again" if changed else "eval")
    suffix = " (again)" if changed else ""
    run.log_table(f"Evaluation Summary{suffix}", report.columns, report.rows)
    run.log_table(f"Physics Diagnostics{suffix}", report.physics_columns, report.physics_rows)


def _config_changes(args: Namespace, cfg: Any, pde: PDE) -> dict[str, Any]:
    """What the flags ask for beside the config, as config values."""
    from ups_jax.forecast import FORECASTERS

    changed: dict[str, Any] = {}
    if args.modes:
        modes = tuple(args.modes.split(","))
        for mode in modes:
            lookup(FORECASTERS, mode, "forecaster")
        if modes != tuple(cfg.eval.forecasters):
            changed["modes"] = modes
            changed["ship"] = cfg.eval.select if cfg.eval.select in modes else modes[-1]
    if args.data:
        changed["data"] = str(args.data)
    if args.points and (args.points,) * pde.ndim != pde.points:
        if any(cells % args.points for cells in pde.cells):
            raise ValueError(f"--points is {args.points}; it must divide data.cells {pde.cells}")
        changed["points"] = (args.points,) * pde.ndim if pde.ndim > 1 else args.points
    if args.horizon:
        steps = round(args.horizon / pde.dt)
        if steps < 1 or abs(steps * pde.dt - args.horizon) > 1e-6:
            raise ValueError(f"--horizon is {args.horizon}; it must be a multiple of dt, {pde.dt}")
        if steps != eval_steps(cfg):
            changed["steps"] = steps
            changed["horizons"] = tuple(h for h in cfg.eval.horizons if h <= args.horizon)
    return changed


def _test_data(plan: RunContext) -> Trajectories:
    """The run's own test split, or another file whole, or the test key at another resolution."""
    cfg, pde = plan.cfg, plan.emulator.pde
    if plan.args.data:
        return from_file(cfg, pde)
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
