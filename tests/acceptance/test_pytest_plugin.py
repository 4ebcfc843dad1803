"""A project's own tests: what they committed keeps nobody from dropping the test database."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from settings import test as test_settings
from settings.env import for_child_process
from settings.local_postgres import PROJECT

pytestmark = [pytest.mark.acceptance]
TESTS = """
import pytest
from eventsource_app.store import ExpectedVersion
from tests.builders import a_store, a_stream, paid_in

@pytest.mark.django_db(transaction=True)
def test_an_append():
    stream = a_stream()
    a_store().append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
"""


def test_the_test_database_can_be_dropped(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    parts = urlsplit(test_settings.TEST_DATABASE_URL)
    url = urlunsplit(parts._replace(path="/plugin"))
    command = [sys.executable, "-m", "pytest", "-c", str(PROJECT / "pyproject.toml"), f"--rootdir={tmp_path}"]
    options = ["-o", "addopts=", "-p", "eventsource_app.testing.pytest_plugin", str(tmp_path)]
    run = subprocess.run(
        [*command, *options],
        cwd=PROJECT,
        env=for_child_process(TEST_DATABASE_URL=url, PYTEST_CURRENT_TEST=None, PYTEST_XDIST_WORKER=None),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in run.stdout, run.stdout + run.stderr
    assert "warning" not in run.stdout, run.stdout
