"""Evaluation of a run on its test split, selection of a forecaster, tables for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from ups_jax.emulator import Emulator
from ups_jax.evaluate import Report, evaluate, merge_seeds, per_sample_nrmse, selected_scalars
from ups_jax.evaluate.beam_search import SearchAnalysis, analyze_search
from ups_jax.evaluate.ensembles import Ensembles, added_metrics, evaluate_ensembles
from ups_jax.evaluate.equations import equation_table
from ups_jax.experiment.context import RunContext
from ups_jax.experiment.datasets import last_given_frame
from ups_jax.forecast import FORECASTERS, calls_per_step, is_deterministic
from ups_jax.tables import format_table, select_columns
from ups_jax.types import Params, Trajectories

SELECT_BEST = "best"
"""Value of `eval.select` that leaves the choice to validation."""
SEARCH = "ttc"
ENSEMBLE_COLUMNS = {
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
"""Columns of the ensembles' table in a terminal, with their titles."""


@dataclass(frozen=True)
class Evaluation:
    """Results of a run's networks: report, selected forecaster, ensembles and search if any."""

    report: Report
    selected: str
    ensembles: Ensembles | None = None
    search: SearchAnalysis | None = None


def select_model(
    context: RunContext, params: Params, val: Trajectories
) -> tuple[str, dict[str, float]]:
    """Return the selected forecaster, and the errors on validation of all candidates.

    Candidates are the learned forecasters that declare themselves `selectable`.
    """
    spec, emulator = context.cfg.eval, context.emulator
    if spec.select != SELECT_BEST:
        return spec.select, {}
    names = tuple(spec.forecasters)
    learned = [m for m in names if FORECASTERS[m].stages and FORECASTERS[m].selectable(names)]
    learned.sort(key=lambda mode: (FORECASTERS[mode].stochastic, calls_per_step(emulator, mode)))
    subset = val.take(slice(spec.selection_trajectories))
    errors = {mode: _validation_errors(context, params, subset, mode) for mode in learned}
    means = {mode: float(error.mean()) for mode, error in errors.items()}
    return one_standard_error(errors), means


def validation_error(
    context: RunContext, params: Params, val: Trajectories, selected: str
) -> float:
    """Return the selected forecaster's nRMSE on the whole validation split."""
    return float(_validation_errors(context, params, val, selected).mean())


def _validation_errors(
    context: RunContext, params: Params, val: Trajectories, mode: str
) -> np.ndarray:
    options = forecast_options(context.cfg, context.emulator, mode)
    batch = context.cfg.eval.batch
    return per_sample_nrmse(
        context.emulator,
        params,
        val,
        forecaster=mode,
        batch=batch,
        start=last_given_frame(context.cfg),
        nudging_gain=context.cfg.eval.nudging_gain,
        **_run_options(context),
        **options,
    )


def one_standard_error(errors: Mapping[str, np.ndarray]) -> str:
    """Select among forecasters in order of cost, with errors (n,) on the same samples.

    A paired one-standard-error rule selects the cheapest whose error does not exceed the best's by
    more than sampling noise, and that is not worse than the cheapest of all. Breiman et al. (1984).
    """
    mean = {mode: error.mean() for mode, error in errors.items()}
    best, first = min(mean, key=lambda mode: mean[mode]), next(iter(errors))

    def as_good(mode: str) -> bool:
        if not np.isfinite(mean[mode]):
            return False
        excess = errors[mode] - errors[best]
        noise = excess.std(ddof=1) / np.sqrt(excess.size) if excess.size > 1 else 0.0
        return bool(excess.mean() <= noise)

    allowed = [mode for mode in errors if mean[mode] <= mean[first]]
    return next((mode for mode in allowed if as_good(mode)), best)


def evaluate_run(
    context: RunContext, networks: list[Params], index: int, selected: str, test: Trajectories
) -> Evaluation:
    """Evaluate all forecasters on the test split; stochastic ones on its first samples.

    The network `index` is that of the run; seeds add a mean and a spread. A selected forecaster is
    evaluated on the whole split. Raises Interrupted.
    """
    cfg, params = context.cfg, networks[index]
    single = [m for m in cfg.eval.forecasters if is_deterministic(m)]
    stochastic = [m for m in cfg.eval.forecasters if FORECASTERS[m].stochastic]
    run = partial(evaluate_test, context, test=test)
    whole = None
    if selected not in single:
        # Members cost calls: after several given frames they run only where the protocol needs it.
        frames = test.u.shape[1] if cfg.eval.protocol == "p1" else cfg.eval.context_frames
        whole = run(params, forecasters=[selected], context_frames=frames)
    examples = None if whole is None else whole.chosen
    report = run(params, forecasters=single, selected=selected, examples=examples)
    learned = [mode for mode in single if FORECASTERS[mode].stages]
    if len(networks) > 1 and learned:
        seeds = [run(net, forecasters=learned, num_figures=0, timing=False) for net in networks]
        report = merge_seeds(report, seeds)
    ensembles = _ensembles(context, params, stochastic, single, test) if stochastic else None
    search = _analyze_search(context, params, test) if SEARCH in cfg.eval.forecasters else None
    parts = [_partial_report(report, part) for part in (ensembles, search) if part is not None]
    for part in (*parts, *([] if whole is None else [whole])):
        report = report | part
    order = tuple(mode for mode in cfg.eval.forecasters if mode in report.forecasters)
    chosen = selected_scalars(report.scalars, selected, cfg.eval.protocol)
    report = replace(report, forecasters=order, scalars=report.scalars | chosen)
    return Evaluation(report, selected, ensembles, search)


