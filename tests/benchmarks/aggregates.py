"""Aggregates: load, decide, save; long streams; snapshots."""

from collections.abc import Iterator
from functools import partial

from tests.benchmarks import bare, ours
from tests.benchmarks.logs import account_ids, copy_to_bare, fill
from tests.benchmarks.processes import clients
from tests.benchmarks.server import Bench
from tests.benchmarks.workload import Sides, at_least, at_most_microseconds_more, workload

ACCOUNTS = 40_000


@workload(
    "load-decide-save",
    title="load 10 events, decide, save 1",
    reference="a SELECT of 10 rows and an INSERT of the next, each in autocommit, prepared, on an equal table",
    unit="times/s",
    goal=at_least(0.6),
)
def load_decide_save(bench: Bench) -> Iterator[Sides]:
    using = "deciding"
    bench.add_database(using)
    fill(bench, 10 * ACCOUNTS, using)
    copy_to_bare(bench, using)
    ids = account_ids(bench, using, ACCOUNTS)
    # Each side goes through the same accounts in the same order, in a table of its own.
    our_side = partial(ours.load_decide_save, using, ids)
    reference = partial(bare.select_and_insert, using, ids)
    with clients(bench, 1, our_side, reference) as sides:
        yield sides


@workload(
    "load-1000",
    title="load an aggregate of 1,000 events",
    reference="fetchall of the same 1,000 rows, JSON left as text",
    unit="events/s",
    goal=at_most_microseconds_more(12),
)
def load_long(bench: Bench) -> Iterator[Sides]:
    account_id = ours.make_account("default", 1000)
    our_side = partial(ours.load, "default", account_id, per_event=True)
    reference = partial(bare.select_stream, "default", account_id)
    with clients(bench, 1, our_side, reference) as sides:
        yield sides


@workload(
    "load-1000-snapshot",
    title="load 1,000 events with a snapshot",
    reference="our own load of an aggregate of 10 events",
    unit="loads/s",
    goal=at_least(0.5),
)
def load_with_snapshot(bench: Bench) -> Iterator[Sides]:
    long_id = ours.make_account("default", 1000, snapshot=True)
    short_id = ours.make_account("default", 10)
    our_side = partial(ours.load, "default", long_id, per_event=False, snapshot=True)
    reference = partial(ours.load, "default", short_id, per_event=False)
    with clients(bench, 1, our_side, reference) as sides:
        yield sides
