"""Integration tests: a world with real workers, and callers of the API."""

from collections.abc import Iterator
from typing import Protocol

import pytest
from django.test import Client
from pytest_django import Settings

from tests.integration.http_api import client
from tests.integration.ledger import MAKE_TABLE, World, run_sql


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
