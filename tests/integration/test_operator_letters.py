"""An operator retries and discards dead letters beside the workers, from any process, and nothing is handled twice."""

import threading
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError

from eventsource_app.models import Checkpoint, DeadLetter
from eventsource_app.store import StreamId
from eventsource_app.subscriptions import SubscriptionConfig, letters
from eventsource_app.subscriptions.control import ControlError, UnknownSubscriptionError
from eventsource_app.subscriptions.letters import LetterResult, LetterTakenError, UnknownLetterError
from eventsource_app.subscriptions.registry import Subscription
from tests.integration.ledger import NAME, QUICK, Gate, World, in_background, query, run_sql
from tests.waiting import wait_for

LATER: dict[str, Any] = {"initial_retry_delay": 3600, "max_retry_delay": 3600}
WHO = "ada"


def code(world: World, **config: Any) -> dict[str, Subscription]:
    """The subscriptions as the operator's process declares them."""
    return {NAME: Subscription(NAME, world.ledger, SubscriptionConfig(**{**QUICK, **LATER, **config}))}


def poisoned(world: World, version: int = 2, payments: int = 4, **config: Any) -> StreamId:
    """An account whose event at ``version`` has a letter, with the later ones behind it; no worker runs."""
    (stream,) = world.accounts(1)
    world.pay_in(stream, payments - 1)
    world.ledger.fails_at(stream, version, ValueError("poison"))
    world.catch_up(**{**LATER, **config})
    return stream


def retry(world: World, letter_id: int | None = None, **config: Any) -> LetterResult:
    return letters.retry_letter(
        letter_id or world.letter().pk, WHO, store=world.store, subscriptions=code(world, **config)
    )


def test_a_retry_handles_the_event_and_then_what_waits_behind_it(world: World) -> None:
    stream = poisoned(world)
    world.ledger.is_fixed()
    before = world.checkpoint()

    result = retry(world)

    assert (result.outcome, result.handled_count, result.failed_position) == ("resolved", 3, None)
    assert world.versions(stream) == [1, 2, 3, 4]
    letter = world.letter()
    assert (letter.state, letter.closed_by, letter.replayed_through) == ("resolved", WHO, None)
    assert letter.closed_at is not None
    after = world.checkpoint()
    assert after.events_processed == before.events_processed + 3
    assert after.retry_count == before.retry_count + 1


def test_it_needs_no_lease_and_leaves_the_owners_alone(world: World) -> None:
    poisoned(world)
    world.ledger.is_fixed()
    world.start(**LATER)
    wait_for(lambda: world.checkpoint().owner)
    before = world.checkpoint()

    assert retry(world).outcome == "resolved"

    after = world.checkpoint()
    assert (after.owner, after.epoch, after.position) == (before.owner, before.epoch, before.position)


def test_a_running_worker_lets_the_aggregate_flow_again(world: World) -> None:
    stream = poisoned(world)
    manager = world.start(**LATER)
    world.pay_in(stream)
    world.wait_until_caught_up()  # so the worker knows by now that this aggregate is parked
    assert world.versions(stream) == [1]
    world.ledger.is_fixed()
    retry(world)
    world.pay_in(stream)
    world.wait_until_caught_up()
    manager.stop()
    assert world.versions(stream) == [1, 2, 3, 4, 5, 6]


def test_a_retry_of_an_unowned_checkpoint_does_not_make_it_look_owned(world: World) -> None:
    poisoned(world)
    retry(world)
    row = world.checkpoint()
    assert (row.owner, row.lease_expires_at) == (None, None)


def test_a_failed_retry_says_so_and_keeps_the_letter(world: World) -> None:
    stream = poisoned(world)

    result = retry(world)

    assert (result.outcome, result.failed_position, result.error) == ("failed", result.position, "poison")
    letter = world.letter()
    assert (letter.state, letter.retry_count) == ("parked", 1)
    assert world.versions(stream) == [1]
    assert world.checkpoint().events_failed == 2


def test_what_fails_at_commit_is_a_failed_retry_too(world: World) -> None:
    poisoned(world)
    world.ledger.is_fixed()
    run_sql("ALTER TABLE ledger_line ADD UNIQUE (version) DEFERRABLE INITIALLY DEFERRED")
    run_sql("INSERT INTO ledger_line (position, aggregate_id, version) SELECT 0, gen_random_uuid(), 2")

    result = retry(world)

    assert result.outcome == "failed"
    assert "duplicate key" in (result.error or "")
    assert world.letter().error_type == f"django.db.utils.{IntegrityError.__name__}"


