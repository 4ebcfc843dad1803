"""The campaign itself: starts everything, breaks it at random until the time is up, heals it, waits until all is quiet."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from settings.env import for_child_process
from settings.postgres_server import DATABASE, Server
from tests.acceptance.processes import Process, children_of
from tests.chaos import tables
from tests.chaos.faults import DECK, FAULTS
from tests.chaos.judge import Verdict, judge
from tests.chaos.projections import PROJECTIONS

WRITERS = 3
NAMES = tuple(projection.name for projection in PROJECTIONS)
RUN = ("manage.py", "run_subscriptions", *NAMES, "--shutdown-timeout", "10", "--drain-timeout", "5")
# Two processes under a supervisor; one alone; and one with two managers, which compete for the same as everybody else.
WORKERS = ((*RUN, "--processes", "2"), RUN, ("-m", "tests.chaos.worker"))
# Who watches over the workers looks at their heartbeat files, and over operators by the clock.
STUCK_SECONDS, STARTING_SECONDS = 12.0, 30.0
DRAIN_SECONDS = 120.0
STOP_SECONDS = 30.0
START_AGAIN_SECONDS = 0.3
IS_DRAINED = """
SELECT (SELECT coalesce(max(position), 0) FROM eventsource_app_event) <= min(position)
       AND NOT EXISTS (SELECT FROM eventsource_app_deadletter
                        WHERE state IN ('parked', 'retrying', 'dead') OR replayed_through IS NOT NULL)
  FROM eventsource_app_checkpoint WHERE subscription LIKE 'chaos-%'
"""
STANDING = """
SELECT subscription, partition, position, state, state_reason, breaker, owner, lease_expires_at, last_error
  FROM eventsource_app_checkpoint WHERE subscription LIKE 'chaos-%' ORDER BY subscription, partition
