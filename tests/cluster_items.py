"""What tests run on a cluster; workers import this file, so it imports little."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from facestudy.core.errors import StudyError


def double(number: int) -> int:
    Path(f"did-{number}").touch()
    return 2 * number


def process_of(number: int) -> int:
    time.sleep(0.1)
    return os.getpid()


def variable(name: str) -> str | None:
    return os.environ.get(name)


def die_once(number: int) -> int:
    """Kill the first process that does item 3."""
    if number == 3 and not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with Path(f"did-{number}").open("a") as file:
        file.write("x")
    return 2 * number


def die_at_3(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail_at_3(number: int) -> int:
    if number == 3:
        raise StudyError("number 3 is bad.")
    return number
