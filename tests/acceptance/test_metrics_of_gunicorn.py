"""Real gunicorn workers tell their metrics together, whichever of them answers."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.acceptance.processes import Process, answers, children_of
from tests.scraping import families_of, value_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance]
WORKERS, REQUESTS = 2, 60
POOL_SIZE, OVERFLOW = 4, 2


class Web(Process):
    """gunicorn as it runs in production, with a folder of its own for temporary files."""

    def __init__(self, environment: dict[str, str], port: int, folder: Path, *arguments: str) -> None:
        self.url, self.folder = f"http://127.0.0.1:{port}", folder / "tmp"
        self.folder.mkdir()
        given = {
            "PORT": str(port),
            "WEB_CONCURRENCY": str(WORKERS),
            "TMPDIR": str(self.folder),
            "DB_POOL_SIZE": str(POOL_SIZE),
            "DB_MAX_OVERFLOW": str(OVERFLOW),
        }
        command = ["-m", "gunicorn", "--config", "python:settings.gunicorn", *arguments]
        super().__init__(command, {**environment, **given}, folder / "gunicorn.log")

    def wait_until_up(self) -> None:
        wait_for(lambda: answers(self.url) or not self.running, what="gunicorn")
        assert self.running, self.text()

    def workers(self) -> list[int]:
        return children_of(self.pid)

    def value(self, name: str, **labels: str) -> float:
        with urlopen(f"{self.url}/metrics", timeout=30) as answer:  # noqa: S310
            return value_of(families_of(answer.read().decode()), name, **labels)

    def heads(self) -> float:
        """How many HEAD requests for liveness were counted: nobody but the test makes any."""
        return self.value("http_requests_total", method="HEAD", route="/health/live", status="200")

    def head(self) -> None:
        """Ask once, on a connection of its own, so that any worker may answer."""
        urlopen(Request(f"{self.url}/health/live", method="HEAD"), timeout=30).close()  # noqa: S310


@pytest.fixture(params=[[], ["--preload"]], ids=["", "preloaded"])
def web(
    request: pytest.FixtureRequest, process_environment: dict[str, str], port: int, tmp_path: Path
) -> Iterator[Web]:
    web = Web(process_environment, port, tmp_path, *request.param)
    yield web
    web.kill()


def test_the_workers_counts_add_up_also_over_their_successors(web: Web) -> None:
    web.wait_until_up()
    wait_for(lambda: len(web.workers()) == WORKERS, what="both workers")
    first_workers = web.workers()
    (folder,) = web.folder.glob("eventsource-metrics-*")
    asked = 0

    def have_both_answered() -> bool:
        nonlocal asked
        web.head()
        asked += 1
        return asked >= REQUESTS and len(list(folder.glob("counter_[0-9]*.db"))) == WORKERS

    wait_for(have_both_answered, what="an answer of each worker")
    told = [web.heads() for _ in range(10)]
    assert told == [asked] * 10, "whoever answers tells of all"

    os.kill(first_workers[0], signal.SIGKILL)
    wait_for(lambda: len(set(web.workers()) - set(first_workers)) == 1, what="a successor")
    web.wait_until_up()
    assert web.heads() == asked, "what a dead worker counted stays"
    web.head()
    assert web.heads() == asked + 1
    assert len(list(folder.glob("counter_[0-9]*.db"))) == WORKERS, "a successor leaves no files of its own"

    web.signal(signal.SIGTERM)
    assert web.wait() == 0, web.text()
    assert list(web.folder.iterdir()) == []


def test_the_pools_of_all_workers_are_told_together(web: Web) -> None:
    web.wait_until_up()
    wait_for(
        lambda: web.value("eventsource_pool_max", database="default") == POOL_SIZE + OVERFLOW,
        what="each worker's share of the pool, added up",
    )
    assert 0 < web.value("eventsource_pool_size", database="default") <= POOL_SIZE + OVERFLOW
