"""The aggregate: its state is what its events made of it, and it takes no other aggregate's."""

from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import uuid4

import pytest

from eventsource_app.aggregates import AggregateRoot
from eventsource_app.aggregates.aggregate import state_type_of
from eventsource_app.events import DomainEvent, InvalidEventError
from eventsource_app.store import StreamId
from tests.builders import ACCOUNT, Account, AccountOpened, AccountState, paid_in, payments

State = TypeVar("State")
Other = TypeVar("Other")


def an_account() -> tuple[Account, StreamId]:
    account = Account(uuid4())
    return account, StreamId(ACCOUNT, account.aggregate_id)


def test_a_new_one_has_the_initial_state_and_no_version() -> None:
    account, _ = an_account()
    assert (account.version, account.position, account.state) == (0, 0, AccountState())
    assert (account.get_next_version(), account.uncommitted_events) == (1, ())


def test_decisions_are_applied_and_kept_in_order() -> None:
    account, _ = an_account()
    account.open("Ada")
    account.pay_in(5)
    assert (account.version, account.state.balance) == (2, Decimal(5))
    assert [event.event_type for event in account.uncommitted_events] == ["AccountOpened", "MoneyPaidIn"]
    assert [event.aggregate_version for event in account.uncommitted_events] == [1, 2]


def test_history_is_applied_and_not_kept() -> None:
    account, stream = an_account()
    account.load_from_history(payments(stream, 3))
    assert (account.version, account.state.balance) == (3, Decimal(6))
    assert not account.uncommitted_events


def test_what_is_stored_is_no_longer_uncommitted() -> None:
    account, _ = an_account()
    account.pay_in(5)
    account.mark_stored(position=42)
    assert (account.uncommitted_events, account.position, account.version) == ((), 42, 1)


@pytest.mark.parametrize("is_new", [True, False])
def test_another_aggregates_event_is_refused(is_new: bool) -> None:
    account, stream = an_account()
    for foreign in (StreamId(ACCOUNT, uuid4()), StreamId("Safe", stream.aggregate_id)):
        with pytest.raises(InvalidEventError, match=f"names {foreign}, so it cannot be applied to {stream}"):
            account.apply_event(paid_in(foreign), is_new=is_new)
    assert (account.version, account.uncommitted_events) == (0, ())


@pytest.mark.parametrize("version", [1, 2, 4])
def test_a_version_that_is_not_the_next_is_refused(version: int) -> None:
    account, stream = an_account()
    account.load_from_history(payments(stream, 2))
    with pytest.raises(InvalidEventError, match=f"has aggregate_version {version}, but .* is at version 2"):
        account.apply_event(paid_in(stream, version))
    assert account.state.balance == 3


def test_a_snapshot_stands_for_the_history() -> None:
    account, stream = an_account()
    account.restore(AccountState(holder="Ada", balance=Decimal(7)), version=9, position=99)
    account.apply_event(paid_in(stream, 10))
    assert (account.version, account.state.balance, account.position) == (10, Decimal(17), 99)


def test_the_tutorials_shape_works() -> None:
    """``_apply`` may read ``self._state`` itself: it is there before the first event."""

    class Tally(AggregateRoot[dict[str, int]]):
        aggregate_type = ACCOUNT

        def _get_initial_state(self) -> dict[str, int]:
            return {"events": 0}

        def _apply(self, event: DomainEvent) -> None:
            assert self._state is not None
            self._state = {"events": self._state["events"] + 1}

    tally = Tally(uuid4())
    tally.load_from_history(payments(StreamId(ACCOUNT, tally.aggregate_id), 2))
    assert tally.state == {"events": 2}


def test_the_state_type_is_found_in_the_class_or_its_parents() -> None:
    class SpecialAccount(Account):
        pass

    assert state_type_of(SpecialAccount) is AccountState


class Labelled(Generic[Other]):
    """What has nothing to do with aggregates."""


class Common(AggregateRoot[State], Generic[Other, State]):
    def _get_initial_state(self) -> State:
        raise NotImplementedError

    def _apply(self, event: DomainEvent) -> None:
        raise NotImplementedError


class Unsaid(AggregateRoot):  # type: ignore[type-arg]
    pass


def test_the_type_arguments_of_other_bases_are_not_the_state() -> None:
    class Plain(Common[int, AccountState]):
        pass

    class Mixed(Labelled[int], AggregateRoot[AccountState]):
        pass

    class Both(Labelled[int], Account):
        pass

    class SaidLater(Unsaid, AggregateRoot[AccountState]):
        pass

    for kind in (Plain, Mixed, Both, SaidLater):
        assert state_type_of(kind) is AccountState


def test_a_class_that_names_no_state_is_refused() -> None:
    class Vague(AggregateRoot[State], Generic[State]):
        pass

    vague: Any = Vague
    with pytest.raises(TypeError, match="Vague must say its state"):
        state_type_of(vague)


def test_events_that_carry_more_take_the_place_of_those_decided() -> None:
    account, _ = an_account()
    account.open("Ada")
    account.replace_uncommitted(
        [event.model_copy(update={"actor_id": "a"}) for event in account.uncommitted_events]
    )
    [event] = account.uncommitted_events
    assert isinstance(event, AccountOpened)
    assert event.actor_id == "a"
