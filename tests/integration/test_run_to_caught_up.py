"""``eventsource_app.testing``: append these, run to caught up, look at the read model."""

import threading
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from eventsource_app.models import Checkpoint, DeadLetter
from eventsource_app.store import RecordedEvent, WrongExpectedVersionError
from eventsource_app.store.streams import StreamId
from eventsource_app.subscriptions import PermanentError, Projection, handles
from eventsource_app.subscriptions.enrolment import SubscriptionRefusedError
from eventsource_app.testing import (
    CaughtUp,
    PartitionTakenError,
    ProjectionTestMixin,
    append_events,
    happened,
    run_to_caught_up,
)
from orders.commands import CancelOrder, PlaceOrder
from orders.events import ORDER, OrderCreated, OrderShipped
from orders.services import cancel_order, place_order
from projections.models import CustomerSummary, OrderSummary
from projections.order_summary import OrderSummaryProjection
from tests.builders import AccountOpened, MoneyPaidIn, a_store, a_stream

BOTH_KINDS = pytest.mark.parametrize(
    "kind",
    [
        pytest.param("in a transaction", marks=pytest.mark.django_db),
        pytest.param("transactional", marks=pytest.mark.django_db(transaction=True)),
    ],
)


class Holders(Projection):
    """One row per account; refuses what it is told to."""

    def __init__(self, refused: Exception | None = None) -> None:
        self.refused = refused
        self.thread: int | None = None

    @handles(AccountOpened)
    def opened(self, event: AccountOpened) -> None:
        CustomerSummary.objects.create(customer_id=event.holder)
        self.thread = threading.get_ident()

    @handles(MoneyPaidIn)
    def paid_in(self, event: MoneyPaidIn, recorded: RecordedEvent) -> None:
        if self.refused is not None:
            raise self.refused
        CustomerSummary.objects.update(order_count=recorded.aggregate_version)

    def reset(self) -> None:
        CustomerSummary.objects.all().delete()


@BOTH_KINDS
def test_it_delivers_what_is_there_in_this_thread_and_only_once(kind: str) -> None:
    stream, projection = a_stream(), Holders()
    append_events(
        stream, happened(AccountOpened, holder="ada"), happened(MoneyPaidIn, amount=1), store=a_store()
    )
    run_to_caught_up(projection, store=a_store())
    run_to_caught_up(projection, store=a_store())
    assert CustomerSummary.objects.get().order_count == 2
    assert projection.thread == threading.get_ident()
    append_events(stream, happened(MoneyPaidIn, amount=1), store=a_store())
    run_to_caught_up(projection, store=a_store())
    assert CustomerSummary.objects.get().order_count == 3


@BOTH_KINDS
def test_the_first_error_comes_out_as_it_is_and_nothing_of_it_is_kept(kind: str) -> None:
    refused = ValueError("not today")
    opened, paid_in = happened(AccountOpened, holder="ada"), happened(MoneyPaidIn, amount=1)
    append_events(a_stream(), opened, paid_in, store=a_store())
    with pytest.raises(ValueError, match="not today") as caught:
        run_to_caught_up(Holders(refused), store=a_store())
    assert caught.value is refused
    assert not CustomerSummary.objects.exists()
    assert not DeadLetter.objects.exists()
    run_to_caught_up(Holders(), store=a_store())
    assert CustomerSummary.objects.get().order_count == 2


@BOTH_KINDS
def test_a_databases_error_comes_out_as_it_is(kind: str) -> None:
    for _ in range(2):
        append_events(a_stream(), happened(AccountOpened, holder="ada"), store=a_store())
    with pytest.raises(Exception, match="duplicate key"):
        run_to_caught_up(Holders(), store=a_store())
    assert not CustomerSummary.objects.exists()


@BOTH_KINDS
def test_with_park_the_event_becomes_a_dead_letter_and_the_others_go_on(kind: str) -> None:
    bad = a_stream()
    append_events(
        bad, happened(AccountOpened, holder="ada"), happened(MoneyPaidIn, amount=1), store=a_store()
    )
    append_events(a_stream(), happened(AccountOpened, holder="bob"), store=a_store())
    run_to_caught_up(Holders(PermanentError("never")), store=a_store(), park=True)
    letter = DeadLetter.objects.get()
    assert (letter.aggregate_id, letter.state, letter.error_message) == (bad.aggregate_id, "dead", "never")
    assert set(CustomerSummary.objects.values_list("customer_id", flat=True)) == {"ada", "bob"}


@BOTH_KINDS
def test_the_lease_is_given_back_after_success_and_after_an_error(kind: str) -> None:
    append_events(a_stream(), happened(MoneyPaidIn, amount=1), store=a_store())
    run_to_caught_up("orders")
    with pytest.raises(ValueError, match="no"):
        run_to_caught_up(Holders(ValueError("no")), store=a_store())
    assert set(Checkpoint.objects.values_list("subscription", "owner")) == {
        ("orders", None),
        ("Holders", None),
    }


