"""The leaderboard: runs of one task side by side, who leads, and what has got worse."""

from ups_jax.leaderboard.metrics import finite, higher_is_better, metric_of
from ups_jax.leaderboard.ranking import (
    JUDGED,
    Claim,
    Snapshot,
    board_of,
    champions,
    claim,
    ranked,
    snapshot,
    spread_of,
)
from ups_jax.leaderboard.regression import Regression, compare, worst
from ups_jax.leaderboard.storage import Lines, Row, append, event, locked, now, read

__all__ = [
    "JUDGED",
    "Claim",
    "Lines",
    "Regression",
    "Row",
    "Snapshot",
    "append",
    "board_of",
    "champions",
    "claim",
    "compare",
    "event",
    "finite",
    "higher_is_better",
    "locked",
    "metric_of",
    "now",
    "ranked",
    "read",
    "snapshot",
    "spread_of",
    "worst",
]
