"""Looking into files and taking their frames, in a process that a bad file may take down.

`probe` and `extract` are those of facestudy.media.video and facestudy.media.frames with the same answers, but the
work is done by a child (`python -m facestudy.media.decode`: a line of JSON in, a line out) with limits on
time and memory. A file that crashes FFmpeg, exhausts it or never ends costs itself alone: a
DecodingStopped, one row. The child lives on from file to file, since its imports take longer than
most videos; each thread has its own. Pixels do not pass between the processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import cv2

from facestudy.core.errors import StudyError
from facestudy.media import frames, video
from facestudy.media.frames import FrameSettings
from facestudy.media.video import Limits, MediaError, Probe

COMMAND = (sys.executable, "-m", "facestudy.media.decode")
START_S = 120.0
"""Seconds that a child may take for its imports, however busy the machine is."""
OUT_OF_MEMORY = -4
"""Of OpenCV's error codes."""


class DecodingStopped(MediaError):
    """Time, memory or a crash ended the work: nothing is known of the file but this."""


def probe(path: Path, limits: Limits) -> Probe:
    """`video.probe`. Raises MediaError with the reason, OSError when the file cannot be read."""
    return Probe(**_ask({"work": "probe", "path": str(path.absolute())}, limits))


def extract(
    source: Path,
    settings: FrameSettings,
    limits: Limits,
    folder: Path,
    start_s: float | None = None,
    end_s: float | None = None,
) -> None:
    """`frames.extract`. Raises DecodingStopped, after which folder may hold some frames but no frames.json."""
    request = {
        "work": "extract",
        "path": str(source.absolute()),
        "settings": settings.model_dump(),
        "folder": str(folder.absolute()),
        "part": [start_s, end_s],
    }
    _ask(request, limits)


class _Broken(Exception):
    """The child could not end its work; whether that was for want of time."""

    def __init__(self, reason: str, late: bool = False) -> None:
        super().__init__(reason)
        self.late = late


class _Child:
    """One decoding process and what passes to and from it."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},  # a thread more is memory more
            start_new_session=True,  # Ctrl-C is for who started it; its end closes the child's input, which ends it
        )  # fmt: skip
        self.used = False
        try:
            self._line(START_S)
        except _Broken as problem:
            raise StudyError(f"the decoding process cannot be started: {problem}; `make env` again may help.") from None

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The child's answer. Raises _Broken when there is none, and when it ran out of memory."""
        self.used = True
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line(seconds))
        if "memory" in answer:
            raise _Broken(f"decoding it takes more than {request['limits']['decode_mb']} MB (folder.decode_mb)")
        return answer

    def end(self) -> None:
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
            raise _Broken(f"not decoded within {seconds:g} s (folder.decode_s)", late=True)
        if code == -getattr(signal, "SIGXCPU", 0):
            raise _Broken(f"not decoded within {seconds:g} s of computing (folder.decode_s)", late=True)
        raise _Broken(f"the decoder crashed on it ({_ending(code)})")


def _ending(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"


_own = threading.local()


def _ask(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    request = {**request, "limits": dataclasses.asdict(limits)}
    while True:
        child: _Child | None = getattr(_own, "child", None)
        if child is None or child.process.poll() is not None:
            child = _own.child = _Child()
        used = child.used
        try:
            answer = child.ask(request, limits.decode_s)
        except BaseException as problem:
            child.end()
            _own.child = None
            if not isinstance(problem, _Broken):
                raise  # Ctrl-C
            if not used or problem.late:
                raise DecodingStopped(str(problem)) from None
            continue  # files before it may have worn the child out: the verdict is a fresh one's
        if "media" in answer:
            raise MediaError(answer["media"])
        if "os" in answer:
            raise OSError(*answer["os"])
        return answer


def main() -> None:
    """Serve requests until the input is closed."""
    answers = os.fdopen(os.dup(1), "w")
    print("{}", file=answers, flush=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # libraries talk about damaged files there
    cv2.setNumThreads(1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    _serve(requests, answers, _address_space())


def _listen(requests: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # also out of the middle of a file: who asked is gone


def _serve(requests: queue.SimpleQueue[str], answers: TextIO, idle: int) -> None:
    while True:
        request = json.loads(requests.get())
        limits = Limits(**request["limits"])
        _limit(limits, idle)
        try:
            answer = _answer(request, limits)
        except MemoryError:
            answer = {"memory": True}
        _limit(None, idle)
        print(json.dumps(answer), file=answers, flush=True)


def _answer(request: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    path = Path(request["path"])
    try:
        if request["work"] == "probe":
            return vars(video.probe(path, limits))
        settings = FrameSettings(**request["settings"])
        frames.extract(path, settings, limits, Path(request["folder"]), *request["part"])
        return {}
    except MediaError as error:
        return {"media": str(error)}
    except MemoryError:
        raise
    except OSError as error:
        if error.errno is not None:
            return {"os": [error.errno, error.strerror]}
        return {"media": _unforeseen(error)}
    except Exception as error:
        if isinstance(error, cv2.error) and error.code == OUT_OF_MEMORY:
            raise MemoryError from None
        return {"media": _unforeseen(error)}


def _unforeseen(error: Exception) -> str:
    """A library's error that no one expected: the file's row shall name it."""
    return f"decoding it failed ({type(error).__name__}: {' '.join(str(error).split())[:120]})"


def _address_space() -> int:
    """Bytes of address space of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _limit(limits: Limits | None, idle: int) -> None:
    """Bound memory, beyond what the idle process has, and computing time; None lifts the bounds.

    Linux alone bounds the address space; elsewhere time is bounded, by who asked.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    unlimited = resource.RLIM_INFINITY
    memory = seconds = unlimited  # what the system itself imposes stays
    if limits is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(usage.ru_utime + usage.ru_stime + limits.decode_s) + 2
        if idle:
            memory = idle + limits.decode_mb * 2**20
    for kind, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
        hard = resource.getrlimit(kind)[1]
        soft = min((bound for bound in (value, hard) if bound != unlimited), default=unlimited)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            resource.setrlimit(kind, (soft, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    main()
