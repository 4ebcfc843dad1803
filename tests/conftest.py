"""The root of the test configuration: one throwaway PostgreSQL per run, and what child processes need."""

from contextlib import ExitStack
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection

from settings import test as test_settings
from settings.env import for_child_process
from settings.throwaway_postgres import running

pytest_plugins = ["eventsource_app.testing.pytest_plugin"]
_run = ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="DIR", help="have the browser tests put their pictures there")


def pytest_configure(config: pytest.Config) -> None:
    """Start the server in the process that owns the run; xdist's workers find it started."""
    is_worker = hasattr(config, "workerinput")
    if test_settings.SERVER_IS_OURS and not is_worker and not config.option.collectonly:
        _run.enter_context(running(test_settings.SERVER))


def pytest_unconfigure() -> None:
    _run.close()


@pytest.fixture
def database_url(transactional_db: None) -> str:
    """The URL of this test's own database, for processes that the test starts."""
    parts = urlsplit(test_settings.TEST_DATABASE_URL)
    return urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))


@pytest.fixture
def process_environment(database_url: str) -> dict[str, str]:
    """The environment for a `manage.py` or gunicorn that works on this test's database."""
    return for_child_process(
        DATABASE_URL=database_url,
        TEST_DATABASE_URL=None,
        DJANGO_SETTINGS_MODULE="settings.base",
        PYTEST_CURRENT_TEST=None,
    )
