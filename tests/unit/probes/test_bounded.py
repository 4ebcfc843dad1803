"""Patience has an end, and nothing outlives it."""

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError

from eventsource_app.probes.bounded import MAX_THREADS, DatabaseHangsError, ask


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    released = threading.Event()
    yield released
    released.set()
    for thread in [thread for thread in threading.enumerate() if thread.name == "probe"]:
        thread.join(5)


def test_the_answer_comes_back() -> None:
    assert ask(lambda: 7, "default") == 7


def test_an_error_comes_back_as_itself() -> None:
    def fail() -> None:
        raise OperationalError("away")

    with pytest.raises(OperationalError, match="away"):
        ask(fail, "default")


def test_a_timeout_of_the_question_is_not_taken_for_ours() -> None:
    def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        ask(fail, "default")


def test_a_question_that_hangs_is_left_behind(hang: threading.Event) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseHangsError, match=r"within 0\.2 seconds"):
        ask(hang.wait, "default", seconds=0.2)
    assert time.monotonic() - began < 1


def test_hanging_questions_do_not_pile_up_and_the_slots_come_back(hang: threading.Event) -> None:
    for _ in range(MAX_THREADS + 3):
        with pytest.raises(DatabaseHangsError):
            ask(hang.wait, "default", seconds=0.1)
    assert len([thread for thread in threading.enumerate() if thread.name == "probe"]) == MAX_THREADS
    hang.set()
    assert ask(lambda: "again", "default", seconds=2) == "again"
