"""The campaign itself: starts everything, breaks it at random until the time is up, heals it, waits until all is quiet."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from settings.env import for_child_process
from settings.postgres_server import DATABASE, Server
from tests.acceptance.processes import Process
from tests.chaos import tables
from tests.chaos.faults import DECK, FAULTS
from tests.chaos.judge import Verdict, judge

WRITERS = 3
# One worker process has two managers, which compete for the same subscriptions as everybody else.
MANAGERS = (1, 1, 2)
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
    operators: list[Process] = field(default_factory=list)
    frozen: list[tuple[float, Process]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.choice = random.Random(self.seed)
        self._started_at = time.monotonic()

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
        for number, managers in enumerate(MANAGERS):
            self.workers.append(self._place(f"worker-{number}", ["-m", "tests.chaos.worker", str(managers)]))
        for number in range(WRITERS):
            seed = str(self.seed * 100 + number)
            notes = str(self.folder / f"writer-{number}.notes")
            command = ["-m", "tests.chaos.writer", seed, notes]
            self.writers.append(self._place(f"writer-{number}", command))
        self._wait_for_owners()

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
        self.operators.append(self._spawn(f"operator-{len(self.operators)}", command, 1))
        return name

    def _place(self, name: str, command: list[str]) -> Place:
        return Place(command, name, self._spawn(name, command, 1))

    def _spawn(self, name: str, command: list[str], count: int) -> Process:
        kind = f"chaos-{name.partition('-')[0]}"
        return Process(command, self._environment(kind), self.folder / f"{name}-{count}.log")

    def _environment(self, service: str) -> dict[str, str]:
        return for_child_process(
            DATABASE_URL=self.server.url(DATABASE),
            TEST_DATABASE_URL=None,
            DJANGO_SETTINGS_MODULE="settings.base",
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
        for thaws_at, process in self.frozen:
            if (everything or now >= thaws_at) and process.running:
                process.signal(signal.SIGCONT)
        self.frozen = [found for found in self.frozen if now < found[0] and not everything]
        for place in (*self.workers, *self.writers):
            self._start_again(place, now)

    def _start_again(self, place: Place, now: float) -> None:
        if place.process.running:
            return
        if place.start_at is None:
            self.done[f"{place.name.partition('-')[0]} ended with {place.process.wait()}"] += 1
            place.start_at = now + START_AGAIN_SECONDS
        elif now >= place.start_at:
            place.starts, place.start_at = place.starts + 1, None
            place.process = self._spawn(place.name, place.command, place.starts)

    # The end

    def settle(self) -> list[str]:
        """Heal everything, let the workers finish, stop them; return what did not come to rest."""
        self.look_after(everything=True)
        troubles = self._stop(self.writers) + self._wait_for_operators()
        self.writers = []
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
            time.sleep(0.1)
        with self.connect() as database:
            database.execute("UPDATE eventsource_app_checkpoint SET state = 'running' WHERE state = 'paused'")
        failed = [
            process.text()[-2000:] for process in self.operators if process.running or process.wait() != 0
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
            if status != 0 and not was_dead:
                troubles.append(f"{place.name} ended with status {status}: {place.process.text()[-2000:]}")
        return troubles

    def kill(self) -> None:
        """Nothing of ours outlives the campaign."""
        for process in (*(place.process for place in (*self.workers, *self.writers)), *self.operators):
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
