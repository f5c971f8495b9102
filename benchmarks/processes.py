"""Independent parts of a benchmark, side by side in processes of one thread each."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context, parent_process
from typing import Any


def num_cores() -> int:
    """Return the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def measure_each(
    work: Callable[[str], Any], names: Sequence[str], done: Callable[[str, Any], None], *, jobs: int
) -> None:
    """Call `done(name, work(name))` for every name here, as soon as its work has ended.

    With several jobs, `work` runs in as many processes: a function of a module, or a partial of
    one. An exception, Ctrl-C included, ends them; so does the end of this process.
    """
    jobs = min(jobs, len(names))
    if jobs < 2:
        for name in names:
            done(name, work(name))
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin)
    try:
        running = {pool.submit(work, name): name for name in names}
        for future in as_completed(running):
            done(running[future], future.result())
    finally:
        for child in active_children():
            child.terminate()
        # The pool's thread collects the processes: two that wait for one would race.
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Take one thread, before JAX begins, and follow the parent: its Ctrl-C and its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(PJRT_NPROC="1", JAX_NUM_CPU_DEVICES="1", OMP_NUM_THREADS="1")

    def follow() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