def test_a_follower_that_fails_gets_a_letter_of_its_own(world: World) -> None:
    stream = poisoned(world)
    world.ledger.is_fixed()
    world.ledger.fails_at(stream, 3, KeyError("another"))

    result = retry(world)

    first, second = world.letters()
    assert (result.outcome, result.handled_count, result.failed_position) == ("failed", 1, second.position)
    assert (first.state, second.state) == ("resolved", "parked")
    assert world.versions(stream) == [1, 2]


def test_ctrl_c_in_a_retry_is_not_held_against_the_letter(world: World) -> None:
    stream = poisoned(world)

    def interrupt() -> None:
        raise KeyboardInterrupt

    world.ledger.traps[stream.aggregate_id, 2] = interrupt
    before = world.letter()
    with pytest.raises(KeyboardInterrupt):
        retry(world)
    after = world.letter()
    assert (after.state, after.next_retry_at) == (before.state, before.next_retry_at)
    assert (after.tried_position, after.retry_count) == (None, 0)


def test_the_world_at_fault_is_not_held_against_the_letter(world: World) -> None:
    stream = poisoned(world)
    world.ledger.fails_at(stream, 2, ConnectionError("refused"))

    with pytest.raises(ControlError, match="could not be tried: refused"):
        retry(world)

    assert (world.letter().retry_count, world.letter().state) == (0, "parked")


def test_a_dead_letter_is_retried_and_stays_dead_when_it_fails(world: World) -> None:
    poisoned(world, max_retries=0)
    assert world.letter().state == "dead"
    assert retry(world, max_retries=0).outcome == "failed"
    assert world.letter().state == "dead"
    world.ledger.is_fixed()
    assert retry(world, max_retries=0).outcome == "resolved"


def test_a_closed_letter_and_an_unknown_one_are_refused(world: World) -> None:
    poisoned(world)
    world.ledger.is_fixed()
    retry(world)
    with pytest.raises(LetterTakenError, match="is resolved already"):
        retry(world)
    with pytest.raises(UnknownLetterError, match="no dead letter 987"):
        retry(world, 987)


def test_a_subscription_without_code_is_told_with_the_known_ones(world: World) -> None:
    poisoned(world)
    with pytest.raises(
        UnknownSubscriptionError, match=r"'ledger' is declared .* known are: customers, orders"
    ):
        letters.retry_letter(world.letter().pk, WHO, store=world.store)


def test_the_shell_of_an_old_release_is_refused(world: World) -> None:
    """It would pass the new types' events without a handler and call the letter resolved."""
    poisoned(world)
    Checkpoint.objects.update(handled_types=["MoneyPaidIn", "NoteTaken"])
    for verb in (retry, _discard):
        with pytest.raises(ControlError, match="handles fewer event types than ledger did last"):
            verb(world)
    assert world.letter().state == "parked"


def test_every_verb_leaves_a_line_with_who_did_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    poisoned(world)
    caplog.set_level("INFO", "eventsource.operator")
    retry(world)
    _discard(world)
    lines = [vars(r) for r in caplog.records if r.name == "eventsource.operator"]
    assert [(line["verb"], line["who"], line["outcome"]) for line in lines] == [
        ("retry", WHO, "failed"),
        ("discard", WHO, "discarded"),
    ]


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _discard(world: World) -> LetterResult:
    return letters.discard(world.letter().pk, WHO, "no", store=world.store, subscriptions=code(world))


def test_all_letters_of_an_aggregate(world: World) -> None:
    (stream, other) = world.accounts(2)
    world.pay_in(stream)
    for each in (stream, other):
        world.ledger.fails_at(each, 1, ValueError("poison"))
    world.ledger.fails_at(stream, 2, ValueError("poison"))
    world.catch_up(**LATER, dead_letter_scope="event")
    world.ledger.is_fixed()

    report = letters.retry_aggregate(
        NAME,
        stream.aggregate_id,
        WHO,
        store=world.store,
        subscriptions=code(world, dead_letter_scope="event"),
    )

    assert report.is_clean
    assert [result.outcome for result in report.results] == ["resolved", "resolved"]
    assert (world.versions(stream), world.versions(other)) == ([1, 2], [])
    with pytest.raises(UnknownLetterError, match="no open dead letter of aggregate"):
        letters.retry_aggregate(NAME, stream.aggregate_id, WHO, store=world.store)


