"""Delivery, parking and retry against a simple model: whatever happens in whatever order, the read model is what the model says."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventsource_app.store import EventStore, ExpectedVersion, RecordedEvent
from eventsource_app.subscriptions import (
    CheckpointStrategy,
    Projection,
    SubscriptionConfig,
    checkpoints,
    letters,
)
from eventsource_app.subscriptions.attempts import Limits
from eventsource_app.subscriptions.careful import DEATHS_TO_PARK
from eventsource_app.subscriptions.circuit_breaker import CircuitBreaker
from eventsource_app.subscriptions.delivery import Delivery
from eventsource_app.subscriptions.interruptions import LetterClosedError
from eventsource_app.subscriptions.lane import Page
from eventsource_app.subscriptions.redelivery import Redelivery
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.reporting import ErrorCallbacks
from tests.builders import a_store, a_stream, payments
from tests.integration.ledger import MAKE_TABLE, NAME, BatchLedger, Ledger, query, run_sql

USING = "default"
AGGREGATES = 4
MAX_RETRIES = 2
Spot = tuple[int, int]  # which aggregate, which version
WAITING = ("parked", "retrying", "dead")
aggregates = st.integers(0, AGGREGATES - 1)
chosen = st.integers(0, 50)  # picks one of what there is


class DeathError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def die() -> None:
    raise DeathError


@dataclass
class Letter:
    """A dead letter as the model has it."""

    spot: Spot
    state: str
    retry_count: int = 0
    replayed_through: int | None = None
    deaths: int = 0  # of processes, at the event that is tried next

    @property
    def is_open(self) -> bool:
        return self.state in ("parked", "retrying", "dead") or self.replayed_through is not None


class Model:
    """What must be true. Events are known by their index in the log; ``committed`` is how many the checkpoint has passed."""

    def __init__(self) -> None:
        self.log: list[Spot] = []
        self.poison: set[Spot] = set()
        self.applied: dict[int, list[int]] = {number: [] for number in range(AGGREGATES)}
        self.letters: dict[int, Letter] = {}
        self.run: list[int] = []
        self.known: set[int] = set()  # the parked aggregates, as of the last attempt
        self.passed: set[int] = set()  # those of them that a run has gone over
        self.committed = self.read = 0

    def deliver(self, count: int) -> bool:
        """Hand over the next events; a run of failures is parked by the first success after it, or at the log's end.

        ``False``: a letter was closed after events behind it had been passed over, so it begins again where it had committed.
        """
        end = min(self.read + count, len(self.log))
        for index in range(self.read, end):
            if not self._deliver_one(index):
                return False
        self.read = end
        if (not self.run or end == len(self.log)) and self.committed < end:
            return self._commit(end)
        return True

    def _deliver_one(self, index: int) -> bool:
        number, version = self.log[index]
        if self.run and number in self.known | self._failing():
            self.passed |= {number} & self.known
            return True
        if not self._look():
            return False
        if (number, version) in self.poison and number not in self.known:
            self.run.append(index)
            return True
        if number not in self.known:
            self.applied[number].append(version)
        return self._commit(index + 1)

    def _commit(self, end: int) -> bool:
        if not self._look():
            return False
        for index in self.run:
            self.letters[index] = Letter(self.log[index], "parked")
        self.run, self.passed, self.committed = [], set(), end
        return True

    def _look(self) -> bool:
        """Each attempt learns which aggregates are parked now."""
        self.known = {self.log[index][0] for index in self.open_letters()}
        if self.passed <= self.known | self._failing():
            return True
        self.crash()
        return False

    def _failing(self) -> set[int]:
        return {self.log[index][0] for index in self.run}

    def open_letters(self) -> list[int]:
        return sorted(index for index, letter in self.letters.items() if letter.is_open)

    def crash(self) -> None:
        self.run, self.passed, self.read = [], set(), self.committed

    def due(self) -> int | None:
        """The letter that the worker would try next, when every waiting time is over."""
        found = [i for i in self.open_letters() if self.letters[i].state != "dead"]
        return found[0] if found else None

    def retry(self, index: int) -> bool:
        """One attempt; say whether there is anything left to try behind it."""
        letter = self.letters[index]
        own = letter.replayed_through is None
        following = self.next_to_try(index)
        if following is None:
            letter.replayed_through = None
            return False
        kills, letter.deaths = letter.deaths >= DEATHS_TO_PARK, 0
        if kills or self.log[following] in self.poison:
            self._fail(letter, own, following, kills)
            return False
        self.applied[letter.spot[0]].append(self.log[following][1])
        letter.state = "resolved" if own else letter.state
        letter.replayed_through = following
        return True

    def _fail(self, letter: Letter, own: bool, following: int, kills: bool) -> None:
        if own:
            letter.retry_count += 1
            letter.state = "dead" if kills or letter.retry_count + 1 > MAX_RETRIES else "parked"
        else:
            letter.replayed_through = None
            self.letters[following] = Letter(self.log[following], "dead" if kills else "parked")

    def next_to_try(self, index: int) -> int | None:
        letter = self.letters[index]
        return index if letter.replayed_through is None else self._next_follower(letter)

    def die(self, index: int) -> None:
        """The process is gone in the middle of an attempt at a letter."""
        letter = self.letters[index]
        letter.deaths += 1
        letter.state = "retrying" if letter.replayed_through is None else letter.state
        self.crash()

    def _next_follower(self, letter: Letter) -> int | None:
        assert letter.replayed_through is not None
        behind = range(letter.replayed_through + 1, self.committed)
        return next((index for index in behind if self.log[index][0] == letter.spot[0]), None)

    def discard(self, index: int) -> None:
        letter = self.letters[index]
        letter.state, letter.replayed_through, letter.deaths = "discarded", index, 0

    def retry_all_behind(self, index: int) -> None:
        while self.retry(index):
            pass


class Machine(RuleBasedStateMachine):
    """The engine's delivery and redelivery beside the model, on a real database."""

    @initialize(
        in_batches=st.booleans(), strategy=st.sampled_from(CheckpointStrategy), batch_size=st.integers(1, 4)
    )
    def begin(self, in_batches: bool, strategy: CheckpointStrategy, batch_size: int) -> None:
        run_sql(
            "TRUNCATE eventsource_app_event, eventsource_app_checkpoint, eventsource_app_deadletter, ledger_line"
        )
        self.model = Model()
        self.store: EventStore = a_store()
        self.streams = [a_stream() for _ in range(AGGREGATES)]
        self.events: list[RecordedEvent] = []
        self.ledger = Ledger()
        projection: Projection = BatchLedger() if in_batches else self.ledger
        if isinstance(projection, BatchLedger):
            projection.ledger = self.ledger
        config = SubscriptionConfig(
            batch_size=batch_size,
            checkpoint_strategy=strategy,
            circuit_breaker_failure_threshold=1_000,  # it never opens, and the run is held back as if it might
            max_retries=MAX_RETRIES,
            initial_retry_delay=3600,
            max_retry_delay=3600,
        )
        self.subscription = Subscription(NAME, projection, config)
        checkpoints.create(USING, NAME, 1, 1, self.subscription.event_types)
        self.take_over()

    def take_over(self) -> None:
        """What a process does that finds an expired lease, of one that did not die of the event it had marked."""
        run_sql(
            "UPDATE eventsource_app_checkpoint SET lease_expires_at = now() - interval '1 second', careful_position = NULL"
        )
        (row,) = checkpoints.find(USING, [NAME])
        lease = checkpoints.claim(USING, row, "worker", 3600)
        assert lease is not None
        limits, callbacks = Limits(3600, lambda: False), ErrorCallbacks()
        breaker = CircuitBreaker(self.subscription.config)
        self.delivery = Delivery(self.subscription, USING, lease, limits, callbacks, breaker)
        self.redelivery = Redelivery(self.subscription, USING, lease, 3600, callbacks, self.store)

    # What happens

    @rule(number=aggregates, count=st.integers(1, 3), poisoned=st.sets(st.integers(0, 2)))
    def append(self, number: int, count: int, poisoned: set[int]) -> None:
        """Append to one aggregate; the handler will fail at some of it."""
        stream, version = self.streams[number], self.store.stream_version(self.streams[number])
        expected = ExpectedVersion.exact(version) if version else ExpectedVersion.NO_STREAM
        self.store.append(stream, payments(stream, count, version + 1), expected)
        self.events += self.store.read_stream(stream, version + 1)
        for place in range(count):
            spot = (number, version + 1 + place)
            self.model.log.append(spot)
            if place in poisoned:
                self.model.poison.add(spot)
                self.ledger.fails_at(stream, spot[1], ValueError("poison"))

    @precondition(lambda self: self.model.poison)
    @rule(which=chosen)
    def heal(self, which: int) -> None:
        spots = sorted(self.model.poison)
        number, version = spots[which % len(spots)]
        self.model.poison.remove((number, version))
        del self.ledger.traps[self.streams[number].aggregate_id, version]

    @rule(count=st.integers(1, 9))
    def deliver(self, count: int) -> None:
        read = self.model.read
        events = self.events[read : read + count]
        after = self.position_of(read)
        page = Page(after, events, events[-1].position if events else after, read + count >= len(self.events))
        goes_on = True
        try:
            assert self.delivery.deliver(page)
        except LetterClosedError:
            goes_on = False
            self.delivery.forget(self.delivery.position)
        assert self.model.deliver(count) is goes_on

    @rule(processes=st.booleans())
    def crash(self, processes: bool) -> None:
        """The connection is lost, or the whole process: what was not committed is forgotten."""
        self.model.crash()
        if processes:
            self.take_over()
        else:
            self.delivery.forget(self.delivery.position)

    @precondition(lambda self: self.model.letters)
    @rule(times=st.integers(1, 4))
    def retry_due(self, times: int) -> None:
        """Time goes by, and the worker tries what is due, an attempt at a time."""
        for _ in range(times):
            self.let_time_go_by()
            due = self.model.due()
            assert self.redelivery.retry_due() is (due is not None)
            if due is not None:
                self.model.retry(due)

    @precondition(lambda self: self.model.due() is not None)
    @rule(times=st.integers(1, 3))
    def die_while_retrying(self, times: int) -> None:
        """The worker's process dies of the event that is due, and the next worker's too."""
        for _ in range(times):
            self.let_time_go_by()
            due = self.model.due()
            following = None if due is None else self.model.next_to_try(due)
            if due is None or following is None or self.model.letters[due].deaths >= DEATHS_TO_PARK:
                return
            self.kill_in_retry(self.model.log[following])
            self.model.die(due)
            self.take_over()

    @precondition(lambda self: self.model.open_letters())
    @rule(which=chosen)
    def operator_retries(self, which: int) -> None:
        index = self.pick(which)
        letters.retry_letter(self.letter_id(index), "me", store=self.store, subscriptions=self.known)
        self.model.retry_all_behind(index)

    @precondition(lambda self: any(self.model.letters[i].state in WAITING for i in self.model.open_letters()))
    @rule(which=chosen)
    def operator_discards(self, which: int) -> None:
        index = self.pick(which, *WAITING)
        letters.discard(self.letter_id(index), "me", "no use", store=self.store, subscriptions=self.known)
        self.model.discard(index)
        self.model.retry_all_behind(index)

    # What must be true

    @invariant()
    def each_aggregate_has_what_the_model_says_in_that_order(self) -> None:
        numbers: dict[UUID, int] = {stream.aggregate_id: n for n, stream in enumerate(self.streams)}
        applied: dict[int, list[int]] = {number: [] for number in range(AGGREGATES)}
        for aggregate_id, version in query("SELECT aggregate_id, version FROM ledger_line ORDER BY number"):
            applied[numbers[aggregate_id]].append(version)
        assert applied == self.model.applied

    @invariant()
    def the_letters_are_the_models(self) -> None:
        rows = query(
            "SELECT position, state, retry_count, replayed_through FROM eventsource_app_deadletter ORDER BY position"
        )
        assert rows == [
            (
                self.events[index].position,
                letter.state,
                letter.retry_count,
                None if letter.replayed_through is None else self.events[letter.replayed_through].position,
            )
            for index, letter in sorted(self.model.letters.items())
        ]

    @invariant()
    def the_checkpoint_is_where_the_model_is(self) -> None:
        rows = query("SELECT position, events_processed FROM eventsource_app_checkpoint")
        applied = sum(len(versions) for versions in self.model.applied.values())
        assert rows == [(self.position_of(self.model.committed), applied)]

    # Helpers

    @property
    def known(self) -> dict[str, Subscription]:
        return {NAME: self.subscription}

    def position_of(self, passed: int) -> int:
        """The position of a checkpoint that has passed so many events."""
        return self.events[passed - 1].position if passed else 1

    def let_time_go_by(self) -> None:
        run_sql("UPDATE eventsource_app_deadletter SET next_retry_at = now() WHERE state = 'parked'")
        run_sql("UPDATE eventsource_app_deadletter SET tried_at = tried_at - interval '2 hours'")

    def kill_in_retry(self, spot: Spot) -> None:
        place = (self.streams[spot[0]].aggregate_id, spot[1])
        laid = self.ledger.traps.pop(place, None)
        self.ledger.traps[place] = die
        with pytest.raises(DeathError):
            self.redelivery.retry_due()
        del self.ledger.traps[place]
        if laid is not None:
            self.ledger.traps[place] = laid

    def pick(self, which: int, *states: str) -> int:
        found = [i for i in self.model.open_letters() if not states or self.model.letters[i].state in states]
        return found[which % len(found)]

    def letter_id(self, index: int) -> int:
        found: list[tuple[Any, ...]] = query(
            "SELECT id FROM eventsource_app_deadletter WHERE position = %s", [self.events[index].position]
        )
        return int(found[0][0])


