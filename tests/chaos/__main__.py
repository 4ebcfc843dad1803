"""``python -m tests.chaos [--seconds 60] [--seed 7] [--keep]``: exit status 1 when the judge disagrees."""

import argparse
import os
import random
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from settings.throwaway_postgres import running, throwaway_server
from tests.chaos.campaign import run

# Not synced to the disk, but a commit that was answered survives the server's crash: the kernel has it.
SURVIVES_A_CRASH = (
    "max_connections=200",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=on",
    "restart_after_crash=on",
)


def main() -> int:
    arguments = _arguments()
    server = replace(throwaway_server(os.getpid()), settings=SURVIVES_A_CRASH)
    folder = Path(tempfile.mkdtemp(prefix="eventsource-chaos-"))
    with running(server):
        status = run(server, arguments.seconds, arguments.seed, folder)
    if status == 0 and not arguments.keep:
        shutil.rmtree(folder)
    return status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="how long things go wrong (draining comes on top)"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument(
        "--keep", action="store_true", help="keep the processes' logs even when all went well"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
