"""For pytest: ``pytest_plugins = ["eventsource_app.testing.pytest_plugin"]`` in the topmost conftest.py."""

from collections.abc import Iterator

import pytest

from eventsource_app.store.notifications import close_wake_ups
from eventsource_app.testing.projecting import CaughtUp, run_to_caught_up


@pytest.fixture
def caught_up(db: None) -> Iterator[CaughtUp]:
    """``caught_up()`` delivers what is in the log, in this thread: to all declared subscriptions, or to those given.

    Gives the test a database; a test that also asks for ``transactional_db`` gets that one.
    """
    yield run_to_caught_up
    # The connection that wakes workers would hold the test database when it is dropped.
    close_wake_ups()
