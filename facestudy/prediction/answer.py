"""The answer about clips, as records; `Answer.model_json_schema()` is the schema of its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from facestudy.core.arrays import FloatArray
from facestudy.evaluation.metrics import THRESHOLD
from facestudy.prediction.clip import Examined, Found
from facestudy.prediction.detectors import Detector

VERSION = 1
"""The version of the JSON format; it is raised when a field changes its meaning or is removed."""


class Record(BaseModel):
    """A part of the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Meaning(Record):
    """How often test faces with a similar score were fake."""

    low: float = Field(description="lower end of the range of p_fake of these test faces")
    high: float = Field(description="upper end of the range")
    scores: int = Field(description="how many scores of test faces lie there, over all trainings")
    fake_share: float = Field(description="share of them that are of fakes, 0 to 1")


class Score(Record):
    """The score of one detector for one person."""

    detector: str
    p_fake: float = Field(ge=0, le=1, description="mean over faces and trainings")
    label: Literal["real", "fake"] = Field(description=f"fake when p_fake is above {THRESHOLD:g}")
    faces_low: float = Field(description="lowest p_fake of a face, mean over trainings")
    faces_high: float = Field(description="highest p_fake of a face, mean over trainings")
    faces_sd: float | None = Field(description="standard deviation between faces; null for one face")
    trainings: int
    trainings_low: float = Field(description="lowest p_fake of a training, mean over faces")
    trainings_high: float = Field(description="highest p_fake of a training, mean over faces")
    trainings_sd: float | None = Field(description="standard deviation between trainings; null for one training")
    meaning: Meaning | None = Field(description="null where it is not known")
    warnings: list[str] = Field(description="how the clip differs from the detector's training and test data")


class FaceScore(Record):
    """One face, in pixels of the frame (turned upright, where the clip is not)."""

    frame: int = Field(description="from 0")
    time_s: float
    x: float
    y: float
    w: float
    h: float
    confidence: float = Field(description="of the face detector")
    quality: dict[str, float] = Field(description="size, sharpness and so on, as the stage faces measures them")
    p_fake: dict[str, float] = Field(description="by detector, mean over trainings")


class Person(Record):
    """One person of a clip: the faces that follow each other by their boxes, or all where no frame shows two."""

    person: int = Field(description="from 1, the one with most faces first")
    scores: list[Score]
    faces: list[FaceScore]


class ClipAnswer(Record):
    """One clip or picture."""

    source: str = Field(description="as given; unprintable characters are escaped")
    status: Literal["scored", "not_scored"]
    reason: str = Field(description="why it is not scored, else empty")
    sha256: str | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = Field(default=None, description="0 for a picture")
    duration_s: float | None = Field(default=None, description="0 for a picture")
    frames: int = Field(default=0, description="how many frames were examined")
    skipped: dict[str, int] = Field(default_factory=dict, description="frames or faces that were left out, by reason")
    undecoded: str = Field(default="", description="why fewer frames were examined than wanted")
    persons: list[Person] = Field(default_factory=list)


class DetectorAnswer(Record):
    """One detector."""

    name: str
    trainings: list[str]
    crop: str = Field(description="name of the crop variant")
    seen: str = Field(description="what it was trained on")
    measured: str = Field(description="how well it did where it was tested; empty where that is not known")


class Answer(Record):
    """The answer about all clips."""

    version: int = VERSION
    threshold: float = THRESHOLD
    detectors: list[DetectorAnswer]
    clips: list[ClipAnswer]


def about(detector: Detector) -> DetectorAnswer:
    """Describe a detector."""
    return DetectorAnswer(
        name=detector.name,
        trainings=list(detector.trainings),
        crop=detector.plan.name,
        seen=detector.seen,
        measured=detector.measured,
    )


def not_scored(source: str, reason: str) -> ClipAnswer:
    """Describe a clip that has no score.

    Parameters
    ----------
    source : str
    reason : str

    Returns
    -------
    ClipAnswer
    """
    return ClipAnswer(source=source, status="not_scored", reason=reason)


