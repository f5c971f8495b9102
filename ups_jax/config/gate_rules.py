"""Rules of what judges a run: gates, regressions and the leaderboard, before anything is spent."""

from pathlib import Path
from typing import Any

from ups_jax.config.base import Config
from ups_jax.registry import lookup
from ups_jax.types import GATE_LIMITS

WALL_KEYS = ("data_s", "compile_s", "train_s", "eval_s", "verdict_s")
"""Seconds that are known when a run is judged; the report and the total come after."""
PHYSICS = ("boundary_jump", "conservation_gap", "energy_growth", "max_principle_excess")
PHYSICS += ("pde_residual", "total_variation_growth")
"""What `physics.diagnostics` measures of any PDE."""
COUNT_METRICS = ("samples", "calls", "ms", "loss", "rank_correlation", "diversity", "plain_choices")
KEY_PARTS = ("truth", "val", "selection", "physics", "p10", "paired", "analysis")
"""Parts of a summary key between `eval` and the metric, beside stages and forecasters."""
SUFFIXES = ("_median", "_p90")


def check_gate_rules(cfg: Config) -> None:
    """Raise ValueError on the first gate, tolerance or metric that could not judge a run."""
    for name, gate in cfg.gates.items():
        if gate.metric:
            _gate(cfg, f"gates.{name}", gate)
    spec = cfg.regression
    for metric in spec.metrics:
        check_key(cfg, "regression.metrics", metric)
    for key in ("tolerance", "improvement"):
        _require(spec[key] > 0, f"regression.{key}", spec[key], "positive")
    _require(spec.history >= 1, "regression.history", spec.history, "at least 1")
    board = cfg.leaderboard
    _require(board.margin >= 0, "leaderboard.margin", board.margin, "at least 0")
    is_file = board.path is None or not Path(board.path).expanduser().is_dir()
    _require(is_file, "leaderboard.path", board.path, "a file, not a folder")


def check_key(cfg: Config, where: str, key: str, *, remedy: str = "") -> None:
    """Raise ValueError where no run of this config could have a summary key of that name."""
    head, *between, last = key.split("/") if "/" in key else (key, "")
    known = {"eval": (), "wall": WALL_KEYS, "memory": ("peak_mib",), "params": tuple(cfg.stages)}
    try:
        lookup(known, head, "kind of summary key")
        if head != "eval":
            lookup(dict.fromkeys(known[head]), "/".join([*between, last]), f"key of {head}/")
            return
        places: dict[str, None] = dict.fromkeys([*KEY_PARTS, *cfg.eval.forecasters, *cfg.stages])
        for part in between:
            lookup(places, part, "forecaster, stage or part of a summary key")
        lookup(dict.fromkeys(_metrics()), _base_metric(last), "metric")
    except ValueError as error:
        raise ValueError(f"{where} names {key!r}: {error}{remedy}") from error


def _gate(cfg: Config, where: str, gate: Config) -> None:
    off = f"; --config.{where}.metric= switches this gate off"
    check_key(cfg, f"{where}.metric", gate.metric, remedy=off)
    held = [limit for limit in GATE_LIMITS if gate[limit] is not None]
    one = f"exactly one of {', '.join(GATE_LIMITS)}"
    _require(len(held) == 1, where, {limit: gate[limit] for limit in held}, one)
    ratio = held[0].endswith("ratio")
    _require(not ratio or gate[held[0]] > 0, f"{where}.{held[0]}", gate[held[0]], "positive")
    if gate.ratio_to:
        _require(ratio, f"{where}.ratio_to", gate.ratio_to, "empty beside an absolute limit")
        check_key(cfg, f"{where}.ratio_to", gate.ratio_to, remedy=off)


def _base_metric(name: str) -> str:
    """A metric without its horizon and its percentile."""
    name = name.partition("@")[0]
    return next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), name)


def _metrics() -> set[str]:
    from ups_jax.metrics import ENSEMBLE_METRICS, METRICS

    return {*METRICS, *ENSEMBLE_METRICS, *PHYSICS, *COUNT_METRICS}


def _require(holds: bool, key: str, got: Any, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{key} is {got!r}; it must be {allowed}")
