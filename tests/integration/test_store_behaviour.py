"""The PostgreSQL store keeps the promises that any store must keep."""

import pytest

from eventsource_app.store import EventStore
from eventsource_app.testing import EventStoreBehaviour


class TestPostgresEventStore(EventStoreBehaviour):
    @pytest.fixture
    def store(self, transactional_db: None) -> EventStore:
        return EventStore(registry=self.registry)


class TestInsideTheCallersTransaction(EventStoreBehaviour):
    """The same promises hold where the whole test is one transaction, refusals included."""

    @pytest.fixture
    def store(self, db: None) -> EventStore:
        return EventStore(registry=self.registry)
