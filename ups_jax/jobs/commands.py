"""The commands of `python -m ups_jax`: a table of flags, options and functions, by name."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import Any, Literal, NamedTuple

from ups_jax.jobs import cli
from ups_jax.jobs.flags import names, number, output, path
from ups_jax.jobs.streams import lasting_streams
from ups_jax.registry import lookup


class Entry(NamedTuple):
    """One command: its flags, and the module whose `prepare` and `execute` take its `options`."""

    description: str
    add_flags: Callable[[ArgumentParser], None]
    module: str
    options: str
    subject: Literal["config", "workdir", "project"] = "config"

    def load(self) -> list[Any]:
        """Import the options class, `prepare` and `execute`, which bring heavy libraries."""
        return [resolve_name(f"{self.module}:{n}") for n in (self.options, "prepare", "execute")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `[COMMAND] FLAGS`, by default `train`, and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-"):
        return run(words[0], words[1:], prog=f"ups {words[0]}")
    return run("train", words, prog="ups")


def run(name: str, argv: Sequence[str] | None = None, *, prog: str) -> int:
    """Run one command and return its exit code."""
    with lasting_streams():
        try:
            entry = lookup(COMMANDS, name, "command")
        except ValueError as error:
            return cli.fail(str(error), cli.BAD_INPUT)
        others = f" Other commands: {', '.join(COMMANDS)}." if prog == "ups" else ""
        description, subject = entry.description + others, entry.subject
        try:
            flags = cli.parse(
                argv, entry.add_flags, prog=prog, description=description, subject=subject
            )
            options, prepare, execute = entry.load()
            return cli.run_main(options(**flags), prepare, execute)
        except KeyboardInterrupt:
            print("interrupted; nothing was run", file=sys.stderr)
            return 130


def _evaluate_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--forecasters", type=names, help="names separated by commas; default: the config's")
    add("--data", type=path, metavar="FILE", help="npz, HDF5, NetCDF-4 or Zarr file to test on")
    add(
        "--points",
        type=number(int, 4, 1_000_000),
        metavar="N",
        help="points along each axis; default: the config's",
    )
    add("--horizon", type=number(float, 1e-9, 1e9), metavar="T",
        help="time to forecast; default: the config's")  # fmt: skip
    add("--save_predictions", type=output(".npz", ".h5", ".hdf5"), metavar="FILE",
        help="npz or h5 file of the forecasts")  # fmt: skip


def _finetune_flags(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        type=path,
        metavar="DIR|NAME",
        help="folder of a finished run, or universal-1d: the network that is trained further",
    )
    cli.add_distributed_flags(parser)


def _export_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=path, metavar="DIR", help="folder to write; default: WORKDIR-export")
    add("--forecaster", help="name of one with a network; default: the run's selected one")
    add("--steps", type=number(int, 1, 1_000_000), metavar="N",
        help="frames of the exported rollout; default: those of the run's evaluation")  # fmt: skip
    add("--license", metavar="SPDX", help="licence of the parameters, for the model card")


def _leaderboard_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("action", nargs="?",
        help="show (default) | compare A B ... | export | promote A | demote A | page")  # fmt: skip
    add("ids", nargs="*", metavar="RUN", help="ids of runs")
    add("--path", type=path, metavar="FILE", help="default: runs/leaderboard.jsonl")
    add("--board", help="show or export one board; default: all")
    add("--format", choices=("csv", "md", "latex"), help="of an export; default: csv")
    add("--out", type=path, metavar="FILE", help="file of an export; default: standard output")
    add("--reason", help="recorded with a promotion or demotion")
    add("--force", action="store_true", help="promote despite failed gates or a smaller lead")


def _sweep_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--sweep", action="append", metavar="KEY=A,B | KEY=LOW:HIGH[:log]",
        help="values of one key, separated by | if a value has a comma; repeatable")  # fmt: skip
    add("--trials", type=number(int, 1, 100_000), metavar="N",
        help="number of trials; needed with a range")  # fmt: skip
    add("--name", help="of the sweep; default: the config's")
    cli.add_distributed_flags(parser)


def _launch_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--cloud", metavar="CLOUD[/REGION]",
        help="runpod (default) | lambda | vast | aws | gcp | azure")  # fmt: skip
    add("--gpus", metavar="NAME:N", help="for example H100:1; default: no GPU")
    add("--spot", action="store_true",
        help="rent a preemptible machine; rerun the same command to resume")  # fmt: skip
    add("--max_hours", type=number(float, 0.02, 1000), metavar="HOURS",
        help="hard limit, set-up included; default: 4")  # fmt: skip
    add("--max_hourly_cost", type=number(float, 0.01, 10_000), metavar="DOLLARS",
        help="highest price to accept")  # fmt: skip
    add("--sync", metavar="TARGET",
        help="keeps results and data cache: s3://..., gs://..., HOST:DIR, /MOUNT/DIR")  # fmt: skip
    add("--repo", metavar="URL[#REF]",
        help="repository to clone; default: SkyPilot sends the current folder")  # fmt: skip
    add("--resource", action="append", metavar="KEY=VALUE",
        help="another resource of SkyPilot, or of sbatch with --slurm; repeatable")  # fmt: skip
    add("--slurm", action="store_true", help="submit to this Slurm cluster, requeue at time-out")
    add("--print_onstart", action="store_true",
        help="print a script that runs on any rented machine and ends it")  # fmt: skip
    add("--shutdown_cmd", metavar="COMMAND", help="ends the machine; default: the cloud's command")
    add("--price", type=number(float, 0, 10_000), metavar="DOLLARS",
        help="hourly price for the estimate")  # fmt: skip
    add("--measured", type=path, metavar="FILE",
        help="summary.json of a finished run, for the estimate")  # fmt: skip


def _dashboard_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--workdir", type=path, metavar="DIR", help="folder of one run of the project")
    add("--project", help="W&B project; default: the workdir's, else the config's")
    add("--entity", help="W&B entity; default: the workdir's, else the account's")
    add("--name", help="of the workspace; default: <project>: verdict and training")
    add("--baseline", metavar="RUN_ID", help="run that the others are compared with")
    add("--stages", help="names separated by commas; default: the workdir's, else all")
    add("--out", type=path, metavar="FILE", help="write the spec to this JSON file")
    add("--save", action="store_true", help="create the workspace online")


COMMANDS = {
    "train": Entry(
        "Train, evaluate and report an emulator from a config, in one process and one W&B run.",
        cli.add_distributed_flags, "ups_jax.experiment.pipeline", "RunOptions",
    ),
    "finetune": Entry(
        "Train the network of a finished run further on the data of a config.",
        _finetune_flags, "ups_jax.jobs.finetune", "FinetuneOptions",
    ),
    "evaluate": Entry(
        "Evaluate a finished run again; results are added to the same W&B run.",
        _evaluate_flags, "ups_jax.experiment.reevaluate", "EvaluateOptions", "workdir",
    ),
    "export": Entry(
        "Export a finished run as StableHLO and safetensors, with a model card.",
        _export_flags, "ups_jax.experiment.export", "ExportOptions", "workdir",
    ),
    "leaderboard": Entry(
        "Show, compare, export, promote or demote runs of a leaderboard: [ACTION] [RUN ...].",
        _leaderboard_flags, "ups_jax.leaderboard.commands", "Options", "project",
    ),
    "sweep": Entry(
        "Compare hyperparameters: learning rates in one run, other keys as one run per trial.",
        _sweep_flags, "ups_jax.jobs.sweep", "SweepOptions",
    ),
    "launch": Entry(
        "Train a config on a rented machine that ends itself, or on a Slurm cluster. "
        "Keys travel as SkyPilot secrets and are never written to a file.",
        _launch_flags, "ups_jax.jobs.launch", "LaunchOptions",
    ),
    "dashboard": Entry(
        "Create a W&B workspace for a project: panels, pinned columns and the baseline.",
        _dashboard_flags, "ups_jax.jobs.dashboard", "DashboardOptions", "project",
    ),
}  # fmt: skip
