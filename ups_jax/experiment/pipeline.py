"""One run from its config to its report, in order. Every runner calls it."""

import os
import platform
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from ups_jax import config, sharding, tracking
from ups_jax.data import save_predictions
from ups_jax.emulator import build, fit_statistics, num_params
from ups_jax.experiment import distributed, dry_run, environment, schedule, training, verdict
from ups_jax.experiment import workdir as store
from ups_jax.experiment.artifacts import STAGE_COLUMNS, publish
from ups_jax.experiment.context import RunContext, RunOptions, default_workdir
from ups_jax.experiment.datasets import Splits, load_splits
from ups_jax.experiment.evaluation import (
    Evaluation,
    evaluate_run,
    format_evaluation,
    select_model,
    validation_error,
)
from ups_jax.experiment.signals import StopFlag
from ups_jax.files import write_json, write_text
from ups_jax.progress import ProgressBar
from ups_jax.types import Interrupted, Params

Row = list[Any]
SHARED_OPTIONS = ("restart", "dry_run")
"""Options that every process of a run must agree on."""


def prepare(options: RunOptions, stop: StopFlag) -> RunContext:
    """Validate the config, look at the workdir, get the data. Bad input is a ValueError."""
    with distributed.exit_on_lost_process(_resume_command()):
        return _prepare(options, stop)


def _prepare(options: RunOptions, stop: StopFlag) -> RunContext:
    began = time.monotonic()
    environment.enable_compilation_cache()
    distributed.initialize(options)
    cfg = distributed.all_succeed(lambda: config.load(options.config, options.overrides))
    same = [
        config.fingerprint(cfg),
        *cfg.mesh.items(),
        *((k, getattr(options, k)) for k in SHARED_OPTIONS),
    ]
    distributed.require_equal(
        "config", str(same), "start all with the same command, but for --process"
    )
    emulator = build(cfg)
    bar = ProgressBar(on=cfg.log.progress and distributed.is_primary())
    grid = sharding.make_mesh(data=cfg.mesh.data, fsdp=cfg.mesh.fsdp)
    for stage in cfg.stages:
        sharding.require_divides(f"fit.{stage}.batch", cfg.fit[stage].batch, grid)
    sharding.require_divides("eval.batch", cfg.eval.batch, grid)
    workdir = options.workdir or default_workdir(options.config)
    plan = RunContext(
        cfg, emulator, workdir, options, distributed.shared_stop(stop), began, bar, grid
    )
    if options.dry_run:
        return plan
    no_gates = not any(gate.metric for gate in cfg.gates.values())
    if options.fail_on_gate and no_gates and distributed.is_primary():
        print("warning: --fail_on_gate: the config has no gates to judge by", file=sys.stderr)
    if not options.restart and distributed.broadcast_from_primary(
        lambda: store.is_finished_run(plan.workdir, cfg)
    ):
        return plan
    stop.line = f"stopped; go on with: {_resume_command()}"
    with ExitStack() as unless_prepared:
        distributed.broadcast_from_primary(lambda: _lock_workdir(plan, unless_prepared))
        plan.splits = distributed.all_succeed(
            lambda: load_splits(cfg, emulator.pde, mesh=grid, stop=stop, progress=bar), stop
        )
        found = str(plan.splits.record["hash"])
        distributed.require_equal("data", found, "share a data cache (UPS_DATA), or one file")
        plan.wall["data_s"] = time.monotonic() - began
        distributed.broadcast_from_primary(
            lambda: store.create(plan.workdir, cfg, restart=options.restart)
        )
        plan.resumed = distributed.broadcast_from_primary(lambda: training.load_checkpoints(plan))
        plan.lock = unless_prepared.pop_all()
    return plan


def _lock_workdir(plan: RunContext, until: ExitStack) -> None:
    """Let no other process work in the folder of the run."""
    until.enter_context(store.lock(plan.workdir))


