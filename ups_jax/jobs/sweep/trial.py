"""One trial: a run in a process of its own, followed by what it writes, stopped by SIGTERM."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

RUNNER = (sys.executable, "-m", "ups_jax")
POLL_S = 0.2


def follow(
    command: Sequence[str],
    log: Path,
    metrics: Path,
    *,
    prune: Callable[[int, float], bool],
    stop: Callable[[], bool],
) -> tuple[int, bool]:
    """Exit code of a run, and whether `prune` (of step, validation error) had it stopped.

    Where `stop()` answers yes it is asked to save and end as well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    told, pruned, asked = 0, False, False
    with log.open("a") as out:
        # A group of its own: Ctrl-C at the terminal reaches the parent, which passes it on.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            while child.poll() is None:
                points = validations(metrics)
                for step, value in points[told:]:
                    pruned = pruned or prune(step, value)
                told = len(points)
                if (pruned or stop()) and not asked:
                    child.send_signal(signal.SIGTERM)
                    asked = True
                time.sleep(POLL_S)
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                child.wait()
    # What it wrote since the last look is still told: later trials are judged by it.
    for step, value in validations(metrics)[told:]:
        prune(step, value)
    return child.returncode, pruned


def validations(metrics: Path) -> list[tuple[int, float]]:
    """(step, validation error) of stage operator, of whole lines only."""
    held = metrics.read_bytes() if metrics.exists() else b""
    rows: list[Mapping] = [json.loads(x) for x in held[: held.rfind(b"\n") + 1].splitlines()]
    key = "operator/val_nrmse"
    return [(row["operator/step"], row[key]) for row in rows if row.get(key) is not None]
