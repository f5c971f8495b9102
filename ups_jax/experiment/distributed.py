"""Several processes as one run: start, agreement and shutdown.

Every process runs the same pipeline on its own devices and its share of every batch. Process 0, the
primary, is the only one that uses W&B and reads or writes files; it broadcasts what it reads.
"""

import ipaddress
import itertools
import json
import math
import os
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
Tree = TypeVar("Tree")
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
SECRET_VARIABLE, BIND_VARIABLE = "UPS_SECRET", "JAX_COORDINATOR_BIND_ADDRESS"
LOST = 1
"""Exit code of a process whose run has lost another process."""


def address_of(options: RunOptions) -> str | None:
    """Return the address of process 0, or None of a single process."""
    return options.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")


def initialize(options: RunOptions) -> None:
    """Connect to the other processes, if any. Raises ValueError if they do not connect in time."""
    address = address_of(options)
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
    bind, secret = _endpoint(address)
    host, _, port = (address if index else bind).rpartition(":")
    endpoint = (host.strip("[]"), int(port))
    if index == 0:
        rendezvous.serve(*endpoint, count, options.wait_s, secret)
    else:
        rendezvous.connect(*endpoint, index, count, options.wait_s, secret)
    jax.distributed.initialize(
        address, count, index, cluster_detection_method="deactivate",
        coordinator_bind_address=bind, **timeouts,
    )  # fmt: skip


def _endpoint(address: str) -> tuple[str, str]:
    """Return the address that process 0 listens on, and the shared secret.

    Process 0 listens on all interfaces only if its address is a name, not a number. Raises
    ValueError on a malformed address, and without a secret where other machines can connect.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(
            f"--coordinator is {address!r}; give HOST:PORT, for example 10.0.0.1:8476, with a port "
            "from 1 to 65535"
        )
    try:
        numbered, local = True, ipaddress.ip_address(host).is_loopback
    except ValueError:
        numbered = local = host == "localhost"
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not (secret or local):
        raise ValueError(
            f"other machines can connect to {address}; set ${SECRET_VARIABLE} to one random text "
            "for all processes, or use 127.0.0.1 if all run on this machine"
        )
    return os.environ.get(BIND_VARIABLE) or (address if numbered else f"[::]:{port}"), secret


def is_primary() -> bool:
    """Return True in the process that writes."""
    return jax.process_index() == 0


def print_once(text: str, file: TextIO | None = None) -> None:
    """Print on the primary process."""
    if is_primary():
        print(text, file=file)


def broadcast_from_primary(make: Callable[[], Value]) -> Value:
    """Call `make` on the primary; return its value, or raise its ValueError or OSError, on all.

    The value travels as JSON: received bytes must not be able to run code, as a pickle's are.
    """
    if jax.process_count() == 1:
        return make()
    result: dict[str, Any] = {}
    if is_primary():
        try:
            result = {"value": make()}
        except (ValueError, OSError) as error:
            result = {"error": str(error) or type(error).__name__}
    encoded = np.frombuffer(json.dumps(result).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(encoded.size)))
    result = json.loads(_broadcast_bytes(encoded, size))
    if "error" in result:
        raise ValueError(result["error"])
    return result["value"]


def broadcast_arrays(tree: Tree, like: Tree) -> Tree:
    """Return the primary's arrays on all processes; `like` has their shapes and types."""
    if jax.process_count() == 1:
        return tree
    specs, structure = jax.tree.flatten(like)
    sizes = [math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs]
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)] if is_primary() else []
    content = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    content = _broadcast_bytes(content, sum(sizes))
    starts = [0, *itertools.accumulate(sizes)]
    arrays = [
        np.frombuffer(content[start : start + size], spec.dtype).reshape(spec.shape)
        for spec, size, start in zip(specs, sizes, starts, strict=False)
    ]
    return jax.tree.unflatten(structure, arrays)


def _broadcast_bytes(content: np.ndarray, size: int) -> bytes:
    buffer = content if is_primary() else np.zeros(size, np.uint8)
    return multihost_utils.broadcast_one_to_all(buffer).tobytes()


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
