"""The writing side of the feed campaign: what each of its processes does. Imported by the fork server, once."""

import os
import random
import time
from dataclasses import dataclass
from uuid import UUID

import django
from django.apps import apps
from django.db import connections, transaction

if not apps.ready:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.test")
    django.setup()

from eventsource_app.store import EventStore, ExpectedVersion
from tests.builders import a_store, a_stream, payments


@dataclass(frozen=True)
class Campaign:
    """One process's share: so many transactions, so many events in each save."""

    database: str
    seed: int
    transaction_count: int
    events_per_save: int


def write(campaign: Campaign) -> list[UUID]:
    """Run the transactions, with pauses and rollbacks; return the ids of the events that were committed."""
    connections.databases["default"]["NAME"] = campaign.database
    dice = random.Random(campaign.seed)
    store = a_store()
    committed: list[UUID] = []
    try:
        for _ in range(campaign.transaction_count):
            committed += _one_transaction(store, dice, campaign.events_per_save)
    finally:
        connections.close_all()
    return committed


def _one_transaction(store: EventStore, dice: random.Random, count: int) -> list[UUID]:
    """Up to three saves, pauses after each, some of them or all taken back."""
    if dice.random() < 0.3:
        return _save(store, count)
    kept: list[UUID] = []
    is_rolled_back = dice.random() < 0.15
    with transaction.atomic():
        for _ in range(dice.randint(1, 3)):
            with transaction.atomic():
                saved = _save(store, count)
                is_taken_back = dice.random() < 0.2
                transaction.set_rollback(is_taken_back)
            kept += [] if is_taken_back else saved
            time.sleep(dice.choice((0, 0.002, 0.01, 0.03)))
        transaction.set_rollback(is_rolled_back)
    return [] if is_rolled_back else kept


def _save(store: EventStore, count: int) -> list[UUID]:
    """Append to a new stream in two goes, so that streams grow and their order can be told."""
    stream = a_stream()
    first, second = payments(stream, count), payments(stream, count, first=count + 1)
    store.append(stream, first, ExpectedVersion.NO_STREAM)
    store.append(stream, second, ExpectedVersion.exact(count))
    return [event.event_id for event in (*first, *second)]
