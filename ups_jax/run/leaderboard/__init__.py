"""The leaderboard: runs of one task side by side, who leads, and what has got worse."""

from ups_jax.run.leaderboard.ranking import (
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
from ups_jax.run.leaderboard.regress import Regression, compare, worst
from ups_jax.run.leaderboard.rows import Lines, Row, append, locked, read
from ups_jax.run.leaderboard.values import finite, higher_is_better, metric_of

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
    "finite",
    "higher_is_better",
    "locked",
    "metric_of",
    "ranked",
    "read",
    "snapshot",
    "spread_of",
    "worst",
]
