"""What a run shows: its tables, figures and pages, in W&B and in its folder."""

import json
from pathlib import Path
from typing import Any

import jax

from ups_jax import config, tracking
from ups_jax.emulator import num_params
from ups_jax.experiment import verdict, workdir
from ups_jax.experiment.context import RunContext
from ups_jax.experiment.datasets import Splits
from ups_jax.experiment.evaluation import Evaluation
from ups_jax.experiment.verdict import RunVerdict
from ups_jax.metrics import LEVELS
from ups_jax.report import (
    ReportFigure,
    Table,
    champion_report_figure,
    ensemble_figures,
    gates_report_figure,
    search_figure,
    write_report,
)
from ups_jax.types import Params

STAGE_COLUMNS = ["stage", "parameters", "updates", "seeds", "best step", "judged by", "validation"]
STAGE_COLUMNS += ["spread over seeds", "TFLOP", "train s", "compile s"]

VARIANT_COLUMNS = ["rank", "lr", "validation nRMSE", "best step"]


def publish(
    plan: RunContext,
    splits: Splits,
    params: Params,
    judged: Evaluation,
    ruled: RunVerdict,
    stages: list[list[Any]],
    run: tracking.WandBContext,
) -> None:
    """Tables, figures and the pages of a run, to W&B and to its folder."""
    report = judged.report
    run.log_table("Evaluation Summary", report.columns, report.rows)
    run.log_table("Physics Diagnostics", report.physics_columns, report.physics_rows)
    run.log_table("Stage Summary", STAGE_COLUMNS, stages)
    for more in (*_variants(plan), *_more_tables(judged), *verdict.tables(ruled)):
        run.log_table(more.title, more.columns, more.rows)
    page = _page(plan, splits, params, judged, ruled, stages)
    for figure in sorted((plan.workdir / "figures").glob("*.png")):
        run.log_figure(figure.stem, figure)
    run.log_html("report", page)
    run.log_html("leaderboard", verdict.page_path(plan.cfg, plan.workdir))


def _page(
    plan: RunContext,
    splits: Splits,
    params: Params,
    judged: Evaluation,
    ruled: RunVerdict,
    stages: list[list[Any]],
) -> Path:
    cfg, emulator = plan.cfg, plan.emulator
    series = [
        json.loads(line) for line in workdir.read_text(plan.workdir / "metrics.jsonl").splitlines()
    ]
    facts = [
        ("protocol", f"{cfg.eval.protocol.upper()} on {len(splits.test)} test trajectories"),
        ("data", f"{splits.train.origin}, {len(splits.train)} for training"),
        ("parameters", f"{num_params(params['operator']):,} (operator)"),
        ("training", f"{plan.wall['train_s']:.0f} s on {jax.devices()[0].device_kind}"),
        *([("search", judged.search.verdict)] if judged.search else []),
        ("seed", f"{_seeds(cfg)} (data {cfg.data.seed})"),
    ]
    return write_report(
        plan.workdir,
        judged.report,
        title=f"{emulator.pde.name}: {plan.workdir.name}",
        series=series,
        config=config.to_dict(cfg),
        facts=facts,
        stage_columns=STAGE_COLUMNS,
        stage_rows=stages,
        ship=judged.ship,
        extent=emulator.pde.extent,
        dpi=cfg.report.dpi,
        more=_more_plates(plan, judged),
        tables=[*_variants(plan), *_more_tables(judged)],
        ruling=verdict.sentence(ruled),
        lead=_lead(plan, ruled),
    )


def _variants(plan: RunContext) -> list[Table]:
    """The learning rates that were compared, where there are several."""
    return [Table("Variants", VARIANT_COLUMNS, plan.variants)] if plan.variants else []


def _more_tables(judged: Evaluation) -> list[Table]:
    """Tables of ensembles and search, where there are such."""
    named = {"Ensemble Summary": judged.ensembles, "TTC Analysis": judged.search}
    return [Table(name, found.columns, found.rows) for name, found in named.items() if found]


def _lead(plan: RunContext, ruled: RunVerdict) -> list[Table | ReportFigure]:
    """What stands first on the page: the gates, and the comparison with the champion."""
    gates, worse, board = verdict.tables(ruled)
    champion, dpi = ruled.before.champion, plan.cfg.report.dpi
    held = {} if champion is None else champion["metrics"]
    shown: list[Table | ReportFigure] = []
    if ruled.gates:
        shown += [gates_report_figure(ruled.gates, champion=held, dpi=dpi), gates]
    if champion is not None:
        names = (plan.workdir.name, f"champion {champion.get('name') or champion['id']}")
        curves = ruled.row["curves"], champion.get("curves") or {}
        shown += [champion_report_figure(*curves, names=names, dpi=dpi), worse]
    return [*shown, board]


def _more_plates(plan: RunContext, judged: Evaluation) -> list[ReportFigure]:
    times, dpi, plates = judged.report.times, plan.cfg.report.dpi, []
    if judged.ensembles is not None:
        found, extent = judged.ensembles, plan.emulator.pde.extent
        plates += ensemble_figures(
            found.curves, found.examples, times, levels=LEVELS, extent=extent, dpi=dpi
        )
    if judged.search is not None:
        calls = {row[0]: row[1] for row in judged.search.rows}
        plates.append(search_figure(judged.search.curves, calls, times, dpi=dpi))
    return plates


def _seeds(cfg: Any) -> str:
    last = cfg.seed + cfg.num_seeds - 1
    return f"best of {cfg.seed} to {last} on validation" if cfg.num_seeds > 1 else str(cfg.seed)
