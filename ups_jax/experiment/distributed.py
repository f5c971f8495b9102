"""Several processes as one run: how they meet, what the first does for all, and how they end.

Every process runs the same pipeline on its own devices and its own share of every batch. The first
alone talks to W&B and writes files, checkpoints included; the others hear from it what it read.
"""

import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from ups_jax.experiment import rendezvous
from ups_jax.experiment.context import RunOptions
from ups_jax.experiment.signals import StopFlag
from ups_jax.types import Interrupted

Value = TypeVar("Value")
AUTO = "auto"
"""Value of --coordinator that leaves everything to what JAX finds out: Slurm, a TPU, Open MPI."""
SILENCE_S = 60
"""Seconds without a sign of life after which a process is taken for lost."""
GRACE_S = 30.0
"""Seconds from a signal to one process until it ends whether the others have heard or not."""
NETWORK = re.compile(
    "Gloo|NCCL|[Hh]eartbeat|coordination service"
    "|^(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED):"
)
"""What XLA's words hold where a process does not answer."""
LOST = 1
"""Exit code of a process whose run has lost another one."""


def initialize(options: RunOptions) -> None:
    """Meet the other processes, if there are any. ValueError where they are not found in time."""
    address = options.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address is None:
        if options.num_processes is not None or options.process_id is not None:
            raise ValueError(
                "--num_processes and --process_id need --coordinator HOST:PORT beside them"
            )
        return
    # JAX would listen for SIGTERM in our handler's stead.
    jax.config.update("jax_enable_preemption_service", False)
    waiting = {
        "initialization_timeout": options.wait_s,
        "heartbeat_timeout_seconds": SILENCE_S,
        "shutdown_timeout_seconds": SILENCE_S,
    }
    if address == AUTO:
        try:
            jax.distributed.initialize(**waiting)
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"--coordinator auto: {_line(error)}; name it: --coordinator HOST:PORT "
                "--num_processes N --process_id I"
            ) from error
        return
    count = _number(options.num_processes, "JAX_NUM_PROCESSES", "--num_processes", least=1)
    own = _number(options.process_id, "JAX_PROCESS_ID", "--process_id", least=0)
    if own >= count:
        raise ValueError(f"--process_id is {own}; of {count} processes the last is {count - 1}")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--coordinator is {address!r}; write HOST:PORT, 10.0.0.1:8476 say")
    if own == 0:
        rendezvous.serve(int(port), count, options.wait_s)
    else:
        rendezvous.connect(host.strip("[]"), int(port), own, count, options.wait_s)
    jax.distributed.initialize(
        address, count, own, cluster_detection_method="deactivate", **waiting
    )


def is_primary() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def broadcast_from_primary(make: Callable[[], Value]) -> Value:
    """What the first process makes, on all of them; its ValueError or OSError is everyone's."""
    if jax.process_count() == 1:
        return make()
    found: Any = None
    if is_primary():
        try:
            found = (True, make())
        except (ValueError, OSError) as error:
            found = (False, str(error) or type(error).__name__)
    sent = np.frombuffer(pickle.dumps(found), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(sent.size)))
    text = sent if is_primary() else np.zeros(size, np.uint8)
    well, value = pickle.loads(multihost_utils.broadcast_one_to_all(text).tobytes())
    if not well:
        raise ValueError(value)
    return value


def all_succeed(make: Callable[[], Value], stop: StopFlag | None = None) -> Value:
    """What each process makes for itself; where one cannot, or is told to `stop`, none goes on."""
    if jax.process_count() == 1:
        return make()
    problem, found, told = "", None, 0
    try:
        found = make()
    except (ValueError, OSError) as error:
        problem = str(error) or type(error).__name__
    except Interrupted:
        told = stop.signum if stop else 0
    failed, signums = multihost_utils.process_allgather(np.asarray([bool(problem), told])).T
    if stop and signums.any():
        stop.signum = int(signums.max())
        raise Interrupted("one of the processes")
    if problem:
        raise ValueError(problem)
    if failed.any():
        raise ValueError(f"process {failed.argmax()} cannot go on; its own message says why")
    return found  # pyright: ignore[reportReturnType]


def require_equal(name: str, text: str, remedy: str) -> None:
    """Refuse processes of which one has another `text` than the first."""
    said = broadcast_from_primary(lambda: text)

    def compare() -> None:
        if said != text:
            raise ValueError(
                f"process {jax.process_index()} has {name} {text}, process 0 has {said}; {remedy}"
            )

    all_succeed(compare)


class SharedStop(StopFlag):
    """A stop that all processes answer alike: a signal to one of them is a signal to all.

    It is asked at the same point by every process; what a process does for itself asks its own.
    """

    def __init__(self, own: StopFlag) -> None:
        super().__init__()
        self._own, self.line = own, own.line

    def __call__(self) -> bool:
        """Whether any process was told to stop."""
        told = int(multihost_utils.process_allgather(np.asarray(self._own.signum)).max())
        # Not where it is nought: a signal may have come since.
        if told:
            self.signum = self._own.signum = told
        return super().__call__()


def shared_stop(stop: StopFlag) -> StopFlag:
    """The stop that a run of all processes asks."""
    if jax.process_count() == 1:
        return stop
    # All have to come to the point where they ask each other.
    stop.grace_s = GRACE_S
    return SharedStop(stop)


@contextmanager
def exit_on_lost_process(
    again: str, close: Callable[[int], object] = lambda code: None
) -> Iterator[None]:
    """Within it, end this process with `LOST` where its run loses another one; `close` comes first.

    Those that are left would else wait for it.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # JAX raises either of them, with the words of XLA's status: "UNKNOWN: Gloo ...".
        if jax.process_count() == 1 or not NETWORK.search(str(error)):
            raise
        print(
            f"error: process {jax.process_index()} of {jax.process_count()} lost another "
            f"({_line(error)})\nstart all again and they go on from the last checkpoint: {again}",
            file=sys.stderr,
            flush=True,
        )
        close(LOST)
        sys.stdout.flush()
        # An orderly end would wait for the one that is lost.
        os._exit(LOST)


def _number(flag: int | None, variable: str, name: str, *, least: int) -> int:
    told = os.environ.get(variable) if flag is None else flag
    if told is None:
        raise ValueError(f"--coordinator needs {name} beside it, or ${variable}")
    if not str(told).isdecimal() or int(told) < least:
        raise ValueError(f"{name} is {told}; it must be a whole number of at least {least}")
    return int(told)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