def test_all_letters_of_a_subscription_with_progress(world: World) -> None:
    streams = world.accounts(3)
    world.accounts(1)
    for stream in streams:
        world.ledger.fails_at(stream, 1, ValueError("poison"))
    world.catch_up(**LATER)
    world.ledger.is_fixed()
    world.ledger.fails_at(streams[1], 1, ValueError("still"))
    told: list[int] = []

    report = letters.retry_all(
        NAME, WHO, store=world.store, subscriptions=code(world), on_progress=told.append
    )

    assert (report.count("resolved"), report.count("failed"), report.left_count) == (2, 1, 0)
    assert not report.is_clean
    assert told == [1, 1, 1]


def test_a_retry_of_many_goes_on_after_one_that_meets_a_broken_world(world: World) -> None:
    streams = world.accounts(3)
    for stream in streams:
        world.ledger.fails_at(stream, 1, ValueError("poison"))
    world.catch_up(**LATER)
    world.ledger.is_fixed()
    world.ledger.fails_at(streams[1], 1, ConnectionError("refused"))

    report = letters.retry_all(NAME, WHO, store=world.store, subscriptions=code(world))

    assert [result.outcome for result in report.results] == ["resolved", "refused", "resolved"]
    assert "could not be tried: refused" in letters.sentence(report.results[1])
    assert not report.is_clean


