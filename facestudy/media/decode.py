"""Looking into files and taking their frames, in a process that a bad file may take down.

`probe` and `extract` give the answers of facestudy.media.video and facestudy.media.frames. The work is done by a child
process (`facestudy.runtime.child`) with limits on time and memory. A file that crashes FFmpeg, exhausts it or never
ends costs itself alone: a DecodingStopped, one row. The child serves file after file, since its imports take longer
than most videos; each thread has its own. Pixels do not pass between the processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from facestudy.media import frames, video
from facestudy.media.frames import FrameSettings
from facestudy.media.video import Limits, MediaError, Probe
from facestudy.runtime.child import Child, Ended, serve

COMMAND = (sys.executable, "-m", "facestudy.media.decode")
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


_own = threading.local()


def _ask(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    request = {**request, "limits": dataclasses.asdict(limits)}
    while True:
        child: Child | None = getattr(_own, "child", None)
        if child is None or child.process.poll() is not None:
            child = _own.child = Child(COMMAND)
        used = child.used
        try:
            answer = child.ask(request, limits.decode_s)
            reason = answer.get("memory", "")
        except Ended as problem:
            answer, reason = {}, _reason(problem, limits)
            used = used and not problem.late  # a fresh process would take as long
        except BaseException:  # Ctrl-C
            _drop(child)
            raise
        if reason:
            _drop(child)
            if not used:
                raise DecodingStopped(reason)
            continue  # files before it may have worn the process out: the verdict is a fresh one's
        if "media" in answer:
            raise MediaError(answer["media"])
        if "os" in answer:
            raise OSError(*answer["os"])
        return answer


def _drop(child: Child) -> None:
    child.end()
    _own.child = None


def _reason(problem: Ended, limits: Limits) -> str:
    if problem.late:
        return f"not decoded within {limits.decode_s:g} s (decoding.max_time_s)"
    return f"the decoder crashed on it ({problem})"


def main() -> None:
    """Serve requests until the input is closed."""
    cv2.setNumThreads(1)
    idle = _address_space()
    serve(lambda request: _within_limits(request, idle))


def _within_limits(request: Mapping[str, Any], idle: int) -> dict[str, Any]:
    limits = Limits(**request["limits"])
    _limit(limits, idle)
    try:
        return _answer(request, limits)
    except MemoryError:
        return {"memory": f"decoding it takes more than {limits.decode_mb} MB (decoding.max_memory_mb)"}
    finally:
        _limit(None, idle)


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
