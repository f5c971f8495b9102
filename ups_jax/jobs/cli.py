"""The command line that all commands share: from flags to options, from errors to exit codes."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import jax

from ups_jax.experiment.signals import StopFlag, stop_on_signal
from ups_jax.jobs.flags import number, path
from ups_jax.registry import near_miss
from ups_jax.types import Interrupted

Options = TypeVar("Options")
Plan = TypeVar("Plan")
OVERRIDE_PREFIX = "--config."
WANDB_MODES = ("online", "offline", "disabled")
RENAMED_FLAGS = {
    "--modes": "--forecasters", "--processes": "--num_processes", "--process": "--process_id"
}  # fmt: skip
FAILED, BAD_INPUT, DIVERGED = 1, 2, 4
"""Exit codes; the pipeline returns 0 and 3 (a gate or a regression), signals 130 and 143."""
PACKAGE = str(Path(__file__).parents[1])


def parse(
    argv: Sequence[str] | None,
    add_flags: Callable[[argparse.ArgumentParser], object],
    *,
    prog: str,
    description: str,
    subject: Literal["config", "workdir", "project"] = "config",
) -> dict[str, Any]:
    """Return the given flags by name; absent ones keep the default of the command's options.

    `subject` selects the common flags and the required one: a command that trains needs --config,
    one that reads a finished run --workdir, one for a whole project neither. With --config the
    result holds `overrides`, the text of every --config.KEY. A mistake exits 2 in two lines.
    """
    parser = _Parser(prog, description, subject)
    add_flags(parser)
    words = list(sys.argv[1:] if argv is None else argv)
    overrides, rest = _take_overrides(parser, words) if subject == "config" else ({}, words)
    parser.words = rest
    namespace, unknown = parser.parse_known_args(rest)
    flags = vars(namespace)
    if unknown:
        parser.error(_unknown(parser, unknown[0]))
    if subject != "project" and subject not in flags:
        example = {"config": "burgers:smoke", "workdir": "runs/burgers"}[subject]
        parser.error(f"--{subject} is missing; for example --{subject} {example}")
    return {**flags, "overrides": overrides} if subject == "config" else flags


def add_distributed_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags by which the processes of one run connect."""
    add = parser.add_argument_group("several processes").add_argument
    add("--coordinator", metavar="HOST:PORT",
        help="address of process 0, or auto: one process per GPU under Slurm or Open MPI, or TPUs; "
        "default: $JAX_COORDINATOR_ADDRESS, else a single process")  # fmt: skip
    add("--num_processes", type=number(int, 1, 1_000_000), metavar="N", help="number of processes")
    add("--process_id", type=number(int, 0, 1_000_000), metavar="I",
        help="index of this process, from 0")  # fmt: skip
    add(
        "--wait_s",
        type=number(int, 1, 1_000_000),
        metavar="S",
        help="seconds to wait for the others; default: 120",
    )


def run_main(
    options: Options, prepare: Callable[[Options, StopFlag], Plan], execute: Callable[[Plan], int]
) -> int:
    """Return the exit code of a command, whose errors are at most two lines on stderr.

    A ValueError or OSError of `prepare` is bad input. One of `execute` ends with code 1 and the
    command that resumes; a ValueError that other libraries raise is a defect and keeps its
    traceback.
    """
    with stop_on_signal() as stop:
        code = BAD_INPUT
        try:
            plan = prepare(options, stop)
            code = FAILED
            return execute(plan)
        except Interrupted:
            print(stop.line, file=sys.stderr)
            return stop.code
        except FloatingPointError as error:
            return fail(str(error), DIVERGED)
        except (ValueError, OSError, MemoryError, jax.errors.JaxRuntimeError) as error:
            if code == BAD_INPUT:
                return fail(_message(error), code)
            if isinstance(error, ValueError) and not _is_from_package(error):
                raise
            return fail(f"{' '.join(_message(error).split())}\n{stop.resume}", code)


def fold(message: str) -> str:
    """Return a message in at most two lines: its first, and all others joined."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    return "\n".join([*lines[:1], " ".join(lines[1:])]).strip()


class _Parser(argparse.ArgumentParser):
    """A parser with errors in two lines, and the list of config keys below the flags."""

    def __init__(self, prog: str, description: str, subject: str) -> None:
        super().__init__(
            prog, description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS
        )
        self.subject, self.words = subject, list[str]()
        add = self.add_argument
        if subject == "config":
            add("--config", metavar="NAME|FILE[:variant]", help="a shipped config, or a file")
        if subject != "project":
            add("--workdir", type=path, metavar="DIR", help="folder of the run")
            add("--wandb_mode", choices=WANDB_MODES,
                help="default: $WANDB_MODE, else online with a key, else offline")  # fmt: skip
        if subject == "config":
            switch = partial(add, action="store_true")
            switch("--restart", help="move an existing folder away and start from scratch")
            switch(
                "--dry_run", help="print the config with estimated memory and minutes, then exit"
            )
            switch("--fail_on_gate", help="exit 3 if a gate fails")
            switch("--fail_on_regression", help="exit 3 if a metric regresses on the leaderboard")

    def format_help(self) -> str:
        if self.subject != "config":
            return super().format_help()
        from ups_jax.config import describe, describe_config

        given = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        given.add_argument("--config")
        try:
            path = given.parse_known_args(self.words)[0].config
            values = f"\n{describe_config(path)}" if path else ""
        except ValueError as error:
            self.error(str(error))
        return f"{super().format_help()}\n{describe()}{values}"

    def error(self, message: str) -> NoReturn:
        self.exit(fail(message, BAD_INPUT))


def _take_overrides(
    parser: argparse.ArgumentParser, words: list[str]
) -> tuple[dict[str, str], list[str]]:
    overrides, rest = {}, []
    queue = iter(words)
    for word in queue:
        if not word.startswith(OVERRIDE_PREFIX):
            rest.append(word)
            continue
        key, equals, value = word.removeprefix(OVERRIDE_PREFIX).partition("=")
        if not equals:
            value = next(queue, "--")
            if value.startswith("--"):
                parser.error(f"{word} has no value; write {word}=VALUE")
        overrides[key] = value
    return overrides, rest


def _unknown(parser: _Parser, word: str) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}; write every value after its flag, --config FILE"
    flag = word.partition("=")[0]
    options = [option for action in parser._actions for option in action.option_strings]
    known = sorted(option for option in options if option.startswith("--"))
    keys = []
    if parser.subject == "config":
        from ups_jax.config import base_keys

        keys = [f"{OVERRIDE_PREFIX}{key}" for key in base_keys()]
    hint = near_miss(RENAMED_FLAGS.get(flag, flag), known + keys)
    return f"unknown flag {flag!r}{hint} known: {', '.join(known)}"


def _message(error: Exception) -> str:
    """Return the message of an error; of an error of the system, the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
        return f"out of memory, or a failed device: {(str(error).splitlines() or [''])[0][:300]}"
    return str(error) or type(error).__name__


def _is_from_package(error: Exception) -> bool:
    """Return True if this package raised the error itself: its text is written for users."""
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(PACKAGE)


def fail(message: str, code: int) -> int:
    """Print an error in at most two lines -> its exit code."""
    print(fold(f"error: {message}"), file=sys.stderr)
    return code
