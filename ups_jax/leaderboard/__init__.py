"""The leaderboard: runs of one task side by side, who leads, and what has got worse."""

from ups_jax.leaderboard.metrics import finite, higher_is_better, metric_of
from ups_jax.leaderboard.ranking import (
    RANKING_METRICS,
    BoardState,
    PromotionDecision,
    board_of,
    board_state,
    champions,
    decide_promotion,
    ranked,
    spread_of,
)
from ups_jax.leaderboard.regression import Regression, compare, worst_regressions
from ups_jax.leaderboard.storage import Leaderboard, Row, append, event, locked, now, read

__all__ = [
    "RANKING_METRICS",
    "PromotionDecision",
    "Leaderboard",
    "Regression",
    "Row",
    "BoardState",
    "append",
    "board_of",
    "champions",
    "decide_promotion",
    "compare",
    "event",
    "finite",
    "higher_is_better",
    "locked",
    "metric_of",
    "now",
    "ranked",
    "read",
    "board_state",
    "spread_of",
    "worst_regressions",
]
