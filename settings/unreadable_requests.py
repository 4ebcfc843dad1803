"""What gunicorn itself refuses (a request line that is too long, a broken header) as a problem document, not as its HTML page.

Such a request never reaches Django. gunicorn has one function that writes these answers and no setting for it, so it is replaced.
"""

import json
import socket

from gunicorn import util


def answer_with_problems() -> None:
    """Let gunicorn's workers, which are forked later, answer so."""
    util.write_error = write_problem


def write_problem(client: socket.socket, status: int, reason: str, message: str) -> None:
    """Write the whole answer; the connection is closed after it."""
    document = {
        "type": "about:blank",
        "title": reason,
        "status": status,
        "detail": "The service failed to answer."
        if status >= 500
        else f"The request cannot be read: {message}.",
        "instance": "",
        "correlation_id": None,
    }
    body = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin-1") + body)
