"""Clocks of the benchmarks; standard library only, since the peers' environment imports it."""

import json
import math
import time
from contextlib import contextmanager
from statistics import median


def interleaved(runs, rounds, *, warm_up=True):
    """Return the median seconds of each function {name: run}, called in turns.

    Functions wait for their result themselves. The warm-up round, which compiles, does not count.
    """
    seconds = {name: [] for name in runs}
    for turn in range(rounds + warm_up):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn or not warm_up:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in seconds.items()}


class Clock:
    """Seconds since `started` (the parent's time.time()), without those inside `paused`."""

    def __init__(self, started):
        self.started, self.lost = started, 0.0

    def now(self):
        """Return the seconds on the clock."""
        return time.time() - self.started - self.lost

    @contextmanager
    def paused(self):
        """Stop the clock inside the block."""
        began = time.time()
        yield
        self.lost += time.time() - began


def send(stream, **values):
    """Write one line of JSON to the parent process; numbers that are not finite become null."""
    finite = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()
    }
    print(json.dumps(finite), file=stream, flush=True)


def affordable(budget, spent, seconds, fractions, steps_per_call):
    """Return the updates, in whole calls, that fill the rest of a budget.

    `seconds` are those of one update in each phase, `fractions` the phases' shares of the updates.
    """
    cost = sum(share * value for share, value in zip(fractions, seconds, strict=True))
    return max(1, int((budget - spent) / cost / steps_per_call)) * steps_per_call
