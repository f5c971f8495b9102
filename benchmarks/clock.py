"""The clock of time_to_target: seconds since the process was started, without validation."""

import json
import math
import time
from contextlib import contextmanager


class Clock:
    """Runs from `started` (time.time() of the parent, just before); stands still in `paused`."""

    def __init__(self, started):
        self.started, self.lost = started, 0.0

    def now(self):
        """Seconds on the clock."""
        return time.time() - self.started - self.lost

    @contextmanager
    def paused(self):
        """What happens inside costs nothing."""
        began = time.time()
        yield
        self.lost += time.time() - began


def tell(answers, **found):
    """One line of JSON to the parent; numbers that are not finite become null."""
    plain = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()
    }
    print(json.dumps(plain), file=answers, flush=True)


def affordable(budget, spent, seconds, shares, chunk):
    """Updates, in whole chunks, that fill what is left of the budget; `seconds` of one a phase."""
    cost = sum(share * each for share, each in zip(shares, seconds, strict=True))
    return max(1, int((budget - spent) / cost / chunk)) * chunk
