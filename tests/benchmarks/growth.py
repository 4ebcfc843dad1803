"""Growth: our own rates on a log of a million events beside those on one of ten thousand."""

from collections.abc import Iterator
from functools import partial

from tests.benchmarks import ours
from tests.benchmarks.logs import account_ids, fill
from tests.benchmarks.processes import clients
from tests.benchmarks.server import Bench
from tests.benchmarks.workload import Sides, at_least, workload

LARGE, SMALL = 1_000_000, 10_000
TAIL = 5_000


def _databases(bench: Bench, prefix: str) -> tuple[str, str]:
    names = f"{prefix}_large", f"{prefix}_small"
    for name, events in zip(names, (LARGE, SMALL), strict=True):
        bench.add_database(name)
        fill(bench, events, name)
    return names


@workload(
    "append-growth",
    title="append 1 event to a log of 1,000,000",
    reference="our own append to a log of 10,000",
    unit="events/s",
    goal=at_least(0.8),
    full_only=True,
)
def append_growth(bench: Bench) -> Iterator[Sides]:
    large, small = _databases(bench, "append")
    with clients(bench, 1, partial(ours.append_one, large), partial(ours.append_one, small)) as sides:
        yield sides


@workload(
    "read-tail-growth",
    title="read_all at the tail of 1,000,000 events",
    reference="our own read_all at the tail of 10,000",
    unit="events/s",
    goal=at_least(0.8),
    full_only=True,
)
def read_tail_growth(bench: Bench) -> Iterator[Sides]:
    large, small = _databases(bench, "tail")
    sides_of = [
        partial(ours.page_reader, name, 1000, ours.store(name).head_position() - TAIL)
        for name in (large, small)
    ]
    with clients(bench, 1, *sides_of) as sides:
        yield sides


@workload(
    "load-growth",
    title="load 10 events of a log of 1,000,000",
    reference="our own load from a log of 10,000",
    unit="loads/s",
    goal=at_least(0.8),
    full_only=True,
)
def load_growth(bench: Bench) -> Iterator[Sides]:
    large, small = _databases(bench, "load")
    sides_of = [partial(ours.load_any, name, account_ids(bench, name, 1000)) for name in (large, small)]
    with clients(bench, 1, *sides_of) as sides:
        yield sides