def execute(plan: RunContext) -> int:
    """Train, evaluate and report what was prepared -> exit code."""
    if plan.options.dry_run:
        _print_once(dry_run.describe(plan.cfg, plan.emulator))
        return 0
    if plan.splits is None:
        return _print_results(plan)
    with (
        plan.lock,
        _open(plan) as run,
        distributed.exit_on_lost_process(_resume_command(), run.finish),
    ):
        try:
            _run(plan, plan.splits, run)
        except Interrupted as where:
            if plan.stop.code == 143:
                run.mark_preempting()
            plan.bar.close()
            _print_once(f"stopped in {where}; go on with: {_resume_command()}", sys.stderr)
            run.finish(plan.stop.code)
            return plan.stop.code
        except FloatingPointError as error:
            run.alert("diverged", str(error), "ERROR")
            run.finish(4)
            raise
        return _print_results(plan)


def _open(plan: RunContext) -> tracking.RunRecord:
    """The one run, which the first process tells W&B of; the others keep theirs to themselves."""
    schema = tracking.Schema(stages=tuple(plan.cfg.stages))
    if not distributed.is_primary():
        return tracking.RunRecord(schema)
    return tracking.start(
        config.to_dict(plan.cfg),
        plan.workdir,
        schema=schema,
        mode=plan.options.wandb_mode,
        resume_offset=plan.resumed.offset,
    )


def _print_results(plan: RunContext) -> int:
    """Say what a finished folder holds -> exit code."""
    if distributed.is_primary():
        print(store.read_text(plan.workdir / "table.txt"))
        print(f"report: {plan.workdir / 'report.html'}")
    return distributed.broadcast_from_primary(lambda: verdict.exit_code(plan.workdir, plan.options))


def _run(plan: RunContext, splits: Splits, run: tracking.RunRecord) -> None:
    """The stages of one run, in the order of the contract; `summary.json` comes last."""
    cfg, workdir, wall = plan.cfg, plan.workdir, plan.wall
    wall.update(plan.resumed.wall)
    run.update_config(_metadata(cfg, splits))
    if distributed.is_primary():
        write_json(workdir / "splits.json", splits.record)
        verdict.baseline(plan, splits, run.id)
        training.warn_about_machine(plan.resumed)
    networks, chosen, stages = _train(plan, splits, run)
    params = networks[chosen]
    if distributed.is_primary():
        store.save_params(workdir, params)
    began = time.monotonic()
    ship, rivals = select_model(plan, params, splits.val)
    run.update_config({"ship": ship})
    run.log_eval_summary({f"selection/{mode}/nrmse": value for mode, value in rivals.items()})
    known = stages[0][STAGE_COLUMNS.index("validation")] if ship == "operator" else None
    value = validation_error(plan, params, splits.val, ship) if known is None else known
    run.log_eval_summary({"val/nrmse": value})
    judged = evaluate_run(plan, networks, chosen, ship, splits.test)
    report = judged.report
    run.log_eval_summary({key.removeprefix("eval/"): v for key, v in report.scalars.items()})
    wall["compile_s"] += report.compile_s
    wall["eval_s"] = time.monotonic() - began - report.compile_s
    if distributed.is_primary():
        _record(plan, splits, params, judged, stages, run)


def _record(
    plan: RunContext,
    splits: Splits,
    params: Params,
    judged: Evaluation,
    stages: list[Row],
    run: tracking.RunRecord,
) -> None:
    """What the first process does alone: predictions, verdict, leaderboard, report, summary."""
    cfg, workdir, wall, report = plan.cfg, plan.workdir, plan.wall, judged.report
    if cfg.eval.save_predictions:
        save_predictions(workdir / "predictions.npz", report.predictions, truth=splits.test)
    wall["verdict_s"] = wall.pop("earlier_s", 0.0) + time.monotonic() - plan.began
    run.log_eval_summary(wall, prefix="wall")
    run.log_eval_summary({"peak_mib": environment.peak_mib()}, prefix="memory")
    before = verdict.baseline(plan, splits, run.id)
    ruled = verdict.judge(
        plan, splits, run, before,
        selected=judged.ship, curves=report.curves, times=report.times, spread=_spread(stages),
    )  # fmt: skip
    verdict.log_verdict(ruled, run)
    began = time.monotonic()
    publish(plan, splits, params, judged, ruled, stages, run)
    wall["report_s"] = time.monotonic() - began
    wall["total_s"] = wall["verdict_s"] + wall["report_s"]
    run.log_eval_summary(wall, prefix="wall")
    write_text(workdir / "table.txt", f"{format_evaluation(judged)}\n\n{verdict.sentence(ruled)}\n")
    run.finish(verdict.exit_code(workdir, plan.options))
    run.write_summary()


