"""Ctrl-C and SIGTERM: request a stop, and end the process if it does not stop in time."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

GRACE_S = 4.0
"""Seconds from a signal until a process that is busy in a compiler is ended."""


class StopFlag:
    """Flag set by a signal: `stop()` reads it, `code` is the exit code of the signal."""

    def __init__(self) -> None:
        """Start unset."""
        self.signum, self.grace_s = 0, GRACE_S
        self.line = "stopped; rerun the same command to resume from the last checkpoint"

    def __call__(self) -> bool:
        """Return True to stop at the next safe point."""
        return self.signum != 0

    @property
    def code(self) -> int:
        """128 plus the signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum


@contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """Yield a `StopFlag` that SIGINT and SIGTERM set while the block runs.

    Python runs signal handlers between bytecodes, and a compilation is a single bytecode. A thread
    therefore reads the signals from a pipe and ends the process after `GRACE_S` seconds. Nothing is
    lost, as every compilation follows a checkpoint.
    """
    stop = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    done = threading.Event()
    before = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGINT, signal.SIGTERM)}
    old_sink = signal.set_wakeup_fd(sink)
    thread = threading.Thread(target=_listen, args=(source, stop, done), daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        done.set()
        signal.set_wakeup_fd(old_sink)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        os.close(sink)
        thread.join()
        os.close(source)


def _listen(source: int, stop: StopFlag, done: threading.Event) -> None:
    while data := os.read(source, 1):
        if data[0] not in (signal.SIGINT, signal.SIGTERM):
            continue
        stop.signum = data[0]
        received = time.monotonic()
        while time.monotonic() - received < stop.grace_s:
            if done.wait(0.05):
                return
        print(stop.line, file=sys.stderr, flush=True)
        os._exit(stop.code)
