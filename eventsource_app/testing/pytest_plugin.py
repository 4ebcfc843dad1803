"""For pytest: ``pytest_plugins = ["eventsource_app.testing.pytest_plugin"]`` in the topmost conftest.py."""

from collections.abc import Generator

import pytest

from eventsource_app.testing.closing import close_own_connections
from eventsource_app.testing.projecting import CaughtUp, run_to_caught_up


@pytest.fixture
def caught_up(db: None) -> CaughtUp:
    """``caught_up()`` delivers what is in the log, in this thread: to all declared subscriptions, or to those given.

    Gives the test a database; a test that also asks for ``transactional_db`` gets that one.
    """
    return run_to_caught_up


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
    """Let go of the test databases before they are dropped: what was made last is undone first."""
    made = yield
    if fixturedef.argname == "django_db_setup":
        fixturedef.addfinalizer(close_own_connections)
    return made