"""
# What an operator does about letters that no retry is left for.
REVIVE = """
UPDATE eventsource_app_deadletter SET state = 'parked', next_retry_at = clock_timestamp() WHERE state = 'dead'
"""


@dataclass
class Place:
    """One place in the row of processes: what runs there, and when it may be started again."""

    command: list[str]
    name: str
    process: Process
    start_at: float | None = None
    starts: int = 1
    started_at: float = field(default_factory=time.time)

    def pids(self) -> list[int]:
        """The process and what it has started."""
        with suppress(FileNotFoundError, ProcessLookupError):  # it ends just now
            return [self.process.pid, *children_of(self.process.pid)]
        return [self.process.pid]


@dataclass
class Campaign:
    """Everything that runs, and what was done to it."""

    server: Server
    seed: int
    folder: Path
    say: Callable[[str], None] = print
    done: Counter[str] = field(default_factory=Counter)
    workers: list[Place] = field(default_factory=list)
    writers: list[Place] = field(default_factory=list)
    retired: list[Place] = field(default_factory=list)
    operators: list[Process] = field(default_factory=list)
    sent_home: list[Process] = field(default_factory=list)
    frozen: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.choice = random.Random(self.seed)
        self._started_at = self._operator_sent_at = time.monotonic()

    # The parts

    def connect(self) -> psycopg.Connection[Any]:
        """A plain connection in autocommit that never waits long for a lock."""
        options = "-c lock_timeout=3000 -c application_name=chaos-campaign"
        return psycopg.connect(self.server.url(DATABASE), autocommit=True, options=options)

    def prepare(self) -> None:
        self.server.ensure_database()
        migrate = Process(
            ["manage.py", "migrate", "-v", "0"],
            self._environment("chaos-migrate"),
            self.folder / "migrate.log",
        )
        if migrate.wait() != 0:
            raise RuntimeError(migrate.text())
        with self.connect() as database:
            database.execute(tables.TABLES)

    def start(self) -> None:
        for number, command in enumerate(WORKERS):
            name = f"worker-{number}"
            beats = ("--heartbeat-file", str(self.folder / f"{name}.beat"))
            self.workers.append(self._place(name, [*command, *beats]))
        self._wait_for_owners()
        for number in range(WRITERS):
            seed = str(self.seed * 100 + number)
            notes = str(self.folder / f"writer-{number}.notes")
            self.writers.append(self._place(f"writer-{number}", ["-m", "tests.chaos.writer", seed, notes]))

    def _wait_for_owners(self) -> None:
        """Chaos begins when everything runs."""
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            with self.connect() as database:
                row = database.execute("SELECT count(owner) = 7 FROM eventsource_app_checkpoint").fetchone()
            if row and row[0]:
                return
            time.sleep(0.1)
        raise RuntimeError("\n".join(place.process.text() for place in self.workers))

    def send_operator(self, verb: str, name: str) -> str:
        """Let somebody act at the desk, beside everything else."""
        if any(process.running for process in self.operators):
            return ""
        command = ["-m", "tests.chaos.operator", verb, name]
        self._operator_sent_at = time.monotonic()
        self.operators.append(self._spawn(f"operator-{len(self.operators)}", command, 1))
        return name

    def _place(self, name: str, command: Sequence[str]) -> Place:
        return Place(list(command), name, self._spawn(name, command, 1))

    def _spawn(self, name: str, command: Sequence[str], count: int) -> Process:
        kind = f"chaos-{name.partition('-')[0]}"
        return Process(list(command), self._environment(kind), self.folder / f"{name}-{count}.log")

    def _environment(self, service: str) -> dict[str, str]:
        return for_child_process(
            DATABASE_URL=self.server.url(DATABASE),
            TEST_DATABASE_URL=None,
            DJANGO_SETTINGS_MODULE="tests.chaos.settings",
            PYTEST_CURRENT_TEST=None,
            SERVICE_NAME=service,
            PYTHONWARNINGS="ignore",
        )

    # The minutes

    def rage(self, seconds: float) -> None:
        """Until the time is up: one thing after another goes wrong; each kind comes once before any comes twice."""
        deadline = time.monotonic() + seconds
        deck: list[str] = []
        while time.monotonic() < deadline:
            self._pause(min(self.choice.expovariate(1.4), 2.5))
            deck = deck or self.choice.sample(DECK, len(DECK))
            name = deck.pop()
            try:
                what = FAULTS[name](self)
            except psycopg.errors.LockNotAvailable:
                what = ""  # a batch that hangs holds its row
            if what:
                self.done[name] += 1
                self.say(f"{time.monotonic() - self._started_at:6.1f} s  {name}: {what}")

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            self.look_after()
            if time.monotonic() >= end:
                return
            time.sleep(0.1)

    def look_after(self, *, everything: bool = False) -> None:
        """Heal what is due, wake who was frozen for long enough, start again who died."""
        now = time.monotonic()
        with self.connect() as database:
            self.done["traps healed"] += tables.heal(database, everything=everything)
        for thaws_at, pid in self.frozen:
            if everything or now >= thaws_at:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        self.frozen = [found for found in self.frozen if now < found[0] and not everything]
        for place in self.workers:
            self._kill_if_stuck(place)
        self._send_stuck_operator_home()
        for place in (*self.workers, *self.writers):
            self._start_again(place, now)

    def _kill_if_stuck(self, place: Place) -> None:
        """What a kubelet does: processes whose loops do not move any more are killed."""
        for beat in self.folder.glob(f"{place.name}.beat*"):
            age = time.time() - max(beat.stat().st_mtime, place.started_at + STARTING_SECONDS)
            if age > STUCK_SECONDS and place.process.running:
                place.process.kill()
                self.done["stuck worker killed by its heartbeat file"] += 1

    def _send_stuck_operator_home(self) -> None:
        """Somebody presses Ctrl-C on a verb that does not come back."""
        running = [process for process in self.operators if process.running]
        if running and time.monotonic() - self._operator_sent_at > STUCK_SECONDS:
            running[-1].kill()
            self.sent_home.append(running[-1])
            self.done["stuck operator killed"] += 1

    def _start_again(self, place: Place, now: float) -> None:
        if place.process.running:
            return
        if place.start_at is None:
            self.done[f"{place.name.partition('-')[0]} ended with {place.process.wait()}"] += 1
            place.start_at = now + START_AGAIN_SECONDS
        elif now >= place.start_at:
            place.starts, place.start_at, place.started_at = place.starts + 1, None, time.time()
            place.process = self._spawn(place.name, place.command, place.starts)

    # The end

    def settle(self) -> list[str]:
        """Heal everything, let the workers finish, stop them; return what did not come to rest."""
        self.look_after(everything=True)
        self.retired, self.writers = self.writers, []  # nobody starts them again
        troubles = self._stop(self.retired) + self._wait_for_operators()
        deadline = time.monotonic() + DRAIN_SECONDS
        while not self._is_drained():
            if time.monotonic() > deadline:
                return [
                    *troubles,
                    f"not drained within {DRAIN_SECONDS:.0f} s: {self._standing()}",
                    *self._stop(self.workers),
                ]
            self._pause(0.5)
        troubles += self._stop(self.workers)
        with self.connect() as database:
            held = database.execute(
                "SELECT subscription, partition, owner FROM eventsource_app_checkpoint WHERE owner IS NOT NULL"
            )
            troubles += [f"a lease is held after a graceful stop: {row}" for row in held]
        return troubles

    def _wait_for_operators(self) -> list[str]:
        """They go home by themselves; a subscription whose operator died between pause and resume is resumed here."""
        deadline = time.monotonic() + STOP_SECONDS
        while any(process.running for process in self.operators) and time.monotonic() < deadline:
            self._pause(0.2)
        with self.connect() as database:
            database.execute("UPDATE eventsource_app_checkpoint SET state = 'running' WHERE state = 'paused'")
        died_of_a_trap = [process for process in self.operators if "Trap sprung: kill" in process.text()]
        failed = [
            process.text()[-2000:]
            for process in self.operators
            if process.running or (process.wait() != 0 and process not in (*self.sent_home, *died_of_a_trap))
        ]
        return [f"an operator's process failed: {text}" for text in failed]

    def _is_drained(self) -> bool:
        with self.connect() as database:
            self.done["dead letters revived"] += database.execute(REVIVE).rowcount
            row = database.execute(IS_DRAINED).fetchone()
        return bool(row and row[0])

    def _standing(self) -> str:
        with self.connect() as database:
            rows = [*database.execute(STANDING)]
            open_letters = [*database.execute(
                "SELECT subscription, position, state, retry_count, next_retry_at, replayed_through, error_message "
                "FROM eventsource_app_deadletter WHERE state NOT IN ('resolved', 'discarded') OR replayed_through IS NOT NULL LIMIT 5"
            )]  # fmt: skip
        return f"{rows}; {open_letters}"

    def _stop(self, places: list[Place]) -> list[str]:
        """SIGTERM; each must end with status 0 (or be dead already) in time."""
        for place in places:
            if place.process.running:
                place.process.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        troubles = []
        for place in places:
            was_dead = place.start_at is not None
            try:
                status = place.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                troubles.append(f"{place.name} did not stop within {STOP_SECONDS:.0f} s")
                continue
            if status != 0 and not was_dead and not self._may_end_so(place, status):
                troubles.append(f"{place.name} ended with status {status}: {place.process.text()[-2000:]}")
        return troubles

    def _may_end_so(self, place: Place, status: int) -> bool:
        """SIGTERM came before Python was there to hear it; or a handler of it is stuck, which only force ends."""
        was_starting = status == -signal.SIGTERM and time.time() - place.started_at < STARTING_SECONDS
        return was_starting or (
            status == 128 + signal.SIGTERM and "Trap sprung: stuck" in place.process.text()
        )

    def kill(self) -> None:
        """Nothing of ours outlives the campaign."""
        for process in (
            *(place.process for place in (*self.workers, *self.writers, *self.retired)),
            *self.operators,
        ):
            process.kill()

    def verdict(self) -> Verdict:
        notes = [
            line for path in sorted(self.folder.glob("*.notes")) for line in path.read_text().splitlines()
        ]
        with self.connect() as database:
            verdict = judge(database, notes=notes)
        sprung = Counter(
            line.partition(": ")[2].partition(",")[0]
            for path in self.folder.glob("worker-*.log")
            for line in path.read_text(errors="replace").splitlines()
            if line.startswith("Trap sprung: ")
        )
        verdict.counts["traps sprung"] = (
            ", ".join(f"{count} {kind}" for kind, count in sorted(sprung.items())) or "none"
        )
        return verdict


def run(server: Server, seconds: float, seed: int, folder: Path) -> int:
    """Run one campaign; print what was done and what came of it; return the exit status."""
    print(f"Chaos for {seconds:.0f} s with seed {seed}; logs in {folder}", flush=True)
    campaign = Campaign(server, seed, folder, lambda text: print(text, flush=True))
    troubles: list[str] = []
    try:
        campaign.prepare()
        campaign.start()
        campaign.rage(seconds)
        print("Healing, draining", flush=True)
        troubles = campaign.settle()
        verdict = campaign.verdict()
    finally:
        campaign.kill()
    print("\nDone:", *(f"  {count:5} {name}" for name, count in sorted(campaign.done.items())), sep="\n")
    print("\nCounted:", *(f"  {name}: {value}" for name, value in verdict.counts.items()), sep="\n")
    differences = [*troubles, *verdict.differences]
    if differences:
        print(
            "\nTHE JUDGE DISAGREES:",
            *(f"  {sentence}" for sentence in differences),
            sep="\n",
            file=sys.stderr,
            flush=True,
        )
        return 1
    print("\nNothing lost, nothing doubled, order kept, every failure accounted for.", flush=True)
    return 0