@BOTH_KINDS
def test_every_declared_subscription_runs_when_none_is_named(kind: str) -> None:
    kept, called_off = (place_order(PlaceOrder("ada", Decimal("20.00"))) for _ in range(2))
    cancel_order(CancelOrder(called_off.order_id, "a test"))
    run_to_caught_up()
    assert CustomerSummary.objects.get().total_spent == Decimal("20.00")
    assert OrderSummary.objects.get(order_id=kept.order_id).status == "created"


@pytest.mark.django_db
def test_a_class_runs_under_its_declared_name_and_configuration() -> None:
    run_to_caught_up(OrderSummaryProjection)
    assert Checkpoint.objects.get().subscription == "orders"


@pytest.mark.django_db
def test_a_name_that_nobody_declared_is_a_sentence() -> None:
    with pytest.raises(LookupError, match="no subscription 'order'; declared are: customers"):
        run_to_caught_up("order")


@pytest.mark.django_db
def test_several_pages_and_several_partitions(settings: Any) -> None:
    settings.EVENTSOURCE = {
        **settings.EVENTSOURCE,
        "SUBSCRIPTIONS": {"orders": {"batch_size": 3, "partitions": 4}},
    }
    placed = [place_order(PlaceOrder("ada", Decimal("1.00"))) for _ in range(20)]
    run_to_caught_up("orders")
    assert Checkpoint.objects.count() == 4
    assert OrderSummary.objects.count() == len(placed)


@pytest.mark.django_db
def test_beside_a_running_worker_it_refuses() -> None:
    run_to_caught_up("orders")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE eventsource_app_checkpoint SET owner = 'w-1', lease_expires_at = now() + interval '1 hour'"
        )
    with pytest.raises(PartitionTakenError, match="run by w-1"):
        run_to_caught_up("orders")


@pytest.mark.django_db
def test_what_a_worker_would_refuse_is_refused_here() -> None:
    run_to_caught_up("orders")
    Checkpoint.objects.update(position=10**9)
    with pytest.raises(SubscriptionRefusedError, match="ahead of the log"):
        run_to_caught_up("orders")


@pytest.mark.django_db
def test_whole_events_must_carry_the_version_that_comes_next() -> None:
    stream = StreamId(ORDER, uuid4())
    first = OrderCreated(
        aggregate_id=stream.aggregate_id, aggregate_version=1, customer_id="ada", total=Decimal(1)
    )
    assert append_events(stream, first, happened(OrderShipped, tracking_number="T")).version == 2
    other = first.model_copy(update={"event_id": uuid4()})
    with pytest.raises((WrongExpectedVersionError, ValueError)):
        append_events(stream, other)


@pytest.mark.django_db(transaction=True)
def test_an_error_at_commit_comes_out_too() -> None:
    class AtCommit(Projection):
        @handles(AccountOpened)
        def opened(self, event: AccountOpened) -> None:
            transaction.on_commit(lambda: None)
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO deferred_child VALUES (1)")

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE deferred_parent (id int PRIMARY KEY)")
        cursor.execute(
            "CREATE TABLE deferred_child (id int REFERENCES deferred_parent DEFERRABLE INITIALLY DEFERRED)"
        )
    try:
        append_events(a_stream(), happened(AccountOpened, holder="ada"), store=a_store())
        with pytest.raises(Exception, match="deferred_child"):
            run_to_caught_up(AtCommit(), store=a_store())
        assert not DeadLetter.objects.exists()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE deferred_child, deferred_parent")


class InATestCase(ProjectionTestMixin, TestCase):
    """The mixin, where the test's transaction is rolled back."""

    projections: ClassVar = (OrderSummaryProjection,)

    def test_append_catch_up_and_look(self) -> None:
        stream = StreamId(ORDER, uuid4())
        self.append(stream, happened(OrderCreated, customer_id="ada", total="9.00"))
        self.catch_up()
        self.append(stream, happened(OrderShipped, tracking_number="T-1"))
        self.catch_up()
        assert OrderSummary.objects.get().status == "shipped"
        assert not CustomerSummary.objects.exists()

    def test_another_projection_for_once(self) -> None:
        self.append(StreamId(ORDER, uuid4()), happened(OrderCreated, customer_id="ada", total="9.00"))
        self.catch_up("customers")
        assert CustomerSummary.objects.get().order_count == 1
        assert not OrderSummary.objects.exists()


class InATransactionTestCase(ProjectionTestMixin, TransactionTestCase):
    """The mixin, where everything is committed."""

    def test_append_catch_up_and_look(self) -> None:
        self.append(StreamId(ORDER, uuid4()), happened(OrderCreated, customer_id="ada", total="9.00"))
        self.catch_up()
        assert OrderSummary.objects.get().status == "created"
        assert CustomerSummary.objects.get().order_count == 1


def test_the_fixture_gives_a_database_in_a_transaction(caught_up: CaughtUp) -> None:
    assert connection.in_atomic_block
    place_order(PlaceOrder("ada", "5.00"))
    caught_up("orders")
    assert OrderSummary.objects.count() == 1


def test_the_fixture_goes_with_a_transactional_database(transactional_db: None, caught_up: CaughtUp) -> None:
    assert not connection.in_atomic_block
    place_order(PlaceOrder("ada", "5.00"))
    caught_up()
    assert OrderSummary.objects.count() == 1
    assert CustomerSummary.objects.count() == 1
