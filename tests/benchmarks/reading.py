"""Reading the whole log: decoded events beside a bare cursor, and what it takes in memory."""

from collections.abc import Iterator
from functools import partial

from tests.benchmarks import bare, ours
from tests.benchmarks.logs import fill
from tests.benchmarks.processes import clients, peak_megabytes
from tests.benchmarks.server import Bench
from tests.benchmarks.workload import Sides, at_least, at_most, workload

PAGE = 1000


@workload(
    "read-all",
    title="read_all, decoded, pages of 1,000",
    reference="a bare cursor, the same pages, json.loads on each payload",
    unit="events/s",
    goal=at_least(0.45),
)
def read_all(bench: Bench) -> Iterator[Sides]:
    bench.add_database("reading")
    fill(bench, 100_000, "reading")
    our_side, reference = (
        partial(ours.page_reader, "reading", PAGE),
        partial(bare.page_reader, "reading", PAGE),
    )
    with clients(bench, 1, our_side, reference) as sides:
        yield sides


@workload(
    "read-all-memory",
    title="read_all through 200,000 events, peak",
    reference="the same through 10,000 events",
    unit="MiB",
    goal=at_most(1.5),
)
def read_all_memory(bench: Bench) -> Iterator[Sides]:
    for name, events in (("reading_long", 200_000), ("reading_short", 10_000)):
        bench.add_database(name)
        fill(bench, events, name)
    yield Sides(
        lambda: peak_megabytes(partial(ours.whole_log, "reading_long", PAGE)),
        lambda: peak_megabytes(partial(ours.whole_log, "reading_short", PAGE)),
    )
