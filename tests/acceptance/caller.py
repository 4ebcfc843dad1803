"""A caller of the running order API: a connection per request, so that any worker may answer and a reset is seen."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventsource_app.http.tokens import create_token

# Far above what any answer may take, far below the pool's default of half a minute.
PATIENCE_SECONDS = 20.0
SCOPES = ("orders:read", "orders:write")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Holds a token for everything, made in this test's database."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self._port = port
        self._token = token or create_token("acceptance", SCOPES).text

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a command; raises ``OSError`` or ``http.client.HTTPException`` when the connection ends without an answer."""
        return self._ask("POST", path, json.dumps(body or {}), headers)

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, {**sent, **named, "Connection": "close"})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()
