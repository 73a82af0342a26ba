"""What all stages share: reading settings, building outputs in a temporary folder, ending with one sentence."""

from __future__ import annotations

import argparse
import errno
import fcntl
import json
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psutil

from facestudy.core.errors import StudyError
from facestudy.core.settings import NAME_PATTERN, check, read_yaml

S = TypeVar("S")
C = TypeVar("C", bound=Collection[Any])

PARAMS = Path("params.yaml")
WORK_CACHE = Path(".cache")
LEFTOVER_S = 86_400
RUNS = Path("reports/runs.jsonl")
"""A line for each stage that has run here: its command, its duration in seconds, when it ended."""


def read_params(path: Path = PARAMS) -> dict[str, Any]:
    """params.yaml as plain values.

    Raises StudyError naming the file.
    """
    try:
        values = read_yaml(path.read_bytes(), str(path))
    except OSError as error:
        raise StudyError(
            f"{path} cannot be read ({error.strerror}); `git restore {path.name}` in the project brings it back."
        ) from None
    if not isinstance(values, dict):
        raise StudyError(f"{path} should hold sections such as `sample` and `models`; see `git show HEAD:{path.name}`.")
    return values


def section(params: dict[str, Any], name: str, kind: type[S], file: Path = PARAMS) -> S:
    """Check one section of the settings.

    Parameters
    ----------
    params
        The settings.
    name
        Of the section.
    kind
        Its type.
    file
        Where the settings come from, for messages.
    """
    if name not in params:
        raise StudyError(f"{file}: the section {name} is missing.")
    return check(kind, params[name], name, str(file))


def check_name(name: str) -> None:
    """Raise StudyError for a text that cannot be the name of a model or a variant: names become parts of paths."""
    if not re.match(NAME_PATTERN, name):
        raise StudyError(f"{name!r} is not a valid name of a model or variant (letters a-z, digits and _).")


def not_empty(values: C, name: str) -> C:
    """Return the values of a section; raise StudyError when there are none."""
    if not values:
        raise StudyError(f"{PARAMS}: {name} is empty; give at least one.")
    return values


@contextmanager
def output_folder(final: Path) -> Iterator[Path]:
    """A private folder beside `final`; takes its place when the block ends without an error.

    What an interrupted run left behind is removed when the stage runs next.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    for leftover in final.parent.glob(f".{final.name}.making-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    private = Path(tempfile.mkdtemp(prefix=f".{final.name}.making-", dir=final.parent))
    private.chmod(0o755)
    try:
        yield private
        shutil.rmtree(final, ignore_errors=True)
        private.rename(final)
    finally:
        shutil.rmtree(private, ignore_errors=True)


@contextmanager
def output_file(final: Path) -> Iterator[Path]:
    """A private path beside the file `final`; takes its place when the block ends without an error."""
    final.parent.mkdir(parents=True, exist_ok=True)
    private = final.with_name(f".{final.name}.making-{os.getpid()}")
    try:
        yield private
        private.replace(final)
    finally:
        private.unlink(missing_ok=True)


def run(name: str, main: Callable[..., str], **options: str) -> None:
    """Run a stage's main with its options, print the summary line it returns, turn a StudyError into one sentence.

    options: the names of main's arguments, each with a line for --help.
    """
    parser = argparse.ArgumentParser(prog=f"python -m stages.{name}", description=main.__globals__["__doc__"])
    for option, text in options.items():
        parser.add_argument(f"--{option}", required=True, help=text)
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.WARNING, format=f"{name}: %(message)s", stream=sys.stderr)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on it is reported
    sweep()
    try:
        summary = main(**arguments)
    except StudyError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; what was finished is kept.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        sentence = _fault(error)
        if sentence is None:
            raise
        print(f"{name}: {sentence}", file=sys.stderr)
        sys.exit(1)
    _record(shlex.join(["python", "-m", f"stages.{name}", *sys.argv[1:]]))
    print(f"{name}: {summary}")


def _record(command: str) -> None:
    """Note in RUNS how long this process took."""
    now = datetime.now(UTC)
    with suppress(OSError, psutil.Error):  # the stage has succeeded
        seconds = round(max(0.0, now.timestamp() - psutil.Process().create_time()), 1)
        row = {"command": command, "seconds": seconds, "ended": now.isoformat(timespec="seconds")}
        RUNS.parent.mkdir(exist_ok=True)
        with RUNS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def sweep() -> None:
    """Remove what killed processes left half-made in the work cache more than a day ago.

    Who is at work in a folder locks it (`working_folder`); where the file system has no locks, nothing is removed.
    """
    for leftover in WORK_CACHE.glob("*/.making-*"):
        with suppress(OSError):  # locked, or gone
            if leftover.stat().st_mtime < time.time() - LEFTOVER_S:
                descriptor = os.open(leftover, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(leftover, ignore_errors=True)
                finally:
                    os.close(descriptor)


_need_mb = 1.0


def check_disk_space(size: float) -> None:
    """Warn when the disk has less free space than `size`, the bytes that the stage will write.

    A later error about a full disk repeats the size.
    """
    global _need_mb
    _need_mb = max(1.0, size / 1e6)
    free = shutil.disk_usage(Path.cwd()).free / 1e6
    if free < _need_mb:
        logging.warning(
            "the disk has %.0f MB free, the stage writes about %.0f MB; make room, or it may stop half-way",
            free,
            _need_mb,
        )


def _fault(error: Exception) -> str | None:
    """A sentence for an error that is the machine's and not ours, else None."""
    # FFmpeg and HDF5 have exceptions of their own; the text is the operating system's.
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error):
        free = shutil.disk_usage(Path.cwd()).free / 1e6
        return (
            f"the disk is full ({free:.0f} MB free); the stage needs about {_need_mb:.0f} MB; make room and run again, "
            "what was finished is kept."
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; fix this and run again. Finished work is kept."
    return None
