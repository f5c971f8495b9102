"""Gates: limits on the values of a run's summary, and their verdicts."""

from collections.abc import Mapping
from typing import Any

from ups_jax.leaderboard.metrics import finite
from ups_jax.types import FAIL, GATE_LIMITS, NO_BASELINE, PASS, GateVerdict


def check(
    gates: Mapping[str, Mapping[str, Any]],
    scalars: Mapping[str, float | None],
    baseline: Mapping[str, float | None] | None,
) -> tuple[GateVerdict, ...]:
    """Judge every gate {name: {metric, one of GATE_LIMITS, ratio_to}} on a summary, in order.

    A gate without a metric is switched off and has no verdict. A ratio is taken to the summary's
    key `ratio_to`; if that is empty, to the same metric of `baseline`, the champion's values.
    Without a champion such a gate has the verdict "no baseline". A value that is missing or not
    finite fails. A value that equals its limit passes.
    """
    active = {name: gate for name, gate in gates.items() if gate["metric"]}
    return tuple(_judge(name, gate, scalars, baseline) for name, gate in active.items())


def passed(verdicts: tuple[GateVerdict, ...]) -> bool:
    """Return True if no gate failed; a gate without a baseline has not failed."""
    return all(verdict.status != FAIL for verdict in verdicts)


def _judge(
    name: str,
    gate: Mapping[str, Any],
    scalars: Mapping[str, float | None],
    baseline: Mapping[str, float | None] | None,
) -> GateVerdict:
    metric, other = gate["metric"], gate.get("ratio_to") or ""
    kind = next(limit for limit in GATE_LIMITS if gate.get(limit) is not None)
    bound, value, reference = gate[kind], finite(scalars.get(metric)), None
    limit, limit_text = bound, f"{bound:.4g}"
    if kind.endswith("ratio"):
        value_text = "missing or not finite" if value is None else f"{value:.4g}"
        if not other and baseline is None:
            status = FAIL if value is None else NO_BASELINE
            text = f"{metric} is {value_text}; there is no champion to compare it with yet"
            return GateVerdict(name, metric, status, value, None, None, None, text)
        owner = f"{other}'s" if other else "the champion's"
        reference = finite((scalars if other else baseline or {}).get(other or metric))
        if reference is None:
            text = f"{metric} is {value_text}, and {owner} value is missing or not finite"
            return GateVerdict(name, metric, FAIL, value, None, None, None, text)
        limit, limit_text = bound * reference, f"{bound:g} x {owner} {reference:.4g}"
    upper = kind.startswith("max")
    demand = f"it must be {'at most' if upper else 'at least'} {limit_text}"
    if value is None:
        raw = scalars.get(metric)
        text = f"{metric} {'was not measured' if raw is None else f'is {raw}'}; {demand}"
        return GateVerdict(name, metric, FAIL, None, limit, None, reference, text)
    distance = limit - value if upper else value - limit
    margin = distance / abs(limit) if limit else distance
    status = PASS if distance >= 0 else FAIL
    text = f"{metric} is {value:.4g}; {demand}"
    return GateVerdict(name, metric, status, value, limit, margin, reference, text)
