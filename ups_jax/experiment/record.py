"""A run as a row of the leaderboard: its metrics, curves, settings and board."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ups_jax import config, leaderboard
from ups_jax.experiment.context import RunContext
from ups_jax.experiment.datasets import Splits, eval_steps
from ups_jax.files import flatten, json_lines, read_json
from ups_jax.forecast import FORECASTERS
from ups_jax.leaderboard import Row
from ups_jax.tracking import RunRecord

ROW_PREFIXES = ("eval/val/nrmse", "wall/", "memory/", "params/", "eval/physics/")
"""Summary keys that a row keeps, with `eval/METRIC` and the metrics of gates and regressions."""


def board_name(cfg: Any, splits: Splits) -> str:
    """Return the name of the board for runs of a config."""
    return leaderboard.board_of(_task(cfg), splits.record["hash"], cfg.eval.protocol)


def _task(cfg: Any) -> dict[str, Any]:
    """Return the settings that define the problem, apart from its arrays."""
    pde = config.to_dict(cfg)["pde"]
    task = {"pde": pde.pop("name"), **pde, "steps": eval_steps(cfg)}
    return task | ({"context": cfg.eval.context_frames} if cfg.eval.protocol == "p10" else {})


def row_of(
    context: RunContext, splits: Splits, run: RunRecord, *, selected: str, spread: float | None
) -> Row:
    """Return the row of a run, without its curves and verdicts."""
    cfg, task = context.cfg, _task(context.cfg)
    metadata = read_json(context.workdir / "metadata.json", {})
    numbers = ", ".join(f"{k} {v}" for k, v in task.items() if k in ("nu", "points", "steps"))
    judged = {gate.metric for gate in cfg.gates.values()} | set(cfg.regression.metrics)
    metrics = {
        key: value
        for key, value in run.summary.items()
        if key.startswith(ROW_PREFIXES)
        or (key.startswith("eval/") and key.count("/") == 1)
        or key in judged
    }
    metrics["eval/p10/nrmse"] = run.summary.get(f"eval/{selected}/p10/nrmse")
    sizes = [run.summary.get(f"params/{stage}") or 0 for stage in FORECASTERS[selected].stages]
    metrics["params/selected"] = sum(sizes)
    return {
        "kind": "run",
        "id": run.id,
        "time": leaderboard.now(),
        "name": context.workdir.name,
        "board": board_name(cfg, splits),
        "task": f"{task['pde']}: {numbers}",
        "protocol": cfg.eval.protocol,
        "data": {"origin": splits.record["origin"], **splits.record["hash"]},
        "selected": selected,
        "seed": cfg.seed,
        "num_seeds": cfg.num_seeds,
        "spread": spread,
        "metrics": {key: leaderboard.significant(value, 6) for key, value in metrics.items()},
        "device": metadata.get("device"),
        "versions": {name: metadata.get(name) for name in ("python", "jax", "jaxlib")},
        "git_sha": metadata.get("git_sha"),
        "wandb": {"id": run.id, "url": run.url},
        "fingerprint": metadata.get("fingerprint"),
        "seedless_fingerprint": config.seedless_fingerprint(cfg),
        "config": config.to_dict(cfg),
        "report": f"{context.workdir.name}/report.html",
    }


def fingerprint_updater(cfg: Any) -> Callable[[Row], Row]:
    """Return a function that gives a row of older keys the fingerprint of its settings today.

    Rows with the keys and names of `cfg` keep theirs, as do those whose settings cannot be read
    any more.
    """
    keys = flatten(config.to_dict(cfg)).keys()

    def update(row: Row) -> Row:
        saved = row["config"]
        values = flatten(saved)
        if "schema" not in saved or (values.keys() == keys and config.upgrade(saved) == values):
            return row
        try:
            fingerprint = config.seedless_fingerprint(config.from_dict(saved))
        except (ValueError, TypeError, AttributeError):
            return row
        return {**row, "seedless_fingerprint": fingerprint}

    return update


def curves_of(
    context: RunContext, curves: Mapping[str, np.ndarray], times: np.ndarray, *, selected: str
) -> Row:
    """Return error against forecast time and training seconds, and the last frame's spectra."""
    prefix = selected if context.cfg.eval.protocol == "p1" else f"{selected}/p10"
    out: dict[str, list[float | None]] = {"time": [], "nrmse": []}
    if (errors := curves.get(f"{prefix}/nrmse")) is not None:
        mean = np.asarray(errors).mean(0)
        out = {"time": _rounded(times[-mean.size :]), "nrmse": _rounded(mean)}
    for name, key in (("spectrum", f"{selected}/spectrum"), ("truth_spectrum", "truth/spectrum")):
        if key in curves:
            out[name] = _rounded(curves[key])
    return out | _progress(context.workdir)


def _progress(workdir: Path) -> dict[str, list[float | None]]:
    """Return the operator's validation error against its training seconds."""
    content = (workdir / "metrics.jsonl").read_bytes()
    rows = map(json.loads, json_lines(content, {"operator/step": int})[0])
    elapsed, last_step, seconds, errors = 0.0, 0, [], []
    for row in rows:
        step, rate = row["operator/step"], row.get("operator/steps_per_s")
        elapsed += (step - last_step) / rate if rate else 0.0
        last_step = step
        if row.get("operator/val_nrmse") is not None:
            seconds.append(elapsed)
            errors.append(row["operator/val_nrmse"])
    return {"seconds": _rounded(seconds), "val_nrmse": _rounded(errors)}


def _rounded(values: Any) -> list[float | None]:
    return [leaderboard.significant(float(value), 6) for value in values]
