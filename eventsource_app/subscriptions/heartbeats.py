"""Heartbeat rows: how the web and the desk know that a worker process is alive."""

import logging
import os
import secrets
import socket
from pathlib import Path
from typing import Final

from eventsource_app.store.session import execute, fetch_all

logger = logging.getLogger("eventsource.manager")
BEAT_SECONDS: Final = 2.5
STALE_SECONDS: Final = 30.0

BEAT: Final = """
INSERT INTO eventsource_app_workerheartbeat AS stored (worker_id, host, pid, phase, subscriptions)
VALUES (%s, %s, %s, %s, %s::varchar[])
ON CONFLICT (worker_id) DO UPDATE SET
    phase = excluded.phase, subscriptions = excluded.subscriptions, beat_at = clock_timestamp()
"""
LEAVE: Final = "DELETE FROM eventsource_app_workerheartbeat WHERE worker_id = %s"
FORGET: Final = """
DELETE FROM eventsource_app_workerheartbeat WHERE beat_at < clock_timestamp() - make_interval(secs => %s)
"""
COUNT_LIVE: Final = """
SELECT name, count(*) FROM eventsource_app_workerheartbeat, unnest(subscriptions) AS name
 WHERE beat_at > clock_timestamp() - make_interval(secs => %s) AND phase = 'running' GROUP BY name
"""


def new_worker_id() -> str:
    """Return host, pid and something random: a pod's name alone comes again after a restart."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def beat(using: str, worker_id: str, phase: str, subscriptions: list[str]) -> None:
    execute(using, BEAT, (worker_id, socket.gethostname(), os.getpid(), phase, subscriptions))


def touch(file: Path | None) -> None:
    """Show this host that the loops move. What keeps the file from it is no fault of theirs: it is told, and they go on."""
    if file is None:
        return
    try:
        file.touch()
    except OSError as error:
        logger.error("Heartbeat file cannot be touched", extra={"error_message": str(error)})


def leave(using: str, worker_id: str) -> None:
    """Take the row away at a graceful end, and those of processes that went without a word."""
    execute(using, LEAVE, (worker_id,))
    execute(using, FORGET, (STALE_SECONDS * 20,))


def count_live(using: str, within_seconds: float) -> dict[str, int]:
    """Return how many running processes can run each subscription."""
    return dict(fetch_all(using, COUNT_LIVE, (within_seconds,)))
