"""Workers end with whoever started them, and one that dies is told of in a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from facestudy.errors import StudyError
from facestudy.parallel import ComputeSettings, map_items
from tests.project import ENVIRONMENT

TWO = ComputeSettings(workers=2)
SCRIPT = """
import time
from facestudy.parallel import ComputeSettings, map_items
for _ in map_items(time.sleep, [0.01, 0.01, 60, 60], ComputeSettings(workers=2), "sleep"):
    print("one", flush=True)
"""


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_order() -> None:
    assert list(map_items(abs, [-3, 2, -1, 0], TWO, "abs")) == [3, 2, 1, 0]


def test_a_worker_that_dies_is_a_sentence() -> None:
    with pytest.raises(StudyError, match="a worker process died .* lower compute.workers"):
        list(map_items(die, range(8), TWO, "die"))


def test_workers_end_with_the_process_that_was_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "one\n"
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while any(worker.is_running() for worker in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert [worker for worker in workers if worker.is_running()] == []
    process.stdout.close()
