"""Progress: rate and time left, in place on a terminal, as a log line now and then elsewhere."""

import io
import logging

import pytest

from eventsource_app.observability.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_follow_the_clock() -> None:
    clock = Clock()
    progress = Progress("Working", "parts", 100, io.StringIO(), clock)
    assert (progress.rate, progress.seconds_left) == (0.0, None)
    clock.now += 2
    progress.advance(20)
    assert (progress.rate, progress.seconds_left) == (10.0, 8.0)


def test_a_terminal_gets_one_line_in_place() -> None:
    clock, terminal = Clock(), Terminal()
    progress = Progress("Working", "parts", 4, terminal, clock)
    progress.advance()
    assert terminal.getvalue() == ""
    clock.now += 1
    progress.advance()
    progress.finish()
    line = "\r\x1b[KWorking: 2 of 4 (50 %) parts, 2/s"
    assert terminal.getvalue() == f"{line}, 1 s left{line}\n"


def test_work_that_ends_early_leaves_the_line_and_says_nothing_of_an_end() -> None:
    for stream, wanted in ((Terminal(), "\n"), (io.StringIO(), "")):
        Progress("Working", "parts", 4, stream).leave()
        assert stream.getvalue() == wanted


def test_elsewhere_it_is_a_log_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock, stream = Clock(), io.StringIO()
    progress = Progress("Working", "parts", 1000, stream, clock)
    for _ in range(25):
        clock.now += 1
        progress.advance()
    assert stream.getvalue() == ""
    lines = [vars(record) for record in caplog.records if record.name == "eventsource.progress"]
    assert [(line["message"], line["done_count"], line["seconds_left"]) for line in lines] == [
        ("Working in progress", 10, 990.0),
        ("Working in progress", 20, 980.0),
    ]
