"""One run from its config to its report, in order."""

import platform
import sys
import time
from typing import Any

import jax
import numpy as np

from ups_jax import config, tracking
from ups_jax.data import save_predictions
from ups_jax.emulator import fit_statistics, num_params
from ups_jax.evaluate.rollouts import Rollouts
from ups_jax.evaluate.timing import compile_seconds
from ups_jax.experiment import distributed, dry_run, environment, schedule, training, verdict
from ups_jax.experiment.admission import prepare
from ups_jax.experiment.artifacts import STAGE_COLUMNS, publish, redraw_if_changed
from ups_jax.experiment.context import RunContext, RunOptions, resume_command
from ups_jax.experiment.datasets import Splits
from ups_jax.experiment.evaluation import (
    Evaluation,
    evaluate_run,
    format_evaluation,
    select_model,
    validation_error,
)
from ups_jax.experiment.summary import judged_keys, summary_scalars
from ups_jax.experiment.trained import save_params
from ups_jax.experiment.workdir import seal, unseal
from ups_jax.files import DamagedFile, read_text, write_json, write_text
from ups_jax.stages import STAGES
from ups_jax.types import Interrupted, Params

__all__ = ["RunOptions", "execute", "prepare"]

Row = list[Any]


def execute(context: RunContext) -> int:
    """Train, evaluate and report -> exit code."""
    if context.options.dry_run:
        distributed.print_once(dry_run.describe(context.cfg, context.emulator))
        return 0
    if context.splits is None:
        if distributed.is_primary():
            redraw_if_changed(context)
        return _print_results(context)
    lost = distributed.exit_on_lost_process
    with context.lock, _open(context) as run, lost(resume_command(), run.finish):
        try:
            _run(context, context.splits, run)
        except Interrupted as where:
            if context.stop.code == 143:
                run.mark_preempting()
            context.bar.close()
            distributed.print_once(
                f"stopped in {where}; resume with: {resume_command()}", sys.stderr
            )
            run.finish(context.stop.code)
            return context.stop.code
        except FloatingPointError as error:
            context.bar.close()
            run.alert("diverged", str(error), "ERROR")
            run.finish(4)
            raise
        return _print_results(context)


def _open(context: RunContext) -> tracking.RunRecord:
    """Open the run's record: with files and W&B on the primary process, in memory on others."""
    schema = context.schema()
    if not distributed.is_primary():
        return tracking.RunRecord(schema)
    return tracking.start(
        config.to_dict(context.cfg),
        context.workdir,
        schema=schema,
        mode=context.options.wandb_mode,
        resume=context.resumed.position,
    )


def _print_results(context: RunContext) -> int:
    """Print the results of a finished workdir -> exit code."""
    workdir = context.workdir
    if distributed.is_primary():
        try:
            print(read_text(workdir / "table.txt"))
        except DamagedFile as error:
            print(f"warning: {error}; the report holds the table", file=sys.stderr)
        print(f"report: {workdir / 'report.html'}")
    return distributed.broadcast_from_primary(lambda: verdict.exit_code(workdir, context.options))


def _run(context: RunContext, splits: Splits, run: tracking.RunRecord) -> None:
    """Run the stages and the evaluation, in the order of the contract; the summary comes last."""
    workdir, wall = context.workdir, context.wall
    earlier = context.resumed.wall
    wall.update(earlier, data_s=wall["data_s"] + earlier.get("data_s", 0.0))
    run.update_config(_metadata(context, splits))
    if distributed.is_primary():
        write_json(workdir / "splits.json", splits.record)
        verdict.baseline(context, splits, run.id)
        training.warn_about_machine(context)
    networks, index, stages = _train(context, splits, run)
    params = networks[index]
    if distributed.is_primary():
        save_params(workdir, params)
    # The rest until here: the record's start, initial parameters, derived data, checkpoints.
    known = ("data_s", "train_s", "compile_s", "validation_s")
    wall["prepare_s"] = context.elapsed() - sum(wall[key] for key in known)
    began = time.monotonic()
    with compile_seconds() as compiling:
        selected, candidates = select_model(context, params, splits.val)
        run.update_config({"selected": selected})
        errors = {f"selection/{mode}/nrmse": error for mode, error in candidates.items()}
        run.log_eval_summary(errors)
        error = stages[0][STAGE_COLUMNS.index("validation")] if selected == "operator" else None
        if error is None:
            error = validation_error(context, params, splits.val, selected)
        run.log_eval_summary({"val/nrmse": error})
        evaluation = evaluate_run(context, networks, index, selected, splits.test)
    scalars = summary_scalars(evaluation.report.scalars, judged_keys(context.cfg))
    run.log_eval_summary({key.removeprefix("eval/"): v for key, v in scalars.items()})
    compile_s = sum(compiling)
    wall["compile_s"] += compile_s
    wall["eval_s"] = time.monotonic() - began - compile_s
    if distributed.is_primary():
        _record(context, splits, params, evaluation, stages, run)


