"""Tables, figures and pages of a run, in W&B and in its workdir."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from ups_jax import config, tracking
from ups_jax.emulator import num_params
from ups_jax.evaluate.equations import equation_table
from ups_jax.experiment import evaluations, summary, verdict
from ups_jax.experiment.context import RunContext
from ups_jax.experiment.datasets import Splits
from ups_jax.experiment.evaluation import Evaluation
from ups_jax.experiment.trained import model_files
from ups_jax.experiment.verdict import RunVerdict
from ups_jax.experiment.workdir import lock
from ups_jax.files import read_json, write_json
from ups_jax.report import ReportData, Table, write_report
from ups_jax.report import redraw as redraw_report
from ups_jax.types import Params

STAGE_COLUMNS = ["stage", "parameters", "updates", "seeds", "best step", "judged by", "validation"]
STAGE_COLUMNS += ["spread over seeds", "TFLOP", "train s", "compile s"]


def publish(
    context: RunContext,
    splits: Splits,
    params: Params,
    evaluation: Evaluation,
    run_verdict: RunVerdict,
    stages: list[list[Any]],
    run: tracking.RunRecord,
) -> None:
    """Write the report; log its tables, figures and pages, and the selected model."""
    report, champion = evaluation.report, run_verdict.before.champion
    tables = [Table("Stage Summary", STAGE_COLUMNS, stages), *_optional_tables(context, evaluation)]
    tables += verdict.tables(run_verdict)
    run.log_table("Evaluation Summary", report.columns, report.rows)
    run.log_table("Physics Diagnostics", report.physics_columns, report.physics_rows)
    run.log_table(summary.TABLE, *summary.metrics_table(report.scalars))
    for table in tables:
        run.log_table(table.title, table.columns, table.rows)
    page = write_report(
        context.workdir,
        _report_data(context, evaluation, run_verdict, run.rows),
        title=f"{context.emulator.pde.name}: {context.workdir.name}",
        config=config.to_dict(context.cfg),
        verdict=verdict.sentence(run_verdict),
        facts=_facts(context, splits, params, evaluation),
        # Without a champion the page has no comparison, and no table of it.
        tables=[t for t in tables if champion is not None or t.title != "Regressions"],
        **context.cfg.report,
    )
    for figure in sorted((context.workdir / "figures").glob("*.png")):
        run.log_figure(figure.stem, figure)
    run.log_html("report", page)
    run.log_html("leaderboard", verdict.page_path(context.cfg, context.workdir))
    if context.cfg.log.model:
        run.log_model(context.workdir.name, model_files(context.workdir))


def redraw(workdir: Path, settings: Mapping[str, Any], **changes: Any) -> Path | None:
    """Draw the report of a finished run again, with its later evaluations; return its page.

    settings: section `report` of a config; changes: arguments of `report.redraw`. A run without
    the values of its report keeps its page, with a warning.
    """
    try:
        return redraw_report(workdir, tables=evaluations.tables(workdir), **settings, **changes)
    except ValueError as error:
        print(f"warning: {error}", file=sys.stderr)
        return None


def redraw_if_changed(context: RunContext) -> None:
    """Draw the report of a finished run again if keys of the config's section `report` changed."""
    path, new = context.workdir / "config.json", config.to_dict(context.cfg)
    saved = read_json(path, {})
    if config.to_dict(config.from_dict(saved))["report"] == new["report"]:
        return
    with lock(context.workdir):
        if redraw(context.workdir, new["report"], config=new):
            write_json(path, saved | {"report": new["report"]})


def _report_data(
    context: RunContext,
    evaluation: Evaluation,
    run_verdict: RunVerdict,
    series: list[dict[str, Any]],
) -> ReportData:
    return ReportData(
        evaluation.report,
        selected=evaluation.selected,
        series=series,
        ensembles=evaluation.ensembles,
        search=evaluation.search,
        gates=run_verdict.gates,
        row=run_verdict.row,
        champion=run_verdict.before.champion,
        extent=context.emulator.pde.extent,
        channels=context.emulator.pde.channels,
        static=context.emulator.pde.static,
    )


def _facts(
    context: RunContext, splits: Splits, params: Params, evaluation: Evaluation
) -> list[tuple[str, str]]:
    """Return names and values for the top of the page."""
    cfg, train, missing = context.cfg, splits.train, evaluation.report.missing
    last = cfg.seed + cfg.num_seeds - 1
    seeds = f"best of {cfg.seed} to {last} on validation" if cfg.num_seeds > 1 else f"{cfg.seed}"
    return [
        ("protocol", f"{cfg.eval.protocol.upper()} on {len(splits.test)} test trajectories"),
        ("data", f"{train.origin}, {len(train)} for training"),
        *([("missing values", f"{100 * missing:.2g} % of the truth")] if missing else []),
        ("parameters", f"{num_params(params['operator']):,} (operator)"),
        *([("base step", cfg.operator.base)] if cfg.operator.base != "identity" else []),
        ("training", f"{context.wall['train_s']:.0f} s on {jax.devices()[0].device_kind}"),
        *([("search", evaluation.search.verdict)] if evaluation.search else []),
        ("seed", f"{seeds} (data {cfg.data.seed})"),
    ]


def _optional_tables(context: RunContext, evaluation: Evaluation) -> list[Table]:
    """Return the tables of compared learning rates, ensembles and search, as far as they exist."""
    tables = []
    if context.variants:
        columns = ["rank", "lr", "validation nRMSE", "best step"]
        tables.append(Table("Variants", columns, context.variants))
    equations = equation_table(evaluation.report.scalars, evaluation.report.held_out)
    if equations[1]:
        tables.append(Table("Equation Summary", *equations))
    results = {"Ensemble Summary": evaluation.ensembles, "TTC Analysis": evaluation.search}
    return tables + [Table(name, r.columns, r.rows) for name, r in results.items() if r]
