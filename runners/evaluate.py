"""Judge a trained folder again, with other modes, data, resolution or horizon, in the same run."""

import argparse
import sys
from pathlib import Path

from ups_jax.jobs import cli

DESCRIPTION = "Evaluate the model of a workdir; adds to the summary and tables of its one run."


def flags(parser: argparse.ArgumentParser) -> None:
    """What may differ from the evaluation that the run itself made."""
    parser.add_argument("--modes", help="forecasters, with commas between; default: the config's")
    parser.add_argument("--data", type=Path, help="PDEBench HDF5 or npz file to test on")
    parser.add_argument("--points", type=int, help="points along each axis; default: the config's")
    parser.add_argument("--horizon", type=float, help="time to forecast; default: the config's")
    parser.add_argument("--save_predictions", type=Path, help="write forecasts to this npz or h5")


def main(argv: list[str] | None = None) -> int:
    """Exit code of `evaluate.py`; see `--help`."""
    args = cli.parse(
        argv, prog="evaluate.py", description=DESCRIPTION, extra=flags, subject="workdir"
    )
    from ups_jax.experiment import reevaluate

    return cli.run_main(args, reevaluate.prepare, reevaluate.execute)


if __name__ == "__main__":
    sys.exit(main())