@pytest.fixture
def ledger_table(transactional_db: None) -> Iterator[None]:
    run_sql(MAKE_TABLE)
    yield
    run_sql("DROP TABLE ledger_line CASCADE")


@pytest.mark.slow
def test_whatever_happens_the_read_model_is_what_the_model_says(ledger_table: None) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=120,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("poisoned", [set(), {0}])
def test_an_event_passed_over_as_parked_is_not_lost_when_its_letter_is_closed_meanwhile(
    ledger_table: None, poisoned: set[int]
) -> None:
    """Found by the machine: failures of another aggregate are held back, an operator closes the letter, and the checkpoint moves."""
    machine = Machine()
    machine.begin(in_batches=False, strategy=CheckpointStrategy.EVERY_BATCH, batch_size=4)
    machine.append(number=0, count=1, poisoned={0})
    machine.deliver(count=1)
    machine.append(number=1, count=3, poisoned={0})
    machine.append(number=0, count=1, poisoned=poisoned)
    machine.append(number=2, count=1, poisoned=set())
    machine.deliver(count=2)  # held back: nobody has succeeded since, and the log goes on
    machine.operator_discards(which=0)
    for _ in range(4):
        machine.deliver(count=2)
    machine.each_aggregate_has_what_the_model_says_in_that_order()
    machine.the_letters_are_the_models()
    machine.the_checkpoint_is_where_the_model_is()
    assert machine.model.applied[0] == ([] if poisoned else [2])
