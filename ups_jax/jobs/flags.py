"""Types of the commands' flags: argparse converts and checks a text before anything runs."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any


def number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    """Return the type of an integer or float flag from `low` to `high`; integers accept 1e3."""
    name = "a whole number" if kind is int else "a number"

    def read(text: str) -> int | float:
        try:
            value = kind(exact := float(text))
            if value == exact and low <= value <= high:
                return value
        except (ValueError, OverflowError):
            pass
        raise ArgumentTypeError(f"got {text!r}; it must be {name} from {low} to {high}")

    return read


def path(text: str) -> Path:
    """Return the path of a flag; `~` is the home folder, also where the shell leaves it."""
    if not text:
        raise ArgumentTypeError("it is empty; write the path of a file or a folder")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ArgumentTypeError(f"no home folder of {text}; write it out") from error


def output(*suffixes: str) -> Callable[[str], Path]:
    """Return the type of a flag that names a file to write, with one of these suffixes."""

    def read(text: str) -> Path:
        file = path(text)
        if file.suffix.lower() not in suffixes:
            raise ArgumentTypeError(f"got {text!r}; its suffix must be {' or '.join(suffixes)}")
        if file.exists() and not file.is_file():
            raise ArgumentTypeError(f"{file} exists and is no plain file; name another one")
        folder = next(folder for folder in file.absolute().parents if folder.exists())
        try:
            with TemporaryFile(dir=folder):
                return file
        except OSError as error:
            raise ArgumentTypeError(f"{folder}: {error.strerror}; name another file") from error

    return read


def names(text: str) -> str:
    """Return the text of a flag of names separated by commas, each of them once."""
    parts = text.split(",")
    if "" in parts or len(set(parts)) < len(parts):
        raise ArgumentTypeError(f"got {text!r}; write names separated by commas, each once")
    return text
