"""Our side of the workloads: the public interface, as an application uses it, with every default."""

from itertools import cycle
from uuid import UUID, uuid4

from eventsource_app.aggregates import SnapshotPolicy
from eventsource_app.events.identifiers import uuid7
from eventsource_app.store import EventStore, ExpectedVersion, StreamId
from tests.benchmarks.processes import Operation
from tests.builders import ACCOUNT, MoneyPaidIn, accounts, registry


def store(using: str = "default") -> EventStore:
    return EventStore(using, registry=registry)


def append_one(using: str = "default") -> Operation:
    """Make and append the first event of a new aggregate."""
    events = store(using)

    def append() -> int:
        stream = StreamId(ACCOUNT, uuid7())
        event = MoneyPaidIn(aggregate_id=stream.aggregate_id, aggregate_version=1, amount="12.50")
        events.append(stream, [event], ExpectedVersion.NO_STREAM)
        return 1

    return append


def save_thousand(using: str = "default") -> Operation:
    repository = accounts(store(using))

    def save() -> int:
        account = repository.create_new(uuid7())
        account.pay_in_often(1000)
        repository.save(account)
        return 1000

    return save


def load_decide_save(using: str, account_ids: list[UUID]) -> Operation:
    """Load an account of ten events, pay in, save; one account after the other."""
    repository = accounts(store(using))
    ids = cycle(account_ids)

    def run() -> int:
        account = repository.load(next(ids))
        account.pay_in(5)
        repository.save(account)
        return 1

    return run


def load(using: str, account_id: UUID, per_event: bool, snapshot: bool = False) -> Operation:
    """Load one account; counts its events, or the loads."""
    repository = accounts(store(using), SnapshotPolicy(1) if snapshot else None)

    def run() -> int:
        version = repository.load(account_id).version
        return version if per_event else 1

    return run


def load_any(using: str, account_ids: list[UUID]) -> Operation:
    """Load one account after the other, from the first again at the end."""
    repository = accounts(store(using))
    ids = cycle(account_ids)

    def run() -> int:
        repository.load(next(ids))
        return 1

    return run


def make_account(using: str, events: int, snapshot: bool = False) -> UUID:
    """Store an account with so many events, and a snapshot of the last but a few when asked for."""
    repository = accounts(store(using), SnapshotPolicy(1000) if snapshot else None)
    account_id = uuid4()
    account = repository.create_new(account_id)
    account.pay_in_often(events)
    repository.save(account)
    return account_id


def page_reader(using: str, page: int, start: int = 0) -> Operation:
    """Read the log page by page and decode every event, from ``start`` again at its end."""
    events = store(using)
    after = start

    def read() -> int:
        nonlocal after
        recorded = events.read_all(after, page)
        decoded = [item.event for item in recorded]
        after = recorded[-1].position if len(recorded) == page else start
        return len(decoded)

    return read


def whole_log(using: str, page: int) -> Operation:
    """Read and decode the whole log once, keeping nothing."""
    events = store(using)

    def read() -> int:
        after, count = 0, 0
        while recorded := events.read_all(after, page):
            for item in recorded:
                assert item.event.aggregate_version
            after, count = recorded[-1].position, count + len(recorded)
        return count

    return read
