"""A throttle holds across gunicorn's processes, and a restart gives nobody a second allowance."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.caller import Caller
from tests.acceptance.processes import Process, children_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance]
ALLOWED, SENT = 20, 60


def test_all_workers_together_allow_what_the_rate_says(gunicorn: Callable[..., Process], port: int) -> None:
    web, caller = gunicorn(WEB_CONCURRENCY="3", API_THROTTLE=f"{ALLOWED}/h"), Caller(port)
    with ThreadPoolExecutor(6) as callers:
        statuses = list(callers.map(lambda _: caller.get("/orders").status, range(SENT)))
    assert statuses.count(200) == ALLOWED
    assert statuses.count(429) == SENT - ALLOWED

    workers = set(children_of(web.pid))
    web.signal(signal.SIGHUP)
    wait_for(lambda: workers.isdisjoint(children_of(web.pid)), what="new workers")
    answer = caller.get("/orders")
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 60
