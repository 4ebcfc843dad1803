"""A postmaster.pid whose postmaster is dead, where PostgreSQL itself cannot tell.

PostgreSQL asks only whether the pid exists. In a container it may: as a zombie that pid 1 never reaps,
or as another program that got the number after a restart. Every process of a server has the data
folder as its working directory, so /proc can tell; elsewhere than on Linux nothing is removed.
"""

import time
from pathlib import Path

ORPHANS_SECONDS = 10.0  # backends end by themselves within moments of their postmaster's death
PROC = Path("/proc")


def remove_stale_pid_file(cluster: Path, sockets: Path) -> None:
    """Remove *cluster*'s postmaster.pid, and its socket's lock, if no process of that server is left."""
    pid_file = cluster / "postmaster.pid"
    if not pid_file.exists() or not (PROC / "self" / "cwd").exists():
        return
    pid = pid_file.read_text(encoding="ascii").split("\n", 1)[0]
    deadline = time.monotonic() + ORPHANS_SECONDS
    while time.monotonic() < deadline and not _works_in(cluster, pid):
        if not any(_works_in(cluster, entry.name) for entry in PROC.iterdir() if entry.name.isdigit()):
            for lock in (*sockets.glob(".s.PGSQL.*.lock"), pid_file):
                lock.unlink(missing_ok=True)
            return
        time.sleep(0.1)


def _works_in(cluster: Path, pid: str) -> bool:
    try:
        return (PROC / pid / "cwd").readlink() == cluster.resolve()
    except OSError:  # gone, a zombie, or another user's: not our server
        return False
