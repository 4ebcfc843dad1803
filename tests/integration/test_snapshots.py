"""A snapshot is a shortcut: never in the way of a save, never the cause of an error or of a wrong state."""

import logging
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from pydantic import TypeAdapter

from eventsource_app.aggregates import AggregateRepository, SnapshotPolicy
from eventsource_app.events import DomainEvent, EventRegistry, register_event
from eventsource_app.models import Snapshot
from eventsource_app.store import EventStore, StreamId
from eventsource_app.store.snapshots import checksum_of, load_snapshot, save_snapshot
from tests.builders import (
    ACCOUNT,
    Account,
    AccountOpened,
    AccountState,
    MoneyPaidIn,
    NoteTaken,
    a_store,
    accounts,
)
from tests.integration.snapshots import CODE_CHANGED, IGNORED, NOT_TAKEN, reasons, snapshot_version

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def repository() -> AggregateRepository[Account]:
    return accounts(snapshot_policy=SnapshotPolicy(every=5))


def an_account(
    repository: AggregateRepository[Account], payments: int, account_id: UUID | None = None
) -> UUID:
    """Save an account in one go; it has ``payments`` + 1 versions and as much money as payments."""
    account = repository.create_new(account_id or uuid4())
    account.open("Ada")
    account.pay_in_often(payments)
    repository.save(account)
    return account.aggregate_id