def _record(
    context: RunContext,
    splits: Splits,
    params: Params,
    evaluation: Evaluation,
    stages: list[Row],
    run: tracking.RunRecord,
) -> None:
    """Write predictions, verdict, leaderboard, report and summary, on the primary process."""
    workdir, wall, report = context.workdir, context.wall, evaluation.report
    wall["verdict_s"] = context.elapsed()
    wall.pop("earlier_s", None)
    began = time.monotonic()
    unseal(workdir)
    if context.cfg.eval.save_predictions:
        save_predictions(workdir / "predictions.npz", report.predictions, truth=splits.test)
    run.log_eval_summary(wall, prefix="wall")
    run.log_eval_summary({"peak_mib": environment.peak_mib()}, prefix="memory")
    before = verdict.baseline(context, splits, run.id)
    run_verdict = verdict.judge(
        context,
        splits,
        run,
        before,
        selected=evaluation.selected,
        curves=report.curves,
        times=report.times,
        spread=_seeds_spread(stages),
    )
    verdict.log_verdict(run_verdict, run)
    publish(context, splits, params, evaluation, run_verdict, stages, run)
    wall["report_s"] = time.monotonic() - began
    wall["total_s"] = wall["verdict_s"] + wall["report_s"]
    run.log_eval_summary(wall, prefix="wall")
    text = f"{format_evaluation(evaluation)}\n\n{verdict.sentence(run_verdict)}\n"
    write_text(workdir / "table.txt", text)
    run.finish(verdict.exit_code(workdir, context.options))
    run.write_summary()
    seal(workdir)


def _seeds_spread(stages: list[Row]) -> float | None:
    """Return the deviation of the operator's validation error over the seeds of this run."""
    return stages[0][STAGE_COLUMNS.index("spread over seeds")] if stages else None


def _train(
    context: RunContext, splits: Splits, run: tracking.RunRecord
) -> tuple[list[Params], int, list[Row]]:
    """Train every stage -> each seed's network, the selected index, rows of "Stage Summary".

    The seed with the lowest validation error of the operator is selected; of compared learning
    rates only the best one trains the later stages.
    """
    cfg, emulator, wall, rows, index = context.cfg, context.emulator, context.wall, [], 0
    context.bar.plan(schedule.part_flops(emulator, cfg))
    source = context.origin.params if context.origin else None
    statistics = fit_statistics(emulator, splits.train)
    params = training.init_params(emulator, cfg, statistics, source=source)
    rollouts = Rollouts(context.mesh, context.stop)
    for name in cfg.stages:
        result = training.run_stage(name, params, context, splits, run, rollouts)
        params, progress = result.best, result.progress
        if name == "operator":
            index = int(np.argmin(progress.best_value))
            params = training.best_variant(params, cfg, index)
            context.variants = training.variants(cfg, progress)
        rows.append(_stage_row(context, name, params, progress, index))
        _, size, *_, measure, error = rows[-1][:7]
        run.log_eval_summary({f"val/{name}/{measure}": error})
        run.log_eval_summary({name: size}, prefix="params")
        for part in ("train_s", "compile_s", "validation_s"):
            wall[part] = wall.get(part, 0.0) + getattr(progress, part)
        if context.variants:
            index = 0
    return training.unstack_networks(params, cfg), index, rows


def _stage_row(
    context: RunContext, name: str, params: Params, progress: training.Progress, index: int
) -> Row:
    """Return a row of "Stage Summary", as STAGE_COLUMNS names it."""
    cfg, emulator, best = context.cfg, context.emulator, progress.best_value
    return [
        name,
        num_params(params[name]) // cfg.num_seeds,
        schedule.recipe_of(emulator, cfg, name).steps,
        cfg.num_seeds,
        progress.best_step[index],
        STAGES[name].validate_by,
        best[index],
        float(np.std(best, ddof=1)) if cfg.num_seeds > 1 else None,
        schedule.training_flops(emulator, cfg, name) / 1e12,
        progress.train_s,
        progress.compile_s,
    ]


def _metadata(context: RunContext, splits: Splits) -> dict[str, Any]:
    """Return what describes the run and is no metric, for W&B's config and metadata.json."""
    device = jax.devices()[0]
    origin = {"init_from": context.origin.record} if context.origin else {}
    return {
        "eval_samples": len(splits.test),
        "gpu_name": device.device_kind if device.platform != "cpu" else "none (cpu)",
        "data_origin": splits.record["origin"],
        "data_hash": splits.record["hash"],
        "fingerprint": config.fingerprint(context.cfg),
        **origin,
        "git_sha": environment.git_sha(),
        "python": platform.python_version(),
        **environment.machine_info(context.mesh),
    }
