"""Another evaluation of a finished run, added to the same W&B run."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from ups_jax import tracking
from ups_jax.config.renames import SELECTED_KEY, rename_name
from ups_jax.data import check_predictions_path, save_predictions, simulate
from ups_jax.evaluate import Report
from ups_jax.experiment import dry_run, environment, evaluations, workdir
from ups_jax.experiment.artifacts import redraw
from ups_jax.experiment.build import build
from ups_jax.experiment.context import RunContext, RunOptions
from ups_jax.experiment.datasets import (
    apply_observation,
    eval_steps,
    from_file,
    load_splits,
    of_one_length,
    split_key,
)
from ups_jax.experiment.evaluation import SELECT_BEST, evaluate_run, format_evaluation
from ups_jax.experiment.signals import StopFlag
from ups_jax.experiment.summary import judged_keys, summary_scalars
from ups_jax.experiment.trained import load
from ups_jax.files import read_json
from ups_jax.forecast import FORECASTERS, is_deterministic, require_trained
from ups_jax.pde.base import PDE
from ups_jax.progress import ProgressBar
from ups_jax.registry import lookup
from ups_jax.types import Params, Trajectories

MAX_STEPS = 1_000_000
CHANGED_EVAL_KEYS = ("forecasters", "horizons", "select")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Settings of one more evaluation of a finished run; None keeps the value of its config."""

    workdir: Path
    wandb_mode: str | None = None
    forecasters: str | None = None
    """Names of forecasters, separated by commas."""
    data: Path | None = None
    """File of trajectories to test on, as in `data.path`."""
    points: int | None = None
    """Points along each axis."""
    horizon: float | None = None
    """Time to forecast, a multiple of the frame interval."""
    save_predictions: Path | None = None
    """The npz or h5 file to write the forecasts to."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A trained emulator, the trajectories to evaluate it on, and the changes to its config."""

    context: RunContext
    params: Params
    test: Trajectories
    changed: dict[str, Any]
    earlier: dict[str, Any] | None
    """The record of the evaluation before this one."""
    save_predictions: Path | None


def prepare(options: EvaluateOptions, stop: StopFlag) -> Command:
    """Load the emulator and its test data. Raises ValueError if either is missing or unfit."""
    stop.line = "stopped: nothing was written; rerun the same command"
    environment.use_every_core()
    environment.enable_compilation_cache()
    emulator, params, cfg = load(options.workdir)
    if not workdir.is_finished(options.workdir):
        raise ValueError(
            f"{options.workdir} is not finished; rerun its training command to resume it"
        )
    if options.save_predictions:
        check_predictions_path(options.save_predictions)
    tracking.check(options.workdir, mode=options.wandb_mode)
    changed = _config_changes(options, cfg, emulator.pde)
    with cfg.unlocked():
        cfg.eval.update({k: v for k, v in changed.items() if k in CHANGED_EVAL_KEYS})
        cfg.eval.save_predictions = options.save_predictions is not None
        cfg.data.eval_steps = changed.get("steps", cfg.data.eval_steps)
        if "points" in changed:
            cfg.pde.points = changed["points"]
        if "data" in changed:
            cfg.data.path = changed["data"]
    context = RunContext(
        cfg,
        build(cfg),
        options.workdir,
        RunOptions(config="", workdir=options.workdir, wandb_mode=options.wandb_mode),
        stop,
        0.0,
        ProgressBar(on=cfg.log.progress),
        environment.mesh_of(cfg),
    )
    dry_run.require_memory(cfg, context.emulator, training=False)
    _warn_about_grid(context, emulator.pde)
    earlier = evaluations.latest(options.workdir)
    test = from_file(cfg, context.emulator.pde) if options.data else _test_data(context)
    if test.lengths is not None:
        test = of_one_length(test, eval_steps(cfg) + 1, cfg.data.missing)
    if cfg.log.progress:
        print(environment.mesh_line(cfg, context.mesh), file=sys.stderr)
    return Command(context, params, test, changed, earlier, options.save_predictions)


def execute(command: Command) -> int:
    """Evaluate, write the evaluation, add it to the run and to its report -> exit code."""
    context, folder = command.context, command.context.workdir
    selected = _selected(context)
    evaluation = evaluate_run(context, [command.params], 0, selected, command.test)
    report = evaluation.report
    path = evaluations.write(folder, _record(command, report), command.earlier)
    if command.save_predictions:
        save_predictions(command.save_predictions, report.predictions, truth=command.test)
    page = redraw(folder, context.cfg.report)
    schema = context.schema()
    with tracking.reopen(folder, schema=schema, mode=context.options.wandb_mode) as run:
        _log_evaluation(context, run, report, command.changed)
        if page:
            run.log_html("report", page)
    print(f"{_grid_text(context)}, {len(command.test)} trajectories: {command.test.origin}")
    print(format_evaluation(evaluation))
    print(f"evaluation: {path}")
    print(f"report: {page or path}")
    return 0


def _record(command: Command, report: Report) -> dict[str, Any]:
    """Return an evaluation as JSON: settings, scalars, and a table for the page."""
    columns, rows = _with_grid(command.context, *report.short_table())
    record = {
        "label": _label(command.changed, command.context.emulator.pde.dt),
        "changed": command.changed,
        "origin": command.test.origin,
        "samples": len(command.test),
        "scalars": report.scalars,
        "columns": columns,
        "rows": rows,
    }
    return tracking.plain(record)


