"""Schemathesis against the running service: no request finds a 500, or an answer that the description does not declare."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from eventsource_app.http.tokens import create_token
from orders.commands import PlaceOrder
from orders.services import place_order
from projections.queries import find_order
from tests.acceptance.caller import SCOPES
from tests.acceptance.processes import Process
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,unsupported_method,allow_header_conformance,ignored_auth"
)
SECONDS, EXAMPLES = 25, 20
SCRIPT = Path(sys.executable).with_name("schemathesis")
KNOWN = UUID("0190a000-0000-7000-8000-000000000001")  # the description's examples name it


def test_no_request_finds_what_is_not_declared(
    gunicorn: Callable[..., Process], manage: Callable[..., Process], port: int, tmp_path: Path
) -> None:
    gunicorn(API_THROTTLE="off", API_FAILURE_THROTTLE="off", API_WAIT_SECONDS="30")
    worker = manage("run_subscriptions")
    place_order(PlaceOrder("ada", "10.00", KNOWN))
    wait_for(lambda: find_order(KNOWN) is not None or not worker.running, what="the worker")
    run = subprocess.run(
        [
            str(SCRIPT), "run", f"http://127.0.0.1:{port}/api/openapi.json",
            "--header", f"Authorization: Bearer {create_token('schemathesis', SCOPES).text}",
            "--checks", CHECKS, "--max-examples", str(EXAMPLES), "--max-time", str(SECONDS), "--seed", "1",
            "--phases", "examples,coverage,fuzzing", "--warnings", "off", "--no-color", "--continue-on-failure",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS * 4, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    found = re.search(r"(\d+) generated", run.stdout)
    assert found is not None, run.stdout
    assert int(found[1]) > 100, "it has really tried"
