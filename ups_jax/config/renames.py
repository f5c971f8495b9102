"""Key map from schema 2 to schema 3: older `config.json` files load, older keys get an answer."""

from collections.abc import Mapping
from typing import Any

from ups_jax.config.base import SCHEMA
from ups_jax.files import flatten

RENAMED_SCHEMA = 2
SELECTED_KEY, SELECTED_FOLDER = "ship", "shipped"  # key map
"""Key in metadata.json, and folder under ckpt/, of the selected parameters before schema 3."""
NAME_RENAMES = {
    "continued": "control", "distilled": "student", "distill": "student", "crps": "ensemble"
}  # fmt: skip
"""Names of stages, which are also names among the parameters, and of forecasters."""
KEY_RENAMES = {
    "diffusion.smallest": "sigma_min", "diffusion.largest": "sigma_max",
    "diffusion.calls": "student_steps", "diffusion.feedback": "autoregressive",
    "ensemble.noise": "noise_channels", "ensemble.mirrored": "antithetic",
    "ensemble.samples": "num_trajectories",
    "search.samples": "num_trajectories", "search.budget": "calls_per_step",
    "search.start": "temperature_start", "search.end": "temperature_end",
    "search.schedule": "temperature_schedule",
    "fit.shares": "phase_fractions", "fit.early": "start_bias", "fit.floor": "loss_floor",
    "fit.visits": "num_rollouts", "fit.match": "match_flops_of", "fit.clip": "clip_norm",
    "fit.ema": "ema_decay", "fit.chunk": "steps_per_call",
    "eval.rivalry": "selection_trajectories", "eval.ship": "select", "eval.modes": "forecasters",
    "eval.context": "context_frames", "eval.nudging": "nudging_gain",
    "eval.examples": "num_figures",
    "gates.most": "max", "gates.least": "min", "gates.most_ratio": "max_ratio",
    "gates.least_ratio": "min_ratio", "gates.of": "ratio_to",
    "regression.worse": "tolerance", "regression.better": "improvement",
    "regression.last": "history",
    "leaderboard.promote": "auto_promote",
}  # fmt: skip
"""New last part of an older key; `fit` and `gates` stand for fit.<stage> and gates.<name>."""


def rename_key(key: str) -> str:
    """Return the dotted key of schema 3 for one of schema 2; other keys stay as they are."""
    section, *path = key.split(".")
    if section == "fit" and path:
        path[0] = rename_name(path[0])
    if len(path) == (2 if section in ("fit", "gates") else 1):
        path[-1] = KEY_RENAMES.get(f"{section}.{path[-1]}", path[-1])
    return "num_seeds" if key == "seeds" else ".".join([section, *path])


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
    flat = _upgrade_apebench(flatten(saved))
    if flat.get("operator.base") == "persistence":  # of schema 3 too
        flat["operator.base"] = "identity"
    if flat.get("pde.name") == "mixture" and not flat.get("pde.weights", "equal"):
        flat["pde.weights"] = "equal"
    if "pde.blind" in flat:
        flat["pde.inputs"] = "none" if flat.pop("pde.blind") else "all"
    if flat.get("schema") != RENAMED_SCHEMA:
        return flat
    renamed = {rename_key(key): value for key, value in flat.items()}
    return {key: rename_value(key, value) for key, value in renamed.items()} | {"schema": SCHEMA}


def _upgrade_apebench(flat: dict[str, Any]) -> dict[str, Any]:
    """Replace the former pde 'apebench_burgers' by its scenario, whose unit of time is dt.

    Raises ValueError on coefficients other than the published ones.
    """
    if flat.get("pde.name") != "apebench_burgers":
        return flat
    removed = {key: flat.get(f"pde.{key}", 1.5) for key in ("convection", "diffusion")}
    if set(removed.values()) != {1.5}:
        raise ValueError(
            f"pde 'apebench_burgers' with {removed} is no longer available; its scenario "
            "1d_diff_burgers has 1.5 and 1.5: use the version that wrote this config"
        )
    kept = {k: v for k, v in flat.items() if k not in {f"pde.{key}" for key in removed}}
    points = flat.get("pde.points", 160)
    scenario = {"pde.name": "apebench", "pde.scenario": "1d_diff_burgers", "pde.points": points}
    horizons = [round(time * points / 1.5, 6) for time in flat.get("eval.horizons", ())]
    return kept | scenario | {"eval.horizons": horizons}


def describe_rename(leaf: str) -> str:
    """Return "'eval.modes' is now 'eval.forecasters'" for the last part of an older key, or ""."""
    keys = ["seeds", *(key.replace("fit.", "fit.operator.") for key in KEY_RENAMES)]
    keys += [f"fit.{name}" for name in NAME_RENAMES]
    renamed = [key for key in keys if key.rpartition(".")[2] == leaf]
    return " and ".join(f"{key!r} is now {rename_key(key)!r}" for key in renamed)


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
