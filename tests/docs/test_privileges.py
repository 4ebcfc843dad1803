"""What docs/guarantees.md says a role needs is really enough, and no more."""

from collections.abc import Iterator

import pytest
from django.db import ProgrammingError, connection, transaction

from eventsource_app.testing import append_events, happened
from tests.builders import AccountOpened, a_store, a_stream

ROLE = "eventsource_docs_writer"
GRANTS = f"""
CREATE ROLE {ROLE};
GRANT SELECT, INSERT ON eventsource_app_event TO {ROLE};
GRANT USAGE, SELECT ON SEQUENCE eventsource_app_event_position_seq TO {ROLE};
SET LOCAL ROLE {ROLE}
"""

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _as_that_role() -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(GRANTS)
        yield
        cursor.execute("RESET ROLE")
        transaction.set_rollback(True)


def test_select_and_insert_are_enough_to_append_and_to_read() -> None:
    stream, store = a_stream(), a_store()
    result = append_events(stream, happened(AccountOpened, holder="ada"), store=store)
    assert [recorded.position for recorded in store.read_stream(stream)] == [result.position]
    assert [recorded.position for recorded in store.read_all(after=result.position - 1)] == [result.position]


@pytest.mark.parametrize(
    "verb", ["UPDATE eventsource_app_event SET data = '{}'", "TRUNCATE eventsource_app_event"]
)
def test_they_are_not_enough_to_change_anything(verb: str) -> None:
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(verb)
