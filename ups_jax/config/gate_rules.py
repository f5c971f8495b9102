"""Rules of the gates, regression tests and leaderboard of a config."""

from pathlib import Path

from ups_jax.config.base import Config
from ups_jax.config.bounds import require
from ups_jax.config.from_file import pde_of_config
from ups_jax.data.missing import MASK
from ups_jax.forecast import FORECASTERS
from ups_jax.metrics import ENSEMBLE_METRICS, METRICS, OBSERVED_METRICS
from ups_jax.physics import diagnostic_names
from ups_jax.registry import lookup
from ups_jax.types import GATE_LIMITS

WALL_KEYS = ("data_s", "compile_s", "train_s", "validation_s", "prepare_s", "eval_s", "verdict_s")
"""Times that are known at the verdict; those of the report and of the run are not."""
COUNT_METRICS = ("samples", "calls", "ms", "loss", "rank_correlation", "diversity", "plain_choices")
"""Values of an evaluation that no table of metrics holds: sizes, costs, analysis of the search."""
KEY_PARTS = ("truth", "val", "selection", "physics", "p10", "paired", "analysis")
"""Parts of a summary key between `eval` and the metric, other than forecasters.

`eval/val/<stage>/<loss>` alone names stages.
"""
PERCENTILES = ("_median", "_p90")


def check_gate_rules(cfg: Config) -> None:
    """Raise ValueError on the first gate, metric or path that cannot be used for a verdict."""
    for name, gate in cfg.gates.items():
        if gate.metric:
            _gate(cfg, f"gates.{name}", gate)
    for metric in cfg.regression.metrics:
        check_key(cfg, "regression.metrics", metric)
    path = cfg.leaderboard.path
    is_file = path is None or not Path(path).expanduser().is_dir()
    require(is_file, "leaderboard.path", path, "a file, not a folder")
    is_page = path is not None and Path(path).suffix.lower() == ".html"
    require(not is_page, "leaderboard.path", path, "no .html file, where its page is written")


def check_key(cfg: Config, where: str, key: str, *, remedy: str = "") -> None:
    """Raise ValueError if no run of this config can have this summary key."""
    head, *parts, last = key.split("/") if "/" in key else (key, "")
    known = {"eval": (), "wall": WALL_KEYS, "memory": ("peak_mib",), "params": tuple(cfg.stages)}
    try:
        physics = _diagnostics(cfg) if "physics" in parts else []
        lookup(known, head, "kind of summary key")
        if head != "eval":
            lookup(dict.fromkeys(known[head]), "/".join([*parts, last]), f"key of {head}/")
            return
        stages = cfg.stages if "val" in parts else ()
        places = dict.fromkeys([*KEY_PARTS, *cfg.eval.forecasters, *stages])
        for part in parts:
            lookup(places, part, "forecaster or part of a summary key")
        lookup(dict.fromkeys(physics or _metrics(cfg, parts)), _base_metric(last), "metric")
    except ValueError as error:
        raise ValueError(f"{where} has {key!r}: {error}{remedy}") from error


def _gate(cfg: Config, key: str, gate: Config) -> None:
    remedy = f"; --config.{key}.metric= switches this gate off"
    check_key(cfg, f"{key}.metric", gate.metric, remedy=remedy)
    limits = {limit: gate[limit] for limit in GATE_LIMITS if gate[limit] is not None}
    require(len(limits) == 1, key, limits, f"exactly one of {', '.join(GATE_LIMITS)}")
    limit, value = limits.popitem()
    is_ratio = limit.endswith("ratio")
    require(not is_ratio or value > 0, f"{key}.{limit}", value, "positive")
    if gate.ratio_to:
        require(is_ratio, f"{key}.ratio_to", gate.ratio_to, "empty with an absolute limit")
        check_key(cfg, f"{key}.ratio_to", gate.ratio_to, remedy=remedy)


def _base_metric(name: str) -> str:
    """Return a metric's name without its horizon and its percentile."""
    name = name.partition("@")[0]
    return next((name.removesuffix(s) for s in PERCENTILES if name.endswith(s)), name)


def _metrics(cfg: Config, parts: list[str]) -> list[str]:
    """List the metrics of the forecasters that a key names, or of those that may be selected."""
    select = cfg.eval.select
    selectable = cfg.eval.forecasters if select == "best" else (select,)
    names = [part for part in parts if part in FORECASTERS] or selectable
    has_members = any(FORECASTERS[name].stochastic for name in names if name in FORECASTERS)
    masks = cfg.data.missing == MASK
    point = [n for n in METRICS if not masks or n in OBSERVED_METRICS or METRICS[n].partial]
    return [*point, *COUNT_METRICS, *(ENSEMBLE_METRICS if has_members or "val" in parts else ())]


def _diagnostics(cfg: Config) -> list[str]:
    if cfg.data.missing == MASK:
        raise ValueError("physics needs whole fields, which data.missing=mask does not have")
    return diagnostic_names(pde_of_config(cfg))
