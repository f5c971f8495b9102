"""The evaluation of a run on its test split, and its tables for a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from ups_jax.evaluate import Report, evaluate, per_sample_nrmse, summarize
from ups_jax.evaluate.beam_search import SearchAnalysis, analyze_search
from ups_jax.evaluate.ensembles import Ensembles, evaluate_ensembles
from ups_jax.evaluate.seeds import merge_seeds
from ups_jax.experiment.context import RunContext
from ups_jax.forecast import FORECASTERS, calls_per_step
from ups_jax.progress import format_table, select_columns
from ups_jax.types import Interrupted, Params, Trajectories

SELECT_BEST = "best"
"""Value of `eval.select` that leaves the choice to validation."""
SEARCH = "ttc"
CONTROLS = ("operator", "control")
SHOWN = {
    "forecaster": "forecaster",
    "protocol": "protocol",
    "nrmse": "nRMSE",
    "nrmse_median": "median",
    "nrmse_p90": "p90",
    "mae": "MAE",
    "rel_l2": "relL2",
    "correlation_time": "corr. time",
    "samples": "samples",
    "parameters": "parameters",
    "calls": "calls",
    "ms": "ms/rollout",
}
SHOWN_ENSEMBLES = {
    "forecaster": "forecaster",
    "nrmse": "nRMSE",
    "member_nrmse": "a member's",
    "mae": "MAE",
    "crps": "CRPS",
    "spread_skill": "spread/skill",
    "coverage_50": "in 50 %",
    "coverage_90": "in 90 %",
    "correlation_time": "corr. time",
    "calls": "calls",
    "ms": "ms/rollout",
}


@dataclass(frozen=True)
class Evaluation:
    """What is known of a run's networks: the report, what ships, ensembles and search if any."""

    report: Report
    ship: str
    ensembles: Ensembles | None = None
    search: SearchAnalysis | None = None


def select_model(
    plan: RunContext, params: Params, val: Trajectories
) -> tuple[str, dict[str, float]]:
    """The mode that ships, and P1 errors on validation of all that compete for it.

    Learned modes of the table compete, but for the control, the teacher of a student, and the
    search, which has an analysis of its own.
    """
    spec, emulator = plan.cfg.eval, plan.emulator
    if spec.select != SELECT_BEST:
        return spec.select, {}
    apart = {"control", SEARCH} | ({"diffusion"} if "student" in spec.forecasters else set())
    rivals = [m for m in spec.forecasters if FORECASTERS[m].models and m not in apart]
    rivals.sort(key=lambda mode: (FORECASTERS[mode].draws, calls_per_step(emulator, mode)))
    few, found = val.take(slice(spec.selection_trajectories)), {}
    for mode in rivals:
        own = _forecast_options(plan.cfg, mode)
        each = per_sample_nrmse(
            emulator, params, few, batch=spec.batch, mode=mode, **_run_options(plan), **own
        )
        if each is None:
            raise Interrupted("the choice of what ships")
        found[mode] = each
    return one_standard_error(found), {mode: float(each.mean()) for mode, each in found.items()}


def validation_error(plan: RunContext, params: Params, val: Trajectories, ship: str) -> float:
    """P1 nRMSE of what ships on the whole validation split: what runs are ranked by."""
    own = _forecast_options(plan.cfg, ship)
    batch = plan.cfg.eval.batch
    each = per_sample_nrmse(
        plan.emulator, params, val, batch=batch, mode=ship, **_run_options(plan), **own
    )
    if each is None:
        raise Interrupted("the validation of what ships")
    return float(each.mean())


def one_standard_error(errors: Mapping[str, np.ndarray]) -> str:
    """Of modes in order of their cost, with errors (n,) on the same samples, the one to ship.

    The cheapest that is within one standard error of the best, their errors taken in pairs, and
    not worse than the cheapest of all: what more calls buy must be seen above the samples' noise.
    The one-standard-error rule; Breiman et al. (1984).
    """
    mean = {mode: each.mean() for mode, each in errors.items()}
    best, first = min(mean, key=lambda mode: mean[mode]), next(iter(errors))

    def level(mode: str) -> bool:
        if not np.isfinite(mean[mode]):
            return False
        apart = errors[mode] - errors[best]
        doubt = apart.std(ddof=1) / np.sqrt(apart.size) if apart.size > 1 else 0.0
        return bool(apart.mean() <= doubt)

    allowed = [mode for mode in errors if mean[mode] <= mean[first]]
    return next((mode for mode in allowed if level(mode)), best)


def evaluate_run(
    plan: RunContext, networks: list[Params], chosen: int, ship: str, test: Trajectories
) -> Evaluation:
    """All forecasters on the test split, those that draw on its first samples.

    With several seeds, mean and spread of the learned ones stand beside the shipped network's.
    """
    cfg, params = plan.cfg, networks[chosen]
    drawn = [mode for mode in cfg.eval.forecasters if FORECASTERS[mode].draws]
    single = [mode for mode in cfg.eval.forecasters if mode not in (*drawn, SEARCH)]
    look = partial(evaluate_test, plan, test=test)
    report = look(params, modes=single)
    learned = [mode for mode in single if FORECASTERS[mode].models]
    if len(networks) > 1 and learned:
        report = merge_seeds(report, [look(each, modes=learned) for each in networks])
    ensembles = _ensembles(plan, params, drawn, single, test) if drawn else None
    searched = _analyze_search(plan, params, test) if SEARCH in cfg.eval.forecasters else None
    # Members are dear: after several given frames they are drawn where that is asked for alone.
    context = test.u.shape[1] if cfg.eval.protocol == "p1" else cfg.eval.context_frames
    whole = look(params, modes=[ship], context=context) if ship not in single else None
    found = _joined(report, ensembles, searched, whole, cfg, params)
    shipped = summarize.selected_scalars(found.scalars, ship, cfg.eval.protocol)
    return Evaluation(replace(found, scalars=found.scalars | shipped), ship, ensembles, searched)


