"""The first and the last statement of a transaction share a round trip with its BEGIN and COMMIT, and change nothing else."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction

from eventsource_app.events import DomainEvent, EventRegistry
from eventsource_app.events.serialization import StoredEvent, decode
from eventsource_app.store import recorded_event
from eventsource_app.store.transaction_ends import NOTHING, begin_with, commit_with
from eventsource_app.subscriptions import Projection, SubscriptionConfig, checkpoints, handles
from eventsource_app.subscriptions.attempts import Limits
from eventsource_app.subscriptions.circuit_breaker import CircuitBreaker
from eventsource_app.subscriptions.delivery import Delivery
from eventsource_app.subscriptions.lane import Page
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.reporting import ErrorCallbacks
from tests.builders import MoneyPaidIn
from tests.integration.ledger import NAME, World, query, run_sql
from tests.round_trips import round_trips

pytestmark = pytest.mark.django_db(transaction=True)
SLOW_COMMITS = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END';
CREATE TRIGGER be_slow BEFORE UPDATE OF position ON eventsource_app_checkpoint FOR EACH ROW EXECUTE FUNCTION be_slow();
"""
WRITE = "INSERT INTO ends (value) VALUES (%s) RETURNING 1"


@pytest.fixture(autouse=True)
def _table(transactional_db: None) -> Iterator[None]:
    run_sql("CREATE TABLE ends (value int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    yield
    connection.close()
    run_sql("DROP TABLE ends")


def values() -> list[int]:
    return [row[0] for row in query("SELECT value FROM ends ORDER BY value")]


def whole_transaction() -> None:
    with transaction.atomic(durable=True):
        assert begin_with("default", "SELECT %s::int", (7,), NOTHING) == [(7,)]
        commit_with("default", WRITE, (1,), NOTHING)


def test_a_transaction_of_both_ends_is_two_round_trips() -> None:
    assert round_trips(whole_transaction) == 2
    assert values() == [1]


def test_hooks_run_after_the_commit_and_the_connection_goes_on() -> None:
    told: list[list[int]] = []
    with transaction.atomic():
        transaction.on_commit(lambda: told.append(values()))
        begin_with("default", WRITE, (1,), NOTHING)
        commit_with("default", WRITE, (2,), NOTHING)
        assert told == []
    assert told == [[1, 2]]
    assert connection.get_autocommit()
    with pytest.raises(IntegrityError):
        whole_transaction()  # 1 is there


def end_with(sql: str, *params: int, before: Callable[[], object] = lambda: None) -> None:
    """A transaction that writes, does something else, and ends with this statement."""
    with transaction.atomic():
        begin_with("default", WRITE, (1,), NOTHING)
        before()
        commit_with("default", sql, params, NOTHING)


def test_an_error_of_the_last_statement_commits_nothing() -> None:
    with pytest.raises(DatabaseError):
        end_with("SELECT 1 / %s", 0)
    assert values() == []


def test_a_constraint_that_fails_at_the_commit_is_an_integrity_error() -> None:
    with pytest.raises(IntegrityError):
        end_with(WRITE, 1)
    assert values() == []


def swallow_an_error() -> None:
    with suppress(DatabaseError):
        run_sql("SELECT 1 / 0")


def swallow_an_error_of_a_block() -> None:
    with suppress(DatabaseError), transaction.atomic(savepoint=False):
        run_sql("SELECT 1 / 0")


@pytest.mark.parametrize("swallow", [swallow_an_error, swallow_an_error_of_a_block])
def test_an_error_that_a_handler_swallowed_fails_the_end(swallow: Callable[[], None]) -> None:
    with pytest.raises(DatabaseError):
        end_with(WRITE, 2, before=swallow)
    assert values() == []


def test_a_connection_lost_at_the_commit_is_an_operational_error() -> None:
    with pytest.raises(OperationalError):
        end_with("SELECT pg_terminate_backend(pg_backend_pid())")
    connection.close()
    assert values() == []


def test_inside_the_callers_transaction_neither_begins_nor_commits() -> None:
    with transaction.atomic():
        with transaction.atomic():
            begin_with("default", WRITE, (1,), NOTHING)
            commit_with("default", WRITE, (2,), NOTHING)
        transaction.set_rollback(True)
    assert values() == []


def test_without_a_transaction_they_are_statements_like_any_other() -> None:
    begin_with("default", WRITE, (1,), NOTHING)
    commit_with("default", WRITE, (2,), NOTHING)
    assert values() == [1, 2]


def test_an_isolation_level_of_the_projects_own_is_kept() -> None:
    connection.ensure_connection()
    connection.connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    with transaction.atomic():
        rows = begin_with("default", "SELECT current_setting('transaction_isolation')", (), NOTHING)
    assert rows == [("serializable",)]


def test_what_is_done_meanwhile_is_done_while_the_server_works_and_ends_with_its_answer() -> None:
    steps: list[int] = []

    def work() -> Iterator[None]:
        while True:
            steps.append(len(steps))
            yield

    with transaction.atomic():
        begin_with("default", "SELECT pg_sleep(0.2)", (), work())
        during, steps = len(steps), []
        commit_with("default", WRITE, (1,), work())
    assert during > 10
    assert steps
    assert values() == [1]


def test_asking_the_database_meanwhile_is_an_error_and_harms_nothing() -> None:
    errors: list[Exception] = []

    def work() -> Iterator[None]:
        try:
            run_sql("SELECT 1")
        except DatabaseError as error:
            errors.append(error)
        yield

    with transaction.atomic():
        begin_with("default", "SELECT pg_sleep(0.1)", (), work())
        run_sql("INSERT INTO ends VALUES (1)")
        commit_with("default", "SELECT pg_sleep(0.1)", (), NOTHING)
    assert len(errors) == 1
    assert values() == [1]


class Silent(Projection):
    """Counts what it is given, and asks the database nothing."""

    def __init__(self) -> None:
        self.count = 0

    @handles(MoneyPaidIn)
    def take(self, event: MoneyPaidIn) -> None:
        self.count += 1


def test_a_batch_is_two_round_trips_beside_what_its_handlers_ask(world: World) -> None:
    (stream,) = world.accounts(1)
    end = world.pay_in(stream, 50)
    checkpoints.create("default", NAME, 1, 1, None)
    (row,) = checkpoints.find("default", [NAME])
    lease = checkpoints.claim("default", row, "one", 10)
    assert lease is not None
    projection, config = Silent(), SubscriptionConfig()
    subscription = Subscription(NAME, projection, config)
    limits = Limits(10, lambda: False)
    delivery = Delivery(subscription, "default", lease, limits, ErrorCallbacks(), CircuitBreaker(config))
    delivery.know_parked(0)
    page = Page(lease.position, world.store.read_all(0, 1000), end)

    assert round_trips(lambda: delivery.deliver(page)) == 2
    assert projection.count == len(page.events) == 51
    assert world.position() == end


class Onlooker(Projection):
    """Notes at each event how many had been decoded by then."""

    def __init__(self) -> None:
        self.decoded: list[int] = []
        self.decoded_by_then: list[int] = []

    @handles(MoneyPaidIn)
    def take(self, event: MoneyPaidIn) -> None:
        self.decoded_by_then.append(len(self.decoded))


def test_the_next_batch_is_decoded_while_this_one_commits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    onlooker = Onlooker()

    def note(stored: StoredEvent, shared: str, registry: EventRegistry) -> DomainEvent:
        onlooker.decoded.append(stored.position)
        return decode(stored, shared, registry)

    monkeypatch.setattr(recorded_event, "decode", note)
    (stream,) = world.accounts(1)
    world.pay_in(stream, 119)
    run_sql(SLOW_COMMITS)
    try:
        world.catch_up(onlooker, batch_size=40)
    finally:
        run_sql("DROP FUNCTION be_slow CASCADE")
    assert min(onlooker.decoded_by_then[40:80]) >= 80
    assert min(onlooker.decoded_by_then[80:]) == 120
    assert onlooker.decoded == world.log()
