"""The operators' commands: what they print, what they refuse, and their exit status."""

import json
import signal
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from eventsource_app.models import Checkpoint, DeadLetter, WorkerHeartbeat
from eventsource_app.subscriptions import get_partition_for_aggregate, pruning
from orders.commands import PlaceOrder
from orders.services import place_order
from projections.models import OrderSummary
from projections.order_summary import OrderSummaryProjection
from tests.integration.poisoned_orders import PoisonedOrders, run_to_the_end

pytestmark = pytest.mark.django_db(transaction=True)
EVENTSOURCE = {
    "SUBSCRIPTIONS": {"orders": {"initial_retry_delay": 3600, "max_retry_delay": 3600}},
}

SIGNALS = ((signal.SIGINT, 130), (signal.SIGTERM, 143))


@pytest.fixture(autouse=True)
def _no_automatic_retries(settings: Any) -> None:
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, **EVENTSOURCE}


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> PoisonedOrders:
    return PoisonedOrders(monkeypatch)


def run(*arguments: Any) -> str:
    out = StringIO()
    call_command(*map(str, arguments), stdout=out)
    return out.getvalue()


def refused(*arguments: Any) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return caught.value


DATABASE_COMMANDS = (
    ("accept_event_types", "orders"),
    ("change_partitions", "orders", "--to", "2"),
    ("dead_letters", "list"),
    ("pause_subscription", "orders"),
    ("pool_plan",),
    ("prune",),
    ("readiness_report",),
    ("rebuild_projection", "orders"),
    ("reset_checkpoint", "orders", "--to", "0"),
    ("resume_subscription", "orders"),
    ("run_subscriptions", "--until-caught-up"),
    ("run_subscriptions", "--until-caught-up", "--processes", "2"),
    ("subscription_status",),
)


@pytest.mark.parametrize("command", DATABASE_COMMANDS)
def test_an_unknown_database_is_a_usage_error(command: tuple[str, ...]) -> None:
    error = refused(*command, "--database", "nope")
    assert str(error) == "There is no database 'nope' in DATABASES; there are: default."
    assert error.returncode == 2


@pytest.mark.parametrize(
    "command", [("pause_subscription", "orders"), ("prune",), ("accept_event_types", "orders")]
)
def test_a_database_that_takes_no_writes_is_a_sentence(command: tuple[str, ...]) -> None:
    Checkpoint.objects.create(subscription="orders")
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only TO on")
    try:
        error = refused(*command)
    finally:
        connection.close()
    assert error.returncode == 1
    assert str(error).startswith("Database 'default' takes no writes (cannot execute ")
    assert str(error).endswith("connect to the primary.")


