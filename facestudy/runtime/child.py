"""A module that answers requests in a process of its own: a line of JSON in, a line of JSON out.

What a hostile file or server does to a library stays in that process: it may crash, hang or use up its memory. Its
answers are JSON, so nothing in them is executed. `Child` asks, `serve` answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from facestudy.core.errors import StudyError

START_S = 120.0
"""Seconds that a process may take for its imports, however busy the machine is."""


class Ended(Exception):
    """The process ended without an answer.

    Attributes
    ----------
    late : bool
        Whether it ran out of time.
    """

    def __init__(self, how: str, late: bool = False) -> None:
        super().__init__(how)
        self.late = late


class Child:
    """A process that runs `command` and answers one request after the other.

    It ends when its input is closed, so it does not outlive the process that started it. Ctrl-C does not reach it.

    Parameters
    ----------
    command : sequence of str
        Its main program calls `serve`.

    Raises
    ------
    StudyError
        When the process does not start.
    """

    def __init__(self, command: Sequence[str]) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {
                "PYTHONPATH": path,
                "PYTHONSAFEPATH": "1",  # no modules from the current folder, which may hold anything
                "OPENBLAS_NUM_THREADS": "1",  # a thread more is memory more
            },
            start_new_session=True,
        )  # fmt: skip
        self.used = False
        try:
            self._line(START_S)
        except Ended as problem:
            raise StudyError(f"the process {command[-1]} does not start ({problem}); `make env` may help.") from None

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return the answer to a request.

        Parameters
        ----------
        request : mapping
            Anything that JSON can hold.
        seconds : float
            Time that the answer may take.

        Raises
        ------
        Ended
            When the process ends first, or is ended because its time is up.
        """
        self.used = True
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line(seconds))
        return answer

    def end(self) -> None:
        """Kill the process and wait for it."""
        self.process.kill()
        self.process.communicate()

    def _line(self, seconds: float) -> str:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        assert self.process.stdout
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith("\n"):
            return line
        code = self.process.wait()
        if late.is_set():
            raise Ended(f"no answer within {seconds:g} s", late=True)
        if code == -getattr(signal, "SIGXCPU", 0):
            raise Ended(f"no answer within {seconds:g} s of computing", late=True)
        raise Ended(_ending(code))


def _ending(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"


def serve(answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Answer requests until the input is closed. What libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _send(answers, {})
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        _send(answers, answer(json.loads(requests.get())))


def _send(answers: TextIO, answer: Mapping[str, Any]) -> None:
    try:
        print(json.dumps(answer), file=answers, flush=True)
    except BrokenPipeError:
        os._exit(0)  # who asked is gone


def _listen(requests: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # also in the middle of an answer
