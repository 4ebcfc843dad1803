"""What a projection handles, and what is refused when its class is made."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from eventsource_app.events import DomainEvent
from eventsource_app.store import RecordedEvent
from eventsource_app.subscriptions import ConfigurationError, Projection, SubscriptionConfig, handles
from eventsource_app.subscriptions import registry as registry_module
from eventsource_app.subscriptions.registry import Subscription, declared_subscriptions, subscription
from tests.builders import AccountOpened, MoneyPaidIn, NoteTaken, a_stream, note, paid_in


def recorded(event: DomainEvent, position: int = 7) -> RecordedEvent:
    return RecordedEvent(position, event, datetime.now(UTC))


class Seen(Projection):
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    @handles(MoneyPaidIn)
    def paid_in(self, event: MoneyPaidIn) -> None:
        self.calls.append(("paid_in", event))

    @handles(AccountOpened, NoteTaken)
    def others(self, event: DomainEvent, recorded: RecordedEvent) -> None:
        self.calls.append(("others", event, recorded.position))


def test_each_event_goes_to_its_method_with_what_it_asks_for() -> None:
    projection, stream = Seen(), a_stream()
    payment, remark = paid_in(stream), note(stream, "hello", 2)
    projection.handle(recorded(payment))
    projection.handle(recorded(remark, 8))
    assert projection.calls == [("paid_in", payment), ("others", remark, 8)]


def test_an_event_without_a_method_passes_by() -> None:
    class OnlyNotes(Projection):
        @handles(NoteTaken)
        def see(self, event: NoteTaken) -> None:
            raise AssertionError

    OnlyNotes().handle(recorded(paid_in(a_stream())))


def test_it_asks_for_what_it_handles() -> None:
    assert Seen.event_types() == ("AccountOpened", "MoneyPaidIn", "NoteTaken")
    assert not Seen.takes_batches()


def test_a_batch_projection_says_what_it_handles_or_takes_all() -> None:
    class Some(Projection):
        handled_events = (NoteTaken, MoneyPaidIn)

        def handle_batch(self, recorded: list[RecordedEvent]) -> None: ...

    class All(Projection):
        def handle_batch(self, recorded: list[RecordedEvent]) -> None: ...

    assert Some.event_types() == ("MoneyPaidIn", "NoteTaken")
    assert All.event_types() is None
    assert Some.takes_batches()


def test_methods_are_inherited() -> None:
    class More(Seen):
        pass

    assert More.event_types() == Seen.event_types()


def test_an_overriding_method_handles_what_the_overridden_one_does_unless_it_says_otherwise() -> None:
    class Louder(Seen):
        def paid_in(self, event: MoneyPaidIn) -> None:
            self.calls.append(("louder", event))

        @handles(AccountOpened)
        def others(self, event: DomainEvent, recorded: RecordedEvent) -> None: ...

    projection, payment = Louder(), paid_in(a_stream())
    projection.handle(recorded(payment))
    assert projection.calls == [("louder", payment)]
    assert Louder.event_types() == ("AccountOpened", "MoneyPaidIn")


def test_a_method_that_is_taken_out_handles_nothing() -> None:
    class Fewer(Seen):
        paid_in = None  # type: ignore[assignment]

    assert Fewer.event_types() == ("AccountOpened", "NoteTaken")


def test_one_event_in_two_methods_is_refused() -> None:
    with pytest.raises(TypeError, match="Twice handles MoneyPaidIn twice, in one and two"):

        class Twice(Projection):
            @handles(MoneyPaidIn)
            def one(self, event: MoneyPaidIn) -> None: ...

            @handles(MoneyPaidIn)
            def two(self, event: MoneyPaidIn) -> None: ...


def test_both_kinds_in_one_class_are_refused() -> None:
    with pytest.raises(TypeError, match="Both has both handle_batch and @handles"):

        class Both(Projection):
            @handles(MoneyPaidIn)
            def one(self, event: MoneyPaidIn) -> None: ...

            def handle_batch(self, recorded: list[RecordedEvent]) -> None: ...


def test_what_a_call_would_not_run_is_refused() -> None:
    """As from the tutorial with its async left in: each event would be passed over as handled."""
    with pytest.raises(TypeError, match=r"Tutorial\.one is async or a generator"):

        class Tutorial(Projection):
            @handles(MoneyPaidIn)
            async def one(self, event: MoneyPaidIn) -> None: ...

    with pytest.raises(TypeError, match=r"Batches\.handle_batch is async or a generator"):

        class Batches(Projection):
            def handle_batch(self, recorded: list[RecordedEvent]) -> Iterator[RecordedEvent]:
                yield from recorded

    with pytest.raises(TypeError, match=r"Everything\.handle is async or a generator"):

        class Everything(Projection):
            async def handle(self, recorded: RecordedEvent) -> None: ...  # type: ignore[override]

    with pytest.raises(TypeError, match=r"Emptied\.reset is async or a generator"):

        class Emptied(Projection):
            async def reset(self) -> None: ...  # type: ignore[override]


def test_the_base_of_all_events_is_none_to_handle() -> None:
    with pytest.raises(TypeError, match="EveryEvent handles DomainEvent itself"):

        class EveryEvent(Projection):
            @handles(MoneyPaidIn, DomainEvent)
            def see(self, event: DomainEvent) -> None: ...

    with pytest.raises(TypeError, match="EveryBatch handles DomainEvent itself"):

        class EveryBatch(Projection):
            handled_events = (DomainEvent,)

            def handle_batch(self, recorded: list[RecordedEvent]) -> None: ...


def test_handles_needs_an_event() -> None:
    with pytest.raises(TypeError, match="at least one event class"):
        handles()


def test_a_projection_without_reset_cannot_be_rebuilt() -> None:
    with pytest.raises(NotImplementedError, match="Seen cannot be rebuilt"):
        Seen().reset()


@pytest.fixture
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "_declared", {})


@pytest.mark.usefixtures("nothing_declared")
def test_declared_subscriptions_are_found_with_the_settings_changes(settings: Any) -> None:
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "SUBSCRIPTIONS": {"seen": {"batch_size": 7}}}
    assert subscription("seen", SubscriptionConfig(max_retries=2))(Seen) is Seen
    (found,) = declared_subscriptions().values()
    assert (found.name, type(found.projection)) == ("seen", Seen)
    assert (found.config.batch_size, found.config.in_flight_limit, found.config.max_retries) == (7, 70, 2)


@pytest.mark.usefixtures("nothing_declared")
def test_a_projection_that_handles_nothing_is_not_subscribed() -> None:
    """Its methods were not marked: it would pass over the whole log, and look healthy."""

    class Unmarked(Projection):
        def paid_in(self, event: MoneyPaidIn) -> None: ...

    class Whole(Projection):
        def handle(self, recorded: RecordedEvent) -> None: ...

    with pytest.raises(ConfigurationError, match="Unmarked handles nothing"):
        Subscription("unmarked", Unmarked(), SubscriptionConfig())
    assert Subscription("whole", Whole(), SubscriptionConfig()).event_types is None


def test_what_is_no_projection_is_not_subscribed() -> None:
    """As from the tutorial, whose projections have no base."""

    class PartitionedProjection:
        def handle(self, event: DomainEvent) -> None: ...

    with pytest.raises(ConfigurationError, match="PartitionedProjection is no Projection"):
        Subscription("orders", PartitionedProjection(), SubscriptionConfig())  # type: ignore[arg-type]


def test_a_name_belongs_to_one_class() -> None:
    class Other(Projection):
        pass

    subscription("seen")(Seen)
    subscription("seen")(Seen)  # imported again
    with pytest.raises(ConfigurationError, match="declared by Seen and by"):
        subscription("seen")(Other)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b", "\udcff"])
def test_a_name_that_the_database_cannot_keep_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Subscription name .* cannot be"):
        Subscription(name, Seen(), SubscriptionConfig())


def test_a_name_may_be_long_and_in_any_language() -> None:
    assert Subscription("größe " + "漢" * 194, Seen(), SubscriptionConfig()).config.batch_size == 100


def test_configured_event_types_go_before_the_handled_ones() -> None:
    assert Subscription("seen", Seen(), SubscriptionConfig()).event_types == Seen.event_types()
    narrowed = Subscription("seen", Seen(), SubscriptionConfig(event_types=(NoteTaken,)))
    assert narrowed.event_types == ("NoteTaken",)
    assert narrowed.feed_filter(1, 4).partition == (1, 4)
    assert narrowed.feed_filter(1, 4).event_types == ("NoteTaken",)
