"""Progress on stderr: one line, rewritten in place, or a line every few seconds in a log."""

import sys
import time
from collections.abc import Mapping

LOG_EVERY_S = 10.0
"""Seconds between the lines of a log."""


class ProgressBar:
    """The running part, its steps, named values, and the time left of the part and of the run.

    A terminal and a notebook show one line, rewritten in place. Any other stderr gets a line every
    `LOG_EVERY_S` seconds, and one before every compilation.
    """

    def __init__(self, *, on: bool = True) -> None:
        self._on = on
        self._in_place = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._costs: dict[str, float] = {}
        self._shares: dict[str, float] = {}
        self._label, self._line, self._width = "", "", 0
        self._began, self._first, self._last = 0.0, 0, 0
        self._plan_began, self._plan_first = 0.0, 0.0
        self._printed = time.monotonic()

    def plan(self, costs: Mapping[str, float]) -> None:
        """Set the relative cost of the parts of a run, in order, to estimate its time left."""
        self._costs, self._shares = dict(costs), dict.fromkeys(costs, 0.0)
        self._plan_began = 0.0

    def __call__(self, label: str, done: int, total: int, **values: float) -> None:
        """Show `done` of `total` and the named values."""
        if not self._on:
            return
        now = time.monotonic()
        if label != self._label or done < self._last:
            self._label, self._began, self._first = label, now, done
        self._last = done
        speed = (done - self._first) / max(now - self._began, 1e-9)
        left = (total - done) / speed if speed > 0 else None
        words = [f"{self._title(label)} {done}/{total}"]
        words += [f"{name} {value:.3g}" for name, value in values.items()]
        words += ["..." if left is None else f"{_duration(left)} left"]
        if total_left := self._total_left(label, done / max(total, 1), left, now):
            words.append(f"run: {_duration(total_left)} left")
        ended = done >= total
        if self._in_place or now - self._printed >= LOG_EVERY_S:
            self._write(", ".join(words))
        if ended:
            self.close()

    def compiling(self, label: str) -> None:
        """Show that the program of a part is compiled; its steps are timed from their first one."""
        self._label = ""
        line = f"{self._title(label)}: compiling ..."
        if self._on and line != self._line:
            self._write(line)

    def close(self) -> None:
        """End the line, so that later output starts on a new one."""
        if self._on and self._width:
            sys.stderr.write("\n")
            sys.stderr.flush()
        self._width = 0

    def _write(self, line: str) -> None:
        if self._in_place:
            sys.stderr.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        self._line, self._printed = line, time.monotonic()

    def _title(self, label: str) -> str:
        parts = list(self._costs)
        if label not in parts:
            return label
        return f"{label} ({parts.index(label) + 1} of {len(parts)})"

    def _total_left(self, label: str, share: float, left: float | None, now: float) -> float | None:
        """Return the seconds left of the planned parts, at the seconds per cost so far."""
        if label not in self._costs:
            return None
        for part in self._costs:
            if part == label:
                break
            self._shares[part] = 1.0
        self._shares[label] = max(share, self._shares[label])
        spent = sum(cost * self._shares[part] for part, cost in self._costs.items())
        if not self._plan_began:
            self._plan_began, self._plan_first = now, spent
        if left is None or spent <= self._plan_first:
            return None
        others = sum(
            cost * (1 - self._shares[part]) for part, cost in self._costs.items() if part != label
        )
        return left + others * (now - self._plan_began) / (spent - self._plan_first)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