def events_read(action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many events each read of a stream gave."""
    counts: list[int] = []
    original = EventStore._ask_stream

    def counting(self: EventStore, *args: Any, **kwargs: Any) -> Any:
        rows = original(self, *args, **kwargs)
        counts.append(len(rows))
        return rows

    monkeypatch.setattr(EventStore, "_ask_stream", counting)
    action()
    return counts


@pytest.mark.parametrize(
    ("first_save", "second_save", "expected"),
    [(4, 0, None), (5, 0, 5), (7, 0, 7), (4, 1, 5), (4, 3, 7), (4, 20, 24), (5, 4, 5), (6, 3, 6), (6, 4, 10)],
)
def test_it_is_taken_when_a_save_reaches_or_crosses_the_line(
    repository: AggregateRepository[Account], first_save: int, second_save: int, expected: int | None
) -> None:
    account_id = an_account(repository, payments=first_save - 1)
    account = repository.load(account_id)
    account.pay_in_often(second_save)
    repository.save(account)
    assert snapshot_version(account_id) == expected


def test_a_load_reads_the_snapshot_and_what_came_after(
    repository: AggregateRepository[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = an_account(repository, payments=99)
    repository.execute(account_id, lambda account: account.pay_in(Decimal("0.50")))
    account = accounts().load(account_id)
    assert events_read(lambda: repository.load(account_id), monkeypatch) == [
        2
    ]  # the snapshot's own, and the later
    fast = repository.load(account_id)
    assert (fast.state, fast.version, fast.position) == (account.state, account.version, account.position)
    assert fast.state == AccountState(holder="Ada", balance=Decimal("99.50"))
    assert not fast.uncommitted_events


def test_what_was_loaded_from_a_snapshot_can_decide_and_save(
    repository: AggregateRepository[Account],
) -> None:
    account_id = an_account(repository, payments=9)
    for _ in range(6):
        repository.execute(account_id, lambda account: account.pay_in(1))
    assert snapshot_version(account_id) == 15
    assert repository.load(account_id).state.balance == accounts().load(account_id).state.balance == 15


class RefinedAccount(Account):
    schema_version = 2


def _refined(_: UUID) -> AggregateRepository[Account]:
    return AggregateRepository(
        event_store=a_store(),
        aggregate_factory=RefinedAccount,
        aggregate_type="Account",
        snapshot_policy=SnapshotPolicy(every=5),
    )


def _with_changed_event(_: UUID) -> AggregateRepository[Account]:
    """The same code, but that an event of the account has gone up one schema version."""

    class MoneyPaidInV2(MoneyPaidIn):
        event_type: str = "MoneyPaidIn"
        schema_version: int = 2

    changed = EventRegistry()
    for event_class in (AccountOpened, NoteTaken, MoneyPaidInV2):
        register_event(registry=changed)(event_class)
    changed.upcasters.add("MoneyPaidIn", 1, lambda payload: {**payload, "amount": "2"})
    return accounts(EventStore(registry=changed), SnapshotPolicy(every=5))


def _moved(_: UUID) -> AggregateRepository[Account]:
    """The same aggregate type, kept by another class of the same schema version."""

    class MovedAccount(Account):
        pass

    return AggregateRepository(
        event_store=a_store(),
        aggregate_factory=MovedAccount,
        aggregate_type=ACCOUNT,
        snapshot_policy=SnapshotPolicy(every=5),
    )


def _damaged(**columns: Any) -> Callable[[UUID], AggregateRepository[Account]]:
    def damage(account_id: UUID) -> AggregateRepository[Account]:
        Snapshot.objects.filter(aggregate_id=account_id).update(**columns)
        return accounts(snapshot_policy=SnapshotPolicy(every=5))

    return damage


def _unreadable_but_intact(account_id: UUID) -> AggregateRepository[Account]:
    state = '{"holder": [], "balance": "a lot"}'
    return _damaged(state=state, checksum=checksum_of(state))(account_id)


@pytest.mark.parametrize(
    ("damage", "reason", "balance"),
    [
        (_refined, "it has schema version 1, not 2", 9),
        (_with_changed_event, CODE_CHANGED, 18),
        (_moved, CODE_CHANGED, 9),
        (
            _damaged(state='{"holder": "Ada", "balance": "1000000"}'),
            "its state does not match its checksum",
            9,
        ),
        (_damaged(state=""), "its state does not match its checksum", 9),
        (_unreadable_but_intact, r"its state cannot be read \(ValidationError\)", 9),
        (_damaged(version=50), "the log has another event, or none, at its version 50", 9),
        (_damaged(version=9), "the log has another event, or none, at its version 9", 9),
        (_damaged(event_id=uuid4()), "the log has another event, or none, at its version 10", 9),
    ],
    ids=[
        "state's schema",
        "events' schema",
        "other class",
        "altered",
        "emptied",
        "unreadable",
        "beyond the log",
        "other version",
        "other log",
    ],
)
def test_a_doubtful_one_is_a_log_line_and_the_whole_stream(
    repository: AggregateRepository[Account],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[UUID], AggregateRepository[Account]],
    reason: str,
    balance: int,
) -> None:
    account_id = an_account(repository, payments=9)
    assert snapshot_version(account_id) == 10
    other = damage(account_id)
    with caplog.at_level(logging.WARNING):
        account = other.load(account_id)
    assert (account.state, account.version) == (AccountState(holder="Ada", balance=Decimal(balance)), 10)
    [record] = [record for record in caplog.records if record.message == IGNORED]
    assert re.fullmatch(reason, record.__dict__["reason"])
    assert record.__dict__["aggregate_id"] == str(account_id)


@pytest.mark.parametrize(
    "damage",
    [
        _refined,
        _damaged(fingerprint="0" * 64),
        _unreadable_but_intact,
        _damaged(version=2**31 - 1, event_id=uuid4()),
    ],
)
def test_the_next_snapshot_replaces_a_doubtful_one(
    repository: AggregateRepository[Account],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[UUID], AggregateRepository[Account]],
) -> None:
    account_id = an_account(repository, payments=9)
    other = damage(account_id)
    other.execute(account_id, lambda account: account.pay_in_often(5))
    assert snapshot_version(account_id) == 15
    caplog.clear()
    assert other.load(account_id).version == 15
    assert IGNORED not in caplog.messages


def test_a_newer_snapshot_is_never_replaced_by_an_older_one(repository: AggregateRepository[Account]) -> None:
    account_id = an_account(repository, payments=4)
    stream = StreamId("Account", account_id)
    older = load_snapshot("default", stream)
    repository.execute(account_id, lambda account: account.pay_in_often(5))
    assert older is not None
    assert save_snapshot("default", stream, older) is False
    assert snapshot_version(account_id) == 10


def test_it_is_written_after_the_commit(repository: AggregateRepository[Account]) -> None:
    with transaction.atomic():
        account_id = an_account(repository, payments=9)
        assert snapshot_version(account_id) is None
    assert snapshot_version(account_id) == 10


def test_a_rollback_writes_none(repository: AggregateRepository[Account]) -> None:
    with transaction.atomic():
        account_id = an_account(repository, payments=9)
        transaction.set_rollback(True)
    with transaction.atomic(), transaction.atomic():
        nested_id = an_account(repository, payments=9)
        transaction.set_rollback(True)
    assert (snapshot_version(account_id), snapshot_version(nested_id)) == (None, None)


def test_a_failing_snapshot_is_a_log_line_and_the_save_stands(
    repository: AggregateRepository[Account], caplog: pytest.LogCaptureFixture
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE eventsource_app_snapshot RENAME TO gone")
    try:
        account_id = uuid4()
        account = repository.create_new(account_id)
        account.open("Ada")
        account.pay_in_often(9)
        result = repository.save(account)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE gone RENAME TO eventsource_app_snapshot")
    assert result.version == 10
    assert NOT_TAKEN in caplog.messages
    assert repository.load(account_id).state.balance == 9


def test_a_state_that_cannot_be_written_is_a_log_line_and_the_save_stands(
    repository: AggregateRepository[Account], caplog: pytest.LogCaptureFixture
) -> None:
    account = repository.create_new(uuid4())
    account.open("Ada")
    account.pay_in_often(9)
    account._state = account.state.model_copy(update={"holder": "\ud800"})
    assert repository.save(account).version == 10
    assert NOT_TAKEN in caplog.messages
    assert snapshot_version(account.aggregate_id) is None


def a_registry(*event_classes: type[DomainEvent]) -> EventRegistry:
    made = EventRegistry()
    of_the_account: list[type[DomainEvent]] = [AccountOpened, MoneyPaidIn]
    for event_class in (*of_the_account, *event_classes):
        made.register(event_class)
    return made


class Remarked(DomainEvent):
    """May happen to every aggregate, so it names no type."""

    remark: str = ""


class RemarkedV2(Remarked):
    event_type: str = "Remarked"
    schema_version: int = 2


def test_another_schema_of_an_event_for_all_aggregate_types_makes_it_stale(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = SnapshotPolicy(every=5)
    account_id = an_account(accounts(EventStore(registry=a_registry(Remarked)), policy), payments=9)
    accounts(EventStore(registry=a_registry(Remarked)), policy).load(account_id)
    assert reasons(caplog) == []
    account = accounts(EventStore(registry=a_registry(RemarkedV2)), policy).load(account_id)
    assert account.state.balance == 9
    assert reasons(caplog) == [CODE_CHANGED]


def test_an_event_class_that_is_registered_later_makes_it_stale(caplog: pytest.LogCaptureFixture) -> None:
    growing = a_registry()
    repository = accounts(EventStore(registry=growing), SnapshotPolicy(every=5))
    account_id = an_account(repository, payments=9)
    repository.load(account_id)
    assert reasons(caplog) == []
    growing.register(NoteTaken)
    assert repository.load(account_id).state.balance == 9
    assert reasons(caplog) == [CODE_CHANGED]


def test_what_decides_about_it_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = accounts(EventStore(registry=a_registry()), SnapshotPolicy(every=5))
    account_id = an_account(repository, payments=9)
    asked: list[str] = []
    monkeypatch.setattr(EventRegistry, "schema_versions", lambda _, name: asked.append(name))
    monkeypatch.setattr(TypeAdapter, "json_schema", lambda *_, **__: asked.append("shape"))
    for _ in range(3):
        assert repository.load(account_id).version == 10
    assert asked == []


def test_transactions_by_hand_give_a_log_line_and_the_save_stands(
    repository: AggregateRepository[Account], caplog: pytest.LogCaptureFixture
) -> None:
    """With autocommit off Django has no commit to wait for."""
    transaction.set_autocommit(False)
    try:
        account_id = an_account(repository, payments=9)
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert snapshot_version(account_id) is None
    [reason] = reasons(caplog)
    assert reason.startswith("TransactionManagementError: on_commit() cannot be used in manual")
    assert repository.load(account_id).state.balance == 9


def test_the_state_it_takes_is_the_one_of_its_version(repository: AggregateRepository[Account]) -> None:
    """In a transaction the aggregate may go on before the snapshot is written."""
    with transaction.atomic():
        account = repository.create_new(uuid4())
        account.open("Ada")
        account.pay_in_often(4)
        repository.save(account)
        account.pay_in(100)
    assert snapshot_version(account.aggregate_id) == 5
    assert repository.load(account.aggregate_id).state.balance == 4


def test_a_policy_needs_the_class_and_a_sensible_number() -> None:
    with pytest.raises(TypeError, match="Snapshots need an aggregate class"):
        AggregateRepository(
            event_store=a_store(),
            aggregate_factory=lambda account_id: Account(account_id),
            aggregate_type="Account",
            snapshot_policy=SnapshotPolicy(),
        )
    with pytest.raises(ValueError, match="every=0 cannot be"):
        SnapshotPolicy(every=0)
