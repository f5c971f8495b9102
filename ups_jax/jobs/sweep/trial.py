"""One trial: a run in a separate process, followed through its files, stopped by SIGTERM."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ups_jax.files import json_lines

POLL_S = 0.2


def follow(
    command: Sequence[str],
    log: Path,
    metrics: Path,
    *,
    prune: Callable[[int, float], bool],
    stop: Callable[[], bool],
) -> tuple[int, bool]:
    """Return the exit code of a run, and if `prune` (of step, validation error) ended it.

    If `stop()` becomes true, the run writes its checkpoint and ends as well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    seen, pruned, stopped = 0, False, False
    with log.open("a") as out:
        # In a new session Ctrl-C reaches only the parent, which forwards it.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            while process.poll() is None:
                points = validations(metrics)
                for step, error in points[seen:]:
                    pruned = pruned or prune(step, error)
                seen = len(points)
                if (pruned or stop()) and not stopped:
                    process.send_signal(signal.SIGTERM)
                    stopped = True
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()
    # Later trials are compared with the last points too.
    for step, error in validations(metrics)[seen:]:
        prune(step, error)
    return process.returncode, pruned


def validations(metrics: Path) -> list[tuple[int, float]]:
    """Return (step, validation error) of stage operator, from complete lines only."""
    content = metrics.read_bytes() if metrics.exists() else b""
    rows, key = map(json.loads, json_lines(content, {})[0]), "operator/val_nrmse"
    return [(row["operator/step"], row[key]) for row in rows if row.get(key) is not None]
