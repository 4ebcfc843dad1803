"""Integration tests: no wake-up thread of this process holds the test database when it is dropped."""

from collections.abc import Iterator

import pytest

from eventsource_app.store.notifications import close_wake_ups


@pytest.fixture(scope="session", autouse=True)
def _close_wake_ups(django_db_setup: None) -> Iterator[None]:
    yield
    close_wake_ups()
