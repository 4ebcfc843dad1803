"""A worker's process looks for garbage rarely, and not among what its start made."""

import gc
from collections.abc import Iterator

import pytest

from eventsource_app.management.collection import ALLOCATIONS, relax_collection


@pytest.fixture(autouse=True)
def _collection_as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_what_was_there_is_left_alone_and_the_rest_is_looked_at_rarely() -> None:
    relax_collection()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == ALLOCATIONS
    assert gc.isenabled()