def scored(source: str, examined: Examined, detectors: Sequence[Detector]) -> ClipAnswer:
    """Score the faces of a clip.

    Parameters
    ----------
    source : str
        How the clip is called.
    examined : Examined
        Its faces.
    detectors : sequence of Detector

    Returns
    -------
    ClipAnswer
        With the status "not_scored" where there is no usable face.
    """
    faces = [one.face for one in examined.found]
    answers = {detector.name: detector.score(faces) for detector in detectors} if faces else {}
    persons = []
    for number in sorted({one.person for one in examined.found}):
        rows = [row for row, one in enumerate(examined.found) if one.person == number]
        scores = [_score(detector, answers[detector.name][:, rows], examined, rows) for detector in detectors]
        own = [_face(examined.found[row], {name: values[:, row] for name, values in answers.items()}) for row in rows]
        persons.append(Person(person=number, scores=scores, faces=own))
    return ClipAnswer(
        source=source,
        status="scored" if persons else "not_scored",
        reason="" if persons else _nothing(examined),
        sha256=examined.sha256,
        **vars(examined.probe) | {"frames": examined.frames},
        skipped=dict(examined.skipped),
        undecoded=examined.undecoded,
        persons=persons,
    )


def _score(detector: Detector, p_fake: FloatArray, examined: Examined, rows: Sequence[int]) -> Score:
    per_face, per_training = p_fake.mean(axis=0), p_fake.mean(axis=1)
    mean = float(p_fake.mean())
    found = detector.bin_of(mean)
    return Score(
        detector=detector.name,
        p_fake=round(mean, 6),
        label="fake" if mean > THRESHOLD else "real",
        faces_low=_rounded(per_face.min()),
        faces_high=_rounded(per_face.max()),
        faces_sd=_spread(per_face),
        trainings=len(per_training),
        trainings_low=_rounded(per_training.min()),
        trainings_high=_rounded(per_training.max()),
        trainings_sd=_spread(per_training),
        meaning=Meaning(**vars(found)) if found else None,
        warnings=detector.known.warnings(examined.probe, examined.sha256, [examined.found[row].face for row in rows]),
    )


def _face(found: Found, p_fake: Mapping[str, FloatArray]) -> FaceScore:
    face = found.face
    return FaceScore(
        frame=found.frame,
        time_s=found.time_s,
        **dict(zip("xywh", face.box, strict=True)),
        confidence=face.confidence,
        quality={name: round(value, 4) for name, value in face.quality.items()},
        p_fake={name: _rounded(values.mean()) for name, values in p_fake.items()},
    )


def _rounded(value: float) -> float:
    return round(float(value), 6)


def _spread(values: FloatArray) -> float | None:
    return _rounded(float(np.std(values, ddof=1))) if len(values) > 1 else None


WORDS = {
    "no_face": "no face found",
    "low_confidence": "no face that the face detector is sure of",
    "implausible_landmarks": "a face whose eyes and mouth are not where those of a face are",
    "not_upright": "a face that is not upright",
    "frame_too_small": "a frame too small to search",
    "size_below": "a face too small, under {} pixels",
    "sharpness_below": "a face too blurred, sharpness under {}",
    "brightness_below": "a face too dark, brightness under {}",
    "brightness_above": "a face too bright, brightness over {}",
    "landmark_error_above": "a face too much turned away, landmark error over {}",
    "blockiness_above": "a face too blocky, blockiness over {}",
}
"""Reasons of the stage `faces`, without their limit, for people to read."""


def in_words(reason: str) -> str:
    """Put a reason of the stage `faces` into words.

    Examples
    --------
    >>> in_words("size_below_60"), in_words("no_face")
    ('a face too small, under 60 pixels', 'no face found')
    """
    kind, _, limit = reason.rpartition("_")
    return WORDS[reason] if reason in WORDS else WORDS.get(kind, reason.replace("_", " ")).format(limit)


def _nothing(examined: Examined) -> str:
    often = sorted(examined.skipped.items(), key=lambda one: -one[1])
    reasons = [f"{in_words(reason)} ({count})" for reason, count in often]
    if not examined.frames:
        return examined.undecoded or "no frame can be decoded"
    return f"no usable face in {examined.frames} frame{'s' if examined.frames > 1 else ''}: {'; '.join(reasons)}"
