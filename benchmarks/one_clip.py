"""What the published detectors say of real clips, and the time of a score over that of its steps that nobody can save.

These steps are decoding the sampled frames and finding faces in them, in this process and without storing anything.
CPU seconds of this process and its children, so that a busy machine counts for little. Then what blur does to the
scores of real faces: one face of each real clip, blurred by a Gaussian before it is cropped.

    python -m benchmarks.one_clip [FOLDER-OF-WEIGHTS]     # the videos below $FACESTUDY_TEST_DATA
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import psutil

from commands.predict import Work, arguments, prepared
from facestudy.evaluation.metrics import THRESHOLD
from facestudy.faces import detection
from facestudy.faces.extraction import find_faces
from facestudy.faces.face import Face
from facestudy.media import frames, video
from facestudy.prediction.answer import scored
from facestudy.prediction.clip import examine

T = TypeVar("T")
BLURS = (0, 0.005, 0.01, 0.02, 0.04)
"""Standard deviations, shares of the longer side of the box."""


def cpu_seconds() -> float:
    """Of this process and its children so far."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def timed(work: Callable[[], T]) -> tuple[T, float]:
    started = cpu_seconds()
    return work(), cpu_seconds() - started


def blurred(face: Face, share: float) -> Face:
    if not share or face.picture is None:
        return face
    picture = cv2.GaussianBlur(face.picture, (0, 0), share * max(face.w, face.h))
    return replace(face, picture=np.asarray(picture, np.uint8))


def blur_table(clips: Sequence[Path], work: Work) -> None:
    """Print mean p_fake and how many faces are called fake, for each blur."""
    faces = []
    for clip in clips:
        middle = len(video.frame_times(clip, work.limits)) // 2
        (frame,) = video.read_video(clip, [middle], work.limits)
        faces += find_faces([frame.picture], work.faces)[0][0][:1]
    print(f"\n{len(faces)} real faces, blurred: mean p_fake, called fake")
    for share in BLURS:
        scores = [detector.score([blurred(face, share) for face in faces])[0] for detector in work.detectors]
        print(f"{share:5.1%}", *(f"{one.mean():6.2f} {(one > THRESHOLD).sum():3}" for one in scores))


def main() -> None:
    if "FACESTUDY_TEST_DATA" not in os.environ:
        print("FACESTUDY_TEST_DATA is not set, so there are no clips")
        return
    data = Path(os.environ["FACESTUDY_TEST_DATA"])
    work = prepared(arguments(["x", "--weights", (sys.argv[1:] or [str(data / "mesonet")])[0]]))

    def whole(clip: Path) -> Callable[[], object]:
        def score() -> object:
            with tempfile.TemporaryDirectory() as folder:
                return scored(
                    clip.name, examine(clip, work.frames, work.faces, work.limits, Path(folder)), work.detectors
                )

        return score

    def bare(clip: Path) -> None:
        numbers = frames.choose(len(video.frame_times(clip, work.limits)), work.frames)
        pictures = [frame.picture for frame in video.read_video(clip, numbers, work.limits)]
        detection.detect(pictures, work.faces)

    clips = sorted((data / "videos").glob("*/*.mp4"))
    whole(clips[0])()  # start-up: imports, networks, graphs
    print("clip                     label  size        s  faces  Meso4  MesoInception4  CPU s  bare  ratio")
    total = [0.0, 0.0]
    for clip in clips:
        answer, seconds = timed(whole(clip))
        _, least = timed(lambda clip=clip: bare(clip))  # type: ignore[misc]
        total = [total[0] + seconds, total[1] + least]
        (person, *others) = answer.persons  # type: ignore[attr-defined]
        first, second = (score.p_fake for score in person.scores)
        size = f"{answer.width}x{answer.height}"  # type: ignore[attr-defined]
        print(
            f"{clip.stem:23}  {clip.parent.name:5}  {size:9}  {answer.duration_s:3.0f}  {len(person.faces):5}  "  # type: ignore[attr-defined]
            f"{first:5.2f}  {second:14.2f}  {seconds:5.2f}  {least:4.2f}  {seconds / least:5.2f}"
            f"{'  and others' if others else ''}",
            flush=True,
        )
    print(f"{len(clips)} clips, {total[0] / len(clips):.2f} CPU s each, {total[0] / total[1]:.2f} times the bare steps")
    blur_table([clip for clip in clips if clip.parent.name == "real"], work)


if __name__ == "__main__":
    main()
