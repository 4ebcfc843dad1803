"""A snapshot is a shortcut: never in the way of a save, never the cause of an error or of a wrong state."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from math import nan
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from pydantic import BaseModel, Field, TypeAdapter
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_plain_validator_function

from eventsource_app.aggregates import AggregateRepository, AggregateRoot, SnapshotPolicy
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
    a_stream,
    accounts,
    payments,
)

pytestmark = pytest.mark.django_db(transaction=True)
IGNORED = "Snapshot ignored, the whole stream is replayed"
NOT_TAKEN = "Snapshot not taken; loads replay more events until the next one"
CODE_CHANGED = "its class, the shape of its state or the schema versions of its events have changed"
State = TypeVar("State")


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


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["reason"] for record in caplog.records if record.message in (IGNORED, NOT_TAKEN)]


def snapshot_version(account_id: UUID) -> int | None:
    return Snapshot.objects.filter(aggregate_id=account_id).values_list("version", flat=True).first()


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


class Keeper(AggregateRoot[State]):
    """Its state is what its class says, whatever happens."""

    aggregate_type = ACCOUNT
    kept: ClassVar[Any]

    def _get_initial_state(self) -> State:
        kept: State = self.kept
        return kept

    def _apply(self, event: DomainEvent) -> None:
        self._state = self.state


class Reading(BaseModel):
    taken_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    value: float | None = None
    tags: frozenset[str] = frozenset("abc")
    seen: bool = Field(default=False, exclude=True)


class Plate(str):
    """A type of the project's own: pydantic reads and writes it, and knows no JSON schema of it."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> CoreSchema:
        return no_info_plain_validator_function(cls)


class Gauge(BaseModel):
    """A default that JSON does not know cannot be part of the shape."""

    value: int = 0
    unit: Any = Field(default=object(), exclude=True)


class FineReading(Reading):
    """What is declared to be a ``Reading`` only."""


@dataclass
class Tally:
    counted: int = 0
    total: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.total += self.counted


@dataclass(eq=False)
class Incomparable:
    counted: int = 0


def a_tally_that_went_on() -> Tally:
    tally = Tally(2)
    tally.total = 5
    return tally


class KeepsDecimals(Keeper[dict]):  # type: ignore[type-arg]
    kept = {"balance": Decimal("1.50")}


class KeepsTimes(Keeper[dict[str, Any]]):
    kept = {"since": datetime(2026, 1, 1, tzinfo=UTC)}


class KeepsWhatIsLeftOut(Keeper[Reading]):
    kept = Reading(seen=True)


class KeepsASubclass(Keeper[Reading]):
    kept = FineReading()


class KeepsNan(Keeper[Reading]):
    kept = Reading(value=nan)


class KeepsATally(Keeper[Tally]):
    kept = a_tally_that_went_on()


class KeepsTheIncomparable(Keeper[Incomparable]):
    kept = Incomparable(2)


class KeepsTheUnreadable(Keeper[Reading]):
    kept = Reading().model_copy(update={"taken_at": "yesterday"})


class KeepsAReading(Keeper[Reading]):
    kept = Reading(value=0.1)


class Aliased(BaseModel, alias_generator=str.upper):
    counted: int


class AliasedInJson(Aliased, serialize_by_alias=True):
    pass


class KeepsTheAliased(Keeper[Aliased]):
    kept = Aliased(COUNTED=2)


class KeepsTheAliasedInJson(Keeper[AliasedInJson]):
    kept = AliasedInJson(COUNTED=2)


class KeepsAPlate(Keeper[Plate]):
    kept = Plate("B-ES 42")


class KeepsAGauge(Keeper[Gauge]):
    kept = Gauge(value=3)


class KeepsAFreshTally(Keeper[Tally]):
    kept = Tally(2)


class KeepsTypedDecimals(Keeper[dict[str, Decimal]]):
    kept = {"balance": Decimal("1.50")}


def keepers(keeper: type[Keeper[Any]]) -> AggregateRepository[Keeper[Any]]:
    return AggregateRepository(
        event_store=a_store(),
        aggregate_factory=keeper,
        aggregate_type=ACCOUNT,
        snapshot_policy=SnapshotPolicy(every=5),
    )


def a_saved(keeper: type[Keeper[Any]]) -> UUID:
    stream = a_stream()
    aggregate = keepers(keeper).create_new(stream.aggregate_id)
    for event in payments(stream, 5):
        aggregate.apply_event(event)
    assert keepers(keeper).save(aggregate).version == 5
    return stream.aggregate_id


@pytest.mark.parametrize(
    ("keeper", "reason"),
    [
        (KeepsDecimals, "The dict that is read back from its JSON does not equal the state"),
        (KeepsTimes, "The dict that is read back from its JSON does not equal the state"),
        (KeepsWhatIsLeftOut, "The Reading that is read back from its JSON does not equal the state"),
        (KeepsASubclass, "The state is a FineReading, but a Reading is read back from its JSON"),
        (KeepsNan, "The Reading that is read back from its JSON does not equal the state"),
        (KeepsATally, "The Tally that is read back from its JSON does not equal the state"),
        (
            KeepsTheIncomparable,
            "Incomparable defines no __eq__, so what is read back from its JSON cannot be compared",
        ),
        (KeepsTheUnreadable, "The Reading cannot be read back from its JSON \\(ValidationError\\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_state_that_does_not_come_back_the_same_is_never_taken(
    caplog: pytest.LogCaptureFixture, keeper: type[Keeper[Any]], reason: str
) -> None:
    aggregate_id = a_saved(keeper)
    assert snapshot_version(aggregate_id) is None
    [record] = [record for record in caplog.records if record.message == NOT_TAKEN]
    assert re.search(reason, record.__dict__["reason"])
    assert record.__dict__["aggregate_id"] == str(aggregate_id)
    assert keepers(keeper).load(aggregate_id).state is keeper.kept


@pytest.mark.parametrize(
    "keeper", [KeepsAReading, KeepsAFreshTally, KeepsTypedDecimals, KeepsTheAliased, KeepsTheAliasedInJson]
)
def test_a_state_that_comes_back_the_same_is_taken(keeper: type[Keeper[Any]]) -> None:
    aggregate_id = a_saved(keeper)
    assert snapshot_version(aggregate_id) == 5
    state = keepers(keeper).load(aggregate_id).state
    assert state == keeper.kept
    assert state is not keeper.kept  # it is the snapshot's


def test_another_shape_of_the_state_makes_it_stale(caplog: pytest.LogCaptureFixture) -> None:
    aggregate_id = a_saved(KeepsAReading)

    class Reading(BaseModel):
        value: float | None = None
        unit: str = "mm"

    class Later(Keeper[Reading]):
        kept = Reading(value=0.1, unit="cm")

    Later.__qualname__ = KeepsAReading.__qualname__
    assert keepers(Later).load(aggregate_id).state == Reading(value=0.1, unit="cm")
    assert reasons(caplog) == [CODE_CHANGED]


@pytest.mark.parametrize("keeper", [KeepsAPlate, KeepsAGauge])
def test_a_shape_that_pydantic_cannot_tell_in_full_is_no_obstacle(
    keeper: type[Keeper[Any]], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    aggregate_id = a_saved(keeper)
    assert snapshot_version(aggregate_id) == 5
    assert keepers(keeper).load(aggregate_id).state == keeper.kept
    assert reasons(caplog) == []
    assert [str(warning.message) for warning in recwarn] == []


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
