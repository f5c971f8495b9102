"""What `runners/leaderboard.py` does: show, compare, export, promote, demote. It makes no run."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ups_jax import leaderboard
from ups_jax.files import write_text
from ups_jax.leaderboard import Leaderboard, PromotionDecision, Row, tables
from ups_jax.leaderboard.page import page
from ups_jax.registry import lookup

MARGIN = 0.02
"""Lead over a champion's validation error that a promotion by hand needs without --force."""


@dataclass(frozen=True)
class Command:
    """A leaderboard, the runs that are asked about, and what is to be done."""

    path: Path
    found: Leaderboard
    rows: list[Row]
    args: argparse.Namespace


def prepare(args: argparse.Namespace, stop: Callable[[], bool]) -> Command:
    """Read the leaderboard; ValueError where a run, a board or a right to lead is missing."""
    lookup(ACTIONS, args.action, "action")
    if not args.path.is_file():
        raise ValueError(f"no leaderboard at {args.path}; a finished run makes one, or name --path")
    found = leaderboard.read(args.path)
    known = {row["id"]: row for row in found.runs}
    rows = [lookup(known, each, "run") for each in args.ids]
    least, most = ACTIONS[args.action][1:]
    if not least <= len(rows) <= most:
        wanted = f"{least}" if least == most else f"{least} or more" if least else "no"
        raise ValueError(f"{args.action} takes {wanted} run ids, got {len(rows)}")
    if args.board is not None:
        lookup(dict.fromkeys(tables.boards(found)), args.board, "board")
    if args.action == "promote" and not (granted := _claim(found, rows[0])).granted:
        if not args.force:
            raise ValueError(
                f"{rows[0]['id']} is not promoted: {granted.reason}; --force does it all the same"
            )
    if args.action == "demote" and _leader(found, rows[0]) != rows[0]["id"]:
        raise ValueError(f"{rows[0]['id']} is no champion; its board is led by "
                         f"{_leader(found, rows[0]) or 'none'}")  # fmt: skip
    return Command(args.path, found, rows, args)


def execute(asked: Command) -> int:
    """Do what was asked -> exit code."""
    ACTIONS[asked.args.action][0](asked)
    for problem in asked.found.problems:
        print(f"warning: {problem}", file=sys.stderr)
    return 0


def _show(asked: Command) -> None:
    for board in _boards(asked):
        rows = leaderboard.ranked(asked.found.runs, board)
        print(f"{board}: {rows[0].get('task')}, {rows[0].get('protocol')}")
        print(tables.text(tables.standing(asked.found, board)), end="\n\n")


def _compare(asked: Command) -> None:
    if len({row["board"] for row in asked.rows}) > 1:
        print("warning: these runs stand on different boards; none is better than another",
              file=sys.stderr)  # fmt: skip
    metrics, differ = tables.compared(asked.rows)
    print(tables.text(metrics))
    print()
    print(tables.text(differ) if differ[1] else "no config key differs")


def _export(asked: Command) -> None:
    make = tables.FORMATS[asked.args.format]
    parts = [make(tables.standing(asked.found, board)) for board in _boards(asked)]
    whole = "\n".join(parts)
    if asked.args.out is None:
        print(whole, end="")
        return
    write_text(asked.args.out, whole)
    print(asked.args.out)


def _promote(asked: Command) -> None:
    row = asked.rows[0]
    reason = asked.args.reason or _claim(asked.found, row).reason
    _enter(asked, "promote", row, reason)
    print(f"{row['id']} leads {row['board']}: {reason}")


def _demote(asked: Command) -> None:
    row = asked.rows[0]
    _enter(asked, "demote", row, asked.args.reason or "no reason given")
    print(f"{row['board']} has no champion; the next run with all gates met may lead")


def _page(asked: Command) -> None:
    print(_write_page(asked.path))


def _enter(asked: Command, kind: str, row: Row, reason: str) -> None:
    leaderboard.append(asked.path, leaderboard.event(kind, row, by="user", reason=reason))
    _write_page(asked.path)


def _write_page(path: Path) -> Path:
    now, target = leaderboard.read(path), path.with_suffix(".html")
    write_text(target, page(now.runs, leaderboard.champions(now.events), now.events))
    return target


def _claim(found: Leaderboard, row: Row) -> PromotionDecision:
    if row["board"] is None:
        return PromotionDecision(False, "its line names no board")
    before = leaderboard.board_state(found, row["board"], without=row["id"])
    return leaderboard.decide_promotion(row, before, margin=MARGIN)


def _leader(found: Leaderboard, row: Row) -> str | None:
    return leaderboard.champions(found.events).get(row["board"])


def _boards(asked: Command) -> Sequence[str]:
    return tables.boards(asked.found) if asked.args.board is None else [asked.args.board]


MANY = 1000
ACTIONS: dict[str, tuple[Callable[[Command], None], int, int]] = {
    "show": (_show, 0, 0),
    "compare": (_compare, 2, MANY),
    "export": (_export, 0, 0),
    "promote": (_promote, 1, 1),
    "demote": (_demote, 1, 1),
    "page": (_page, 0, 0),
}
"""What can be asked for, and of how many runs."""
