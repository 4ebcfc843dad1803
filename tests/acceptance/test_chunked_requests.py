"""A body that is sent in chunks, without a Content-Length, is answered as the same body with one."""

import http.client
import json
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from uuid import uuid4

import pytest

from eventsource_app.http.tokens import create_token
from eventsource_app.store import EventStore
from orders.commands import PlaceOrder, ShipOrder
from orders.services import place_order, ship_order
from tests.acceptance.caller import PATIENCE_SECONDS, SCOPES, Answer, Caller
from tests.acceptance.processes import Process

pytestmark = [pytest.mark.acceptance]
VALID = b'{"customer_id": "ada", "total": "10.00"}'
TOO_LARGE = b'{"customer_id": "ada", "total": "10.00", "x": "' + b"x" * 3_000_000 + b'"}'


class Talk:
    """One connection to gunicorn that is kept, and a token."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.token = create_token("chunks", SCOPES).text
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)

    def post(self, path: str, body: bytes, *, chunked: bool, **headers: str) -> Answer:
        sent = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        data: bytes | Iterable[bytes] = _pieces(body) if chunked else body
        # It may have answered before it had read everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.request("POST", path, data, sent, encode_chunked=chunked)
        response = self.connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def raw(self, path: str, chunks: bytes, version: str = "1.1", framing: str = "") -> bytes:
        """Send these bytes as the body's chunks, then nothing any more; return all that is answered."""
        head = (
            f"POST {path} HTTP/{version}\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\n{framing or 'Transfer-Encoding: chunked'}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(head.encode() + chunks)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            with suppress(ConnectionResetError):
                while received := connection.recv(65536):
                    answer += received
            return answer


@pytest.fixture
def talk(gunicorn: Callable[..., Process], port: int) -> Iterator[Talk]:
    gunicorn(WEB_CONCURRENCY="1")
    talk = Talk(port)
    yield talk
    talk.connection.close()


def _pieces(body: bytes) -> Iterator[bytes]:
    step = max(7, len(body) // 5)
    return (body[start : start + step] for start in range(0, len(body), step))


def _shipped() -> str:
    receipt = place_order(PlaceOrder("ada", "10.00"))
    ship_order(ShipOrder(receipt.order_id, "T-1"))
    return f"/orders/{receipt.order_id}"


def test_a_chunked_command_is_carried_out_with_its_body(talk: Talk) -> None:
    for chunked in (False, True):
        assert talk.post("/orders", VALID, chunked=chunked).status == 201
        # The same connection goes on.
        refused = talk.post("/orders", b'{"customer_id": "", "total": "1"}', chunked=chunked)
        assert refused.status == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/customer_id"]
    assert [recorded.event.model_dump()["customer_id"] for recorded in EventStore().read_all()] == [
        "ada",
        "ada",
    ]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_413(talk: Talk, chunked: bool) -> None:
    for headers in ({}, {"Idempotency_Key": str(uuid4())}):
        talk.connection.close()  # after such an answer gunicorn does the same
        answer = talk.post("/orders", TOO_LARGE, chunked=chunked, **headers)
        assert (answer.status, answer.json()["status"]) == (413, 413)
    assert EventStore().read_all() == []
    assert Caller(talk.port).get("/orders").status == 200


def test_a_command_that_needs_no_body_is_not_carried_out_with_a_wrong_one(talk: Talk) -> None:
    path = _shipped() + "/deliver"
    for chunked in (False, True):
        assert talk.post(path, b"not json", chunked=chunked).status == 400
        assert talk.post(path, b'{"x": 1}', chunked=chunked).status == 422
    assert len(EventStore().read_all()) == 2
    assert talk.post(path, b"", chunked=True).status == 200


def test_a_key_belongs_to_the_body_that_was_sent(talk: Talk) -> None:
    key = str(uuid4())
    first = talk.post("/orders", VALID, chunked=True, Idempotency_Key=key)
    assert first.status == 201
    for chunked in (False, True):
        again = talk.post("/orders", VALID, chunked=chunked, Idempotency_Key=key)
        assert (again.status, again.body) == (201, first.body)
        assert again.headers["Idempotency-Replayed"] == "true"
        other = talk.post("/orders", VALID.replace(b"ada", b"bob"), chunked=chunked, Idempotency_Key=key)
        assert (other.status, other.json()["type"]) == (422, "urn:problem:idempotency-key-reused")
    assert len(EventStore().read_all()) == 1


BROKEN = {
    "no size": b"zz\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": b"1\r\n{}\r\n0\r\n\r\n",
    "no last chunk": b"2\r\n{}\r\n",
    "an end in the middle of a chunk": b"20\r\n{}",
    "no end of the trailers": b"2\r\n{}\r\n0\r\nX: y\r\n",
    "a trailer that is none": b"2\r\n{}\r\n0\r\nno trailer\r\n\r\n",
    "nothing at all": b"",
}


def test_a_body_that_breaks_off_is_400_and_nothing_is_carried_out(talk: Talk) -> None:
    path = _shipped() + "/deliver"
    for name, chunks in BROKEN.items():
        head, _, body = talk.raw(path, chunks).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 "), (name, head)
        assert b"Content-Type: application/problem+json" in head, name
        assert json.loads(body)["status"] == 400, name
    assert len(EventStore().read_all()) == 2


def test_a_body_that_ends_before_its_length_is_400_and_nothing_is_carried_out(talk: Talk) -> None:
    path = _shipped()
    for where, came in ((f"{path}/deliver", b""), (f"{path}/deliver", b"{}"), ("/orders", VALID)):
        for more in ("", f"\r\nIdempotency-Key: {uuid4()}"):
            answer = talk.raw(where, came, framing=f"Content-Length: {len(came) + 2}{more}")
            assert answer.startswith(b"HTTP/1.1 400 "), (where, answer)
    assert len(EventStore().read_all()) == 2


def test_what_follows_a_chunked_body_is_no_part_of_it(talk: Talk) -> None:
    path = _shipped() + "/deliver"
    answer = talk.raw(path, b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n\x00garbage\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert answer.count(b"HTTP/1.1 ") == 2, "the garbage is a request of its own"
    assert b"HTTP/1.1 400 " in answer
    assert len(EventStore().read_all()) == 3


def test_who_may_not_is_told_so_before_the_body_is_read(talk: Talk) -> None:
    talk.token = "est_x_y"
    answer = talk.raw("/orders", b"")
    assert answer.startswith(b"HTTP/1.1 401 "), answer


def test_no_length_and_no_chunks_is_no_body(talk: Talk) -> None:
    path = _shipped()
    for version in ("1.0", "1.1"):
        answer = talk.raw("/orders", VALID, version, "Connection: close")
        assert b" 422 " in answer.partition(b"\r\n")[0], answer
    assert b" 200 " in talk.raw(f"{path}/deliver", b"", "1.0", "X: y").partition(b"\r\n")[0]
    # HTTP/1.0 knows no chunks: gunicorn refuses.
    assert b" 400 " in talk.raw("/orders", b"0\r\n\r\n", "1.0").partition(b"\r\n")[0]


def test_a_form_with_files_needs_a_length(talk: Talk) -> None:
    answer = talk.post("/orders", b"--x--", chunked=True, Content_Type="multipart/form-data; boundary=x")
    assert answer.status == 400
    assert "Content-Length" in answer.json()["detail"]
