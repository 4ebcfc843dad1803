"""The drill itself: each act does one thing a person would do that day, says so, and checks what came of it."""

import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from settings.env import for_child_process
from settings.postgres_server import DATABASE, Server
from tests.acceptance.judge import (
    assert_read_models_tell_the_log,
    is_caught_up,
    last_position,
    positions,
    processed,
    shown,
)
from tests.acceptance.processes import Process
from tests.drill.backups import Backups
from tests.drill.evidence import Log, Point, differences
from tests.waiting import wait_for

WRITING_RATE = 25
ENOUGH = 40  # events after the backup, events after the point, orders after the restore
COMMAND_SECONDS = 240.0
AHEAD = 1_000
IS_ARCHIVED = "SELECT coalesce(last_archived_wal >= pg_walfile_name(%s::pg_lsn), false) FROM pg_stat_archiver"
MOVE_FORWARD = "UPDATE eventsource_app_checkpoint SET position = %s WHERE subscription = 'orders'"


class DrillFailedError(Exception):
    """The drill found something wrong; the message is what."""


@dataclass
class Drill:
    """One rehearsal on ``server``, which archives already; ``folder`` takes the processes' logs."""

    server: Server
    backups: Backups
    folder: Path
    order_count: int
    say: Callable[[str], None] = print
    counts: dict[str, object] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started_at = time.monotonic()

    def run(self) -> None:
        """Rehearse it all; raises ``DrillFailedError`` or ``AssertionError`` with what is wrong."""
        worker = self.load()
        writer = self.start("place_orders", "1000000", "--rate", str(WRITING_RATE))
        backup = self.back_up()
        point, last_seen = self.keep_writing()
        self.destroy(worker, writer)
        self.restore(backup, point)
        self.look_at_the_log(point, last_seen)
        self.follow_again()
        self.move_a_checkpoint_ahead()

    # The acts

    def load(self) -> Process:
        self.server.ensure_database()
        self.manage("migrate", "--verbosity", "0")
        worker = self.start("run_subscriptions")
        self.manage("place_orders", str(self.order_count))
        self.wait_until_judged(worker)
        self.tell(f"loaded {self.order_count} orders; a worker has followed, and the judge agrees")
        return worker

    def back_up(self) -> Path:
        backup, remark = self.backups.take()
        self.tell(f"took a base backup with pg_basebackup while orders came in; {remark or 'it is verified'}")
        return backup

    def keep_writing(self) -> tuple[Point, Log]:
        """Write on, choose a point, write on; return once the archive has come past the point."""
        with self.connect() as database:
            self.wait_for_events(database)
            point = Point.now(database)
            self.wait_for_events(database)
            place = Point.now(database).place
            wait_for(lambda: single(database, IS_ARCHIVED, place), what="the archive")
            last_seen = Log.read(database)
        self.counts["events committed before the point"] = len(point.log)
        self.counts["events before the disaster"] = len(last_seen)
        self.tell(
            f"chose the point {point.time:%H:%M:%S.%f} and wrote {len(last_seen) - len(point.log)} more events"
        )
        return point, last_seen

    def destroy(self, worker: Process, writer: Process) -> None:
        self.server.stop("immediate")
        shutil.rmtree(self.server.cluster)
        self.require(writer.wait() == 1, "place_orders did not say that the database went away", writer)
        self.stop(worker)
        self.tell("destroyed the server with its data while all ran; the worker then stopped gracefully")

    def restore(self, backup: Path, point: Point) -> None:
        self.backups.restore(backup, point.time.isoformat(sep=" "))
        self.server.ensure_running()
        with self.connect() as database:
            wait_for(lambda: not single(database, "SELECT pg_is_in_recovery()"), what="the end of recovery")
        self.tell("restored the backup and followed the archive up to the point")

    def look_at_the_log(self, point: Point, last_seen: Log) -> None:
        with self.connect() as database:
            restored = Log.read(database)
            self.counts["events handled when restored"] = processed(database)
        found = differences(point, last_seen, restored)
        if found:
            raise DrillFailedError("; ".join(found))
        self.counts["events restored"] = len(restored)
        self.counts["events lost, each later than the point"] = len(last_seen) - len(restored)
        verified = self.manage("verify_events")
        self.tell(f"verify_events says: {verified.text().strip().splitlines()[-1]}")

    def follow_again(self) -> None:
        worker = self.start("run_subscriptions")
        self.manage("place_orders", str(ENOUGH))
        self.wait_until_judged(worker)
        self.stop(worker)
        self.tell(f"started a worker and placed {ENOUGH} orders: it followed, and the judge agrees")

    def move_a_checkpoint_ahead(self) -> None:
        """What a restore of the log alone would leave behind; whoever refuses says the way out."""
        with self.connect() as database:
            ahead = last_position(database) + AHEAD
            database.execute(MOVE_FORWARD, [ahead])
        finding = self.manage("verify_events", status=1)
        self.require(
            f"stands at {ahead}, ahead of the log" in finding.text(), "verify_events is blind", finding
        )
        worker = self.start("run_subscriptions")
        (line,) = worker.wait_for_log("Subscription refused", subscription="orders")
        sentence = str(line["error_message"])
        self.require("`manage.py rebuild_projection orders`" in sentence, "it names no way out", worker)
        with self.connect() as database:
            self.require(positions(database)["orders"] == ahead, "the refused one was moved", worker)
        self.tell(f"moved a checkpoint ahead by hand; its worker refuses: {sentence}")
        self.manage("rebuild_projection", "orders")
        self.wait_until_judged(worker)
        self.stop(worker)
        self.tell("rebuild_projection healed it under the same worker, and the judge agrees")

    # The hands

    def tell(self, text: str) -> None:
        self.say(f"{time.monotonic() - self._started_at:6.1f} s  {text}")

    def require(self, fact: bool, complaint: str, process: Process) -> None:
        if not fact:
            raise DrillFailedError(f"{complaint}; its last words:\n{process.text()[-2000:]}")

    def start(self, *arguments: str) -> Process:
        environment = for_child_process(
            DATABASE_URL=self.server.url(DATABASE),
            TEST_DATABASE_URL=None,
            DJANGO_SETTINGS_MODULE="settings.base",
            PYTEST_CURRENT_TEST=None,
        )
        log = self.folder / f"{len(self.processes)}-{arguments[0]}.log"
        self.processes.append(Process(["manage.py", *arguments], environment, log))
        return self.processes[-1]

    def manage(self, *arguments: str, status: int = 0) -> Process:
        """Run a command to its end; it must end with that status."""
        process = self.start(*arguments)
        self.require(process.wait(COMMAND_SECONDS) == status, f"{arguments[0]} ended otherwise", process)
        return process

    def stop(self, worker: Process) -> None:
        worker.signal(signal.SIGTERM)
        self.require(worker.wait() == 0, "the worker did not stop gracefully", worker)

    def kill(self) -> None:
        """Nothing of ours outlives the drill."""
        for process in self.processes:
            process.kill()

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.server.url(DATABASE), autocommit=True)

    def wait_for_events(self, database: psycopg.Connection[Any]) -> None:
        enough = last_position(database) + ENOUGH
        wait_for(lambda: last_position(database) >= enough, what="orders coming in")

    def wait_until_judged(self, worker: Process) -> None:
        """Wait until the worker has caught up; then the read models must be what the judge makes of the log."""
        with self.connect() as database:
            wait_for(lambda: is_caught_up(database) or not worker.running, COMMAND_SECONDS, "catching up")
            self.require(worker.running, "the worker ended", worker)
            assert_read_models_tell_the_log(database)
            self.counts["orders judged"] = len(shown(database)[0])


def single(database: psycopg.Connection[Any], statement: str, *parameters: object) -> Any:
    """Return the one value of the one row."""
    row = database.execute(statement, parameters).fetchone()
    assert row is not None, statement
    return row[0]
