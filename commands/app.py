"""A page for one clip at a time: drop a video or picture, see faces, crops, scores and warnings.

    facestudy app                                       # the published detectors
    facestudy app --study studies/mine --port 8000      # every model and variant of a study

Only this computer can open it. Ctrl-C ends it and removes what it wrote.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from commands.arguments import Parser, status_of
from commands.arguments import words as words_of
from commands.predict import Work, add_detectors, check_detectors, prepared, seen
from facestudy.app import server
from facestudy.app.answer import as_html
from facestudy.core.errors import StudyError
from facestudy.media.video import MediaError
from facestudy.prediction.answer import not_scored
from facestudy.prediction.trained import cells
from facestudy.sources.layouts import MEDIA_SUFFIXES
from facestudy.sources.user_files import called

DOCUMENTS = Path(__file__).resolve().parents[1] / "docs"
ENDS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
"""Ctrl-C, `kill` and the end of the terminal."""
CHECK_S = 0.2
"""Seconds between two looks for a signal. Python handles signals in the main thread; when the system delivers one to
another thread, a main thread that waits without a limit is not woken."""
PATH = re.compile(r"(?<![\w.])/[^\s'\")]+")
"""An absolute path in a message."""


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = Parser("app", __doc__, "facestudy app")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--study", type=Path, help="a study's folder, for its models; default: the published detectors")
    add_detectors(parser)
    found = parser.parse_args(given)
    check_detectors(parser, found)
    if found.port is not None and not 1 <= found.port <= 65535:
        parser.error(f"--port {found.port}: give 1 to 65535")
    if found.study and found.weights:
        parser.error("--weights is for the published detectors; a study has its own")
    if not found.study and (found.model or found.seed or found.allow_sample):
        parser.error("--model, --variant, --seed and --allow-sample need --study")
    return found


def answer(path: Path, name: str, private: Path, work: Work) -> str:
    """A piece of HTML with all that is known of a file that its user calls `name`."""
    source = called(name)
    try:
        if path.suffix.lower() not in MEDIA_SUFFIXES:
            raise MediaError("not a video or picture, by its suffix")
        clip, examined = seen(source, path, work, private)
    except (MediaError, StudyError) as error:
        return as_html(not_scored(source, without_folders(str(error), path)), None, work.detectors)
    return as_html(clip, examined, work.detectors)


def without_folders(message: str, upload: Path) -> str:
    """Name the upload "the file", and other files without their folders: the page shows no path of the computer.

    >>> without_folders("/uploads/clip.mp4: damaged; see /studies/mine/log.txt", Path("/uploads/clip.mp4"))
    'the file: damaged; see log.txt'
    """
    return PATH.sub(lambda found: Path(found[0]).name, message.replace(str(upload), "the file"))


def warm_up(work: Work) -> None:
    """Load the networks."""
    for detector in work.detectors:
        width, height = detector.plan.size
        detector.score_crops(np.zeros((1, height, width, 3), np.uint8))


def end_by_signal() -> Callable[[], None]:
    """Take over the signals that end a program, and return a function that waits for one."""
    ended = threading.Event()
    for number in ENDS:
        signal.signal(number, lambda *_: ended.set())

    def wait() -> None:
        while not ended.wait(CHECK_S):
            pass

    return wait


def run(wanted: argparse.Namespace) -> None:
    """Open the page until a signal ends this program."""
    work = prepared(wanted, cells(wanted.study) if wanted.study and not wanted.model else ())
    wait_for_end = end_by_signal()
    with server.private_folder() as folder:
        page = server.start(
            lambda path, name, private: answer(path, name, private, work),
            folder, sorted(MEDIA_SUFFIXES), work.limits.max_bytes, wanted.port, server.documents(DOCUMENTS),
            lambda: warm_up(work),
        )  # fmt: skip
        print(f"Open {page.address} in a browser of this computer. Ctrl-C here ends it.", flush=True)
        wait_for_end()
        page.close()


def main() -> NoReturn:
    code = status_of("app", lambda: run(arguments([*words_of("FACESTUDY_APP", "SET"), *sys.argv[1:]])))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Python would wait for a job that is still at work, and TensorFlow does not like to be left so


if __name__ == "__main__":
    main()
