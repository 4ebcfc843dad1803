"""Integration tests: no wake-up thread of this process holds the test database when it is dropped."""

from collections.abc import Iterator
from typing import Protocol

import pytest
from django.test import Client
from pytest_django import Settings

from eventsource_app.http.wait_for import watcher
from eventsource_app.store.notifications import close_wake_ups
from tests.integration.http_api import client
from tests.integration.ledger import MAKE_TABLE, World, run_sql


@pytest.fixture(scope="session", autouse=True)
def _close_wake_ups(django_db_setup: None) -> Iterator[None]:
    yield
    close_wake_ups()
    watcher.close()


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    """Real workers in threads of this process, and a read model that remembers every delivery."""
    run_sql(MAKE_TABLE)
    world = World()
    yield world
    world.stop()
    run_sql("DROP TABLE ledger_line CASCADE")


class ConfigureApi(Protocol):
    """Change fields of ``EVENTSOURCE["API"]`` for the length of a test."""

    def __call__(self, **changes: object) -> None: ...


@pytest.fixture
def configure_api(settings: Settings) -> ConfigureApi:
    def configure(**changes: object) -> None:
        known = settings.EVENTSOURCE
        settings.EVENTSOURCE = {**known, "API": {**known.get("API", {}), **changes}}

    return configure


@pytest.fixture
def api(db: None) -> Client:
    """A caller of the order API who may do everything."""
    return client()