def _label(changed: dict[str, Any], dt: float) -> str:
    """Return the settings that differ from the run's own, as text."""
    texts = {
        "data": lambda path: f"data {Path(path).stem}",
        "points": lambda points: f"{_by_axis(points)} points",
        "steps": lambda steps: f"horizon {steps * dt:g}",
        "forecasters": lambda names: f"forecasters {' '.join(names)}",
    }
    parts = [text(changed[key]) for key, text in texts.items() if key in changed]
    return ", ".join(parts) or "repeated"


def _by_axis(points: int | tuple[int, ...]) -> str:
    return " x ".join(map(str, points if isinstance(points, tuple) else (points,)))


def _grid_text(context: RunContext) -> str:
    pde, steps = context.emulator.pde, eval_steps(context.cfg)
    return f"{_by_axis(pde.points)} points, horizon {steps * pde.dt:g}"


def _with_grid(
    context: RunContext, columns: list[str], rows: list[list[Any]]
) -> tuple[list[str], list[list[Any]]]:
    """Add the resolution and the horizon to a table."""
    pde, steps = context.emulator.pde, eval_steps(context.cfg)
    grid = [_by_axis(pde.points), steps * pde.dt]
    return [*columns, "points", "horizon"], [[*row, *grid] for row in rows]


def _warn_about_grid(context: RunContext, trained: PDE) -> None:
    """Warn if a learned forecaster runs on other points than its network was trained for."""
    cfg, points = context.cfg, context.emulator.pde.points
    learned = [name for name in cfg.eval.forecasters if FORECASTERS[name].stages]
    if learned and points != trained.points and not context.emulator.operator.any_grid:
        print(
            f"warning: operator {cfg.operator.name!r} was trained on {_by_axis(trained.points)} "
            f"points and is tied to their spacing; on {_by_axis(points)} points {learned[0]!r} "
            "is another map: train it there, or compare the solver alone",
            file=sys.stderr,
        )


def _selected(context: RunContext) -> str:
    """Return the run's selected forecaster, or the last one if it is not evaluated here."""
    spec, selected = context.cfg.eval, context.cfg.eval.select
    if selected == SELECT_BEST:
        metadata = read_json(context.workdir / "metadata.json", {})
        selected = metadata.get("selected") or rename_name(metadata.get(SELECTED_KEY) or "")
    return selected if selected in spec.forecasters else spec.forecasters[-1]


def _log_evaluation(
    context: RunContext, run: tracking.RunRecord, report: Report, changed: dict[str, Any]
) -> None:
    """Log under `eval/` if nothing differs from the run's own evaluation, else under `reeval/`.

    Milliseconds of an unchanged evaluation stay those of the run, as in its `summary.json`.
    """
    scalars = summary_scalars(report.scalars, judged_keys(context.cfg))
    scalars = {key.removeprefix("eval/"): value for key, value in scalars.items()}
    scalars = {key: value for key, value in scalars.items() if changed or not key.endswith("ms")}
    run.log_eval_summary(scalars, prefix="reeval" if changed else "eval")
    label = _label(changed, context.emulator.pde.dt)
    for name, columns, rows in (
        ("Evaluation Summary", report.columns, report.rows),
        ("Physics Diagnostics", report.physics_columns, report.physics_rows),
    ):
        run.log_table(f"{name} ({label})", *_with_grid(context, columns, rows))


def _config_changes(options: EvaluateOptions, cfg: Any, pde: PDE) -> dict[str, Any]:
    """Return the config values that the options change."""
    changed: dict[str, Any] = {}
    if options.forecasters:
        names = tuple(options.forecasters.split(","))
        for name in names:
            lookup(FORECASTERS, name, "forecaster")
            require_trained(name, dict.fromkeys(cfg.stages))
        if not any(is_deterministic(name) for name in names):
            raise ValueError(
                f"--forecasters is {options.forecasters}; it needs one without members, "
                "'persistence' say"
            )
        if names != tuple(cfg.eval.forecasters):
            changed["forecasters"] = names
            changed["select"] = cfg.eval.select if cfg.eval.select in names else names[-1]
    if options.data:
        changed["data"] = str(options.data)
    if options.points and not pde.has("step"):
        raise ValueError(
            f"--points is {options.points}, but pde {pde.name!r} has no solver to make data "
            "on other points; give a file with --data"
        )
    if options.points and (options.points,) * pde.ndim != pde.points:
        if any(cells % options.points for cells in pde.cells):
            raise ValueError(f"--points is {options.points}; it must divide data.cells {pde.cells}")
        changed["points"] = (options.points,) * pde.ndim if pde.ndim > 1 else options.points
    if options.horizon:
        steps = round(options.horizon / pde.dt)
        if steps < 1 or abs(steps * pde.dt - options.horizon) > 1e-6:
            raise ValueError(f"--horizon is {options.horizon}, not a multiple of dt {pde.dt}")
        if steps > MAX_STEPS:
            allowed = f"at most {MAX_STEPS:,} times dt {pde.dt}"
            raise ValueError(f"--horizon is {options.horizon}; it must be {allowed}")
        if steps != eval_steps(cfg):
            changed["steps"] = steps
            changed["horizons"] = tuple(h for h in cfg.eval.horizons if h <= options.horizon)
    return changed


def _test_data(context: RunContext) -> Trajectories:
    """Return the run's test split, simulated at the config's resolution and horizon."""
    cfg, pde = context.cfg, context.emulator.pde
    if cfg.data.path:
        return load_splits(cfg, pde, stop=context.stop).test
    data = simulate(
        pde.test or pde,
        split_key(cfg, "test"),
        n=cfg.data.test,
        steps=eval_steps(cfg),
        stop=context.stop,
        progress=lambda done, total: context.bar("simulate test", done, total),
    )
    return apply_observation(cfg, "test", data)
