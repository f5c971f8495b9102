"""Compare hyperparameters: learning rates side by side in one run, others as one run a trial."""

import argparse
import sys

from ups_jax.jobs import cli

DESCRIPTION = "Learning rates side by side in one run; any other keys as trials of one run each."


def flags(parser: argparse.ArgumentParser) -> None:
    """What is tried, and how often."""
    add = parser.add_argument
    add("--sweep", action="append", default=[], metavar="KEY=A,B | KEY=LOW:HIGH[:log]",
        help="its values, parted by | where one holds a comma")  # fmt: skip
    add("--trials", type=int, metavar="N", help="trials of a sweep with a range")
    add("--jobs", type=int, default=1, help="trials at once; 1")
    add("--name", help="of the sweep; default: the config's")
    cli.add_distributed_flags(parser)


def main(argv: list[str] | None = None) -> int:
    """Exit code of `sweep.py`; see `--help`."""
    args = cli.parse(argv, prog="sweep.py", description=DESCRIPTION, extra=flags)
    from ups_jax.jobs import sweep

    return sweep.main(args, cli.run_main)


if __name__ == "__main__":
    sys.exit(main())
