"""Whatever is sent, the API answers with a status that its description has, never with 500, and stores only what it answered."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eventsource_app.store import EventStore
from projections.cursors import decode_cursor, encode_cursor
from tests.integration.conftest import ConfigureApi
from tests.integration.http_api import client, post

pytestmark = pytest.mark.django_db
EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
REFUSED = {400, 404, 409, 412, 413, 422}
ID = "0190a000-0000-7000-8000-000000000001"

# Surrogates and NUL too: JSON can carry both, escaped.
texts = st.text(st.characters(), max_size=250)
numbers = st.one_of(
    st.integers(-(10**400), 10**400),
    st.floats(allow_nan=True, allow_infinity=True),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(["customer_id", "total", "order_id", "tracking_number", "reason"])


@pytest.fixture
def caller(db: None) -> Client:
    return client()


def check(response: Any, *successes: int) -> None:
    assert response.status_code in REFUSED | set(successes), response.content
    expected = (
        "application/problem+json" if response.status_code >= 400 else "application/json; charset=utf-8"
    )
    assert response["Content-Type"] == expected
    if response.content:
        response.content.decode()
        json.loads(response.content)


@EXAMPLES
@given(st.dictionaries(fields | texts, anything, max_size=5) | anything)
@example({"customer_id": "\ud800", "total": "1"})
@example({"customer_id": "a\x00", "total": "1"})
@example({"customer_id": "c", "total": 10**400})
@example({"customer_id": "c", "total": float("nan")})
def test_any_json_as_a_command(caller: Client, body: Any) -> None:
    before = len(EventStore().read_all())
    response = post(caller, "/orders", json.dumps(body))
    check(response, 201)
    assert len(EventStore().read_all()) == before + (response.status_code == 201)


@EXAMPLES
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=220), numbers)
def test_what_is_taken_comes_back_as_it_was(caller: Client, customer: str, total: Any) -> None:
    response = post(caller, "/orders", json.dumps({"customer_id": customer, "total": total}))
    check(response, 201)
    if response.status_code == 201:
        stored = EventStore().read_all()[-1].event
        assert stored.model_dump()["customer_id"] == customer.strip()


@EXAMPLES
@given(st.binary(max_size=300))
@example(b'{"customer_id": "a", "customer_id": "b", "total": 1}')
@example(b'{"customer_id": "a", "total": NaN}')
@example(b'{"customer_id": "a", "total": 1e400000000}')
@example(b'{"customer_id": "a", "total": ' + b"9" * 100_000 + b"}")
@example(b'\xef\xbb\xbf{"customer_id": "a", "total": 1}')
@example(b"[" * 200_000)
@example(b'{"a":' * 5_000 + b"1" + b"}" * 5_000)
def test_any_bytes_as_a_command(caller: Client, body: bytes) -> None:
    check(post(caller, "/orders", body), 201)


@EXAMPLES
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
@example("text/plain")
@example("application/x-www-form-urlencoded")
@example("multipart/form-data; boundary=x")
@example("application/json; charset=utf-16")
@example("application/json; charset=nonsense")
@example("")
def test_any_content_type(caller: Client, content_type: str) -> None:
    body = b'{"customer_id": "ada", "total": "1.00"}'
    check(caller.generic("POST", "/orders", body, content_type=content_type), 201)


@EXAMPLES
@given(
    texts.map(lambda text: quote(text, safe="", errors="surrogatepass")),
    st.sampled_from(["status", "customer_id", "cursor", "limit", "wait_for", "x"]),
)
@example("%00", "customer_id")
@example("%ff%fe", "cursor")
@example("9" * 5_000, "limit")
@example("%ED%A0%80", "customer_id")
@example("2", "wait_for")
def test_any_query(caller: Client, configure_api: ConfigureApi, value: str, name: str) -> None:
    configure_api(wait_seconds=0.01)
    # A position that was drawn in this database before is one that no read model here will ever reach.
    behind = [503] if name == "wait_for" else []
    check(caller.get(f"/orders?{name}={value}"), 200, *behind)


@EXAMPLES
@given(
    texts.map(lambda text: quote(text, safe="/", errors="surrogatepass")),
    st.sampled_from(["/orders/{}", "/orders/{}/events", "/customers/{}", "/{}"]),
)
@example("%00", "/customers/{}")
@example("%ED%A0%80", "/customers/{}")
@example("../admin", "/orders/{}")
def test_any_path(caller: Client, value: str, path: str) -> None:
    response = caller.get(path.format(value))
    if response.status_code not in (301, 302):  # to the admin's pages
        assert response.status_code in REFUSED | {200, 405}


@EXAMPLES
@given(
    st.sampled_from(
        [
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            "Prefer",
            "Authorization",
            "X-Request-ID",
            "Accept",
            "Cookie",
        ]
    ),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=300),
)
def test_any_header(caller: Client, name: str, value: str) -> None:
    response = post(caller, "/orders", {"customer_id": "ada", "total": 1}, **{name: value})
    assert response.status_code in REFUSED | {201, 401}, response.content


@EXAMPLES
@given(st.text(max_size=40) | st.binary(max_size=12).map(lambda raw: raw.hex()))
def test_a_cursor_made_up_is_422_or_one_that_was_given_out(caller: Client, cursor: str) -> None:
    response = caller.get("/orders", {"cursor": cursor})
    if response.status_code == 200:
        assert encode_cursor(decode_cursor(cursor)) == cursor
    else:
        assert response.status_code == 422


@EXAMPLES
@given(st.integers(1, 2**63 - 1))
def test_every_cursor_that_is_given_out_is_taken(caller: Client, position: int) -> None:
    assert caller.get("/orders", {"cursor": encode_cursor(position)}).status_code == 200
