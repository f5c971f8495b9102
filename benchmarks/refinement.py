"""What members, students and search are worth after the operator, over the seeds of several runs.

    python benchmarks/refinement.py runs/burgers runs/burgers-seed1 runs/burgers-seed2

Reads what each finished run found on its test split, and lets each run's teacher and student draw
at full temperature from the same states: does the student keep its teacher's correction? Targets
are those of the issue that asked for them; each stands with the route that comes closest.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import write

import ups_jax as ups
from ups_jax.data import simulate
from ups_jax.experiment.datasets import split_key
from ups_jax.metrics import crps

ROUTES = ("diffusion", "student", "crps")
SAMPLES, MEMBERS = 64, 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdirs", nargs="+")
    parser.add_argument("--name", default="refinement", help="of the results file")
    args = parser.parse_args()
    found = [one_run(Path(workdir)) for workdir in args.workdirs]
    # A rank correlation of rewards that are all equal is undefined.
    told = {key: [run[key] for run in found if run.get(key) is not None] for key in found[0]}
    rows = {key: values for key, values in told.items() if values}
    print(f"{'quantity':<44}{'mean':>10}{'spread':>10}  of {len(found)} seeds")
    for key, values in rows.items():
        spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
        print(f"{key:<44}{np.mean(values):>10.4g}{spread:>10.2g}")
    verdicts = judge({key: float(np.mean(values)) for key, values in rows.items()})
    for line in verdicts:
        print(line)
    runs = [str(workdir) for workdir in args.workdirs]
    path = write(args.name, {"rows": rows, "verdicts": verdicts, "runs": runs})
    print(f"wrote {path}")


def one_run(workdir):
    """Ratios of one run, by name."""
    s = json.loads((workdir / "summary.json").read_text())

    def paired(mode, name):
        return s[f"eval/{mode}/paired/{name}"]

    out = {}
    for mode in ROUTES:
        if f"eval/{mode}/paired/crps" not in s:
            continue
        out[f"{mode}: member nRMSE / operator"] = paired(mode, "member_nrmse") / paired(
            "operator", "nrmse"
        )
        out[f"{mode}: mean nRMSE / control"] = paired(mode, "nrmse") / paired("control", "nrmse")
        out[f"{mode}: CRPS / operator MAE"] = paired(mode, "crps") / paired("operator", "mae")
        out[f"{mode}: CRPS / continued MAE"] = paired(mode, "crps") / paired("control", "mae")
        out[f"{mode}: spread / skill"] = paired(mode, "spread_skill")
        out[f"{mode}: within 50 %"] = paired(mode, "coverage_50")
        out[f"{mode}: within 90 %"] = paired(mode, "coverage_90")
        out[f"{mode}: correlation time / operator"] = paired(mode, "correlation_time") / paired(
            "operator", "correlation_time"
        )
    out["continued: nRMSE / operator"] = paired("control", "nrmse") / paired("operator", "nrmse")
    if "eval/ttc/analysis/nrmse_ttc" in s:
        mean = s["eval/ttc/analysis/nrmse_mean"]
        for name in ("operator", "control", "random", "ttc", "oracle"):
            out[f"search: {name} / mean-of-B"] = s[f"eval/ttc/analysis/nrmse_{name}"] / mean
        for name in ("rank_correlation", "plain_choices"):
            out[f"search: {name.replace('_', ' ')}"] = s[f"eval/ttc/analysis/{name}"]
    return out | student(workdir)


def student(workdir):
    """The student's correction and CRPS over its teacher's, at full temperature."""
    emulator, params, cfg = ups.load(workdir)
    if "student" not in params:
        return {}
    steps = cfg.data.eval_steps or cfg.data.steps
    data = simulate(emulator.pde, split_key(cfg, "val"), n=SAMPLES, steps=steps)
    u, cond = jnp.asarray(data.u), jnp.asarray(data.cond)
    told = {"teacher": draws(emulator, params, u, cond, mode="diffusion")}
    for calls in (1, 2):
        told[f"student, {calls}"] = draws(emulator, params, u, cond, mode="student", calls=calls)
    (norm, score), out = told.pop("teacher"), {}
    for name, (own, own_score) in told.items():
        out[f"{name} calls: correction / teacher"] = own / norm
        out[f"{name} calls: CRPS / teacher"] = own_score / score
    return out


def draws(emulator, params, u, cond, **options):
    """RMS distance of members from the operator's rollout, and their CRPS."""
    norms, scores = [], []
    for i in range(0, len(u), 16):
        given = (emulator, params, u[i : i + 16, 0], cond[i : i + 16], jax.random.key(i))
        steps = u.shape[1] - 1
        plain = ups.forecast(*given, steps=steps, mode="operator").u
        members = ups.forecast(
            *given, steps=steps, members=MEMBERS, temperature=1.0, **options
        ).members
        norms.append(jnp.mean((members - plain[:, None]) ** 2))
        scores.append(jnp.mean(crps(members, u[i : i + 16, 1:], emulator.pde.ndim)))
    return float(np.sqrt(np.mean(norms))), float(np.mean(scores))


def judge(means):
    """Each target, the route that comes closest, and whether it is met."""

    def best(tail, aim):
        found = {key.split(":")[0]: means[key] for key in means if key.endswith(f": {tail}")}
        route = min((r for r in found if r in ROUTES), key=lambda r: aim(found[r]))
        return route, found[route]

    wanted = [
        ("member nRMSE / operator", 0.0, 1.05),
        ("mean nRMSE / control", 0.0, 1.0),
        ("CRPS / operator MAE", 0.0, 0.8),
        ("spread / skill", 0.8, 1.2),
        ("within 90 %", 0.85, 0.95),
    ]
    lines = []
    for tail, low, high in wanted:
        route, value = best(tail, lambda x, a=low, b=high: max(a - x, x - b))
        met = "met" if low <= value <= high else "MISSED"
        lines.append(f"{tail}: {value:.3f} by {route}, asked {low:g} to {high:g}: {met}")
    for calls, high in ((1, 1.2), (2, 1.1)):
        keep = means.get(f"student, {calls} calls: correction / teacher")
        if keep is None:
            continue
        score = means[f"student, {calls} calls: CRPS / teacher"]
        met = "met" if keep >= 0.8 and score <= high else "MISSED"
        lines.append(
            f"student of {calls} calls: correction {keep:.3f} of its teacher's (asked .8), "
            f"CRPS {score:.3f} (asked {high:g}): {met}"
        )
    return lines


if __name__ == "__main__":
    main()
