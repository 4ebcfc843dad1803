"""Sends its own process SIGNALS, one after the other, as it begins to import the module SIGNAL_AT.

For a test's PYTHONPATH: Python imports this before the program, so that a signal comes at a place, not at a time.
"""

import importlib.abc
import os
import signal
import sys
import time

from eventsource_app.management.stop_request import SAME_REQUEST_SECONDS


class SignalsAtImport(importlib.abc.MetaPathFinder):
    """Finds nothing; only sees what is being imported."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == os.environ["SIGNAL_AT"]:
            sys.meta_path.remove(self)
            for name in os.environ["SIGNALS"].split():
                os.kill(os.getpid(), signal.Signals[name])
                time.sleep(SAME_REQUEST_SECONDS * 1.1)  # the next is another request


sys.meta_path.insert(0, SignalsAtImport())
