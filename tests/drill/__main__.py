"""``python -m tests.drill [--orders 1000]``: exit status 1 when something is not as it must be."""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from settings.postgres_binaries import LocalPostgresError
from settings.throwaway_postgres import running, throwaway_server
from tests.drill.backups import BackupError, Backups
from tests.drill.drill import Drill, DrillFailedError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument(
        "--orders", type=int, default=1_000, help="how many orders are there before the backup"
    )
    order_count = parser.parse_args().orders
    logs = Path(tempfile.mkdtemp(prefix="eventsource-drill-"))
    print(f"A drill with {order_count} orders; logs in {logs}", flush=True)
    backups = Backups(throwaway_server(os.getpid()))
    server = backups.prepare()
    with running(server):
        status = rehearse(Drill(server, backups, logs, order_count, say=tell))
    if status == 0:
        shutil.rmtree(logs)
    return status


def rehearse(drill: Drill) -> int:
    """Run it and print what came of it; return the exit status."""
    try:
        drill.run()
    except (AssertionError, BackupError, DrillFailedError, LocalPostgresError) as error:
        print(f"\nTHE DRILL FAILED: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        drill.kill()
    print("\nCounted:", *(f"  {name}: {value}" for name, value in drill.counts.items()), sep="\n")
    print(
        "\nRestored to the point: nothing missing, nothing too late, every read model as the log says.",
        flush=True,
    )
    return 0


def tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
