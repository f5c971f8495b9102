"""A check that all processes are up, before JAX's own rendezvous with its unclear errors.

Process 0 listens and the others send their number. It then sends all of them one result: all are
connected, or the problem.
"""

import json
import socket
import time
from contextlib import ExitStack

MESSAGE_BYTES = 4096
"""Largest message."""
GREETING_S = 2.0
"""Seconds to wait for the number of a client; other programs may connect and send nothing."""
ALL_CONNECTED = "all connected"


def serve(port: int, count: int, wait_s: float) -> None:
    """Wait, as process 0, for all other processes. Raises ValueError if they do not all connect."""
    deadline, connected, problem = time.monotonic() + wait_s, {0}, ""
    with ExitStack() as stack:
        server = stack.enter_context(_listen(port))
        clients = []
        while len(connected) < count and not problem:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                client = stack.enter_context(server.accept()[0])
            except TimeoutError:
                missing = ", ".join(str(i) for i in range(count) if i not in connected)
                problem = f"of {count} processes {missing} did not connect within {wait_s:g} s"
                break
            try:
                client.settimeout(GREETING_S)
                greeting = json.loads(client.recv(MESSAGE_BYTES))
                index, client_count = int(greeting["process"]), int(greeting["processes"])
            except (OSError, ValueError, TypeError, KeyError):
                continue  # another program
            clients.append(client)
            if client_count != count:
                problem = (
                    f"process 0 has --num_processes {count}, process {index} has {client_count}"
                )
            elif index in connected:
                problem = f"two processes have --process_id {index}"
            connected.add(index)
        for client in clients:
            try:
                client.sendall((problem or ALL_CONNECTED).encode())
            except OSError:
                problem = problem or "a process disconnected before all were connected"
    if problem:
        raise ValueError(f"{problem}; {_REMEDY}")


def connect(host: str, port: int, index: int, count: int, wait_s: float) -> None:
    """Connect, as process `index`, to process 0. Raises ValueError if not all connect."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            with socket.create_connection((host, port), timeout=wait_s or 0.01) as server:
                server.sendall(json.dumps({"process": index, "processes": count}).encode())
                # Process 0 replies once all are connected, and its timeout comes first.
                server.settimeout(wait_s + 5)
                reply = server.recv(MESSAGE_BYTES).decode()
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise ValueError(
                    f"no coordinator at {host}:{port} within {wait_s:g} s ({error}); start process "
                    "0 there, open the port, or raise --wait_s"
                ) from error
            time.sleep(0.2)
    if reply != ALL_CONNECTED:
        raise ValueError(f"{reply or 'process 0 disconnected'}; {_REMEDY}")


_REMEDY = "start all with the same --num_processes and a different --process_id, from 0 on"


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise ValueError(
            f"process 0 cannot listen on port {port} ({error.strerror}); give all processes "
            "another port in --coordinator"
        ) from error
