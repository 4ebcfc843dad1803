"""A graceful stop gives back every lease, also one that was being taken as the stop came."""

from threading import Event

import pytest
from django.db import OperationalError

from eventsource_app.models import Checkpoint
from eventsource_app.subscriptions import Projection, SubscriptionManager, handles
from eventsource_app.subscriptions.ownership import Ownership
from tests.builders import MoneyPaidIn, a_store
from tests.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


class Ignoring(Projection):
    @handles(MoneyPaidIn)
    def ignore(self, event: MoneyPaidIn) -> None:
        pass


def test_a_lease_that_is_taken_while_the_stop_begins_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = SubscriptionManager(a_store(), shutdown_timeout=10, drain_timeout=5)
    manager.subscribe(Ignoring(), name="late")
    taking, mine, calls = Event(), Ownership.chores, []

    def take_late(self: Ownership) -> None:
        calls.append(self)
        if len(calls) == 1:
            raise OperationalError("not yet")  # leaves the taking to the reader's loop
        taking.set()
        wait_for(lambda: manager.shutdown_phase.value != "running", what="the stop")
        mine(self)

    monkeypatch.setattr(Ownership, "chores", take_late)
    manager.start()
    assert taking.wait(PATIENCE_SECONDS)
    result = manager.stop()

    row = Checkpoint.objects.get(subscription="late")
    assert row.epoch == 1
    assert row.owner is None
    assert result.checkpoints_saved == 1
