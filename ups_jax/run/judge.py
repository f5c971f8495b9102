"""The evaluation of a run on its test split, and its table for a terminal."""

from collections.abc import Sequence
from typing import Any

import jax

from ups_jax.evaluate import Report, evaluate
from ups_jax.evaluate.seeds import over_seeds
from ups_jax.forecast import FORECASTERS
from ups_jax.run.plan import Plan
from ups_jax.run.progress import Bar, lines, pick
from ups_jax.run.signals import Stop
from ups_jax.simulator import Simulator
from ups_jax.types import Params, Trajectories

SHOWN = {
    "forecaster": "forecaster",
    "protocol": "protocol",
    "nrmse": "nRMSE",
    "nrmse_median": "median",
    "nrmse_p90": "p90",
    "mae": "MAE",
    "rel_l2": "relL2",
    "correlation_time": "corr. time",
    "parameters": "parameters",
    "calls": "calls",
    "ms": "ms/rollout",
}


def judge(plan: Plan, networks: list[Params], chosen: int, test: Trajectories) -> Report:
    """The shipped network beside all forecasters; with several seeds, their mean and spread."""
    cfg, sim = plan.cfg, plan.sim
    report = judge_test(sim, networks[chosen], cfg, test, plan.stop, plan.bar)
    learned = tuple(mode for mode in cfg.eval.modes if FORECASTERS[mode].calls)
    if len(networks) == 1 or not learned:
        return report
    every = [
        judge_test(sim, params, cfg, test, plan.stop, plan.bar, modes=learned)
        for params in networks
    ]
    return over_seeds(report, every)


def judge_test(
    sim: Simulator,
    params: Params,
    cfg: Any,
    test: Trajectories,
    stop: Stop,
    bar: Bar,
    *,
    modes: Sequence[str] = (),
) -> Report:
    """Evaluate on a test split as the config's `eval` section says, or some `modes` alone."""
    spec = cfg.eval
    modes = modes or spec.modes
    return evaluate(
        sim,
        params,
        test,
        jax.random.key(cfg.seed + 1),
        modes=modes,
        ship=spec.ship if spec.ship in modes else modes[-1],
        protocol=spec.protocol,
        context=spec.context,
        nudging=spec.nudging,
        horizons=spec.horizons,
        batch=min(spec.batch, len(test)),
        examples=spec.examples,
        stop=stop,
        progress=lambda done, total: bar("evaluate", done, total),
    )


def table(report: Report) -> str:
    """The evaluation as aligned text for a terminal."""
    return lines(*pick(report.columns, report.rows, SHOWN))
