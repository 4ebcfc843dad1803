"""The application as gunicorn's --preload loads it in the parent, where somebody asks the database too early."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from django.db import connection

import settings.wsgi  # noqa: F401 -- loads the application as gunicorn does


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


PARENT = {"process": os.getpid(), "backend": backend()}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    mine = {"process": os.getpid(), "backend": backend()}
    return [json.dumps({"parent": PARENT, "mine": mine}).encode()]
