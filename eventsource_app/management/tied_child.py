"""Becomes another program that the kernel ends when its supervisor dies, even by kill -9.

Run as a script, with the supervisor's pid and the program's command line. Where the system has no
PR_SET_PDEATHSIG (anything but Linux) the program simply runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(supervisor: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor:  # it died before we asked
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 -- the point: the same process, another program


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
