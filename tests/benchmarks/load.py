"""HTTP load from one process: so many kept-alive connections, each sending its next request when the last is answered.

As little work as can be, since the clients share the machine with the server that is measured.
"""

import selectors
import socket
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

# A client: yields a request, is sent the answer's status and body, and so on for ever.
Script = Generator[bytes, tuple[int, bytes], None]


@dataclass(slots=True)
class Outcome:
    """What the clients saw together."""

    seconds: float
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency, in seconds, that this share of the requests did not exceed."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Client:
    """One connection and its script."""

    def __init__(self, port: int, script: Script) -> None:
        self._script = script
        self._received = b""
        self._sent_at = 0.0
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        self._send(next(self._script))

    def receive(self) -> float | None:
        """Take what has come; when the answer is whole, send the next request and return how long it took."""
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionError("The server closed the connection.")
        self._received += received
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return None
        took = time.perf_counter() - self._sent_at
        self._received = b""
        self._send(self._script.send((int(head[9:12]), body)))
        return took

    def _send(self, request: bytes) -> None:
        self._sent_at = time.perf_counter()
        self.socket.sendall(request)


def drive(port: int, make_scripts: list[Callable[[], Script]], seconds: float) -> Outcome:
    """Let the clients run for so long; return what they saw."""
    clients = [Client(port, make()) for make in make_scripts]
    try:
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client.socket, selectors.EVENT_READ, client)
            began, outcome = time.perf_counter(), Outcome(seconds)
            for client in clients:
                client.start()
            while (now := time.perf_counter()) < began + seconds:
                for key, _ in selector.select(began + seconds - now):
                    took = key.data.receive()
                    if took is not None:
                        outcome.latencies.append(took)
            outcome.seconds = time.perf_counter() - began
            return outcome
    finally:
        for client in clients:
            client.socket.close()


def request(method: str, path: str, body: bytes = b"", token: str = "") -> bytes:
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _length(head: bytes) -> int:
    place = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[place : head.index(b"\r", place)] if b"\r" in head[place:] else head[place:])
