"""Gates: limits that a run's summary must keep, and how it keeps them. Numbers alone, no JAX."""

import math
from collections.abc import Mapping
from typing import Any

from ups_jax.types import FAIL, GATE_LIMITS, NO_BASELINE, PASS, GateVerdict


def check(
    gates: Mapping[str, Mapping[str, Any]],
    scalars: Mapping[str, float | None],
    baseline: Mapping[str, float | None] | None,
) -> tuple[GateVerdict, ...]:
    """Judge every gate {name: {metric, one of LIMITS, of}} on a summary, in their order.

    One without a metric is switched off and has no verdict.
    A ratio is taken of the summary's own key `of`, or, where that is empty, of the same metric of
    `baseline`, the champion's values; without a champion its verdict is "no baseline". Whatever is
    missing or not finite fails. A value that equals its limit passes.
    """
    on = {name: gate for name, gate in gates.items() if gate["metric"]}
    return tuple(_judge(name, gate, scalars, baseline) for name, gate in on.items())


def passed(verdicts: tuple[GateVerdict, ...]) -> bool:
    """Whether no gate failed; one without a baseline has not."""
    return all(verdict.status != FAIL for verdict in verdicts)


def _judge(
    name: str,
    gate: Mapping[str, Any],
    scalars: Mapping[str, float | None],
    baseline: Mapping[str, float | None] | None,
) -> GateVerdict:
    metric, of = gate["metric"], gate.get("ratio_to") or ""
    kind = next(limit for limit in GATE_LIMITS if gate.get(limit) is not None)
    bound, value = gate[kind], _finite(scalars.get(metric))
    reference, whose = None, ""
    if kind.endswith("ratio"):
        if not of and baseline is None:
            said = f"{metric} is {_told(value)}; there is no champion to compare it with yet"
            status = FAIL if value is None else NO_BASELINE
            return GateVerdict(name, metric, status, value, None, None, None, said)
        source = scalars if of else baseline or {}
        reference = _finite(source.get(of or metric))
        whose = f"{of}'s" if of else "the champion's"
        if reference is None:
            said = f"{metric} is {_told(value)}, and {whose} value is missing or not finite"
            return GateVerdict(name, metric, FAIL, value, None, None, None, said)
    limit = bound if reference is None else bound * reference
    words = f"{bound:g} x {whose} {reference:.4g}" if reference is not None else f"{limit:.4g}"
    side = "at most" if kind.startswith("max") else "at least"
    if value is None:
        held = scalars.get(metric)
        why = "was not measured" if held is None else f"is {held}"
        said = f"{metric} {why}; it must be {side} {words}"
        return GateVerdict(name, metric, FAIL, None, limit, None, reference, said)
    inside = limit - value if kind.startswith("max") else value - limit
    margin = inside / abs(limit) if limit else inside
    status = PASS if inside >= 0 else FAIL
    said = f"{metric} is {value:.4g}; it must be {side} {words}"
    return GateVerdict(name, metric, status, value, limit, margin, reference, said)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _told(value: float | None) -> str:
    return "missing or not finite" if value is None else f"{value:.4g}"
