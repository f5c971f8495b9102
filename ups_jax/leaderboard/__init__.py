"""The leaderboard: runs of one task, their ranks, the champion, and regressions."""

from ups_jax.leaderboard.metrics import finite, significant
from ups_jax.leaderboard.ranking import (
    RANKING_METRIC,
    BoardState,
    PromotionDecision,
    board_of,
    board_state,
    champions,
    decide_promotion,
    enter_run,
    ranked,
    spread_of,
)
from ups_jax.leaderboard.regression import Regression, compare, worst_regressions
from ups_jax.leaderboard.rows import Row, upgrade_row
from ups_jax.leaderboard.storage import (
    Leaderboard,
    append,
    event,
    now,
    read,
    require_writable,
)
