"""``execute`` carries a command through lost races and lost connections, and does it once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction
from psycopg.errors import ConnectionTimeout
from psycopg_pool import PoolTimeout

from eventsource_app.aggregates import AggregateNotFoundError
from eventsource_app.observability.correlation import caused_by, correlation
from eventsource_app.store import (
    AppendResult,
    EventStore,
    ExpectedVersion,
    StreamId,
    WrongExpectedVersionError,
)
from eventsource_app.store.notifications import connect
from tests.builders import ACCOUNT, Account, AccountState, a_store, accounts, open_account, paid_in, registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account_id() -> UUID:
    return open_account()


class InterruptedStore(EventStore):
    """A store whose connection is cut by the server on the way to an append, or on the way back."""

    def __init__(self, *moments: str) -> None:
        super().__init__(registry=registry)
        self.moments = list(moments)
        self.sent: list[list[UUID]] = []

    def append(self, stream: StreamId, events: Any, expected_version: ExpectedVersion) -> AppendResult:
        self.sent.append([event.event_id for event in events])
        moment = self.moments.pop(0) if self.moments else ""
        if moment == "before the commit":
            cut_off_this_connection()
        result = super().append(stream, events, expected_version)
        if moment == "after the commit":
            cut_off_this_connection()
            with connection.cursor() as cursor:  # the answer was lost: what the client sees is this error
                cursor.execute("SELECT 1")
        return result


def cut_off_this_connection() -> None:
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    with connect("default") as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])


def state_of(account_id: UUID) -> tuple[AccountState, int]:
    account = accounts().load(account_id)
    return account.state, account.version


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_lost_connection_leaves_exactly_one_event(account_id: UUID, moment: str) -> None:
    store = InterruptedStore(moment)
    runs: list[int] = []

    def pay(account: Account) -> None:
        runs.append(1)
        account.pay_in(7)

    result = accounts(store).execute(account_id, pay)
    state, version = state_of(account_id)
    assert (result.version, version, state.balance) == (2, 2, Decimal(7))
    assert result.repeated is (moment == "after the commit")
    assert len(runs) == 1, "the command was decided anew"
    assert len(store.sent) == 2
    assert store.sent[0] == store.sent[1], "other events were sent the second time"


def test_a_connection_that_is_lost_again_and_again(account_id: UUID) -> None:
    store = InterruptedStore("before the commit", "after the commit", "before the commit")
    accounts(store).execute(account_id, lambda account: account.pay_in_often(3))
    assert state_of(account_id)[1] == 4
    assert len({tuple(ids) for ids in store.sent}) == 1


def test_a_connection_that_was_lost_while_idle_is_made_anew(account_id: UUID) -> None:
    cut_off_this_connection()
    result = accounts().execute(account_id, lambda account: account.pay_in(7))
    assert (result.version, result.repeated) == (2, False)


def test_the_retries_are_bounded(account_id: UUID) -> None:
    store = InterruptedStore(*["before the commit"] * 10)
    with pytest.raises((OperationalError, InterfaceError)):
        accounts(store).execute(account_id, lambda account: account.pay_in(7), retries=2)
    connection.close()
    assert len(store.sent) == 3
    assert state_of(account_id)[1] == 1


def test_an_error_of_the_database_that_is_no_outage_is_not_retried(account_id: UUID) -> None:
    class Refusing(EventStore):
        count = 0

        def append(self, *_: Any) -> AppendResult:
            self.count += 1
            raise OperationalError("disk full")

    store = Refusing(registry=registry)
    with pytest.raises(OperationalError, match="disk full"):
        accounts(store).execute(account_id, lambda account: account.pay_in(7))
    assert store.count == 1


@pytest.mark.parametrize("cause", [PoolTimeout, ConnectionTimeout])
def test_who_has_waited_for_a_connection_does_not_wait_as_long_again(
    account_id: UUID, cause: type[Exception]
) -> None:
    """Six times the pool's timeout would be minutes, in which the caller's thread is held."""

    class Exhausted(EventStore):
        count = 0

        def replay(self, stream: StreamId) -> Any:
            self.count += 1
            connection.close()
            raise OperationalError("couldn't get a connection after 30.00 sec") from cause()

    store = Exhausted(registry=registry)
    with pytest.raises(OperationalError, match="couldn't get a connection"):
        accounts(store).execute(account_id, lambda account: account.pay_in(7))
    assert store.count == 1


def rival_pays(account_id: UUID) -> None:
    """Win the race from another connection."""

    def pay() -> None:
        try:
            repository = accounts()
            account = repository.load(account_id)
            account.pay_in(100)
            repository.save(account)
        finally:
            connection.close()

    thread = threading.Thread(target=pay)
    thread.start()
    thread.join()


def pay_while_a_rival_wins(account_id: UUID, wins: int) -> tuple[Callable[[Account], None], list[int]]:
    seen: list[int] = []

    def command(account: Account) -> None:
        seen.append(account.version)
        if len(seen) <= wins:
            rival_pays(account_id)
        account.pay_in(1)

    return command, seen


def test_after_a_lost_race_it_decides_anew_on_what_is_there(account_id: UUID) -> None:
    command, seen = pay_while_a_rival_wins(account_id, wins=2)
    result = accounts().execute(account_id, command)
    assert seen == [1, 2, 3]
    assert result.version == 4
    assert state_of(account_id)[0].balance == 201


def test_it_gives_up_after_as_many_retries_as_were_asked_for(account_id: UUID) -> None:
    command, seen = pay_while_a_rival_wins(account_id, wins=99)
    with pytest.raises(WrongExpectedVersionError):
        accounts().execute(account_id, command, retries=2)
    assert seen == [1, 2, 3]
    assert state_of(account_id)[0].balance == 300


def test_without_retries_a_lost_race_is_the_callers(account_id: UUID) -> None:
    command, seen = pay_while_a_rival_wins(account_id, wins=1)
    with pytest.raises(WrongExpectedVersionError):
        accounts().execute(account_id, command, retries=0)
    assert seen == [1]


def test_inside_the_callers_transaction_nothing_is_retried(account_id: UUID) -> None:
    command, seen = pay_while_a_rival_wins(account_id, wins=1)
    with transaction.atomic():
        with pytest.raises(WrongExpectedVersionError):
            accounts().execute(account_id, command)
        with connection.cursor() as cursor:  # it is the caller's to repeat, and it is whole
            cursor.execute("SELECT 1")
    assert seen == [1]


def test_a_lost_connection_inside_the_callers_transaction_is_the_callers(account_id: UUID) -> None:
    store = InterruptedStore("before the commit")
    with pytest.raises((OperationalError, InterfaceError)), transaction.atomic():
        accounts(store).execute(account_id, lambda account: account.pay_in(7))
    connection.close()
    assert len(store.sent) == 1
    assert state_of(account_id)[1] == 1


def test_with_autocommit_off_the_transaction_is_the_callers_too(account_id: UUID) -> None:
    """On another connection the command would be committed alone, without what the caller did before it."""
    store = InterruptedStore("before the commit")
    transaction.set_autocommit(False)
    try:
        with pytest.raises((OperationalError, InterfaceError)):
            accounts(store).execute(account_id, lambda account: account.pay_in(7))
    finally:
        connection.close()
    assert len(store.sent) == 1
    assert state_of(account_id)[1] == 1


def test_many_threads_all_get_through(account_id: UUID) -> None:
    def pay(_: int) -> None:
        try:
            for _ in range(10):
                accounts().execute(account_id, lambda account: account.pay_in(1), retries=200)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(pay, range(4)))
    assert state_of(account_id) == (AccountState(holder="Ada", balance=40), 41)


def test_what_a_command_refuses_is_not_retried(account_id: UUID) -> None:
    runs: list[int] = []

    def open_again(account: Account) -> None:
        runs.append(1)
        account.open("Eve")

    with pytest.raises(ValueError, match="open already"):
        accounts().execute(account_id, open_again)
    assert runs == [1]


def test_an_aggregate_that_is_not_there_is_a_sentence() -> None:
    unknown = uuid4()
    with pytest.raises(AggregateNotFoundError, match=f"There is no Account {unknown}"):
        accounts().execute(unknown, lambda account: account.pay_in(1))


def test_a_lost_race_leaves_what_was_decided_to_the_caller(account_id: UUID) -> None:
    repository = accounts()
    account = repository.load(account_id)
    account.pay_in(1)
    rival_pays(account_id)
    with pytest.raises(WrongExpectedVersionError):
        repository.save(account)
    assert len(account.uncommitted_events) == 1


def test_events_carry_the_request_and_the_cause(account_id: UUID) -> None:
    cause = uuid4()
    stream = StreamId(ACCOUNT, account_id)
    with correlation("request-1"):
        accounts().execute(account_id, lambda account: account.pay_in(1))
    with caused_by(cause, "request-2"):
        accounts().execute(account_id, lambda account: account.pay_in(1))
    accounts().execute(account_id, lambda account: account.pay_in(1))
    told = [
        (r.event.correlation_id, r.event.causation_id) for r in a_store().read_stream(stream, from_version=2)
    ]
    assert told == [("request-1", None), ("request-2", cause), (None, None)]


def test_what_an_event_says_itself_is_kept(account_id: UUID) -> None:
    stream = StreamId(ACCOUNT, account_id)
    with correlation("request-1"):
        accounts().execute(
            account_id, lambda account: account.apply_event(paid_in(stream, 2, correlation_id="of-its-own"))
        )
    assert a_store().read_stream(stream)[-1].event.correlation_id == "of-its-own"