class TestDeadLetters:
    def test_list_shows_the_open_ones(self, poisoned: PoisonedOrders) -> None:
        (letter,) = poisoned.letters
        line = run("dead_letters", "list")
        assert f"{letter.pk}  orders  OrderCreated at {letter.position}" in line
        assert "no such customer" in line
        poisoned.fix()
        run("dead_letters", "retry", letter.pk)
        assert run("dead_letters", "list") == "No open dead letters.\n"
        assert "resolved" in run("dead_letters", "list", "--all")

    def test_list_as_json_and_filtered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        poisoned = PoisonedOrders(monkeypatch, count=2)
        documents = json.loads(run("dead_letters", "list", "--json"))
        assert [row["id"] for row in documents] == [letter.pk for letter in poisoned.letters]
        assert documents[0]["state"] == "parked"
        assert documents[0]["last_failed_at"].endswith("Z")
        wanted = str(poisoned.order_ids[1])
        (found,) = json.loads(run("dead_letters", "list", "--json", "--aggregate", wanted))
        assert found["aggregate_id"] == wanted
        assert json.loads(run("dead_letters", "list", "--json", "--subscription", "customers")) == []

    def test_list_of_an_unknown_subscription_is_a_usage_error(self) -> None:
        Checkpoint.objects.create(subscription="retired")
        for options in ((), ("--all",), ("--json",)):
            error = refused("dead_letters", "list", "--subscription", "nope", *options)
            assert str(error) == (
                "No subscription 'nope' is declared or has a checkpoint or dead letters; "
                "known are: customers, orders, retired."
            )
            assert error.returncode == 2

    def test_list_knows_declared_subscriptions_and_what_is_left_of_others(
        self, poisoned: PoisonedOrders
    ) -> None:
        DeadLetter.objects.update(subscription="removed")
        Checkpoint.objects.create(subscription="retired")
        for name in ("customers", "retired"):
            assert run("dead_letters", "list", "--subscription", name) == "No open dead letters.\n"
        assert "no such customer" in run("dead_letters", "list", "--subscription", "removed")
        DeadLetter.objects.update(state="discarded", closed_at=timezone.now())
        assert run("dead_letters", "list", "--subscription", "removed") == "No open dead letters.\n"

    def test_show_tells_all_of_one(self, poisoned: PoisonedOrders) -> None:
        (letter,) = poisoned.letters
        assert "error_message: no such customer" in run("dead_letters", "show", letter.pk)
        document = json.loads(run("dead_letters", "show", letter.pk, "--json"))
        assert "ValueError" in document["traceback"]
        assert refused("dead_letters", "show", 987).returncode == 2

    def test_what_an_error_says_cannot_move_the_cursor_or_pass_for_another_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        evil = "\x1b[2J\x9b31m\u202eno\r\nstate: resolved"
        (letter,) = PoisonedOrders(monkeypatch, saying=evil).letters
        (listed,) = run("dead_letters", "list").splitlines()
        assert listed.endswith(r"\x1b[2J\x9b31m\u202eno state: resolved")
        shown = run("dead_letters", "show", letter.pk).split("\n")
        assert r"error_message: \x1b[2J\x9b31m\u202eno\r" in shown
        assert "    state: resolved" in shown
        assert [line for line in shown if line.startswith("state: ")] == ["state: parked"]
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("dead_letters", "retry", str(letter.pk), stdout=out)
        (told,) = out.getvalue().splitlines()
        assert told.endswith(r"failed again: \x1b[2J\x9b31m\u202eno state: resolved")
        (document,) = json.loads(run("dead_letters", "list", "--json"))
        assert document["error_message"] == evil

    def test_retry_resolves_and_replays(self, poisoned: PoisonedOrders) -> None:
        poisoned.fix()
        (letter,) = poisoned.letters
        said = run("dead_letters", "retry", letter.pk, "--who", "ada")
        assert said == (
            f"Dead letter {letter.pk} of orders (position {letter.position}) is resolved, 2 events handled.\n"
        )
        assert poisoned.statuses == ["shipped"]
        assert poisoned.letters[0].closed_by == "ada"

    def test_a_retry_that_fails_has_status_1(self, poisoned: PoisonedOrders) -> None:
        error = refused("dead_letters", "retry", poisoned.letters[0].pk)
        assert (error.returncode, str(error)) == (1, "0 resolved, 1 failed again, 0 taken.")

    def test_retry_of_an_aggregate_and_of_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        poisoned = PoisonedOrders(monkeypatch, count=3)
        poisoned.fix(*poisoned.order_ids[:2])
        run("dead_letters", "retry", "--subscription", "orders", "--aggregate", poisoned.order_ids[0])
        assert [letter.state for letter in poisoned.letters] == ["resolved", "parked", "parked"]
        out = StringIO()
        with pytest.raises(CommandError, match="1 resolved, 1 failed again"):
            call_command("dead_letters", "retry", "--subscription", "orders", "--all", "--json", stdout=out)
        assert [row["outcome"] for row in json.loads(out.getvalue())] == ["resolved", "failed"]

    @pytest.mark.parametrize(("number", "status"), SIGNALS)
    def test_an_interrupted_retry_is_no_death_of_its_event(
        self, number: signal.Signals, status: int, poisoned: PoisonedOrders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two of them would make it dead, as an event that kills its process."""
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(OrderSummaryProjection, "handle_batch", lambda *_: signal.raise_signal(number))

        error = refused("dead_letters", "retry", poisoned.letters[0].pk)

        assert error.returncode == status
        assert str(error) == "Interrupted: `manage.py dead_letters list` shows what is left."
        (letter,) = poisoned.letters
        assert (letter.state, letter.tried_position, letter.retry_count) == ("parked", None, 0)
        assert signal.getsignal(signal.SIGTERM) == before

    def test_discard_keeps_the_reason_and_who(self, poisoned: PoisonedOrders) -> None:
        (letter,) = poisoned.letters
        assert refused("dead_letters", "discard", letter.pk).returncode == 2
        error = refused("dead_letters", "discard", letter.pk, "--reason", "a test", "--who", "ada")
        # The shipping behind it has no order to ship: it gets a letter of its own, and that is said.
        assert "not all behind it could be handled" in str(error)
        first, second = poisoned.letters
        assert (first.state, first.close_reason, first.closed_by) == ("discarded", "a test", "ada")
        assert (second.state, second.event_type) == ("parked", "OrderShipped")
        assert "is discarded, 0 events handled" in run("dead_letters", "discard", second.pk, "--reason", "x")

    @pytest.mark.parametrize(
        "arguments",
        [
            ("retry",),
            ("retry", "--all"),
            ("retry", "--subscription", "orders"),
            ("retry", "--aggregate", str(uuid4())),
            ("show",),
            ("discard", "--reason", "why"),
        ],
    )
    def test_what_is_missing_is_a_usage_error(self, arguments: tuple[str, ...]) -> None:
        assert refused("dead_letters", *arguments).returncode == 2

    def test_an_unknown_letter_is_a_usage_error(self) -> None:
        assert refused("dead_letters", "retry", 987).returncode == 2

    def test_the_status_of_the_process(
        self, poisoned: PoisonedOrders, process_environment: dict[str, str]
    ) -> None:
        """The other process does not know the poison, so it succeeds, and the second time there is nothing to do."""
        command = [sys.executable, "manage.py", "dead_letters", "retry", str(poisoned.letters[0].pk)]
        results = [
            subprocess.run(command, env=process_environment, capture_output=True, text=True, check=False)
            for _ in range(2)
        ]
        assert [result.returncode for result in results] == [0, 1], results
        assert "is resolved already" in results[1].stderr


class TestSubscriptions:
    def test_pause_and_resume(self) -> None:
        run_to_the_end("orders")
        assert "orders is paused (1 partitions, before: running)" in run(
            "pause_subscription", "orders", "--reason", "maintenance", "--who", "ada"
        )
        row = Checkpoint.objects.get()
        assert (row.state, row.state_reason, row.state_changed_by) == ("paused", "maintenance", "ada")
        assert run("pause_subscription", "orders") == "orders is paused already.\n"
        assert run("resume_subscription", "orders") == "orders goes on (before: paused).\n"
        assert run("resume_subscription", "orders") == "orders is running already.\n"
        assert refused("pause_subscription", "nothing").returncode == 2

    def test_reset_wants_to_be_confirmed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run_to_the_end("orders")
        before = Checkpoint.objects.get().position
        monkeypatch.setattr("sys.stdin", StringIO())
        assert "--yes" in str(refused("reset_checkpoint", "orders", "--to", "0"))
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("builtins.input", lambda _: "order")
        assert str(refused("reset_checkpoint", "orders", "--to", "0")) == "Nothing was changed."
        assert Checkpoint.objects.get().position == before
        monkeypatch.setattr("builtins.input", lambda _: "orders")
        assert f"orders is at 0 now (before: {before})" in run("reset_checkpoint", "orders", "--to", "0")

    @pytest.mark.parametrize(
        ("name", "to", "sentence"),
        [
            ("nope", 0, "No subscription 'nope' has a checkpoint; known are: orders."),
            ("orders", 99_999_999, "Position 99999999 cannot be"),
            ("orders", -1, "Position -1 cannot be"),
        ],
    )
    @pytest.mark.parametrize("is_terminal", [True, False])
    def test_reset_asks_for_nothing_that_cannot_be(
        self, monkeypatch: pytest.MonkeyPatch, name: str, to: int, sentence: str, is_terminal: bool
    ) -> None:
        run_to_the_end("orders")
        monkeypatch.setattr("sys.stdin", StringIO())
        monkeypatch.setattr("sys.stdin.isatty", lambda: is_terminal)
        monkeypatch.setattr("builtins.input", lambda _: pytest.fail("it asked"))
        error = refused("reset_checkpoint", name, "--to", to)
        assert str(error).startswith(sentence)
        assert error.returncode == 2

    def test_reset_asks_nothing_while_a_worker_owns_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run_to_the_end("orders")
        Checkpoint.objects.update(owner="a worker", lease_expires_at=timezone.now() + timedelta(hours=1))
        monkeypatch.setattr("sys.stdin", StringIO())
        error = refused("reset_checkpoint", "orders", "--to", 0)
        assert str(error).startswith("A worker owns orders (a worker); stop the workers")
        assert error.returncode == 1

    def test_reset_tells_how_many_letters_it_closes(self, poisoned: PoisonedOrders) -> None:
        assert "1 open dead letters above it are closed" in str(
            refused("reset_checkpoint", "orders", "--to", "0")
        )
        assert "1 dead letters were closed" in run("reset_checkpoint", "orders", "--to", "0", "--yes")

    @pytest.mark.parametrize("to", [-1, 99_999_999])
    def test_a_position_that_cannot_be_is_a_usage_error(self, to: int) -> None:
        run_to_the_end("orders")
        error = refused("reset_checkpoint", "orders", "--to", to, "--yes")
        assert f"Position {to} cannot be: the log of orders can be read from 0 to" in str(error)
        assert error.returncode == 2

    def test_change_partitions(self) -> None:
        run_to_the_end("orders")
        assert "orders has 4 partitions now (before: 1)" in run("change_partitions", "orders", "--to", "4")
        assert Checkpoint.objects.count() == 4
        assert "already" in run("change_partitions", "orders", "--to", "4")

    @pytest.mark.parametrize("count", [-2, 0, 3, 2048])
    def test_a_number_of_partitions_that_cannot_be_is_a_usage_error(self, count: int) -> None:
        error = refused("change_partitions", "orders", "--to", count)
        assert str(error) == f"{count} partitions cannot be: use a power of two up to 1024."
        assert error.returncode == 2

    @pytest.mark.parametrize(("number", "status"), SIGNALS)
    def test_an_interrupted_change_of_partitions_gives_them_back_at_once(
        self, number: signal.Signals, status: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place_order(PlaceOrder("cust-1", Decimal("5.00")))
        run_to_the_end("orders")
        run("change_partitions", "orders", "--to", "2")
        slow = get_partition_for_aggregate(OrderSummary.objects.get().order_id, 2)
        Checkpoint.objects.filter(subscription="orders", partition=slow).update(position=0)
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(OrderSummaryProjection, "handle_batch", lambda *_: signal.raise_signal(number))

        error = refused("change_partitions", "orders", "--to", "4")

        assert (error.returncode, str(error).partition(",")[0]) == (
            status,
            "Interrupted: workers go on with the partitions of orders",
        )
        assert [row.owner for row in Checkpoint.objects.filter(subscription="orders")] == [None, None]
        assert not DeadLetter.objects.exists()
        assert signal.getsignal(signal.SIGTERM) == before

    def test_accept_event_types(self) -> None:
        run_to_the_end("orders")
        Checkpoint.objects.update(handled_types=["OrderCreated", "OrderShipped", "OrderDelivered"])
        assert "orders now handles OrderCancelled too" in run("accept_event_types", "orders")
        assert "nothing was changed" in run("accept_event_types", "orders")


class TestPrune:
    def test_what_is_closed_and_old_goes(self, poisoned: PoisonedOrders) -> None:
        (letter,) = poisoned.letters
        long_ago = timezone.now() - timedelta(days=31)
        kept = {
            "open": {"state": "dead", "closed_at": long_ago},
            "being replayed": {"state": "resolved", "closed_at": long_ago, "replayed_through": 5},
            "young": {"state": "resolved", "closed_at": timezone.now()},
        }
        gone = {
            "resolved": {"state": "resolved", "closed_at": long_ago},
            "discarded": {"state": "discarded", "closed_at": long_ago},
        }
        DeadLetter.objects.all().delete()
        for number, (name, values) in enumerate({**kept, **gone}.items(), start=100):
            letter.pk, letter.position, letter.error_message = None, number, name
            for field, value in {"closed_at": None, "replayed_through": None, **values}.items():
                setattr(letter, field, value)
            letter.save()
        WorkerHeartbeat.objects.create(worker_id="live", host="h", pid=1)
        WorkerHeartbeat.objects.create(worker_id="gone", host="h", pid=2)
        WorkerHeartbeat.objects.filter(worker_id="gone").update(beat_at=long_ago)

        said = run("prune")

        assert set(DeadLetter.objects.values_list("error_message", flat=True)) == set(kept)
        assert list(WorkerHeartbeat.objects.values_list("worker_id", flat=True)) == ["live"]
        assert "closed dead letters: 2 deleted" in said
        assert "stale heartbeats: 1 deleted" in said
        run("prune", "--days", "0")
        assert DeadLetter.objects.count() == 2

    def test_in_chunks(self, poisoned: PoisonedOrders, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pruning, "CHUNK", 1)
        for number in range(3):
            WorkerHeartbeat.objects.create(worker_id=str(number), host="h", pid=1)
        WorkerHeartbeat.objects.update(beat_at=timezone.now() - timedelta(days=1))
        assert pruning.prune()["stale heartbeats"] == 3

    def test_others_add_kinds_of_their_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pruning, "_prunables", {})
        pruning.prunable("old keys", 60)(lambda using, seconds: int(seconds))
        pruning.prunable("history")(lambda using, seconds: int(seconds))
        assert pruning.prune(days=1) == {"old keys": 60, "history": 86_400}

    @pytest.mark.parametrize("days", ["-1", "nan", "inf", "x", "3000000"])
    def test_an_impossible_age_is_refused(self, days: str) -> None:
        assert "not a number of days" in str(refused("prune", "--days", days))
