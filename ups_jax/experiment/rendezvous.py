"""Who is there before JAX's own meeting, which ends a process without a word of use.

The first process listens, the others say who they are; it tells all that all are there, or why not.
"""

import json
import socket
import time
from contextlib import ExitStack

WORDS = 4096
"""Bytes of a greeting or an answer at most."""
GREETING_S = 2.0
"""Seconds in which a caller says who it is; a stranger may say nothing."""
ALL_HERE = "all here"


def serve(port: int, count: int, wait_s: float) -> None:
    """As process 0: hear from all others, and let them go on. ValueError where that cannot be."""
    ends, here, problem = time.monotonic() + wait_s, {0}, ""
    with ExitStack() as stack:
        server = stack.enter_context(_listen(port))
        callers = []
        while len(here) < count and not problem:
            server.settimeout(max(ends - time.monotonic(), 0.01))
            try:
                caller = stack.enter_context(server.accept()[0])
            except TimeoutError:
                missing = ", ".join(str(i) for i in range(count) if i not in here)
                problem = f"of {count} processes {missing} did not come within {wait_s:g} s"
                break
            try:
                caller.settimeout(GREETING_S)
                said = json.loads(caller.recv(WORDS))
                own, counted = int(said["process"]), int(said["processes"])
            except (OSError, ValueError, TypeError, KeyError):
                continue  # no process of ours
            callers.append(caller)
            if counted != count:
                problem = f"process 0 counts {count} processes, process {own} counts {counted}"
            elif own in here:
                problem = f"two processes say that they are process {own}"
            here.add(own)
        for caller in callers:
            try:
                caller.sendall((problem or ALL_HERE).encode())
            except OSError:
                problem = problem or "a process left before all had come"
    if problem:
        raise ValueError(f"{problem}; {_REMEDY}")


def connect(host: str, port: int, own: int, count: int, wait_s: float) -> None:
    """As another process: say who this is, wait for all. ValueError where that cannot be."""
    ends = time.monotonic() + wait_s
    while True:
        try:
            with socket.create_connection((host, port), timeout=wait_s or 0.01) as line:
                line.sendall(json.dumps({"process": own, "processes": count}).encode())
                # It answers once all have come, and gives up first.
                line.settimeout(wait_s + 5)
                said = line.recv(WORDS).decode()
            break
        except OSError as error:
            if time.monotonic() > ends:
                raise ValueError(
                    f"no coordinator at {host}:{port} within {wait_s:g} s ({error}); start process "
                    "0 there, open the port, or raise --wait_s"
                ) from error
            time.sleep(0.2)
    if said != ALL_HERE:
        raise ValueError(f"{said or 'process 0 hung up'}; {_REMEDY}")


_REMEDY = "start all with the same --num_processes, and --process_id from 0 on, each once"


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ValueError(
            f"process 0 cannot listen at port {port} ({error.strerror}); name another in "
            "--coordinator, to all processes"
        ) from error
