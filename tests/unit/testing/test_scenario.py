"""The given/when/then helper says yes when it should, and fails with the values when it should not."""

from decimal import Decimal
from uuid import UUID

import pytest
from pydantic.alias_generators import to_camel

from eventsource_app.events import DomainEvent
from eventsource_app.store import StreamId
from eventsource_app.testing import AggregateScenario, happened
from tests.builders import ACCOUNT, Account, AccountOpened, MoneyPaidIn, paid_in

OPENED = happened(AccountOpened, holder="Ada")


def an_open_account() -> AggregateScenario[Account]:
    return AggregateScenario(Account).given(OPENED)


def test_what_was_decided_is_compared() -> None:
    an_open_account().when(lambda account: account.pay_in(5)).then(happened(MoneyPaidIn, amount=Decimal(5)))


def test_given_may_come_in_parts_and_when_too() -> None:
    scenario = an_open_account().given(happened(MoneyPaidIn, amount=1), happened(MoneyPaidIn, amount=2))
    scenario.when(lambda account: account.pay_in(3)).when(lambda account: account.pay_in(4))
    scenario.then(happened(MoneyPaidIn, amount=3), happened(MoneyPaidIn, amount=4)).then_state(
        balance=10, holder="Ada"
    )


def test_whole_events_are_compared_without_ids_and_times() -> None:
    stream = StreamId(ACCOUNT, UUID(int=1))
    scenario = AggregateScenario(Account, stream.aggregate_id).given(paid_in(stream, 1))
    scenario.when(lambda account: account.pay_in(2)).then(
        paid_in(stream, 2, correlation_id="request-1", actor_id="ada")
    )
    with pytest.raises(AssertionError):
        scenario.then(paid_in(stream, 3))


def test_nothing_decided() -> None:
    an_open_account().when(lambda account: account.pay_in_often(0)).then()


def test_a_refusal() -> None:
    an_open_account().when(lambda account: account.open("Eve")).then_raises(ValueError, "open already")


@pytest.mark.parametrize(
    "expected",
    [
        (),
        (happened(MoneyPaidIn, amount=6),),
        (happened(AccountOpened, holder="5"),),
        (happened(MoneyPaidIn, amount=5), happened(MoneyPaidIn, amount=5)),
    ],
    ids=["nothing", "another amount", "another type", "one more"],
)
def test_other_events_fail_with_both_lists(expected: tuple[object, ...]) -> None:
    scenario = an_open_account().when(lambda account: account.pay_in(5))
    with pytest.raises(AssertionError, match=r"(?s)Expected .*but decided .*MoneyPaidIn.*Decimal\('5'\)"):
        scenario.then(*expected)  # type: ignore[arg-type]


def test_an_unexpected_error_is_the_commands_own() -> None:
    scenario = an_open_account().when(lambda account: account.open("Eve"))
    with pytest.raises(ValueError, match="open already"):
        scenario.then()
    with pytest.raises(ValueError, match="open already"):
        scenario.then_state()
    with pytest.raises(ValueError, match="open already"):
        scenario.when(lambda account: account.pay_in(1))


def test_a_missing_or_another_error_fails() -> None:
    with pytest.raises(
        AssertionError, match=r"(?s)Expected ValueError, but the command decided .*MoneyPaidIn"
    ):
        an_open_account().when(lambda account: account.pay_in(5)).then_raises(ValueError)
    refused = an_open_account().when(lambda account: account.open("Eve"))
    with pytest.raises(AssertionError, match="Expected KeyError, but it raised ValueError"):
        refused.then_raises(KeyError)
    refused = an_open_account().when(lambda account: account.open("Eve"))
    with pytest.raises(AssertionError, match="Expected a sentence matching 'closed'"):
        refused.then_raises(ValueError, "closed")


def test_a_refusal_halfway_fails() -> None:
    def pay_and_open(account: Account) -> None:
        account.pay_in(5)
        account.open("Eve")

    with pytest.raises(AssertionError, match=r"(?s)only after it had decided .*MoneyPaidIn"):
        an_open_account().when(pay_and_open).then_raises(ValueError)


def test_another_state_fails() -> None:
    with pytest.raises(
        AssertionError, match=r"have \{'balance': 1\}, but it has \{'balance': Decimal\('0'\)\}"
    ):
        an_open_account().then_state(balance=1)


def test_then_without_when_fails() -> None:
    with pytest.raises(AssertionError, match="No command has run yet"):
        an_open_account().then()
    with pytest.raises(AssertionError, match="No command has run yet"):
        an_open_account().then_raises(ValueError)


class NamedByOthers(DomainEvent, alias_generator=to_camel):
    aggregate_type: str = ACCOUNT
    full_name: str


@pytest.mark.parametrize("field", ["full_name", "fullName"])
def test_a_class_with_aliases_is_described_by_its_names_or_by_them(field: str) -> None:
    event = happened(NamedByOthers, **{field: "Ada"}).at(ACCOUNT, UUID(int=1), 1)
    assert isinstance(event, NamedByOthers)
    assert (event.full_name, event.aggregate_id, event.aggregate_version) == ("Ada", UUID(int=1), 1)
