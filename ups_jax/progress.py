"""A progress line on stderr, for terminals and notebooks."""

import sys
import time


class ProgressBar:
    """One line, rewritten in place: steps done, named values and the time left."""

    def __init__(self, *, on: bool = True) -> None:
        """Stay silent unless `on` and stderr is a terminal or a notebook."""
        self._on = on and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        self._label, self._began, self._first, self._width = "", 0.0, 0, 0

    def __call__(self, label: str, done: int, total: int, **values: float) -> None:
        """Show `done` of `total` and the named values."""
        if not self._on:
            return
        now = time.monotonic()
        if label != self._label:
            self._label, self._began, self._first = label, now, done
        speed = (done - self._first) / max(now - self._began, 1e-9)
        left = f"{(total - done) / speed:.0f} s left" if speed > 0 else "..."
        numbers = " ".join(f"{name} {value:.3g}" for name, value in values.items())
        line = f"{label} {done}/{total} {numbers} {left}"
        sys.stderr.write("\r" + line.ljust(self._width))
        self._width = len(line)
        if done >= total:
            self.close()
        sys.stderr.flush()

    def close(self) -> None:
        """End the line, so that later output starts on a new one."""
        if self._on and self._width:
            sys.stderr.write("\n")
            self._width = 0
