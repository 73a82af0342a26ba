"""The answer for a clip as HTML: scores, warnings, faces, crops as the models get them, overlays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from facestudy.app.overlay import Overlay, overlay
from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.crops.contact_sheet import mark_boxes
from facestudy.crops.cutting import crop
from facestudy.media.inline import Inline, inline
from facestudy.prediction import text
from facestudy.prediction.answer import ClipAnswer, Person, about
from facestudy.prediction.clip import Examined, Found
from facestudy.prediction.detectors import Detector

SHOWN_FACES = 10
"""Faces of a person on the page, evenly spaced."""
SHOWN_PEOPLE = 6
"""Persons with pictures; those after them have scores only, so that a crowd does not make a page of 100 MB."""


@dataclass(frozen=True)
class FaceShown:
    """A face on the page.

    Attributes
    ----------
    time_s : float
        Of its frame, seconds.
    found : Inline
        Its cut-out with the boxes of the first detector's crop.
    crops : list of Inline
        What the networks get, pixel by pixel; one picture for all detectors with the same crop.
    scores : list of (str, float)
        Detector and p_fake.
    """

    time_s: float
    found: Inline
    crops: list[Inline]
    scores: list[tuple[str, float]]


@dataclass(frozen=True)
class PersonShown:
    """A person on the page.

    Attributes
    ----------
    person : Person
    faces : list of FaceShown
    overlays : list of (Overlay, Inline)
        One for each detector that has one.
    """

    person: Person
    faces: list[FaceShown] = field(default_factory=list)
    overlays: list[tuple[Overlay, Inline]] = field(default_factory=list)


def as_html(clip: ClipAnswer, examined: Examined | None, detectors: Sequence[Detector]) -> str:
    """Write what is known of a clip.

    Parameters
    ----------
    clip : ClipAnswer
    examined : Examined, optional
        The faces that it is about; None where it has no score.
    detectors : sequence of Detector
        At least one.

    Returns
    -------
    str
        A piece of HTML with the pictures inside; what comes from outside is escaped.
    """
    people = [
        shown(person, [one for one in examined.found if one.person == person.person], detectors)
        if examined is not None and number < SHOWN_PEOPLE
        else PersonShown(person)
        for number, person in enumerate(clip.persons)
    ]
    return _template().render(
        clip=clip, people=people, detectors=text.heading([about(one) for one in detectors]),
        footer=text.footer([clip]), text=text, left=len(clip.persons) - SHOWN_PEOPLE,
    )  # fmt: skip


@functools.cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(
        "answer.html"
    )


def shown(person: Person, faces: Sequence[Found], detectors: Sequence[Detector]) -> PersonShown:
    """Make the pictures of a person.

    Parameters
    ----------
    person : Person
    faces : sequence of Found
        Of this person, in the order of `person.faces`.
    detectors : sequence of Detector

    Returns
    -------
    PersonShown
        Without the overlay of a network that attribution cannot use.
    """
    rows = np.linspace(0, len(faces) - 1, min(len(faces), SHOWN_FACES)).round().astype(int)
    overlays = []
    for detector in detectors:
        try:
            found = overlay(detector, faces, [face.p_fake[detector.name] for face in person.faces])
        except StudyError:  # a network whose layers are all smaller than a map
            continue
        said = f"what speaks for {found.says} to {found.detector}, on the face at {found.time_s:.1f} s"
        overlays.append((found, inline(said, found.picture)))
    return PersonShown(person, [_face(person, faces[row], row, detectors) for row in rows], overlays)


def _face(person: Person, found: Found, row: int, detectors: Sequence[Detector]) -> FaceShown:
    face, picture = found.face, found.face.picture
    assert picture is not None
    same: dict[bytes, tuple[Picture, list[Detector]]] = {}
    for detector in detectors:
        cut = crop(picture, face, detector.plan, detector.colour)
        same.setdefault(str(cut.shape).encode() + cut.tobytes(), (cut, []))[1].append(detector)
    crops = [
        inline(f"{own[0].plan.name}, {cut.shape[1]}x{cut.shape[0]}, as {' and '.join(one.name for one in own)} get"
               + ("s" if len(own) == 1 else "") + " it", cut)
        for cut, own in same.values()
    ]  # fmt: skip
    where = inline(f"face in frame {found.frame}, with landmarks", mark_boxes(picture, face, detectors[0].plan))
    return FaceShown(found.time_s, where, crops, list(person.faces[row].p_fake.items()))
