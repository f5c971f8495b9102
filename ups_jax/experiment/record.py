"""A run as the leaderboard keeps it: what it found, what it was, and its board."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax import config, leaderboard
from ups_jax.experiment.context import RunContext
from ups_jax.experiment.datasets import Splits, eval_steps
from ups_jax.files import read_json
from ups_jax.forecast import FORECASTERS
from ups_jax.leaderboard import Row
from ups_jax.tracking import WandBContext

ROW_PREFIXES = ("eval/val/nrmse", "wall/", "memory/", "params/")
"""Summary keys of a row beside the shipped mode's own and what judges it."""
DIGITS = 6


def board_name(cfg: Any, splits: Splits) -> str:
    """Name of the board that a config's runs stand on."""
    return leaderboard.board_of(_task(cfg), splits.record["hash"], cfg.eval.protocol)


def _task(cfg: Any) -> dict[str, Any]:
    """What fixes the problem beside the arrays themselves."""
    made = config.to_dict(cfg)
    own = {key: value for key, value in made["pde"].items() if key != "name"}
    given = {"steps": eval_steps(cfg)}
    given |= {"context": cfg.eval.context_frames} if cfg.eval.protocol == "p10" else {}
    return {"pde": made["pde"]["name"], **own, **given}


def row_of(
    plan: RunContext, splits: Splits, run: WandBContext, *, ship: str, spread: float | None
) -> Row:
    """What `run` found, and what it was, without its curves and verdicts."""
    cfg, made = plan.cfg, config.to_dict(plan.cfg)
    note = read_json(plan.workdir / "metadata.json", {})
    task = _task(cfg)
    shown = ", ".join(f"{k} {v}" for k, v in task.items() if k in ("nu", "points", "steps"))
    judged = {gate.metric for gate in cfg.gates.values()} | set(cfg.regression.metrics)
    p10 = f"eval/{ship}/p10/nrmse"
    metrics = {
        key: value
        for key, value in run.summary.items()
        if key.startswith(ROW_PREFIXES)
        or (key.startswith("eval/") and (key.count("/") == 1 or key.startswith("eval/physics/")))
        or key in judged
    }
    metrics["eval/p10/nrmse"] = run.summary.get(p10)
    sizes = [run.summary.get(f"params/{model}") or 0 for model in FORECASTERS[ship].models]
    metrics["params/shipped"] = sum(sizes)
    return {
        "kind": "run",
        "id": run.id,
        "time": leaderboard.now(),
        "name": plan.workdir.name,
        "board": board_name(cfg, splits),
        "task": f"{task['pde']}: {shown}",
        "protocol": cfg.eval.protocol,
        "data": {"origin": splits.record["origin"], **splits.record["hash"]},
        "ship": ship,
        "seed": cfg.seed,
        "seeds": cfg.num_seeds,
        "spread": spread,
        "metrics": {key: _round_digits(value) for key, value in metrics.items()},
        "device": note.get("device"),
        "versions": {name: note.get(name) for name in ("python", "jax", "jaxlib")},
        "git_sha": note.get("git_sha"),
        "wandb": {"id": run.id, "url": run.url},
        "fingerprint": note.get("fingerprint"),
        "recipe": config.seedless_fingerprint(cfg),
        "config": made,
        "report": f"{plan.workdir.name}/report.html",
    }


def curves_of(
    plan: RunContext, curves: Mapping[str, np.ndarray], times: np.ndarray, *, ship: str
) -> Row:
    """Error against forecast time and against training seconds, and the last frame's spectra."""
    place = ship if plan.cfg.eval.protocol == "p1" else f"{ship}/p10"
    out: dict[str, list[float | None]] = {"time": [], "nrmse": []}
    if (errors := curves.get(f"{place}/nrmse")) is not None:
        mean = np.asarray(errors).mean(0)
        out = {"time": _rounded(times[-mean.size :]), "nrmse": _rounded(mean)}
    for name, key in (("spectrum", f"{ship}/spectrum"), ("truth_spectrum", "truth/spectrum")):
        if key in curves:
            out[name] = _rounded(curves[key])
    return out | _progress(plan.workdir)


def _progress(workdir: Path) -> dict[str, list[float | None]]:
    """Validation error of the operator against its training seconds."""
    text = (workdir / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines() if '"operator/step"' in line]
    spent, before, seconds, errors = 0.0, 0, [], []
    for row in rows:
        step, pace = row["operator/step"], row.get("operator/steps_per_s")
        spent += (step - before) / pace if pace else 0.0
        before = step
        if row.get("operator/val_nrmse") is not None:
            seconds.append(spent)
            errors.append(row["operator/val_nrmse"])
    return {"seconds": _rounded(seconds), "val_nrmse": _rounded(errors)}


def _rounded(values: Any) -> list[float | None]:
    return [_round_digits(float(value)) for value in values]


def _round_digits(value: Any) -> Any:
    """Six digits tell runs apart; a leaderboard holds thousands of numbers."""
    found = leaderboard.finite(value)
    return value if isinstance(value, int) else found and float(f"{found:.{DIGITS}g}")