def _spread(stages: list[Row]) -> float | None:
    """Of the operator's validation error, over the seeds of this run."""
    return stages[0][STAGE_COLUMNS.index("spread over seeds")] if stages else None


def _train(
    plan: RunContext, splits: Splits, run: tracking.RunRecord
) -> tuple[list[Params], int, list[Row]]:
    """Every stage in turn -> each seed's network, the one to ship, a row of "Stage Summary" each.

    The seed of the operator with the lowest validation error ships, with what came of it; of
    compared learning rates that one alone goes on.
    """
    cfg, wall, rows, chosen = plan.cfg, plan.wall, [], 0
    params = training.init_params(plan.emulator, cfg, fit_statistics(plan.emulator, splits.train))
    for name in cfg.stages:
        fitted = training.run_stage(name, params, plan, splits, run)
        params, at = fitted.best, fitted.progress
        measure = schedule.stage_of(plan.emulator, cfg, name).judged
        if name == "operator":
            chosen = int(np.argmin(at.best_value))
            params, plan.variants = (
                training.best_variant(params, cfg, chosen),
                training.variants(cfg, at),
            )
        size, value = num_params(params[name]) // cfg.num_seeds, at.best_value[chosen]
        spread = float(np.std(at.best_value, ddof=1)) if cfg.num_seeds > 1 else None
        updates = sum(steps for steps, _ in schedule.phases_of(plan.emulator, cfg, name))
        flop = schedule.training_flops(plan.emulator, cfg, name) / 1e12
        told = [at.best_step[chosen], measure, value, spread, flop, at.train_s, at.compile_s]
        rows.append([name, size, updates, cfg.num_seeds, *told])
        run.log_eval_summary({f"val/{name}/{measure}": value})
        run.log_eval_summary({name: size}, prefix="params")
        wall["train_s"] = wall.get("train_s", 0.0) + at.train_s
        wall["compile_s"] = wall.get("compile_s", 0.0) + at.compile_s
        if plan.variants:
            chosen = 0
    return training.unstack_networks(params, cfg), chosen, rows


def _metadata(cfg: Any, splits: Splits) -> dict[str, Any]:
    """What describes the run and is no metric: goes to W&B's config and metadata.json."""
    unit = jax.devices()[0]
    return {
        "eval_samples": len(splits.test),
        "gpu_name": unit.device_kind if unit.platform != "cpu" else "none (cpu)",
        "data_origin": splits.record["origin"],
        "data_hash": splits.record["hash"],
        "fingerprint": config.fingerprint(cfg),
        "git_sha": _git_sha(),
        "python": platform.python_version(),
        **environment.machine_info(),
    }


def _git_sha() -> str | None:
    """Commit of the library's own checkout, None outside one."""
    here = Path(__file__).parent
    asked = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None


def _print_once(text: str, file: TextIO | None = None) -> None:
    """Print, once for all processes."""
    if distributed.is_primary():
        print(text, file=file)


def _resume_command() -> str:
    program = Path(sys.argv[0])
    start = {"__main__.py": "python -m ups_jax", "ups": "ups"}.get(
        program.name, f"python {os.path.relpath(program)}"
    )
    return " ".join([start, *(word for word in sys.argv[1:] if word != "--restart")])
