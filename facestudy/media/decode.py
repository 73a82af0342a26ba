"""Probe files and extract their frames, in a child process that a bad file may crash.

`probe` and `extract` give the answers of facestudy.media.video and facestudy.media.frames. A child process
(`facestudy.runtime.child`) with limits on time and memory does the work. A file that crashes FFmpeg, exhausts its
memory or never ends affects only itself: it raises DecodingStopped and becomes one row. The child serves file after
file, since its imports take longer than most videos. Each thread has its own child. Pixels do not pass between the
processes.
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
"""OpenCV's error code for it."""


class DecodingStopped(MediaError):
    """A time limit, a memory limit or a crash ended the work; nothing else is known of the file."""


def probe(path: Path, limits: Limits) -> Probe:
    """Run `video.probe` in a child process.

    Parameters
    ----------
    path : Path
        A video or picture.
    limits : Limits
        What the file may be, and what decoding it may take.

    Returns
    -------
    Probe

    Raises
    ------
    MediaError
        When the file cannot be used; the message is the reason.
    DecodingStopped
        When decoding exceeds the limits on time or memory, or crashes.
    OSError
        When the file cannot be read.
    """
    return Probe(**_ask({"work": "probe", "path": str(path.absolute())}, limits))


def extract(
    source: Path,
    settings: FrameSettings,
    limits: Limits,
    folder: Path,
    start_s: float | None = None,
    end_s: float | None = None,
) -> None:
    """Run `frames.extract` in a child process.

    Parameters
    ----------
    source : Path
        A video or picture.
    settings : FrameSettings
        Which frames are taken, and how they are stored.
    limits : Limits
        What the file may be, and what decoding it may take.
    folder : Path
        The folder to write to.
    start_s, end_s : float, optional
        The wanted part of the video, in seconds, both ends included. By default the whole video.

    Raises
    ------
    DecodingStopped
        When decoding exceeds the limits on time or memory, or crashes.
    MediaError
        When decoding fails in an unforeseen way. After either of these, the folder may hold some frames, but no
        frames.json.
    OSError
        When the file cannot be read, or a frame cannot be written.
    """
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
            continue  # earlier files may have worn the process out: a fresh one decides
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
    """Name an unexpected error of a library, for the row of the file."""
    return f"decoding it failed ({type(error).__name__}: {' '.join(str(error).split())[:120]})"


def _address_space() -> int:
    """Return the size of this process's address space, bytes; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _limit(limits: Limits | None, idle: int) -> None:
    """Bound computing time, and memory beyond that of the idle process; None lifts the bounds.

    Only Linux bounds the address space. Elsewhere the parent process bounds the time.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    unlimited = resource.RLIM_INFINITY
    memory = seconds = unlimited  # limits of the system stay in force
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
