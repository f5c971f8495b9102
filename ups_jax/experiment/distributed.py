"""Several processes as one run: start, agreement and shutdown.

Every process runs the same pipeline on its own devices and its share of every batch. Process 0, the
primary, is the only one that uses W&B and reads or writes files; it broadcasts what it reads.
"""

import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from ups_jax.experiment import rendezvous
from ups_jax.experiment.context import RunOptions
from ups_jax.experiment.signals import StopFlag
from ups_jax.types import Interrupted

Value = TypeVar("Value")
AUTO = "auto"
"""Value of --coordinator that lets JAX detect the cluster: Slurm, TPU or Open MPI."""
SILENCE_S = 60
"""Seconds without a heartbeat after which a process counts as lost."""
AGREEMENT_S = 30.0
"""Seconds from a signal until the process ends even if the others have not agreed to stop."""
NETWORK = re.compile(
    "Gloo|NCCL|[Hh]eartbeat|coordination service"
    "|^(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED):"
)
"""Pattern of the XLA errors that report a lost process."""
LOST = 1
"""Exit code of a process whose run has lost another process."""


def initialize(options: RunOptions) -> None:
    """Connect to the other processes, if any. Raises ValueError if they do not connect in time."""
    address = options.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address is None:
        if options.num_processes is not None or options.process_id is not None:
            raise ValueError("--num_processes and --process_id also need --coordinator HOST:PORT")
        return
    # JAX would replace the SIGTERM handler of `signals`.
    jax.config.update("jax_enable_preemption_service", False)
    timeouts: dict[str, Any] = {
        "initialization_timeout": options.wait_s,
        "heartbeat_timeout_seconds": SILENCE_S,
        "shutdown_timeout_seconds": SILENCE_S,
    }
    if address == AUTO:
        try:
            jax.distributed.initialize(**timeouts)
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"--coordinator auto: {_line(error)}; give --coordinator HOST:PORT "
                "--num_processes N --process_id I"
            ) from error
        return
    count = _number(options.num_processes, "JAX_NUM_PROCESSES", "--num_processes", least=1)
    index = _number(options.process_id, "JAX_PROCESS_ID", "--process_id", least=0)
    if index >= count:
        raise ValueError(
            f"--process_id is {index}; with {count} processes it is at most {count - 1}"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--coordinator is {address!r}; give HOST:PORT, for example 10.0.0.1:8476")
    if index == 0:
        rendezvous.serve(int(port), count, options.wait_s)
    else:
        rendezvous.connect(host.strip("[]"), int(port), index, count, options.wait_s)
    jax.distributed.initialize(
        address, count, index, cluster_detection_method="deactivate", **timeouts
    )


def is_primary() -> bool:
    """Return True in the process that writes."""
    return jax.process_index() == 0


def print_once(text: str, file: TextIO | None = None) -> None:
    """Print on the primary process."""
    if is_primary():
        print(text, file=file)


def broadcast_from_primary(make: Callable[[], Value]) -> Value:
    """Call `make` on the primary; return its value, or raise its ValueError or OSError, on all."""
    if jax.process_count() == 1:
        return make()
    result: Any = None
    if is_primary():
        try:
            result = (True, make())
        except (ValueError, OSError) as error:
            result = (False, str(error) or type(error).__name__)
    encoded = np.frombuffer(pickle.dumps(result), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(encoded.size)))
    buffer = encoded if is_primary() else np.zeros(size, np.uint8)
    ok, value = pickle.loads(multihost_utils.broadcast_one_to_all(buffer).tobytes())
    if not ok:
        raise ValueError(value)
    return value


def all_succeed(make: Callable[[], Value], stop: StopFlag | None = None) -> Value:
    """Return each process's own `make()`; all raise if one fails or is interrupted by `stop`."""
    if jax.process_count() == 1:
        return make()
    problem, result, signum = "", None, 0
    try:
        result = make()
    except (ValueError, OSError) as error:
        problem = str(error) or type(error).__name__
    except Interrupted:
        signum = stop.signum if stop else 0
    failed, signums = multihost_utils.process_allgather(np.asarray([bool(problem), signum])).T
    if stop and signums.any():
        stop.signum = int(signums.max())
        raise Interrupted("one of the processes")
    if problem:
        raise ValueError(problem)
    if failed.any():
        raise ValueError(f"process {failed.argmax()} failed; see its error message")
    return result  # pyright: ignore[reportReturnType]


def require_equal(name: str, text: str, remedy: str) -> None:
    """Raise ValueError unless all processes have the same `text`."""
    expected, index = broadcast_from_primary(lambda: text), jax.process_index()

    def compare() -> None:
        if text != expected:
            raise ValueError(
                f"process {index} has {name} {text}, process 0 has {expected}; {remedy}"
            )

    all_succeed(compare)


class SharedStop(StopFlag):
    """Stop flag shared by all processes: a signal to one stops all.

    Every process must read it at the same point, as reading is a collective operation.
    """

    def __init__(self, local: StopFlag) -> None:
        super().__init__()
        self._local, self.line = local, local.line

    def __call__(self) -> bool:
        """Return True if any process has received a signal."""
        signum = int(multihost_utils.process_allgather(np.asarray(self._local.signum)).max())
        # Zero must not overwrite a signal that arrived in the meantime.
        if signum:
            self.signum = self._local.signum = signum
        return super().__call__()


def shared_stop(stop: StopFlag) -> StopFlag:
    """Share `stop` among all processes; one process keeps its own."""
    if jax.process_count() == 1:
        return stop
    # The processes agree at the next point where all read the flag.
    stop.grace_s = AGREEMENT_S
    return SharedStop(stop)


@contextmanager
def exit_on_lost_process(
    again: str, close: Callable[[int], object] = lambda code: None
) -> Iterator[None]:
    """End this process with code `LOST`, after `close(LOST)`, if the block loses another process.

    The remaining processes would otherwise wait for the lost one. `again` restarts the run.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # JAX raises either type, with the text of XLA's status: "UNKNOWN: Gloo ...".
        if jax.process_count() == 1 or not NETWORK.search(str(error)):
            raise
        print(
            f"error: process {jax.process_index()} of {jax.process_count()} lost another "
            f"({_line(error)})\nrestart all of them to resume from the last checkpoint: {again}",
            file=sys.stderr,
            flush=True,
        )
        close(LOST)
        sys.stdout.flush()
        # A normal exit would wait for the lost process.
        os._exit(LOST)


def _number(flag: int | None, variable: str, name: str, *, least: int) -> int:
    value = os.environ.get(variable) if flag is None else flag
    if value is None:
        raise ValueError(f"--coordinator also needs {name}, or ${variable}")
    if not str(value).isdecimal() or int(value) < least:
        raise ValueError(f"{name} is {value}; it must be a whole number of at least {least}")
    return int(value)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
