"""Standard streams that outlive their reader: `| head`, `2>&-`, a terminal that hangs up."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stream:
    """A text stream whose lines are dropped once nobody can read them."""

    def __init__(self, inner: Any) -> None:
        """Wrap `inner`, whose other attributes remain readable here."""
        self.inner = inner

    def write(self, text: str) -> int:
        """Write text; a closed pipe or terminal is replaced by the null device."""
        try:
            return self.inner.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush; a closed pipe or terminal is replaced by the null device."""
        try:
            self.inner.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """Point the file at the null device, where its buffer and later lines can go."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.inner.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the wrapped stream."""
        return getattr(self.inner, name)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Make stdout and stderr outlive their readers; open what the caller has closed.

    A closed descriptor would be given to the next file, which then receives what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Stream(sys.stdout), Stream(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
