"""Who leads a board, by how much, and what it takes to lead: decided on validation alone."""

import hashlib
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ups_jax.leaderboard.metrics import finite, metric_of
from ups_jax.leaderboard.storage import Leaderboard, Row

RANKING_METRICS = "eval/val/nrmse"
"""What runs are ranked by: the shipped mode's error on validation."""


@dataclass(frozen=True)
class BoardState:
    """A board as it stood before a run began: its champion and its runs, oldest first."""

    champion: Row | None = None
    history: tuple[Row, ...] = ()


@dataclass(frozen=True)
class PromotionDecision:
    """Whether a run may lead its board, and the sentence that says why or why not."""

    granted: bool
    reason: str


def board_of(task: Mapping[str, Any], data: Mapping[str, str], protocol: str) -> str:
    """Name of the board that a run stands on: equal for equal equations, data and protocol.

    task: what fixes the problem beside its arrays; data: a hash each split.
    """
    text = json.dumps([task, dict(sorted(data.items())), protocol], sort_keys=True)
    return f"{task['pde']}-{protocol}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def champions(events: Iterable[Row]) -> dict[str, str]:
    """The id that leads each board, after all its promotions and demotions."""
    leads: dict[str, str] = {}
    for event in events:
        if event["kind"] == "promote":
            leads[event["board"]] = event["id"]
        elif leads.get(event["board"]) == event["id"]:
            del leads[event["board"]]
    return leads


def board_state(lines: Leaderboard, board: str, *, without: str | None = None) -> BoardState:
    """What a run of `board` is compared with: never with itself, the row of id `without`."""
    leads = champions(event for event in lines.events if event["id"] != without)
    history = tuple(r for r in lines.runs if r["board"] == board and r["id"] != without)
    champion = next((row for row in history if row["id"] == leads.get(board)), None)
    return BoardState(champion, history)


def ranked(runs: Iterable[Row], board: str) -> list[Row]:
    """Runs of one board from the best on validation to the worst; what was not measured is last."""
    own = [row for row in runs if row["board"] == board]
    return sorted(own, key=lambda row: _or_worst(metric_of(row, RANKING_METRICS)))


def spread_of(rows: Sequence[Row], recipe: str | None, metric: str) -> float | None:
    """Standard deviation of a metric over the runs of one recipe, which differ by their seed.

    None where there are fewer than two; a run of several seeds brings its own for JUDGED.
    """
    alike = [row for row in rows if recipe is not None and row.get("recipe") == recipe]
    own = [row.get("spread") for row in alike if metric == RANKING_METRICS]
    found = [value for value in map(finite, own) if value is not None]
    values = [value for row in alike if (value := metric_of(row, metric)) is not None]
    if len(values) > 1:
        found.append(statistics.stdev(values))
    return max(found, default=None)


def decide_promotion(row: Row, before: BoardState, *, margin: float) -> PromotionDecision:
    """May `row` lead? All its gates are met, and on validation it is ahead by enough.

    Enough is more than the seeds' spread, and more than `margin` of the champion's error: two runs
    rarely tell a spread.
    """
    failed, value = (row.get("gates") or {}).get("failed", []), metric_of(row, RANKING_METRICS)
    if failed:
        return PromotionDecision(False, f"gates are not met: {', '.join(failed)}")
    if value is None:
        return PromotionDecision(False, f"{RANKING_METRICS} is missing or not finite")
    if before.champion is None:
        return PromotionDecision(True, "all gates met, and nothing led this board")
    held = metric_of(before.champion, RANKING_METRICS)
    name = before.champion["id"]
    if held is None:
        return PromotionDecision(
            True, f"all gates met, and the champion {name} has no {RANKING_METRICS}"
        )
    spreads = [spread_of([*before.history, row], r.get("recipe"), RANKING_METRICS) or 0.0
               for r in (row, before.champion)]  # fmt: skip
    needed = max(margin * held, *spreads)
    ahead = f"validation nRMSE {value:.4g} against {held:.4g} of the champion {name}"
    if held - value > needed:
        return PromotionDecision(
            True, f"all gates met, and {ahead}: ahead by more than {needed:.2g}"
        )
    return PromotionDecision(False, f"{ahead}: not ahead by more than {needed:.2g}")


def _or_worst(value: float | None) -> float:
    return float("inf") if value is None else value