def _partial_report(report: Report, part: Ensembles | SearchAnalysis) -> Report:
    """Return the scalars of forecasters that ran on the first samples, as a report."""
    scalars = dict(part.scalars)
    for key, value in part.scalars.items():
        # Results on paired samples are all that is known of a stochastic forecaster.
        if "/paired/" in key and FORECASTERS[key.split("/")[1]].stochastic:
            scalars[key.replace("/paired/", "/")] = value
    names = tuple(dict.fromkeys(key.split("/")[1] for key in scalars))
    return replace(report, scalars=scalars, forecasters=names, curves={}, labels=[])


def _ensembles(
    context: RunContext,
    params: Params,
    stochastic: Sequence[str],
    single: Sequence[str],
    test: Trajectories,
) -> Ensembles:
    cfg = context.cfg
    return evaluate_ensembles(
        context.emulator,
        params,
        test.take(slice(cfg.ensemble.num_trajectories)),
        jax.random.key(cfg.seed + 2),
        modes={mode: forecast_options(cfg, context.emulator, mode) for mode in stochastic},
        members=cfg.ensemble.members,
        controls=[mode for mode in single if FORECASTERS[mode].stages],
        batch=min(cfg.eval.batch, cfg.ensemble.num_trajectories, len(test)),
        examples=cfg.eval.num_figures,
        **_run_options(context),
        progress=_progress(context, "ensembles"),
    )


def _analyze_search(context: RunContext, params: Params, test: Trajectories) -> SearchAnalysis:
    cfg = context.cfg
    return analyze_search(
        context.emulator,
        params,
        test.take(slice(cfg.search.num_trajectories)),
        jax.random.key(cfg.seed + 3),
        batch=min(cfg.eval.batch, cfg.search.num_trajectories, len(test)),
        **_run_options(context),
        progress=_progress(context, "search"),
    )


def evaluate_test(
    context: RunContext,
    params: Params,
    *,
    test: Trajectories,
    forecasters: Sequence[str],
    selected: str | None = None,
    **changes: Any,
) -> Report:
    """Evaluate forecasters on a test split with the settings of the config's `eval` section.

    `changes` replaces arguments of `evaluate`.
    """
    cfg, spec = context.cfg, context.cfg.eval
    settings: dict[str, Any] = dict(
        protocol=spec.protocol,
        context_frames=spec.context_frames,
        nudging_gain=spec.nudging_gain,
        horizons=spec.horizons,
        batch=spec.batch,
        num_figures=spec.num_figures,
        keep_predictions=spec.save_predictions,
        timing=True,
    )
    return evaluate(
        context.emulator,
        params,
        test,
        jax.random.key(cfg.seed + 1),
        forecasters=forecasters,
        selected=selected if selected in forecasters else forecasters[-1],
        **(settings | changes),
        options={mode: forecast_options(cfg, context.emulator, mode) for mode in forecasters},
        **_run_options(context),
        progress=_progress(context, "evaluate"),
    )


def format_evaluation(evaluation: Evaluation) -> str:
    """Return the evaluation as aligned text for a terminal."""
    report, ensembles, search = evaluation.report, evaluation.ensembles, evaluation.search
    parts, (names, rows) = [report.table()], equation_table(report.scalars, report.held_out)
    if rows:
        rows = [row for row in rows if row[names.index("forecaster")] == evaluation.selected]
        parts += ["", f"{evaluation.selected}, by equation", format_table(names, rows)]
    if ensembles is not None:
        samples = int(ensembles.rows[0][ensembles.columns.index("samples")])
        wanted = ENSEMBLE_COLUMNS | added_metrics()
        columns, rows = select_columns(ensembles.columns, ensembles.rows, wanted)
        title = f"members: {ensembles.members}, on the first {samples} test trajectories"
        parts += ["", title, format_table(columns, rows)]
    if search is not None:
        parts += ["", search.verdict, format_table(search.columns, search.rows)]
    return "\n".join(parts)


def _run_options(context: RunContext) -> dict[str, Any]:
    """Return what every evaluation of a run shares: its devices, and its stop flag."""
    return {"mesh": context.mesh, "stop": context.stop}


def _progress(context: RunContext, label: str) -> Callable[[int, int], None]:
    """Return the progress hook of a part of the evaluation, called before it is compiled too."""

    def show(done: int, total: int) -> None:
        context.bar(label, done, total) if done else context.bar.compiling(label)

    return show


def forecast_options(cfg: Any, emulator: Emulator, mode: str) -> dict[str, Any]:
    """Return a forecaster's options from the config keys that it declares."""
    forecaster, options = FORECASTERS[mode], {}
    for option, key in forecaster.settings.items():
        section, _, leaf = key.partition(".")
        options[option] = cfg[section][leaf]
    if not (options.get("antithetic") and forecaster.own_rollouts(emulator)):
        options.pop("antithetic", None)
    return options
