"""Actions of `runners/leaderboard.py`: show, compare, export, promote, demote, page."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ups_jax import leaderboard
from ups_jax.files import write_text
from ups_jax.leaderboard import Leaderboard, PromotionDecision, Row, tables
from ups_jax.leaderboard.page import write_page
from ups_jax.registry import lookup
from ups_jax.tables import format_table

MANUAL_MARGIN = 0.02
"""Relative lead over the champion's validation error that `promote` needs without --force."""


@dataclass(frozen=True)
class Options:
    """Flags of the leaderboard's runner: an action, the ids of its runs, and where to write."""

    action: str = "show"
    ids: Sequence[str] = ()
    path: Path = Path("runs/leaderboard.jsonl")
    board: str | None = None
    format: str = "csv"
    out: Path | None = None
    reason: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Command:
    """A checked action: its options, the leaderboard, and the rows of the runs it names."""

    options: Options
    entries: Leaderboard
    rows: list[Row]


def prepare(options: Options, stop: Callable[[], bool]) -> Command:
    """Read the leaderboard; ValueError for an unknown run or board, or a promotion not allowed."""
    _, low, high = lookup(ACTIONS, options.action, "action")
    if not options.path.is_file():
        raise ValueError(
            f"{options.path} does not exist; a finished run creates a leaderboard, "
            "or choose another one with --path"
        )
    entries = leaderboard.read(options.path)
    known = {row["id"]: row for row in entries.runs}
    rows = [lookup(known, run_id, "run") for run_id in options.ids]
    if not low <= len(rows) <= high:
        allowed = f"{low}" if low == high else f"{low} or more"
        raise ValueError(f"{options.action} takes {allowed} run ids, got {len(rows)}")
    if options.board is not None:
        lookup(dict.fromkeys(tables.boards(entries)), options.board, "board")
    command = Command(options, entries, rows)
    if options.out is not None and options.out.is_dir():
        raise ValueError(f"--out {options.out} is a folder; name a file")
    if options.action in ("promote", "demote", "page"):
        leaderboard.require_writable(options.path)
    if options.action in ("promote", "demote"):
        _check_event(command)
    return command


def _check_event(command: Command) -> None:
    """Raise ValueError for a promotion or demotion that is not allowed."""
    options, row = command.options, command.rows[0]
    champion = leaderboard.champions(command.entries.events).get(row["board"])
    if options.action == "demote":
        if champion != row["id"]:
            raise ValueError(f"{row['id']} is not the champion of its board; "
                             f"the champion is {champion or 'none'}")  # fmt: skip
        return
    if row["board"] is None:
        raise ValueError(f"{row['id']} is not promoted: its line names no board")
    if champion == row["id"]:
        raise ValueError(f"{row['id']} is the champion of its board already")
    decision = _decision(command)
    if not (decision.granted or options.force):
        raise ValueError(
            f"{row['id']} is not promoted: {decision.reason}; --force overrides this rule"
        )


def execute(command: Command) -> int:
    """Run the action, and return the exit code."""
    ACTIONS[command.options.action][0](command)
    if warning := command.entries.warning:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _show(command: Command) -> None:
    for board in _boards(command):
        rows = leaderboard.ranked(command.entries.runs, board)
        print(f"{board}: {rows[0].get('task')}, {rows[0].get('protocol')}")
        print(format_table(*tables.ranking_table(command.entries, board)), end="\n\n")


def _compare(command: Command) -> None:
    if len({row["board"] for row in command.rows}) > 1:
        command.entries.problems.append(
            "these runs are of different boards; their metrics are not comparable"
        )
    metrics, settings = tables.comparison_tables(command.rows)
    print(format_table(*metrics), end="\n\n")
    print(format_table(*settings) if settings[1] else "no config key differs")


def _export(command: Command) -> None:
    make = tables.FORMATS[command.options.format]
    parts = [make(tables.ranking_table(command.entries, board)) for board in _boards(command)]
    content, target = "\n".join(parts), command.options.out
    if target is None:
        print(content, end="")
        return
    write_text(target, content)
    print(target)


def _promote(command: Command) -> None:
    reason = command.options.reason or _decision(command).reason
    row = _record_event(command, "promote", reason)
    print(f"{row['id']} is the champion of {row['board']}: {reason}")


def _demote(command: Command) -> None:
    row = _record_event(command, "demote", command.options.reason or "no reason given")
    print(f"{row['board']} has no champion; the next run without a failed gate becomes champion")


def _page(command: Command) -> None:
    print(write_page(command.options.path))


def _record_event(command: Command, kind: str, reason: str) -> Row:
    path, row = command.options.path, command.rows[0]
    leaderboard.append(path, leaderboard.event(kind, row, by="user", reason=reason))
    write_page(path)
    return row


def _decision(command: Command) -> PromotionDecision:
    row = command.rows[0]
    before = leaderboard.board_state(command.entries, row["board"], without=row["id"])
    return leaderboard.decide_promotion(row, before, margin=MANUAL_MARGIN)


def _boards(command: Command) -> Sequence[str]:
    board = command.options.board
    return tables.boards(command.entries) if board is None else [board]


ACTIONS: dict[str, tuple[Callable[[Command], None], int, float]] = {
    "show": (_show, 0, 0),
    "compare": (_compare, 2, float("inf")),
    "export": (_export, 0, 0),
    "promote": (_promote, 1, 1),
    "demote": (_demote, 1, 1),
    "page": (_page, 0, 0),
}
"""Function of each action, and the lowest and highest number of runs that it takes."""
