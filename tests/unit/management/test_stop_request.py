"""management.stop_request and management.child: what a signal means, and how long a restart waits."""

import signal

import pytest

from eventsource_app.management import stop_request
from eventsource_app.management.child import pause_before_restart
from eventsource_app.management.stop_request import StopRequest


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stop_request, "time", clock)
    return clock


def test_the_first_signal_is_graceful(clock: Clock) -> None:
    request = StopRequest()
    assert not request.asked

    request.note(signal.SIGTERM)

    assert (request.asked, request.forced_by, request.exit_status) == (True, None, 0)


def test_a_repeated_signal_within_a_second_is_the_same_request(clock: Clock) -> None:
    request = StopRequest()
    request.note(signal.SIGINT)
    clock.now += 0.9
    request.note(signal.SIGTERM)

    assert request.forced_by is None


def test_a_second_signal_after_a_second_forces(clock: Clock) -> None:
    request = StopRequest()
    request.note(signal.SIGINT)
    clock.now += 1.1
    request.note(signal.SIGINT)

    assert request.exit_status == 130


def test_before_anything_runs_a_forced_stop_is_the_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    request = StopRequest()
    request.note_or_end(signal.SIGINT)
    clock.now += 0.9
    request.note_or_end(signal.SIGINT)
    assert (request.reason, ended) == ("SIGINT", [])
    clock.now += 0.2
    request.note_or_end(signal.SIGTERM)

    assert (request.reason, ended) == ("SIGINT", [143])


def test_restarts_wait_longer_and_longer_up_to_a_limit() -> None:
    assert [pause_before_restart(deaths) for deaths in (1, 2, 3, 4, 7, 8, 5000)] == [0.5, 1, 2, 4, 30, 30, 30]
