"""Lay out a project's W&B workspace: its spec is made offline, and saved online with --save."""

import argparse
import sys
from pathlib import Path

from ups_jax.jobs import cli

DESCRIPTION = "Panels, pinned columns and the baseline of a W&B project; makes no run."


def flags(parser: argparse.ArgumentParser) -> None:
    """What the workspace is of, and where it goes."""
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="folder of a run of it")
    parser.add_argument("--project", help="W&B project; default: the workdir's, else the config's")
    parser.add_argument("--entity", help="W&B entity; default: the workdir's, else the account's")
    parser.add_argument("--name", help="of the workspace; default: <project>: verdict and training")
    parser.add_argument("--baseline", metavar="RUN_ID", help="run that others are compared with")
    parser.add_argument("--stages", help="with commas between; default: the workdir's, else all")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the spec to this JSON file")
    parser.add_argument("--save", action="store_true", help="make a new workspace online")


def main(argv: list[str] | None = None) -> int:
    """Exit code of `dashboard.py`; see `--help`."""
    args = cli.parse(
        argv, prog="dashboard.py", description=DESCRIPTION, extra=flags, subject="project"
    )
    from ups_jax.jobs import dashboard

    return cli.run_main(args, dashboard.prepare, dashboard.execute)


if __name__ == "__main__":
    sys.exit(main())
