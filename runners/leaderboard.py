"""Show, compare, export, promote and demote the runs of a leaderboard; makes no run of its own."""

import argparse
import sys
from pathlib import Path

from ups_jax.jobs import cli

DESCRIPTION = "Runs of one task side by side: leaderboard.py [ACTION] [RUN ...]"
ACTIONS = "show (default) | compare A B ... | export | promote A | demote A | page"


def flags(parser: argparse.ArgumentParser) -> None:
    """What is asked, and of which runs."""
    parser.add_argument("action", nargs="?", default="show", help=ACTIONS)
    parser.add_argument("ids", nargs="*", metavar="RUN", help="ids of runs")
    parser.add_argument(
        "--path", type=Path, default=Path("runs/leaderboard.jsonl"), help="the leaderboard"
    )
    parser.add_argument("--board", help="one board alone; default: all")
    parser.add_argument(
        "--format", choices=("csv", "md", "latex"), default="csv", help="of an export"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where an export goes")
    parser.add_argument("--reason", help="of a promotion or demotion, kept with it")
    parser.add_argument("--force", action="store_true", help="promote whatever gates and lead say")


def main(argv: list[str] | None = None) -> int:
    """Exit code of `leaderboard.py`; see `--help`."""
    args = cli.parse(
        argv, prog="leaderboard.py", description=DESCRIPTION, extra=flags, subject="project"
    )
    from ups_jax.leaderboard import commands

    return cli.run_main(args, commands.prepare, commands.execute)


if __name__ == "__main__":
    sys.exit(main())
