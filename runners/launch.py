"""Rent a box for a run, or queue one on Slurm; the box ends itself whatever happens on it."""

import argparse
import sys
from pathlib import Path

from ups_jax.jobs import cli

DESCRIPTION = """Train and judge a config on a rented box that ends itself.
The box runs runners/fast_to_sota.py with the flags given here; the same command goes on from what
it saved. Keys travel as SkyPilot secrets; none is ever written to a file."""


def flags(parser: argparse.ArgumentParser) -> None:
    """Where, on what, for how long, and what remains of it."""
    add = parser.add_argument
    add("--cloud", default="runpod", metavar="CLOUD[/REGION]",
        help="runpod (default) | lambda | vast | aws | gcp | azure")  # fmt: skip
    add("--gpus", metavar="NAME:N", help="for example H100:1; none without it")
    add("--spot", action="store_true", help="cheaper, may be taken away; the same command goes on")
    add("--max_hours", type=float, default=4.0, help="hard limit, set-up included; default 4")
    add("--max_hourly_cost", type=float, metavar="DOLLARS", help="rent nothing dearer")
    add("--sync", default="", metavar="TARGET",
        help="keeps results and data cache: s3://..., gs://..., HOST:DIR, /MOUNT/DIR")  # fmt: skip
    add("--repo", default="", metavar="URL[#REF]",
        help="cloned on the box; default: this folder, sent by SkyPilot")  # fmt: skip
    add("--resource", action="append", default=[], metavar="KEY=VALUE",
        help="a further key of SkyPilot's resources, or of sbatch with --slurm")  # fmt: skip
    add("--slurm", action="store_true", help="queue on this cluster instead, requeued on time-out")
    add("--print_onstart", action="store_true", help="print the self-ending script for any box")
    add("--shutdown_cmd", metavar="COMMAND", help="what ends the box; default: the cloud's own")
    add("--price", type=float, metavar="DOLLARS", help="an hour, for the estimated bill")
    add("--measured", type=Path, metavar="FILE", help="summary.json of a finished run of the kind")


def main(argv: list[str] | None = None) -> int:
    """Exit code of `launch.py`; see `--help`."""
    args = cli.parse(argv, prog="launch.py", description=DESCRIPTION, extra=flags)
    args.workdir = args.workdir or cli.default_workdir(args.config)
    from ups_jax.jobs import launch

    return cli.run_main(args, launch.prepare, launch.execute)


if __name__ == "__main__":
    sys.exit(main())