def test_a_retry_of_many_tells_what_was_done_before_the_database_went(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = streams = world.accounts(3)
    for stream in streams:
        world.ledger.fails_at(stream, 1, ValueError("poison"))
    world.catch_up(**LATER)
    world.ledger.is_fixed()

    def go_away(_count: int) -> None:
        monkeypatch.setattr(letters, "fetch_all", answer_nothing)

    report = letters.retry_all(NAME, WHO, store=world.store, subscriptions=code(world), on_progress=go_away)

    assert ([result.outcome for result in report.results], report.left_count) == (["resolved"], 2)
    assert world.versions(first) == [1]


def answer_nothing(*_: Any) -> Any:
    raise OperationalError("the connection is closed")


def test_a_retry_of_many_ends_in_time(world: World) -> None:
    poisoned(world)
    report = letters.retry_letters(
        [world.letter().pk] * 3, WHO, store=world.store, subscriptions=code(world), seconds=-1
    )
    assert (report.results, report.left_count) == ((), 3)


def test_of_two_operators_one_wins_and_the_other_is_told(world: World) -> None:
    stream = poisoned(world)
    letter_id = world.letter().pk
    results: list[LetterResult] = []
    with Gate() as gate:
        world.ledger.is_fixed()
        world.ledger.traps[stream.aggregate_id, 2] = gate
        first = in_background(lambda: results.append(retry(world, letter_id)))
        gate.wait_until_reached()
        second = in_background(lambda: results.append(retry(world, letter_id)))
        _wait_for_a_blocked_session()
    first.join()
    second.join()

    assert sorted(result.outcome for result in results) == ["resolved", "taken"]
    world.assert_each_once()


def test_the_other_is_told_also_when_the_first_one_failed(world: World) -> None:
    """Whoever is first writes the failure down; the letter is then not what the other saw."""
    stream = poisoned(world)
    letter_id = world.letter().pk
    results: list[LetterResult] = []
    gate = Gate()

    def wait_and_fail() -> None:
        gate()
        raise ValueError("again")

    world.ledger.traps[stream.aggregate_id, 2] = wait_and_fail
    threads = [in_background(lambda: results.append(retry(world, letter_id)))]
    gate.wait_until_reached()
    threads.append(in_background(lambda: results.append(retry(world, letter_id))))
    _wait_for_a_blocked_session()
    gate.open()
    for thread in threads:
        thread.join()

    assert sorted(result.outcome for result in results) == ["failed", "taken"]
    assert world.letter().retry_count == 1


def test_an_operator_who_meets_the_worker_is_told(world: World) -> None:
    stream = poisoned(world)
    results: list[LetterResult] = []
    with Gate() as gate:
        world.ledger.is_fixed()
        world.ledger.traps[stream.aggregate_id, 2] = gate
        DeadLetter.objects.update(next_retry_at="2020-01-01T00:00:00Z")
        world.start(**LATER)
        gate.wait_until_reached()
        operator = in_background(lambda: results.append(retry(world)))
        _wait_for_a_blocked_session()
    operator.join()

    assert [result.outcome for result in results] == ["taken"]
    wait_for(lambda: world.versions(stream) == [1, 2, 3, 4])
    assert world.letter().closed_by == "worker"


def test_discard_skips_the_one_event_and_handles_those_behind_it(world: World) -> None:
    stream = poisoned(world)

    result = letters.discard(
        world.letter().pk, WHO, " a test payment ", store=world.store, subscriptions=code(world)
    )

    assert (result.outcome, result.handled_count) == ("discarded", 2)
    assert world.versions(stream) == [1, 3, 4]
    letter = world.letter()
    assert (letter.state, letter.closed_by, letter.close_reason) == ("discarded", WHO, "a test payment")
    assert letter.replayed_through is None


def test_after_a_discard_the_worker_replays_what_the_operator_did_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator's process dies between the discard's commit and the followers."""
    stream = poisoned(world)
    generation = world.checkpoint().parked_generation
    with monkeypatch.context() as patched:
        patched.setattr(letters, "_replay", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            _discard(world)
    assert world.versions(stream) == [1]
    assert world.checkpoint().parked_generation == generation + 1

    world.start(**LATER)
    wait_for(lambda: world.versions(stream) == [1, 3, 4])
    wait_for(lambda: world.letter().replayed_through is None)
    assert world.letter().state == "discarded"


def test_discard_wants_a_reason_and_an_open_letter(world: World) -> None:
    poisoned(world)
    letter_id = world.letter().pk
    with pytest.raises(ControlError, match="A reason is needed"):
        letters.discard(letter_id, WHO, "  ", store=world.store, subscriptions=code(world))
    letters.discard(letter_id, WHO, "no", store=world.store, subscriptions=code(world))
    with pytest.raises(LetterTakenError, match="is discarded already"):
        letters.discard(letter_id, WHO, "no", store=world.store, subscriptions=code(world))


def test_of_a_retry_and_a_discard_at_once_one_wins(world: World) -> None:
    stream = poisoned(world)
    letter_id = world.letter().pk
    results: list[LetterResult] = []
    errors: list[ControlError] = []

    def discard() -> None:
        try:
            letters.discard(letter_id, WHO, "no", store=world.store, subscriptions=code(world))
        except ControlError as error:
            errors.append(error)

    with Gate() as gate:
        world.ledger.is_fixed()
        world.ledger.traps[stream.aggregate_id, 2] = gate
        first = in_background(lambda: results.append(retry(world, letter_id)))
        gate.wait_until_reached()
        second = in_background(discard)
        _wait_for_a_blocked_session()
    first.join()
    second.join()

    assert [result.outcome for result in results] == ["resolved"]
    assert [type(error) for error in errors] == [LetterTakenError]
    world.assert_each_once()


def test_many_operators_and_a_worker_at_once_handle_each_event_once(world: World) -> None:
    streams = world.accounts(6)
    for stream in streams:
        world.pay_in(stream, 3)
        world.ledger.fails_at(stream, 2, ValueError("poison"))
    world.catch_up(**LATER, circuit_breaker_enabled=False)
    assert len(world.letters()) == 6
    world.ledger.is_fixed()
    world.start(**LATER)
    begin = threading.Barrier(3)

    def operate() -> None:
        begin.wait()
        letters.retry_all(NAME, WHO, store=world.store, subscriptions=code(world))

    threads = [in_background(operate) for _ in range(3)]
    for thread in threads:
        thread.join()

    wait_for(lambda: not DeadLetter.objects.filter(replayed_through__isnull=False).exists())
    assert {letter.state for letter in world.letters()} == {"resolved"}
    for stream in streams:
        assert world.versions(stream) == [1, 2, 3, 4]
    assert Checkpoint.objects.get().events_processed == 24


def _wait_for_a_blocked_session() -> None:
    """Somebody waits for a row's lock."""
    wait_for(
        lambda: query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ),
        what="a session that waits for a lock",
    )
