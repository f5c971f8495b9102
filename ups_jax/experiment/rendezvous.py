"""A check that all processes are up, before JAX's own rendezvous with its unclear errors.

Process 0 listens and sends a challenge. The others reply with their number, signed with the shared
secret. It then sends all of them one result: all are connected, or the problem.
"""

import hmac
import json
import secrets
import socket
import time
from contextlib import ExitStack

MESSAGE_BYTES = 4096
"""Largest message."""
SIGNATURE_BYTES = 32
GREETING_S = 2.0
"""Seconds to wait for the number of a client; other programs may connect and send nothing."""
ALL_CONNECTED, REFUSED = "all connected", "process 0 has another secret (UPS_SECRET)"


def serve(host: str, port: int, count: int, wait_s: float, secret: str = "") -> None:
    """Wait, as process 0, for all other processes. Raises ValueError if they do not all connect.

    `host` is the interface to listen on; "::" is all of them.
    """
    deadline, connected, refused, problem = time.monotonic() + wait_s, {0}, 0, ""
    with ExitStack() as stack:
        server = stack.enter_context(_listen(host, port))
        clients = []
        while len(connected) < count and not problem:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                client = stack.enter_context(server.accept()[0])
            except TimeoutError:
                missing = ", ".join(str(i) for i in range(count) if i not in connected)
                problem = f"of {count} processes {missing} did not connect within {wait_s:g} s"
                problem += f"; {refused} connections lacked the secret" if refused else ""
                break
            try:
                greeting = _challenge(client, secret)
                if greeting is None:
                    refused += 1
                    continue
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


def connect(host: str, port: int, index: int, count: int, wait_s: float, secret: str = "") -> None:
    """Connect, as process `index`, to process 0. Raises ValueError if not all connect."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            with socket.create_connection((host, port), timeout=wait_s or 0.01) as server:
                # Process 0 replies once all are connected, and its timeout comes first.
                server.settimeout(wait_s + 5)
                challenge = server.recv(MESSAGE_BYTES)
                greeting = json.dumps({"process": index, "processes": count}).encode()
                server.sendall(_sign(secret, challenge + greeting) + greeting)
                reply = server.recv(MESSAGE_BYTES).decode()
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise ValueError(
                    f"no coordinator at {host}:{port} within {wait_s:g} s ({error}); start process "
                    "0 there, open the port, or raise --wait_s"
                ) from error
            time.sleep(0.2)
    if reply == REFUSED:
        raise ValueError(f"{REFUSED}; set the same for all processes")
    if reply != ALL_CONNECTED:
        raise ValueError(f"{reply or 'process 0 disconnected'}; {_REMEDY}")


_REMEDY = "start all with the same --num_processes and a different --process_id, from 0 on"


def _challenge(client: socket.socket, secret: str) -> dict[str, int] | None:
    """Return the greeting of a client that knows the secret; refuse another one with None."""
    client.settimeout(GREETING_S)
    challenge = secrets.token_hex().encode()
    client.sendall(challenge)
    message = client.recv(MESSAGE_BYTES)
    signature, greeting = message[:SIGNATURE_BYTES], message[SIGNATURE_BYTES:]
    if hmac.compare_digest(signature, _sign(secret, challenge + greeting)):
        return json.loads(greeting)
    client.sendall(REFUSED.encode())
    client.close()
    return None


def _sign(secret: str, message: bytes) -> bytes:
    return hmac.digest(secret.encode(), message, "sha256")


def _listen(host: str, port: int) -> socket.socket:
    try:
        if host == "::" and socket.has_dualstack_ipv6():
            return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
        host = "" if host == "::" else host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(
            f"process 0 cannot listen on port {port} of {host or 'this host'} ({error.strerror}); "
            "give all another --coordinator, or process 0 $JAX_COORDINATOR_BIND_ADDRESS"
        ) from error
