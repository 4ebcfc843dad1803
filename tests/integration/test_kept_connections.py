"""A connection that Django keeps open is used by the store as Django uses it: tried where it is to be tried, refused where it is refused."""

from collections.abc import Callable
from uuid import UUID

import pytest
from django.db import close_old_connections, connection, transaction
from pytest_django import DjangoDbBlocker

from eventsource_app.store import ExpectedVersion, StreamId
from eventsource_app.store.notifications import connect
from eventsource_app.store.session import kept_cursor
from eventsource_app.store.text_cursor import RawTextCursor, TextCursor
from tests.builders import ACCOUNT, a_store, a_stream, accounts, open_account, paid_in, payments
from tests.round_trips import round_trips

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", True)
    connection.close()


@pytest.fixture
def account_id() -> UUID:
    return open_account()


def append() -> None:
    stream = a_stream()
    a_store().append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)


def the_server_ends_it() -> None:
    pid = connection.connection.info.backend_pid
    with connect("default") as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])


@pytest.mark.parametrize(
    "first_use",
    [
        lambda _: append(),
        lambda account_id: accounts().load(account_id),
        lambda account_id: a_store().read_stream(StreamId(ACCOUNT, account_id)),
        lambda _: a_store().read_all(),
    ],
    ids=["append", "load", "read a stream", "read the log"],
)
def test_the_first_use_in_a_request_does_not_fail_for_a_connection_that_was_lost_before(
    account_id: UUID, first_use: Callable[[UUID], object]
) -> None:
    the_server_ends_it()
    close_old_connections()  # as at the start of a request
    first_use(account_id)


def test_it_is_tried_once_in_a_request(account_id: UUID) -> None:
    append()
    close_old_connections()
    assert [round_trips(append) for _ in range(3)] == [2, 1, 1]


def test_a_cursor_that_is_kept_keeps_no_result() -> None:
    """A few large events would stay in memory until the connection's next statement of that kind."""
    stream = a_stream()
    a_store().append(stream, payments(stream, 3), ExpectedVersion.NO_STREAM)
    with transaction.atomic():
        assert len(a_store().read_stream(stream)) == len(a_store().read_all()) == 3
        for kind in (RawTextCursor, TextCursor):
            result = kept_cursor(connection.connection, kind).pgresult
            assert result is not None
            assert result.ntuples == 0
        assert len(a_store().read_stream(stream)) == len(a_store().read_all()) == 3


def test_a_test_without_a_database_is_refused_an_open_one_too(django_db_blocker: DjangoDbBlocker) -> None:
    append()
    with django_db_blocker.block(), pytest.raises(RuntimeError, match="Database access not allowed"):
        append()
    append()
