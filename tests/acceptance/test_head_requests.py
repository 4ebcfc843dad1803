"""HEAD through gunicorn: the GET's headers, no content, and the connection serves the next request."""

import http.client
from collections.abc import Callable
from contextlib import closing

import pytest

from eventsource_app.http.tokens import create_token
from tests.acceptance.caller import PATIENCE_SECONDS, SCOPES
from tests.acceptance.processes import Process

pytestmark = [pytest.mark.acceptance]


def test_a_head_has_the_length_of_the_get_and_no_content(gunicorn: Callable[..., Process], port: int) -> None:
    service = gunicorn(WEB_CONCURRENCY="1")
    headers = {"Authorization": f"Bearer {create_token('heads', SCOPES).text}", "X-Request-ID": "the-same"}
    found = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)) as connection:
        for method in ("GET", "HEAD", "HEAD", "GET"):
            connection.request(method, "/orders", headers=headers)
            response = connection.getresponse()
            shown = {name: value for name, value in response.getheaders() if name != "Date"}
            found.append((response.status, shown, response.read()))
    get, head, *again = found
    assert head == (200, get[1], b"")
    assert again == [head, get]
    assert int(get[1]["Content-Length"]) == len(get[2])
    service.wait_for_log("", 2, method="HEAD")
    assert "body bytes" not in service.text(), "gunicorn had nothing to drop"
