"""A project's own tests: what they committed, and waited for, keeps nobody from dropping the test database."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from settings import test as test_settings
from settings.env import for_child_process
from settings.local_postgres import PROJECT

pytestmark = [pytest.mark.acceptance]
DOES = """
from eventsource_app.http.reached import Goal
from eventsource_app.http.wait_for import watcher
from eventsource_app.store import ExpectedVersion
from tests.builders import a_store, a_stream, paid_in

def append_and_wait():
    stream = a_stream()
    a_store().append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
    assert not watcher.wait(Goal("orders", 10), 0.1)
"""
PYTEST = """
import pytest

@pytest.mark.django_db(transaction=True)
def test_both():
    append_and_wait()
"""
UNITTEST = """
from django.test import TransactionTestCase
from eventsource_app.testing import ProjectionTestMixin

class Both(ProjectionTestMixin, TransactionTestCase):
    def test_both(self):
        append_and_wait()
"""


@pytest.mark.parametrize(
    ("tests", "command", "passed"),
    [
        (PYTEST, ("pytest", "-c", str(PROJECT / "pyproject.toml"), "-o", "addopts=", "-p", "eventsource_app.testing.pytest_plugin", "."), "1 passed"),
        (UNITTEST, ("django", "test", "test_mine"), "Ran 1 test"),
    ],
    ids=["pytest", "unittest"],
)  # fmt: skip
def test_the_test_database_can_be_dropped(
    tests: str, command: tuple[str, ...], passed: str, tmp_path: Path
) -> None:
    (tmp_path / "test_mine.py").write_text(DOES + tests)
    parts = urlsplit(test_settings.TEST_DATABASE_URL)
    environment = for_child_process(
        TEST_DATABASE_URL=urlunsplit(parts._replace(path=f"/plugin_{command[0]}")),
        DJANGO_SETTINGS_MODULE="settings.test",
        PYTHONPATH=str(PROJECT),
        PYTEST_CURRENT_TEST=None,
        PYTEST_XDIST_WORKER=None,
    )
    run = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    assert passed in said, said
    assert "warning" not in said.lower(), said
    assert "being accessed" not in said, said
