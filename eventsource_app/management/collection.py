"""Garbage collection in a process that reads events without end."""

import gc
from typing import Final

ALLOCATIONS: Final = 20_000


def relax_collection() -> None:
    """Leave alone what the start made, and look for cycles rarely: events have none and go when nobody has them any more.

    Otherwise the collector walks again and again over what is read ahead, which is a tenth of a busy worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])
