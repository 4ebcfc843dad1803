"""A stop is asked for once, seen by all, and reported truly."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from eventsource_app.subscriptions import (
    ConfigurationError,
    ShutdownPhase,
    ShutdownResult,
    SubscriptionManager,
)
from eventsource_app.subscriptions.shutdown import StopRequest
from eventsource_app.subscriptions.signals import StopSignals


def test_the_phases_are_the_contracts() -> None:
    names = ["running", "stopping", "draining", "checkpointing", "stopped", "forced"]
    assert [phase.value for phase in ShutdownPhase] == names


def test_the_result_as_a_log_line_has_it() -> None:
    result = ShutdownResult(
        phase=ShutdownPhase.STOPPED,
        duration_seconds=1.23456,
        forced=False,
        events_in_flight=7,
        checkpoints_saved=2,
        reason="SIGTERM",
    )
    assert result.to_dict() == {
        "phase": "stopped",
        "duration_seconds": 1.235,
        "forced": False,
        "events_in_flight": 7,
        "checkpoints_saved": 2,
        "reason": "SIGTERM",
    }


def test_the_first_reason_stays() -> None:
    stop = StopRequest()
    assert not stop
    stop.ask("SIGTERM")
    stop.ask("the test is over")
    assert stop
    assert stop.reason == "SIGTERM"


def test_a_wait_ends_with_the_request() -> None:
    stop = StopRequest()
    assert stop.wait(0) is False
    threading.Timer(0.05, stop.ask, ["enough"]).start()
    assert stop.wait(60) is True


def test_a_signal_ends_the_wait_and_is_passed_on_by_name() -> None:
    asked: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals(asked.append) as signals:
        threading.Timer(0.05, signal.pthread_kill, [threading.main_thread().ident, signal.SIGTERM]).start()
        signals.wait(60)
        assert asked == ["SIGTERM"]
        assert signals.received is signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_signal_within_a_second_is_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    now = 100.0
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with StopSignals(lambda reason: None):
        signal.raise_signal(signal.SIGTERM)
        now = 100.9
        signal.raise_signal(signal.SIGINT)
        assert ended == []
        now = 101.1
        signal.raise_signal(signal.SIGINT)
        assert ended == [130]
        signal.raise_signal(signal.SIGTERM)
        assert ended == [130, 143]


def test_off_the_main_thread_nothing_is_installed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def elsewhere() -> None:
        with StopSignals(lambda reason: None) as signals:
            seen.append(signal.getsignal(signal.SIGTERM))
            started = time.monotonic()
            signals.wait(0.01)
            seen.append(time.monotonic() - started >= 0.01)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before, True]


@pytest.mark.parametrize("name", ["shutdown_timeout", "drain_timeout"])
@pytest.mark.parametrize("value", [None, "60", -1, True, float("nan"), float("inf"), 1e12], ids=str)
def test_a_timeout_that_cannot_be_waited_for_is_refused_before_the_start(name: str, value: Any) -> None:
    """Found out at the stop, it would leave the threads running and the leases taken."""
    with pytest.raises(ConfigurationError, match=f"{name}={value!r} cannot be"):
        SubscriptionManager(**{name: value})
