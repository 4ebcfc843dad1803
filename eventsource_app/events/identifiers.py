"""New ids: UUID version 7, so that new rows land at the right edge of the index; or derived, so that a repetition makes the same.

What is done inside ``derived_ids(seed)`` gets ids that follow from the seed alone: doing it again cannot add a second event.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from uuid import UUID


def new_id(kind: str) -> UUID:
    """Return the id of a new thing of that kind (``"event"``, ``"aggregate"``)."""
    derive = _derivation.get()
    return uuid7() if derive is None else derive(kind)


def uuid7() -> UUID:
    """Return a UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10))
    return _uuid(7, (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | random_bits)


def derived_id(seed: bytes, kind: str, index: int) -> UUID:
    """Return the id of the thing number ``index`` (from 0) of its kind: UUID version 8 (RFC 9562), from a SHA-256."""
    digest = sha256(b"%b\0%b\0%d" % (seed, kind.encode(), index)).digest()
    return _uuid(8, int.from_bytes(digest[:16]))


@contextmanager
def derived_ids(seed: bytes) -> Iterator[None]:
    """Make ``new_id`` derive the ids of each kind from the seed, in order, for the length of the block."""
    token = _derivation.set(_Derivation(seed))
    try:
        yield
    finally:
        _derivation.reset(token)


class _Derivation:
    def __init__(self, seed: bytes) -> None:
        self._seed, self._given = seed, Counter[str]()

    def __call__(self, kind: str) -> UUID:
        self._given[kind] += 1
        return derived_id(self._seed, kind, self._given[kind] - 1)


def _uuid(version: int, value: int) -> UUID:
    value = value & ~(0xF << 76) | version << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


_derivation: ContextVar[_Derivation | None] = ContextVar("derivation", default=None)
