"""What goes wrong: each fault does one thing to a campaign and says what, or nothing when there was nothing to do it to."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.chaos.judge import ASKED, REPARTITIONED
from tests.chaos.tables import HOT_AGGREGATES, SET_TRAP, aggregate_ids

if TYPE_CHECKING:
    from tests.chaos.campaign import Campaign, Place

# Positions ahead of the log's end, where a trap waits for events to come.
NEXT_VERSION = (
    "SELECT coalesce(max(aggregate_version), 0) + 1 FROM eventsource_app_event WHERE aggregate_id = %s"
)
BACKENDS = """
SELECT pid FROM pg_stat_activity WHERE application_name = %s AND pid <> pg_backend_pid() ORDER BY pid
"""
STEAL = """
UPDATE eventsource_app_checkpoint SET owner = 'thief', epoch = epoch + 1,
    lease_expires_at = clock_timestamp() + interval '1 second'
 WHERE id = (SELECT id FROM eventsource_app_checkpoint WHERE owner IS NOT NULL AND subscription LIKE 'chaos-%%'
              ORDER BY md5(id::text || %s) LIMIT 1)
RETURNING subscription, partition
"""
KINDS = ("raise", "raise", "statement", "commit", "swallow", "hang", "deadlock")
FREEZE_SECONDS = 5.5  # longer than a lease

Fault = Callable[["Campaign"], str]
FAULTS: dict[str, Fault] = {}
DECK: list[str] = []


def fault(name: str, times: int = 1) -> Callable[[Fault], Fault]:
    """Register a fault that comes so many times in each round."""

    def register(function: Fault) -> Fault:
        FAULTS[name] = function
        DECK.extend([name] * times)
        return function

    return register


def _victim(campaign: "Campaign", places: "list[Place]") -> tuple[str, int]:
    """Choose a process that runs: of a supervised place the supervisor, or one of its children."""
    frozen = [pid for _, pid in campaign.frozen]
    found = [
        (place.name, pid)
        for place in places
        if place.process.running
        for pid in place.pids()
        if pid not in frozen
    ]
    return campaign.choice.choice(found) if found else ("", 0)


def _signal(campaign: "Campaign", places: "list[Place]", number: signal.Signals) -> str:
    name, pid = _victim(campaign, places)
    if not name:
        return ""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return f"{name} (pid {pid})"


@fault("worker killed", times=3)
def kill_worker(campaign: "Campaign") -> str:
    return _signal(campaign, campaign.workers, signal.SIGKILL)


@fault("worker stopped")
def stop_worker(campaign: "Campaign") -> str:
    return _signal(campaign, campaign.workers, signal.SIGTERM)


@fault("writer killed")
def kill_writer(campaign: "Campaign") -> str:
    return _signal(campaign, campaign.writers, signal.SIGKILL)


@fault("worker frozen")
def freeze_worker(campaign: "Campaign") -> str:
    """A process that stands still for longer than its lease, and then goes on as if nothing had happened."""
    name, pid = _victim(campaign, campaign.workers)
    if not name or campaign.frozen:
        return ""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    campaign.frozen.append((time.monotonic() + FREEZE_SECONDS, pid))
    return f"{name} (pid {pid}) for {FREEZE_SECONDS} s"


def _terminate(campaign: "Campaign", application: str, share: float) -> str:
    with campaign.connect() as database:
        pids = [row[0] for row in database.execute(BACKENDS, (application,))]
        chosen = campaign.choice.sample(pids, round(len(pids) * share) or min(1, len(pids)))
        for pid in chosen:
            database.execute("SELECT pg_terminate_backend(%s)", (pid,))
    return f"{len(chosen)} of {len(pids)}" if chosen else ""


@fault("worker's backend terminated")
def terminate_one(campaign: "Campaign") -> str:
    return _terminate(campaign, "chaos-worker", 0)


@fault("half of the workers' backends terminated")
def terminate_half(campaign: "Campaign") -> str:
    return _terminate(campaign, "chaos-worker", 0.5)


@fault("writers' backends terminated")
def terminate_writers(campaign: "Campaign") -> str:
    return _terminate(campaign, "chaos-writer", 1)


@fault("PostgreSQL restarted, fast")
def restart_fast(campaign: "Campaign") -> str:
    return _restart(campaign, "fast")


@fault("PostgreSQL crashed and started")
def restart_immediately(campaign: "Campaign") -> str:
    return _restart(campaign, "immediate")


def _restart(campaign: "Campaign", mode: str) -> str:
    seconds = campaign.choice.uniform(0, 2)
    campaign.server.stop(mode)
    time.sleep(seconds)
    campaign.server.ensure_running()
    return f"away for {seconds:.1f} s"


@fault("lease stolen")
def steal_lease(campaign: "Campaign") -> str:
    with campaign.connect() as database:
        row = database.execute(STEAL, (str(campaign.choice.random()),)).fetchone()
    return f"{row[0]}/{row[1]}" if row else ""


def _set_traps(campaign: "Campaign", kind: str, seconds: float, aggregates: int = 1) -> str:
    """Lay traps at the next event, or the next few, of aggregates that are written often, for one subscription."""
    name = campaign.choice.choice(sorted(ASKED))
    with campaign.connect() as database:
        for aggregate_id in campaign.choice.sample(aggregate_ids(HOT_AGGREGATES), aggregates):
            row = database.execute(NEXT_VERSION, (aggregate_id,)).fetchone()
            assert row is not None
            for version in range(row[0], row[0] + campaign.choice.choice((2, 2, 6))):
                database.execute(SET_TRAP, (name, aggregate_id, version, kind, seconds))
    return f"{kind} for {name}, {aggregates} aggregates, {seconds:.1f} s"


@fault("poison events", times=6)
def poison(campaign: "Campaign") -> str:
    seconds = campaign.choice.uniform(1, 8)
    return _set_traps(campaign, campaign.choice.choice(KINDS), seconds, campaign.choice.randrange(1, 4))


@fault("poison event that kills its process")
def killer(campaign: "Campaign") -> str:
    return _set_traps(campaign, "kill", campaign.choice.uniform(4, 20))


@fault("handler that hangs")
def hang(campaign: "Campaign") -> str:
    return _set_traps(campaign, "hang", campaign.choice.uniform(2, 5))


@fault("handler that hangs in Python")
def stall(campaign: "Campaign") -> str:
    return _set_traps(campaign, "stall", campaign.choice.uniform(2, 5))


@fault("handler that never comes back")
def stick(campaign: "Campaign") -> str:
    """Only a restart of its process helps, and somebody must see that it is needed."""
    return _set_traps(campaign, "stuck", campaign.choice.uniform(2, 5))


@fault("every event of a subscription fails")
def world_breaks(campaign: "Campaign") -> str:
    name, seconds = campaign.choice.choice(sorted(ASKED)), campaign.choice.uniform(0.5, 2.5)
    with campaign.connect() as database:
        database.execute(SET_TRAP, (name, None, None, "raise", seconds))
    return f"{name} for {seconds:.1f} s"


@fault("operator retries dead letters", times=2)
def operator_retries(campaign: "Campaign") -> str:
    return campaign.send_operator("retry", campaign.choice.choice(sorted(ASKED)))


@fault("operator pauses and resumes")
def operator_pauses(campaign: "Campaign") -> str:
    return campaign.send_operator("pause", campaign.choice.choice(sorted(ASKED)))


@fault("operator rebuilds a read model", times=2)
def operator_rebuilds(campaign: "Campaign") -> str:
    return campaign.send_operator("rebuild", campaign.choice.choice(sorted(ASKED)))


@fault("operator changes the partitions", times=2)
def operator_repartitions(campaign: "Campaign") -> str:
    count = campaign.choice.choice((2, 4, 8))
    name = campaign.send_operator(str(count), REPARTITIONED)
    return name and f"{name} to {count}"
