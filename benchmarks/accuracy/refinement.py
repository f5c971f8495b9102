"""Quality of members, student and search against the operator, over the seeds of several runs.

Reads the test results of each finished run, and draws from each run's teacher and student at full
temperature from the same states, to measure how much of its teacher's correction the student keeps.
Each target is listed with the forecaster that comes closest.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ups_jax as ups
from benchmarks.collect import read_summary
from ups_jax.experiment.datasets import eval_steps, split_key
from ups_jax.metrics import crps

FORECASTERS = ("diffusion", "student", "ensemble")
TARGETS = (
    ("member nRMSE / operator", 0.0, 1.05),
    ("mean nRMSE / control", 0.0, 1.0),
    ("CRPS / operator MAE", 0.0, 0.8),
    ("spread / skill", 0.8, 1.2),
    ("within 90 %", 0.85, 0.95),
)
"""Quantity, and the allowed range of the forecaster that comes closest."""
STUDENT_TARGETS = {1: 1.2, 2: 1.1}
"""Largest CRPS over the teacher's, by network calls; the correction must keep .8 of it."""
SAMPLES, MEMBERS, BATCH = 64, 8, 16


def add_flags(parser):
    parser.add_argument("workdirs", nargs="*", type=Path, default=[Path("runs/burgers")])


def run(options):
    samples = BATCH if options.quick else SAMPLES
    runs = [quantities(workdir) | student(workdir, samples) for workdir in options.workdirs]
    rows = []
    print(f"{'quantity':<44}{'mean':>10}{'spread':>10}  of {len(runs)} seeds")
    for name in runs[0]:
        # The rank correlation of equal rewards is undefined.
        values = [run[name] for run in runs if run.get(name) is not None]
        if not values:
            continue
        rows.append({"row": name, "mean": float(np.mean(values)), "values": values})
        spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
        print(f"{name:<44}{np.mean(values):>10.4g}{spread:>10.2g}")
    verdicts = judge({row["row"]: row["mean"] for row in rows})
    print("\n".join(verdicts))
    return {"rows": rows, "verdicts": verdicts, "runs": [str(path) for path in options.workdirs]}


def quantities(workdir):
    """Return the ratios of one run by name."""
    summary = read_summary(workdir)

    def paired(forecaster, name):
        return summary[f"eval/{forecaster}/paired/{name}"]

    def ratio(forecaster, name, other, other_name):
        return paired(forecaster, name) / paired(other, other_name)

    values = {}
    for name in FORECASTERS:
        if f"eval/{name}/paired/crps" not in summary:
            continue
        values |= {
            f"{name}: member nRMSE / operator": ratio(name, "member_nrmse", "operator", "nrmse"),
            f"{name}: mean nRMSE / control": ratio(name, "nrmse", "control", "nrmse"),
            f"{name}: CRPS / operator MAE": ratio(name, "crps", "operator", "mae"),
            f"{name}: CRPS / control MAE": ratio(name, "crps", "control", "mae"),
            f"{name}: spread / skill": paired(name, "spread_skill"),
            f"{name}: within 50 %": paired(name, "coverage_50"),
            f"{name}: within 90 %": paired(name, "coverage_90"),
            f"{name}: correlation time / operator": ratio(
                name, "correlation_time", "operator", "correlation_time"
            ),
        }
    values["control: nRMSE / operator"] = ratio("control", "nrmse", "operator", "nrmse")
    if "eval/ttc/analysis/nrmse_ttc" in summary:
        mean = summary["eval/ttc/analysis/nrmse_mean"]
        for name in ("operator", "control", "random", "ttc", "oracle"):
            values[f"search: {name} / mean-of-B"] = (
                summary[f"eval/ttc/analysis/nrmse_{name}"] / mean
            )
        for name in ("rank_correlation", "plain_choices"):
            values[f"search: {name.replace('_', ' ')}"] = summary[f"eval/ttc/analysis/{name}"]
    return values


def student(workdir, samples):
    """Return the student's correction and CRPS over its teacher's, at full temperature."""
    emulator, params, cfg = ups.load(workdir)
    if "student" not in params:
        return {}
    data = ups.simulate(emulator.pde, split_key(cfg, "val"), n=samples, steps=eval_steps(cfg))
    norm, score = correction(emulator, params, data, forecaster="diffusion")
    values = {}
    for calls in STUDENT_TARGETS:
        size, crps_value = correction(emulator, params, data, forecaster="student", calls=calls)
        values[f"student, {calls} calls: correction / teacher"] = size / norm
        values[f"student, {calls} calls: CRPS / teacher"] = crps_value / score
    return values


def correction(emulator, params, data, **options):
    """Return the RMS distance of members from the operator's rollout, and their CRPS."""
    u, cond = jnp.asarray(data.u), jnp.asarray(data.cond)
    steps, squares, scores = u.shape[1] - 1, [], []
    for i in range(0, len(u), BATCH):
        inputs = (emulator, params, u[i : i + BATCH, 0], cond[i : i + BATCH], jax.random.key(i))
        rollout = ups.forecast(*inputs, steps=steps, forecaster="operator").u
        members = ups.forecast(
            *inputs, steps=steps, members=MEMBERS, temperature=1.0, **options
        ).members
        squares.append(jnp.mean((members - rollout[:, None]) ** 2))
        scores.append(jnp.mean(crps(members, u[i : i + BATCH, 1:], emulator.pde.ndim)))
    return float(np.sqrt(np.mean(squares))), float(np.mean(scores))


def judge(means):
    """Return a line for each target: the forecaster that comes closest, and if it is met."""
    lines = []
    for quantity, low, high in TARGETS:
        values = {name: means.get(f"{name}: {quantity}") for name in FORECASTERS}
        distances = {
            name: max(low - value, value - high)
            for name, value in values.items()
            if value is not None
        }
        if not distances:
            continue
        name = min(distances, key=lambda name: distances[name])
        lines.append(
            f"{quantity}: {values[name]:.3f} by {name}, target {low:g} to {high:g}: "
            f"{'met' if low <= values[name] <= high else 'MISSED'}"
        )
    for calls, highest in STUDENT_TARGETS.items():
        kept = means.get(f"student, {calls} calls: correction / teacher")
        if kept is None:
            continue
        score = means[f"student, {calls} calls: CRPS / teacher"]
        lines.append(
            f"student of {calls} calls: correction {kept:.3f} of its teacher's (target .8), "
            f"CRPS {score:.3f} (target {highest:g}): "
            f"{'met' if kept >= 0.8 and score <= highest else 'MISSED'}"
        )
    return lines
