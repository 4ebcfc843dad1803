"""How often each operation asks the server, counted in the protocol itself."""

from uuid import uuid4

import pytest
from django.db import OperationalError, connection, transaction
from pytest_django import Settings

from eventsource_app.store import ExpectedVersion
from eventsource_app.store.notifications import connect
from tests.builders import a_store, a_stream, accounts, paid_in, payments
from tests.round_trips import round_trips

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh_connection() -> None:
    connection.close()


def append_one() -> None:
    stream = a_stream()
    a_store().append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)


def append_many(count: int) -> None:
    stream = a_stream()
    a_store().append(stream, payments(stream, count), ExpectedVersion.NO_STREAM)


def test_the_first_append_of_a_connection_prepares_and_the_next_ask_once() -> None:
    assert [round_trips(append_one) for _ in range(4)] == [2, 1, 1, 1]


def test_a_thousand_events_are_one_call() -> None:
    append_many(2)
    assert round_trips(lambda: append_many(1000)) == 1


def test_a_lost_race_and_a_repeated_append_ask_a_second_time_what_became_of_it() -> None:
    append_one()
    append_many(2)
    store, stream = a_store(), a_stream()
    event = paid_in(stream)
    store.append(stream, [event], ExpectedVersion.NO_STREAM)
    assert round_trips(lambda: store.append(stream, [event], ExpectedVersion.NO_STREAM)) == 2

    def lose() -> None:
        with pytest.raises(Exception, match="was expected at"):
            store.append(stream, [paid_in(stream, 6)], ExpectedVersion.exact(5))

    lose()
    assert round_trips(lose) == 2


def test_an_append_that_the_store_numbers_is_one_call() -> None:
    stream = a_stream()
    append_many(2)
    assert round_trips(lambda: a_store().append(stream, [paid_in(stream)], ExpectedVersion.ANY)) == 1


def test_without_prepared_statements_it_is_one_as_well(settings: Settings) -> None:
    settings.EVENTSOURCE = {"PREPARED_STATEMENTS": False}
    assert [round_trips(append_one) for _ in range(3)] == [1, 1, 1]


def test_a_statement_that_the_server_forgot_is_prepared_again() -> None:
    append_one()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    assert [round_trips(append_one) for _ in range(2)] == [3, 1]


def test_a_rolled_back_savepoint_costs_no_append_after_it() -> None:
    append_one()
    stream, store = a_stream(), a_store()
    with transaction.atomic():
        store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
        sid = transaction.savepoint()
        store.append(stream, [paid_in(stream, 2)], ExpectedVersion.exact(1))
        transaction.savepoint_rollback(sid)
        store.append(stream, [paid_in(stream, 2)], ExpectedVersion.exact(1))
    assert store.stream_version(stream) == 2


def test_a_connection_that_is_gone_is_an_operational_error_and_the_next_append_works() -> None:
    append_one()
    pid = connection.connection.info.backend_pid
    with connect("default") as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises(OperationalError):
        append_one()
    connection.close()
    append_one()


def test_load_decide_and_save_are_two() -> None:
    repository, account_id = accounts(), uuid4()
    account = repository.create_new(account_id)
    account.open("Ada")
    account.pay_in_often(9)
    repository.save(account)

    def decide() -> None:
        loaded = repository.load(account_id)
        loaded.pay_in(1)
        repository.save(loaded)

    decide()
    assert round_trips(decide) == 2
    assert round_trips(lambda: repository.execute(account_id, lambda account: account.pay_in(1))) == 2


def test_a_save_without_decisions_asks_nothing() -> None:
    repository = accounts()
    assert round_trips(lambda: repository.save(repository.create_new(uuid4()))) == 0


def test_inside_the_callers_transaction_an_append_adds_one_and_no_savepoint() -> None:
    with transaction.atomic():
        append_one()
    with transaction.atomic():
        begin_and_append, append = round_trips(append_one), round_trips(append_one)
    assert (begin_and_append, append) == (2, 1)


def test_a_page_of_the_feed_is_the_bound_and_the_rows() -> None:
    store = a_store()
    # Positions go on over the tests of a process, and a read spans a window of them.
    start = store.head_position()
    append_many(10)
    store.read_all(start, limit=5)
    assert round_trips(lambda: store.read_all(start, limit=5)) == 2
