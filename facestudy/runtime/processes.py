"""Processes end with the one that started them."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import threading
import time


def begin() -> None:
    """Call this first in a program: it then ends with its parent, and at Ctrl-C without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


def end_with_parent() -> None:
    """End this process when the thread that started it does: at once on Linux, elsewhere within a second."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    watch_parent()


@functools.cache
def watch_parent() -> None:
    """End this process when its parent does, however that ends: nobody waits for an orphan's work."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
