"""An annotated copy of a clip: a box around each person, with P(fake) above it.

The limited process of facestudy.media.decode delivers the frames in stretches, so memory and disk do not grow with the
length of the clip. The copy has no sound.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from facestudy.core.arrays import Picture
from facestudy.media import decode
from facestudy.media.encoding import encode
from facestudy.media.frames import FrameSettings
from facestudy.media.video import Limits, MediaError, read_picture
from facestudy.prediction.answer import ClipAnswer, FaceScore

MAX_FRAMES = 9000
"""Of a longer clip, every second frame is kept, or every third, …; six minutes at 25 frames a second are kept whole."""
STRETCH = 100
"""The most frames on disk at a time."""
MAX_SIDE = 1280
"""Larger frames are reduced."""
QUANTIZER = 23
BOX, PAPER, INK = (255, 214, 0), (20, 20, 20), (255, 255, 255)
WORTH = "P(fake) by detector; a score is not proof"


@dataclass(frozen=True)
class Label:
    """Where a person is in a frame, and the label of the face that is nearest in time.

    Attributes
    ----------
    box : (float, float, float, float)
        x, y, width, height in pixels of the frames that were examined.
    face : FaceScore
        The nearest face that has scores.
    examined : bool
        Whether the frame is the one of this face.
    """

    box: tuple[float, float, float, float]
    face: FaceScore
    examined: bool


def write_video(path: Path, clip: ClipAnswer, frames: FrameSettings, limits: Limits, target: Path) -> str:
    """Write a clip with its boxes and scores, as H.264 without sound.

    Parameters
    ----------
    path : Path
        The clip.
    clip : ClipAnswer
        With a score, of a video.
    frames : FrameSettings
        How the frames that were examined were taken.
    limits : Limits
        What the file may be, and what decoding it may take.
    target : Path
        The video to write. It appears when it is complete.

    Returns
    -------
    str
        Why it ends before the clip does, or "". Without a single frame nothing is written.
    """
    reasons: list[str] = []
    pictures = _annotated(path, clip, frames, limits, reasons)
    first = next(pictures, None)
    if first is None:
        return reasons[0] if reasons else "no frame can be decoded"
    height, width = (side // 2 * 2 for side in first.shape[:2])  # H.264 halves the colours

    def sized() -> Iterator[Picture]:
        yield first[:height, :width]
        for picture in pictures:
            same = picture.shape == first.shape  # a stream may change its size
            yield (picture if same else cv2.resize(picture, first.shape[1::-1]))[:height, :width]

    private = target.with_name(f".making-{os.getpid()}-{target.name}")  # PyAV needs the suffix
    try:
        encode(sized(), Fraction(rate_of(clip) / step_of(clip)).limit_denominator(1001), QUANTIZER, private)
        private.replace(target)
    finally:
        private.unlink(missing_ok=True)
    return reasons[0] if reasons else ""


def rate_of(clip: ClipAnswer) -> float:
    """Frames a second of a clip; 1 where that is not known."""
    return max(0.01, clip.fps or 1.0)


def step_of(clip: ClipAnswer) -> int:
    """Work out which frames are kept: every one, every second, …"""
    return max(1, -(-round(rate_of(clip) * (clip.duration_s or 0)) // MAX_FRAMES))


def _annotated(
    path: Path, clip: ClipAnswer, frames: FrameSettings, limits: Limits, reasons: list[str]
) -> Iterator[Picture]:
    """The frames with what is drawn on them; why they end too early goes to `reasons`."""
    step, rate, duration = step_of(clip), rate_of(clip), clip.duration_s or 0.0
    settings = FrameSettings(
        per_video=None, every=step, max_per_video=4 * STRETCH, format="jpg", jpg_quality=95, max_side=MAX_SIDE
    )
    seconds, last = STRETCH * step / rate, -1
    starts = np.arange(0, max(duration, seconds / 2), seconds)
    for start in tqdm(starts, desc="video", unit="stretch", leave=False, disable=None):
        with tempfile.TemporaryDirectory(prefix="facestudy-") as folder:
            try:
                decode.extract(path, settings, limits, Path(folder), float(start), float(start + seconds))
            except (MediaError, OSError) as error:
                reasons.append(str(error))
                return
            for row in json.loads((Path(folder) / "frames.json").read_text())["frames"]:
                if row["frame_number"] <= last:
                    continue  # the end of a stretch is the start of the next
                last = row["frame_number"]
                yield drawn(read_picture(Path(folder) / row["path"], limits.max_pixels), last, clip, frames)


def drawn(picture: Picture, frame: int, clip: ClipAnswer, frames: FrameSettings) -> Picture:
    """Draw what is known of a frame on it.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.
    frame : int
        Its number, from 0.
    clip : ClipAnswer
    frames : FrameSettings
        How the frames that were examined were taken.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB.
    """
    page = picture.copy()  # as it was read, it cannot be drawn on
    side = max(clip.width or 1, clip.height or 1)
    scale = max(picture.shape[:2]) / min(side, frames.max_side or side)
    spacing = rate_of(clip) * (clip.duration_s or 0) / max(1, clip.frames)
    size = max(0.4, min(page.shape[:2]) / 900)
    for person in clip.persons:
        label = label_at(person.faces, frame, spacing)
        if label is None:
            continue
        x, y, w, h = (round(value * scale) for value in label.box)
        cv2.rectangle(page, (x, y), (x + w, y + h), BOX, 3 if label.examined else 1, cv2.LINE_AA)
        lines = [f"{name} {p_fake:.2f}" for name, p_fake in label.face.p_fake.items()]
        if len(clip.persons) > 1:
            lines.insert(0, f"person {person.person}")
        _write(page, lines, x, y, size)
    _write(page, [WORTH], 0, page.shape[0], size)
    return page


def label_at(faces: Sequence[FaceScore], frame: int, spacing: float) -> Label | None:
    """Work out where a person is in a frame: between two faces that follow each other the box moves evenly.

    Parameters
    ----------
    faces : sequence of FaceScore
        Of the person, by frame; at least one.
    frame : int
        Its number, from 0.
    spacing : float
        Frames from one that was examined to the next.

    Returns
    -------
    Label or None
        None where no face with scores is near: half a spacing away, or between two that follow each other.
    """
    nearest = min(faces, key=lambda face: abs(face.frame - frame))
    before = max((face for face in faces if face.frame <= frame), key=lambda face: face.frame, default=None)
    after = min((face for face in faces if face.frame >= frame), key=lambda face: face.frame, default=None)
    if before and after and 0 < after.frame - before.frame <= 1.5 * spacing + 1:
        share = (frame - before.frame) / (after.frame - before.frame)
        x, y, w, h = ((1 - share) * one + share * other for one, other in zip(_box(before), _box(after), strict=True))
        return Label((x, y, w, h), nearest, False)
    if abs(nearest.frame - frame) <= spacing / 2 + 1:
        return Label(_box(nearest), nearest, nearest.frame == frame)
    return None


def _box(face: FaceScore) -> tuple[float, float, float, float]:
    return face.x, face.y, face.w, face.h


def _write(page: Picture, lines: Sequence[str], x: int, bottom: int, size: float) -> None:
    """Write lines on dark paper that ends at `bottom`, within the picture."""
    line = round(26 * size)
    width = max(cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * size, 1)[0][0] for words in lines) + 8
    x = max(0, min(x, page.shape[1] - width))
    top = max(0, bottom - line * len(lines) - 4)
    cv2.rectangle(page, (x, top), (x + width, top + line * len(lines) + 4), PAPER, -1)
    for number, words in enumerate(lines):
        place = (x + 4, top + line * (number + 1) - round(5 * size))
        cv2.putText(page, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * size, INK, 1, cv2.LINE_AA)
