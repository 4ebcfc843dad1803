"""Appending: one event at a time by one to sixteen processes, and a thousand at once."""

from collections.abc import Callable, Iterator

from tests.benchmarks import bare, ours
from tests.benchmarks.processes import clients
from tests.benchmarks.server import DATABASE, Bench
from tests.benchmarks.workload import Sides, at_least, workload

BARE_INSERT = "one autocommit INSERT … RETURNING position, prepared, into an equal table"


def _writers(count: int) -> Callable[[Bench], Iterator[Sides]]:
    def open_sides(bench: Bench) -> Iterator[Sides]:
        with clients(bench, count, ours.append_one, bare.insert_one) as sides:
            yield sides

    return open_sides


for writers, ratio in ((1, 0.7), (8, 0.6), (16, 0.55)):
    workload(
        f"append-{writers}",
        title=f"append 1 event, new aggregate, {writers} writer{'s' * (writers > 1)}",
        reference=BARE_INSERT,
        unit="events/s",
        goal=at_least(ratio),
    )(_writers(writers))


@workload(
    "append-8-slow-commits",
    title="append 1 event, 8 writers, commits of 2 ms",
    reference=BARE_INSERT + ", commit_delay 2 ms",
    unit="events/s",
    goal=at_least(0.8),
)
def append_with_slow_commits(bench: Bench) -> Iterator[Sides]:
    with bench.connect("postgres") as admin:
        admin.execute(f"ALTER DATABASE {DATABASE} SET commit_delay = 2000")
        admin.execute(f"ALTER DATABASE {DATABASE} SET commit_siblings = 0")
        try:
            yield from _writers(8)(bench)
        finally:
            admin.execute(f"ALTER DATABASE {DATABASE} RESET ALL")


@workload(
    "save-1000",
    title="save 1,000 new events of one aggregate",
    reference="one INSERT … SELECT FROM unnest(…) of 1,000 rows",
    unit="events/s",
    goal=at_least(0.45),
)
def save_thousand(bench: Bench) -> Iterator[Sides]:
    with clients(bench, 1, ours.save_thousand, bare.insert_thousand) as sides:
        yield sides
