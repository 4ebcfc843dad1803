"""The files through which gunicorn's workers share their metrics, so that whichever answers /metrics tells all.

prometheus-client names files by pid, and every worker that is replaced would leave some behind for ever. Here a file
belongs to a slot: the lowest number that no living worker has. A new worker goes on counting where its slot's last
owner ended, so counters never go back and the number of files is that of the workers.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from settings import env

PREFIX = "eventsource-metrics-"


class MetricFiles:
    """A new folder for each gunicorn master, where the system keeps temporary files (``TMPDIR`` says where)."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        # Who counts in this process; the master, which with --preload loads the application too, is nobody.
        self.slot = "master"

    def make(self) -> Path:
        """Make the folder, unless it was made: an empty one, whatever another master left behind."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        return self.folder

    def share(self) -> None:
        """Count into the files from here on; before anything imports prometheus-client's metrics."""
        env.provide("PROMETHEUS_MULTIPROC_DIR", str(self.make()))
        from prometheus_client import values  # only now: it looks for the folder when it is imported

        # The slot is asked for at every change, so that a fork needs nothing but another slot.
        values.ValueClass = values.MultiProcessValue(lambda: self.slot)  # type: ignore[no-untyped-call]

    def forget_gauges(self, slot: str) -> None:
        """What a worker that is gone had in use is nobody's now; what it counted stays."""
        for file in self.make().glob(f"gauge_*_{slot}.db"):
            file.unlink(missing_ok=True)

    def remove(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def free_slot(taken: Iterable[str]) -> str:
    """Return the lowest number that is not taken."""
    numbers = set(taken)
    return next(slot for slot in map(str, itertools.count()) if slot not in numbers)


# Set by gunicorn's configuration: a process without it counts for itself, in memory.
files: MetricFiles | None = None


def share_metrics() -> None:
    """To be called before the application is loaded: makes gunicorn's workers count together."""
    if files is not None:
        files.share()
