"""Keys of a config file that follow the overrides: what a run lacks is switched off in words."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ups_jax.config.base import Config
from ups_jax.config.from_file import pde_of_config
from ups_jax.config.gate_rules import check_key
from ups_jax.config.rules import missing_stages
from ups_jax.config.schema import FACTORY_SECTIONS
from ups_jax.pde.symmetries import reflection_signs

IsOverridden = Callable[[str], bool]


def adapt(
    cfg: Config, file: Config, given: Mapping[str, Any], overrides: Mapping[str, Any]
) -> list[str]:
    """Switch off what overrides have made impossible, and return a sentence on each change.

    cfg: the file with its overrides; file: without them; given: the keys that the file sets. A key
    that is overridden itself, or was impossible in the file alone, is left for the rules to refuse.
    """

    def is_overridden(key: str) -> bool:
        return any(f"{other}.".startswith(f"{key}.") for other in overrides)

    notes = list(_replaced_arguments(cfg, given, overrides))
    for follow in (_equivariance, _forecasters, _matched_flops, _regression_metrics, _gates):
        notes += follow(cfg, file, is_overridden)
    return notes


def _replaced_arguments(
    cfg: Config, given: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Iterator[str]:
    """Name the arguments of a factory that another name has replaced by its own defaults."""
    for section in FACTORY_SECTIONS:
        if f"{section}.name" not in overrides:
            continue
        changed = []
        for key in (k for k in given if k.startswith(f"{section}.") and k not in overrides):
            leaf = key.rpartition(".")[2]
            now = cfg[section].get(leaf)
            if leaf != "name" and now != given[key]:
                changed.append(f"{leaf} {given[key]!r} -> {'absent' if now is None else repr(now)}")
        if changed:
            name = cfg[section].name
            yield f"{section}.name={name} takes the defaults of {name}: {', '.join(changed)}"


def _equivariance(cfg: Config, file: Config, is_overridden: IsOverridden) -> Iterator[str]:
    key = "operator.equivariant"
    if cfg.pde.name == file.pde.name or not cfg.operator.get("equivariant") or is_overridden(key):
        return
    if reflection_signs(pde_of_config(cfg)) is None:
        cfg.operator.equivariant = False
        yield f"{key} is false: pde {cfg.pde.name!r} has no reflection of one space axis"


def _forecasters(cfg: Config, file: Config, is_overridden: IsOverridden) -> Iterator[str]:
    names, select = cfg.eval.forecasters, cfg.eval.select
    lost = [n for n in names if missing_stages(cfg, n) and not missing_stages(file, n)]
    reasons = {"a stage that they need is not trained": lost}
    if "symmetrized" in names and "symmetrized" not in lost and _lost_mirrors(cfg, file):
        reasons["it needs a reflection, and operator.history=1"] = ["symmetrized"]
        lost = [*lost, "symmetrized"]
    if is_overridden("eval.forecasters") or not lost:
        return
    cfg.eval.forecasters = tuple(name for name in names if name not in lost)
    for reason, dropped in reasons.items():
        if dropped:
            yield f"eval.forecasters without {', '.join(dropped)}: {reason}"
    if select in lost and "operator" in cfg.eval.forecasters and not is_overridden("eval.select"):
        cfg.eval.select = "operator"
        yield f"eval.select is operator, not {select}"


def _lost_mirrors(cfg: Config, file: Config) -> bool:
    """Return whether another PDE or history has taken the mirror images of states away."""
    if cfg.pde.name == file.pde.name:
        return cfg.operator.history > file.operator.history
    return pde_of_config(cfg).reflection is None


def _matched_flops(cfg: Config, file: Config, is_overridden: IsOverridden) -> Iterator[str]:
    for stage in cfg.stages:
        fit, key = cfg.fit[stage], f"fit.{stage}.match_flops_of"
        other = fit.match_flops_of
        if other in file.stages and other not in cfg.stages and not is_overridden(key):
            fit.match_flops_of = None
            yield f"{key} is none: stage {other} is not trained"


def _regression_metrics(cfg: Config, file: Config, is_overridden: IsOverridden) -> Iterator[str]:
    lost = [metric for metric in cfg.regression.metrics if _is_lost(cfg, file, metric)]
    if lost and not is_overridden("regression.metrics"):
        kept = (metric for metric in cfg.regression.metrics if metric not in lost)
        cfg.regression.metrics = tuple(kept)
        yield f"regression.metrics without {', '.join(lost)}: this run does not measure it"


def _gates(cfg: Config, file: Config, is_overridden: IsOverridden) -> Iterator[str]:
    for name, gate in cfg.gates.items():
        lost = [key for key in (gate.metric, gate.ratio_to) if key and _is_lost(cfg, file, key)]
        if lost and not is_overridden(f"gates.{name}"):
            gate.metric = ""
            yield f"gate {name} is off: this run does not measure {lost[0]}"


def _is_lost(cfg: Config, file: Config, key: str) -> bool:
    """Return True for a summary key that the file's run has, and the overridden one has not."""
    return _has(file, key) and not _has(cfg, key)


def _has(cfg: Config, key: str) -> bool:
    try:
        check_key(cfg, "", key)
    except ValueError:
        return False
    return True
