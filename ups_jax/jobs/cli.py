"""The command line that every runner shares: flags in, exit codes out."""

import argparse
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

from ups_jax.experiment.signals import StopFlag, stop_on_signal
from ups_jax.registry import near_miss
from ups_jax.types import Interrupted

CommandPlan = TypeVar("CommandPlan")
PREFIX = "--config."
WANDB_MODES = ("online", "offline", "disabled")
WAIT_S = 120
"""Seconds to wait for other processes: compute nodes do not all start at once."""
BAD_INPUT, DIVERGED = 2, 4
"""Exit codes; 0 and 3 (a gate or a regression) are the pipeline's, 130 and 143 the signals'."""


def parse(
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str,
    extra: Callable[[argparse.ArgumentParser], object] | None = None,
    subject: Literal["config", "workdir", "project"] = "config",
) -> Namespace:
    """Flags as a Namespace; `overrides` holds the text of every --config.KEY, wherever it stands.

    A runner that trains is about a config; one that looks at a finished run is about its workdir,
    which it then requires; one about a whole project brings all its flags with it. `extra` adds a
    runner's own flags. A mistake exits 2 in two lines.
    """
    parser = _Parser(prog, description, subject)
    if extra is not None:
        extra(parser)
    words = list(sys.argv[1:] if argv is None else argv)
    overrides, rest = _take_overrides(parser, words) if subject == "config" else ({}, words)
    args, unknown = parser.parse_known_args(rest)
    if unknown:
        parser.error(_unknown(parser, unknown[0]))
    if subject != "project" and getattr(args, subject) is None:
        example = {"config": "configs/burgers.py:smoke", "workdir": "runs/burgers"}[subject]
        parser.error(f"--{subject} is missing; for example --{subject} {example}")
    args.overrides = overrides
    return args


def add_distributed_flags(parser: argparse.ArgumentParser) -> None:
    """Flags by which the processes of one run find each other."""
    told = parser.add_argument_group("several processes")
    told.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="where process 0 listens, or auto: on TPUs, under Slurm or Open MPI, a process a GPU; "
        "default: $JAX_COORDINATOR_ADDRESS, else this process is alone",
    )
    told.add_argument("--num_processes", type=int, metavar="N", help="how many processes there are")
    told.add_argument("--process_id", type=int, metavar="I", help="which one this is, from 0")
    told.add_argument(
        "--wait_s", type=int, default=WAIT_S, metavar="S", help="how long to wait for the others"
    )


def default_workdir(config: str) -> Path:
    """runs/<config> of the default variant, else runs/<config>-<variant>."""
    from ups_jax.config import split_path

    file, variant = split_path(config)
    stem = Path(file).stem
    return Path("runs") / (stem if variant == "default" else f"{stem}-{variant}")


def run_main(
    args: Namespace,
    prepare: Callable[[Namespace, StopFlag], CommandPlan],
    execute: Callable[[CommandPlan], int],
) -> int:
    """Exit code of a runner. Before the run exists, a ValueError or OSError is bad input: code 2.

    What `execute` raises keeps its traceback, being a defect, but for a divergence: code 4.
    """
    with stop_on_signal() as stop:
        try:
            plan = prepare(args, stop)
        except (ValueError, OSError) as error:
            return _fail(str(error) or type(error).__name__, BAD_INPUT)
        except Interrupted:
            print(stop.line, file=sys.stderr)
            return stop.code
        try:
            return execute(plan)
        except FloatingPointError as error:
            return _fail(str(error), DIVERGED)


def fold(message: str) -> str:
    """At most two lines: the first, and all others as one."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    return "\n".join([*lines[:1], " ".join(lines[1:])]).strip()


class _Parser(argparse.ArgumentParser):
    """Errors in two lines; the page of config keys below the flags."""

    def __init__(self, prog: str, description: str, subject: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.subject = subject
        if subject == "project":
            return
        if subject == "config":
            self.add_argument("--config", metavar="FILE[:variant]", help="a config file")
        self.add_argument("--workdir", type=Path, metavar="DIR", help="folder of the run")
        self.add_argument(
            "--wandb_mode",
            choices=WANDB_MODES,
            help="default: $WANDB_MODE, else online where a key is known, else offline",
        )
        if subject != "config":
            return
        flags = {
            "restart": "move the old folder aside and begin anew",
            "dry_run": "print the resolved config with estimated memory and minutes, run nothing",
            "fail_on_gate": "exit 3 where a gate is not met",
            "fail_on_regression": "exit 3 where a metric is worse than the leaderboard's",
        }
        for name, text in flags.items():
            self.add_argument(f"--{name}", action="store_true", help=text)

    def format_help(self) -> str:
        if self.subject != "config":
            return super().format_help()
        from ups_jax.config import describe

        return f"{super().format_help()}\n{describe()}"

    def error(self, message: str) -> NoReturn:
        self.exit(_fail(message, BAD_INPUT))


def _take_overrides(
    parser: argparse.ArgumentParser, words: list[str]
) -> tuple[dict[str, str], list[str]]:
    overrides, rest = {}, []
    queue = iter(words)
    for word in queue:
        if not word.startswith(PREFIX):
            rest.append(word)
            continue
        key, equals, value = word.removeprefix(PREFIX).partition("=")
        if not equals:
            value = next(queue, "--")
            if value.startswith("--"):
                parser.error(f"{word} has no value; write {word}=VALUE")
        overrides[key] = value
    return overrides, rest


def _unknown(parser: argparse.ArgumentParser, word: str) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}; every value follows its flag, --config FILE"
    flag = word.partition("=")[0]
    options = [option for action in parser._actions for option in action.option_strings]
    known = sorted(option for option in options if option.startswith("--"))
    keys = []
    if isinstance(parser, _Parser) and parser.subject == "config":
        from ups_jax.config import base_keys

        keys = [f"{PREFIX}{key}" for key in base_keys()]
    return f"unknown flag {flag!r}{near_miss(flag, known + keys)} known: {', '.join(known)}"


def _fail(message: str, code: int) -> int:
    print(fold(f"error: {message}"), file=sys.stderr)
    return code
