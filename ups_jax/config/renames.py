"""Key map from schema 2 to schema 3: older `config.json` files load, older keys get an answer."""

from collections.abc import Mapping
from typing import Any

from ups_jax.config.base import SCHEMA
from ups_jax.files import flatten

RENAMED_SCHEMA = 2
SELECTED_KEY, SELECTED_FOLDER = (name.lstrip(".") for name in (".ship", ".shipped"))
"""Key in metadata.json, and folder under ckpt/, of the selected parameters before schema 3."""
NAME_RENAMES = {
    "continued": "control", "distilled": "student", "distill": "student", "crps": "ensemble"
}  # fmt: skip
"""Names of stages, which are also names among the parameters, and of forecasters."""
KEY_RENAMES = {
    "seeds": "num_seeds",
    "diffusion.smallest": "diffusion.sigma_min",
    "diffusion.largest": "diffusion.sigma_max",
    "diffusion.calls": "diffusion.student_steps",
    "diffusion.feedback": "diffusion.autoregressive",
    "ensemble.noise": "ensemble.noise_channels",
    "ensemble.mirrored": "ensemble.antithetic",
    "ensemble.samples": "ensemble.num_trajectories",
    "search.samples": "search.num_trajectories",
    "search.start": "search.temperature_start",
    "search.end": "search.temperature_end",
    "search.schedule": "search.temperature_schedule",
    "search.budget": "search.calls_per_step",
    "eval.rivalry": "eval.selection_trajectories",
    "eval.ship": "eval.select",
    "eval.modes": "eval.forecasters",
    "eval.context": "eval.context_frames",
    "eval.nudging": "eval.nudging_gain",
    "eval.examples": "eval.num_figures",
    "regression.worse": "regression.tolerance",
    "regression.better": "regression.improvement",
    "regression.last": "regression.history",
    "leaderboard.promote": "leaderboard.auto_promote",
}
FIT_RENAMES = {
    "shares": "phase_fractions",
    "early": "start_bias",
    "floor": "loss_floor",
    "visits": "num_rollouts",
    "match": "match_flops_of",
    "clip": "clip_norm",
    "ema": "ema_decay",
    "chunk": "steps_per_call",
}
"""Keys of every section `fit.<stage>`."""
GATE_RENAMES = {
    "most": "max",
    "least": "min",
    "most_ratio": "max_ratio",
    "least_ratio": "min_ratio",
    "of": "ratio_to",
}
"""Keys of every gate `gates.<name>`."""


def rename_key(key: str) -> str:
    """Return the dotted key of schema 3 for one of schema 2; other keys stay as they are."""
    first, *rest = key.split(".")
    if first == "fit" and rest:
        stage, *leaf = rest
        return ".".join([first, rename_name(stage), *(FIT_RENAMES.get(k, k) for k in leaf)])
    if first == "gates" and len(rest) == 2:
        return ".".join([first, rest[0], GATE_RENAMES.get(rest[1], rest[1])])
    return KEY_RENAMES.get(key, key)


def rename_name(name: str) -> str:
    """Return the name in schema 3 of a stage or forecaster."""
    return NAME_RENAMES.get(name, name)


def rename_metric(key: str) -> str:
    """Return a summary key of schema 3: eval/crps/nrmse -> eval/ensemble/nrmse.

    The last part of an `eval/` key stays: it is a metric, which may be called `crps`.
    """
    *parts, metric = key.split("/")
    renames = {**NAME_RENAMES, "rivals": "selection"}
    metric = rename_name(metric) if parts == ["params"] else metric
    metric = "nrmse_control" if metric == "nrmse_continued" else metric
    return "/".join([*(renames.get(part, part) for part in parts), metric])


def upgrade(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved config as dotted keys, renamed to schema 3 where it is of schema 2."""
    flat = flatten(saved)
    if flat.get("schema") != RENAMED_SCHEMA:
        return flat
    renamed = {rename_key(key): value for key, value in flat.items()}
    return {key: rename_value(key, value) for key, value in renamed.items()} | {"schema": SCHEMA}


def describe_rename(leaf: str) -> str:
    """Return "'eval.modes' is now 'eval.forecasters'" for the last part of an older key, or ""."""
    keys = [*KEY_RENAMES, *(f"fit.{name}" for name in NAME_RENAMES)]
    keys += [f"fit.operator.{key}" for key in FIT_RENAMES]
    return " and ".join(
        f"{key!r} is now {rename_key(key)!r}" for key in keys if key.rpartition(".")[2] == leaf
    )


def rename_value(key: str, value: Any) -> Any:
    """Rename the stages, forecasters and metrics that a value names."""
    is_gate, leaf = key.startswith("gates."), key.rpartition(".")[2]
    names = ("stages", "eval.forecasters", "eval.select", "search.source")
    if key in names or leaf == "match_flops_of":
        rename = rename_name
    elif key == "regression.metrics" or (is_gate and leaf in ("metric", "ratio_to")):
        rename = rename_metric
    else:
        return value
    return [rename(name) for name in value] if isinstance(value, list | tuple) else rename(value)
