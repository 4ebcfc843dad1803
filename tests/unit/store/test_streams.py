"""Streams, expectations and the errors that carry them."""

import pickle
from uuid import UUID

import pytest

from eventsource_app.store import (
    AppendResult,
    DuplicateEventError,
    ExpectedVersion,
    StreamId,
    WrongExpectedVersionError,
)

STREAM = StreamId("Account", UUID(int=1))


def test_a_stream_reads_as_type_and_id() -> None:
    assert str(STREAM) == "Account 00000000-0000-0000-0000-000000000001"


def test_version_0_is_no_stream() -> None:
    assert ExpectedVersion.exact(0) == ExpectedVersion.NO_STREAM


@pytest.mark.parametrize(
    ("expected", "words", "is_exact"),
    [
        (ExpectedVersion.exact(7), "version 7", True),
        (ExpectedVersion.NO_STREAM, "no stream", True),
        (ExpectedVersion.STREAM_EXISTS, "an existing stream", False),
        (ExpectedVersion.ANY, "any version", False),
    ],
)
def test_each_expectation_in_words(expected: ExpectedVersion, words: str, is_exact: bool) -> None:
    assert (str(expected), expected.is_exact) == (words, is_exact)


def test_a_negative_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exact\(-2\) can never be met"):
        ExpectedVersion.exact(-2)


def test_a_repeated_result_equals_the_first() -> None:
    assert AppendResult(3, 9, repeated=True) == AppendResult(3, 9)


@pytest.mark.parametrize(
    "error",
    [
        WrongExpectedVersionError(STREAM, ExpectedVersion.exact(1), 2),
        WrongExpectedVersionError(STREAM, ExpectedVersion.STREAM_EXISTS, 0),
        DuplicateEventError(UUID(int=2), STREAM),
    ],
)
def test_the_errors_cross_a_process_border(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
