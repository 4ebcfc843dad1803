"""A small world for tests of the engine: an account that counts money, in a registry of its own."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel

from eventsource_app.aggregates import AggregateRepository, AggregateRoot, SnapshotPolicy
from eventsource_app.events import DomainEvent, EventRegistry, register_event
from eventsource_app.store import EventStore, StreamId

ACCOUNT = "Account"
registry = EventRegistry()


@register_event(registry=registry)
class AccountOpened(DomainEvent):
    aggregate_type: str = ACCOUNT
    holder: str


@register_event(registry=registry)
class MoneyPaidIn(DomainEvent):
    aggregate_type: str = ACCOUNT
    amount: Decimal


@register_event(registry=registry)
class NoteTaken(DomainEvent):
    """Takes any payload at all, for what a border must refuse or keep."""

    aggregate_type: str = ACCOUNT
    note: Any


class AccountState(BaseModel):
    holder: str = ""
    balance: Decimal = Decimal(0)


class Account(AggregateRoot[AccountState]):
    aggregate_type = ACCOUNT

    def open(self, holder: str) -> None:
        if self.version:
            raise ValueError("The account is open already.")
        self._happen(AccountOpened, holder=holder)

    def pay_in(self, amount: Decimal | int) -> None:
        self._happen(MoneyPaidIn, amount=Decimal(amount))

    def pay_in_often(self, times: int) -> None:
        for _ in range(times):
            self.pay_in(1)

    def _happen(self, event_class: type[DomainEvent], **payload: Any) -> None:
        place = {"aggregate_id": self.aggregate_id, "aggregate_version": self.get_next_version()}
        self.apply_event(event_class.model_validate({**place, **payload}))

    def _get_initial_state(self) -> AccountState:
        return AccountState()

    def _apply(self, event: DomainEvent) -> None:
        match event:
            case AccountOpened():
                self._state = AccountState(holder=event.holder)
            case MoneyPaidIn():
                before = self.state
                self._state = AccountState(holder=before.holder, balance=before.balance + event.amount)


def a_store() -> EventStore:
    return EventStore(registry=registry)


def a_stream() -> StreamId:
    return StreamId(ACCOUNT, uuid4())


def accounts(
    store: EventStore | None = None, snapshot_policy: SnapshotPolicy | None = None
) -> AggregateRepository[Account]:
    return AggregateRepository(
        event_store=store or a_store(),
        aggregate_factory=Account,
        aggregate_type=ACCOUNT,
        snapshot_policy=snapshot_policy,
    )


def open_account() -> UUID:
    """Store an account with its first event; return its id."""
    account = accounts().create_new(uuid4())
    account.open("Ada")
    accounts().save(account)
    return account.aggregate_id


def paid_in(stream: StreamId, version: int = 1, **fields: Any) -> MoneyPaidIn:
    """One event at ``version`` of the stream."""
    return MoneyPaidIn(**{**_place(stream, version), "amount": Decimal(version), **fields})


def payments(stream: StreamId, count: int, first: int = 1) -> list[DomainEvent]:
    """Events at the versions ``first``, ``first + 1``, … of the stream."""
    return [paid_in(stream, version) for version in range(first, first + count)]


def note(stream: StreamId, content: Any, version: int = 1, **fields: Any) -> NoteTaken:
    return NoteTaken(**{**_place(stream, version), "note": content, **fields})


def ids(events: Sequence[Any]) -> list[UUID]:
    return [event.event_id for event in events]


def _place(stream: StreamId, version: int) -> dict[str, Any]:
    return {
        "aggregate_type": stream.aggregate_type,
        "aggregate_id": stream.aggregate_id,
        "aggregate_version": version,
    }