def _ensembles(
    plan: RunContext,
    params: Params,
    drawn: Sequence[str],
    single: Sequence[str],
    test: Trajectories,
) -> Ensembles:
    cfg = plan.cfg
    return evaluate_ensembles(
        plan.emulator,
        params,
        test.take(slice(cfg.ensemble.num_trajectories)),
        jax.random.key(cfg.seed + 2),
        modes={mode: _forecast_options(cfg, mode) for mode in drawn},
        members=cfg.ensemble.members,
        controls=[mode for mode in CONTROLS if mode in single],
        batch=min(cfg.eval.batch, cfg.ensemble.num_trajectories, len(test)),
        examples=cfg.eval.num_figures,
        **_run_options(plan),
        progress=lambda done, total: plan.bar("ensembles", done, total),
    )


def _analyze_search(plan: RunContext, params: Params, test: Trajectories) -> SearchAnalysis:
    cfg = plan.cfg
    return analyze_search(
        plan.emulator,
        params,
        test.take(slice(cfg.search.num_trajectories)),
        jax.random.key(cfg.seed + 3),
        batch=min(cfg.eval.batch, cfg.search.num_trajectories, len(test)),
        **_run_options(plan),
        progress=lambda done, total: plan.bar("search", done, total),
    )


def evaluate_test(
    plan: RunContext,
    params: Params,
    *,
    test: Trajectories,
    modes: Sequence[str],
    context: int | None = None,
) -> Report:
    """Evaluate `modes` on a test split as the config's `eval` section says."""
    cfg, spec = plan.cfg, plan.cfg.eval
    return evaluate(
        plan.emulator,
        params,
        test,
        jax.random.key(cfg.seed + 1),
        modes=modes,
        ship=spec.select if spec.select in modes else modes[-1],
        protocol=spec.protocol,
        context=context or spec.context_frames,
        nudging=spec.nudging_gain,
        horizons=spec.horizons,
        batch=min(spec.batch, len(test)),
        examples=spec.num_figures,
        options={mode: _forecast_options(cfg, mode) for mode in modes},
        **_run_options(plan),
        progress=lambda done, total: plan.bar("evaluate", done, total),
    )


def format_evaluation(judged: Evaluation) -> str:
    """The evaluation as aligned text for a terminal."""
    report, told = judged.report, []
    if judged.ensembles is not None:
        found = judged.ensembles
        title = f"members: {found.members}, on the first {_samples(found)} test trajectories"
        told = [
            "",
            title,
            format_table(*select_columns(found.columns, found.rows, SHOWN_ENSEMBLES)),
        ]
    if judged.search is not None:
        told += ["", judged.search.verdict, format_table(judged.search.columns, judged.search.rows)]
    return "\n".join([format_table(*select_columns(report.columns, report.rows, SHOWN)), *told])


def _run_options(plan: RunContext) -> dict[str, Any]:
    """What every evaluation is told beside its subject: on which devices, and what may end it."""
    return {"mesh": plan.mesh, "stop": plan.stop}


def _samples(found: Ensembles) -> int:
    return int(found.rows[0][found.columns.index("samples")])


def _forecast_options(cfg: Any, mode: str) -> Mapping[str, Any]:
    """What the config says of a forecaster that draws."""
    if not FORECASTERS[mode].draws:
        return {}
    temperature = {
        "ensemble": cfg.ensemble.temperature,
        "diffusion": cfg.diffusion.temperature,
        "student": cfg.diffusion.student_temperature,
    }
    options = {"members": cfg.ensemble.members, "temperature": temperature[mode]}
    # Members about one rollout have no frame of their own.
    own = mode == "ensemble" or cfg.diffusion.autoregressive
    return options | ({"antithetic": True} if cfg.ensemble.antithetic and own else {})


def _joined(
    report: Report,
    ensembles: Ensembles | None,
    searched: SearchAnalysis | None,
    whole: Report | None,
    cfg: Any,
    params: Params,
) -> Report:
    """The report with a row for each mode that saw few samples, or all of them where it ships."""
    scalars = dict(report.scalars)
    if ensembles is not None:
        scalars |= ensembles.scalars
        # What was measured on paired samples is all that is known of a mode that draws.
        for key, value in ensembles.scalars.items():
            mode = key.split("/")[1]
            if FORECASTERS[mode].draws:
                scalars[key.replace("/paired/", "/")] = value
    scalars |= searched.scalars if searched else {}
    scalars |= whole.scalars if whole else {}
    dear = [mode for mode in cfg.eval.forecasters if f"eval/{mode}/nrmse" not in report.scalars]
    _, rows = summarize.summary(scalars, dear, {"p1": 0}, cfg.eval.horizons, params)
    found = replace(report, scalars=scalars, rows=[*report.rows, *rows])
    if whole is None:
        return found
    predictions = report.predictions | whole.predictions
    examples = {mode: paths[whole.chosen] for mode, paths in predictions.items()}
    return replace(
        found,
        examples=examples | {"truth": whole.examples["truth"]},
        labels=whole.labels,
        chosen=whole.chosen,
        physics_rows=[*report.physics_rows, *whole.physics_rows[1:]],
        curves=report.curves | whole.curves,
        predictions=predictions,
        compile_s=report.compile_s + whole.compile_s,
    )
