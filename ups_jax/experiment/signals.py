"""Ctrl-C, SIGTERM and SIGHUP: request a stop, and end a process that does not stop in time."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

GRACE_S = 4.0
"""Seconds from a signal until a process that is busy in a compiler is ended."""
SIGNALS = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM}
SIGNALS |= {signal.SIGHUP: signal.SIGTERM}
"""Signals that stop a run, and the one whose exit code each has: a closed terminal ends a run."""


class StopFlag:
    """Flag set by a signal: `stop()` reads it, `code` is the exit code of the signal."""

    def __init__(self) -> None:
        """Start unset."""
        self.signum, self.grace_s = 0, GRACE_S
        self.line = "stopped; rerun the same command to resume from the last checkpoint"
        self.resume = ""

    def __call__(self) -> bool:
        """Return True to stop at the next safe point."""
        return self.signum != 0

    @property
    def code(self) -> int:
        """128 plus the signal: 130 for Ctrl-C, 143 for SIGTERM and SIGHUP."""
        return 128 + self.signum


@contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """Yield a `StopFlag` that SIGINT, SIGTERM and SIGHUP set while the block runs.

    Python runs signal handlers between bytecodes, and a compilation is a single bytecode. A thread
    therefore reads the signals from a pipe and ends the process after `GRACE_S` seconds. Nothing is
    lost, as every compilation follows a checkpoint. SIGHUP stays ignored where it is, under nohup.
    """
    stop = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    done = threading.Event()
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    answered = [s for s in SIGNALS if s != signal.SIGHUP or not ignored]
    before = {s: signal.signal(s, lambda *_: None) for s in answered}
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
        if data[0] not in SIGNALS:
            continue
        stop.signum = SIGNALS[signal.Signals(data[0])]
        received = time.monotonic()
        while time.monotonic() - received < stop.grace_s:
            if done.wait(0.05):
                return
        print(stop.line, file=sys.stderr, flush=True)
        os._exit(stop.code)
