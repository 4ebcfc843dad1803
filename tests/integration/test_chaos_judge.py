"""The campaign's judge can be trusted: it finds nothing wrong with the engine, and says what an engine of ours broken on purpose did."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, connections

from eventsource_app.events import DomainEvent
from eventsource_app.store import EventStore, ExpectedVersion, RecordedEvent, StreamId
from eventsource_app.subscriptions import (
    SubscriptionConfig,
    SubscriptionManager,
    attempts,
    checkpoints,
    dead_letters,
)
from tests.chaos import tables
from tests.chaos.judge import ASKED, Verdict, judge
from tests.chaos.projections import AGGREGATE, COMMON, OWN, PROJECTIONS, ChaosAdded, ChaosTaken, registry
from tests.chaos.tables import aggregate_ids
from tests.waiting import wait_for

AGGREGATES, ROUNDS = 4, 6
POISONED = 3  # the version at which the first aggregate's handler fails
IS_DRAINED = """
SELECT (SELECT max(position) FROM eventsource_app_event) <= min(position)
       AND NOT EXISTS (SELECT FROM eventsource_app_deadletter WHERE state IN ('parked', 'retrying', 'dead') OR replayed_through IS NOT NULL)
  FROM eventsource_app_checkpoint
"""


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as database:
        database.execute(tables.DROP)
        database.execute(tables.TABLES)
        yield database
        database.execute(tables.DROP)


def fill() -> None:
    """Write lives of a few aggregates, interleaved."""
    store = EventStore(registry=registry)
    for version in range(1, ROUNDS + 1):
        for aggregate_id in aggregate_ids(AGGREGATES):
            event_class: type[DomainEvent] = ChaosTaken if version % 2 else ChaosAdded
            event = event_class.model_validate(
                {"aggregate_id": aggregate_id, "aggregate_version": version, "amount": version * 7}
            )
            expected = ExpectedVersion.exact(version - 1) if version > 1 else ExpectedVersion.NO_STREAM
            store.append(StreamId(AGGREGATE, aggregate_id), [event], expected)


def run_through_a_failure(database: psycopg.Connection[Any]) -> Verdict:
    """Every subscription meets a poison event in the middle of a batch, which heals; return what the judge says."""
    fill()
    for name in ASKED:
        database.execute(tables.SET_TRAP, (name, aggregate_ids(1)[0], POISONED, "raise", 3600))
    manager = SubscriptionManager(EventStore(registry=registry), shutdown_timeout=10, drain_timeout=5)
    for projection in PROJECTIONS:
        config = {**COMMON, **OWN.get(projection.name, {}), "initial_retry_delay": 0.05, "max_retries": 1000}
        manager.subscribe(projection, SubscriptionConfig(**config), projection.name)
    manager.start()
    try:
        wait_for(lambda: sprung_everywhere(database), what="a failure of each subscription")
        tables.heal(database, everything=True)
        wait_for(lambda: database.execute(IS_DRAINED).fetchone() == (True,), what="the end")
    finally:
        manager.stop()
    return judge(database)


def sprung_everywhere(database: psycopg.Connection[Any]) -> bool:
    """Say whether the log's end has been reached over all the poison."""
    row = database.execute(
        "SELECT min(position) >= (SELECT max(position) FROM eventsource_app_event) FROM eventsource_app_checkpoint"
    ).fetchone()
    return row == (True,)


def test_the_judge_agrees_with_the_engine(database: psycopg.Connection[Any]) -> None:
    verdict = run_through_a_failure(database)
    assert verdict.differences == []
    assert verdict.counts["events in the log"] == AGGREGATES * ROUNDS
    assert str(verdict.counts["dead letters"]).startswith("4: ")


def test_it_sees_doubles_when_the_handler_and_the_checkpoint_are_not_one_transaction(
    database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = attempts.Attempts._handle

    def handle_and_commit(self: attempts.Attempts, runnable: list[RecordedEvent]) -> int | None:
        try:
            return mine(self, runnable)
        except Exception:
            connections["default"].connection.commit()  # what was written before the failure stands
            raise

    monkeypatch.setattr(attempts.Attempts, "_handle", handle_and_commit)
    differences = "\n".join(run_through_a_failure(database).differences)
    assert "chaos-each: " in differences
    assert "events doubled" in differences
    assert "folded aggregates differ" in differences


def test_it_sees_a_loss_when_a_letter_is_not_written(
    database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "park", lambda *_: None)
    differences = "\n".join(run_through_a_failure(database).differences)
    assert "chaos-each: 1 events lost" in differences
    assert "folded aggregates differ" in differences


def test_it_sees_disorder_when_the_followers_do_not_wait(
    database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts.Attempts, "blocked", lambda self: frozenset())
    monkeypatch.setattr(dead_letters, "mark_handled", forget_the_followers)
    differences = "\n".join(run_through_a_failure(database).differences)
    assert "chaos-each: 1 aggregates out of order" in differences


def forget_the_followers(using: str, letter_id: int, who: str, replayed_through: int | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE eventsource_app_deadletter SET state = 'resolved' WHERE id = %s", [letter_id])


def test_it_sees_a_skip_when_the_checkpoint_runs_ahead(
    database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = checkpoints.advance

    def too_far(using: str, lease: Any, read: int, position: int, *others: Any) -> None:
        mine(using, lease, read, position + 1, *others)

    monkeypatch.setattr(checkpoints, "advance", too_far)
    differences = "\n".join(run_through_a_failure(database).differences)
    assert "events lost" in differences


def test_it_sees_an_acknowledged_append_that_is_gone_and_a_rolled_back_one_that_is_there(
    database: psycopg.Connection[Any],
) -> None:
    fill()
    (stored,) = database.execute("SELECT event_id::text FROM eventsource_app_event LIMIT 1").fetchall()
    gone = "00000000-0000-4000-8000-000000000000"
    differences = judge(database, subscriptions=(), notes=[f"+{gone}", f"-{stored[0]}"]).differences
    assert len(differences) == 2
    assert "acknowledged" in differences[0]
    assert "rolled back" in differences[1]
