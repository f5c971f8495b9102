"""Ranks and champions of a board, and the rule of promotion; all use validation errors only."""

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ups_jax.leaderboard.metrics import finite, metric_of
from ups_jax.leaderboard.rows import Row
from ups_jax.leaderboard.storage import Leaderboard, enter, event

RANKING_METRIC = "eval/val/nrmse"
"""Runs are ranked by the selected forecaster's error on validation."""


@dataclass(frozen=True)
class BoardState:
    """A board before a run began: its champion and its runs, oldest first."""

    champion: Row | None = None
    history: tuple[Row, ...] = ()


@dataclass(frozen=True)
class PromotionDecision:
    """The permission to lead a board, and the reason in words."""

    granted: bool
    reason: str


def board_of(task: Mapping[str, Any], data: Mapping[str, str], protocol: str) -> str:
    """Return the name of a run's board: the same for the same equation, data and protocol.

    task: the settings that define the problem, apart from its arrays; data: a hash of each split.
    """
    text = json.dumps([task, dict(sorted(data.items())), protocol], sort_keys=True)
    return f"{task['pde']}-{protocol}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def champions(events: Iterable[Row]) -> dict[str, str]:
    """Return the id of each board's champion, after all promotions and demotions."""
    leads: dict[str, str] = {}
    for entry in events:
        if entry["kind"] == "promote":
            leads[entry["board"]] = entry["id"]
        elif leads.get(entry["board"]) == entry["id"]:
            del leads[entry["board"]]
    return leads


def board_state(
    entries: Leaderboard,
    board: str,
    *,
    without: str | None = None,
    update: Callable[[Row], Row] = lambda row: row,
) -> BoardState:
    """Return the champion and the runs of `board`, except the run of id `without`.

    `update` may give a run the fingerprint that its settings have today.
    """
    leads = champions(entry for entry in entries.events if entry["id"] != without)
    runs = (run for run in entries.runs if run["board"] == board and run["id"] != without)
    history = tuple(map(update, runs))
    champion = next((row for row in history if row["id"] == leads.get(board)), None)
    return BoardState(champion, history)


def ranked(runs: Iterable[Row], board: str) -> list[Row]:
    """Sort the runs of one board by validation error; runs without a finite error are last."""

    def error(row: Row) -> float:
        value = metric_of(row, RANKING_METRIC)
        return math.inf if value is None else value

    return sorted((row for row in runs if row["board"] == board), key=error)


def spread_of(rows: Sequence[Row], fingerprint: str | None, metric: str) -> float | None:
    """Return the standard deviation of a metric over runs that differ only by their seed.

    fingerprint: the seedless fingerprint that the runs share. A run of several seeds has a spread
    of its own for RANKING_METRIC; the largest spread counts. None without any.
    """
    if fingerprint is None:
        return None
    runs = [row for row in rows if row.get("seedless_fingerprint") == fingerprint]
    spreads = [finite(row.get("spread")) for row in runs if metric == RANKING_METRIC]
    values = [value for row in runs if (value := metric_of(row, metric)) is not None]
    if len(values) > 1:
        spreads.append(statistics.stdev(values))
    return max((spread for spread in spreads if spread is not None), default=None)


def decide_promotion(row: Row, before: BoardState, *, margin: float) -> PromotionDecision:
    """Promote `row` if all its gates are met and its validation error is low enough.

    Its lead over the champion must exceed the spread over seeds, and also `margin` times the
    champion's error, because the spread is often unknown.
    """
    gates, value = row.get("gates"), metric_of(row, RANKING_METRIC)
    champion = before.champion
    if gates is None:
        return PromotionDecision(False, "its line has no verdict on its gates")
    if gates.get("failed"):
        return PromotionDecision(False, f"gates are not met: {', '.join(gates['failed'])}")
    met = "all gates met" if gates.get("total") else "no gate applied"
    if value is None:
        return PromotionDecision(False, f"{RANKING_METRIC} is missing or not finite")
    if champion is None:
        return PromotionDecision(True, f"{met}, and the board had no champion")
    best, name = metric_of(champion, RANKING_METRIC), champion["id"]
    if best is None:
        return PromotionDecision(True, f"{met}; the champion {name} has no {RANKING_METRIC}")
    runs = [*before.history, row]
    prints = [run.get("seedless_fingerprint") for run in (row, champion)]
    spreads = [spread_of(runs, fingerprint, RANKING_METRIC) or 0.0 for fingerprint in prints]
    needed = max(margin * best, *spreads)
    lead = f"validation nRMSE {value:.4g} against {best:.4g} of the champion {name}"
    if best - value <= needed:
        return PromotionDecision(False, f"{lead}: not ahead by more than {needed:.2g}")
    return PromotionDecision(True, f"{met}, and {lead}: ahead by more than {needed:.2g}")


def enter_run(
    path: Path,
    row: Row,
    *,
    margin: float,
    promote: bool,
    by: str,
    update: Callable[[Row], Row] = lambda row: row,
) -> tuple[PromotionDecision, Leaderboard]:
    """Add a run to a leaderboard and promote it if it leads the board as it is at that moment.

    A better run that was promoted since this run began keeps its place. A run that was promoted
    before, by a process that was killed at its end, has no second promotion.
    """
    decisions = []

    def decide(entries: Leaderboard) -> Row | None:
        earlier = [e for e in entries.events if (e["id"], e.get("by")) == (row["id"], by)]
        if earlier:
            decisions.append(PromotionDecision(True, earlier[-1].get("reason") or ""))
            return None
        state = board_state(entries, row["board"], without=row["id"], update=update)
        decisions.append(decide_promotion(row, state, margin=margin))
        if not (promote and decisions[-1].granted):
            return None
        return event("promote", row, by=by, reason=decisions[-1].reason)

    after = enter(path, row, decide)
    return decisions[-1], after
