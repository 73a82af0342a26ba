"""Processes end with the one that started them."""

from __future__ import annotations

import functools
import os
import threading
import time


@functools.cache
def watch_parent() -> None:
    """End this process when its parent does, however that ends: nobody waits for an orphan's work."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
