"""What is known of a clip as HTML: scores, warnings, faces, crops as the models get them, overlays."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from facestudy.app.overlay import Overlay, overlay
from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.crops.contact_sheet import mark_boxes
from facestudy.crops.cutting import crop
from facestudy.prediction import text
from facestudy.prediction.answer import ClipAnswer, Person, about
from facestudy.prediction.clip import Found, Look
from facestudy.prediction.detectors import Detector

SHOWN_FACES = 10
"""Faces of a person on the page, evenly spaced."""
SHOWN_PEOPLE = 6
"""Persons with pictures; those after them have scores only, so that a crowd does not make a page of 100 MB."""


@dataclass(frozen=True)
class Shown:
    """A picture on the page.

    Attributes
    ----------
    source : str
        The picture as a data: address.
    text : str
        What it shows.
    width, height : int
        Pixels.
    """

    source: str
    text: str
    width: int
    height: int


@dataclass(frozen=True)
class FaceShown:
    """A face on the page.

    Attributes
    ----------
    time_s : float
        Of its frame, seconds.
    found : Shown
        Its cut-out with the boxes of the first detector's crop.
    crops : list of Shown
        What the networks get, pixel by pixel; one picture for all detectors with the same crop.
    scores : list of (str, float)
        Detector and p_fake.
    """

    time_s: float
    found: Shown
    crops: list[Shown]
    scores: list[tuple[str, float]]


@dataclass(frozen=True)
class PersonShown:
    """A person on the page.

    Attributes
    ----------
    person : Person
    faces : list of FaceShown
    overlays : list of (Overlay, Shown)
        One for each detector that has one.
    """

    person: Person
    faces: list[FaceShown] = field(default_factory=list)
    overlays: list[tuple[Overlay, Shown]] = field(default_factory=list)


def as_html(clip: ClipAnswer, look: Look | None, detectors: Sequence[Detector]) -> str:
    """Write what is known of a clip.

    Parameters
    ----------
    clip : ClipAnswer
    look : Look, optional
        The faces that it is about; None where it has no score.
    detectors : sequence of Detector
        At least one.

    Returns
    -------
    str
        A piece of HTML with the pictures inside; what comes from outside is escaped.
    """
    people = [
        shown(person, [one for one in look.found if one.person == person.person], detectors)
        if look is not None and number < SHOWN_PEOPLE
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
        overlays.append((found, as_png(found.picture, said)))
    return PersonShown(person, [_face(person, faces[row], row, detectors) for row in rows], overlays)


def _face(person: Person, found: Found, row: int, detectors: Sequence[Detector]) -> FaceShown:
    face, picture = found.face, found.face.picture
    assert picture is not None
    same: dict[bytes, tuple[Picture, list[Detector]]] = {}
    for detector in detectors:
        cut = crop(picture, face, detector.plan, detector.colour)
        same.setdefault(str(cut.shape).encode() + cut.tobytes(), (cut, []))[1].append(detector)
    crops = [
        as_png(cut, f"{own[0].plan.name}, {cut.shape[1]}x{cut.shape[0]}, as {' and '.join(one.name for one in own)} get"
               + ("s" if len(own) == 1 else "") + " it")
        for cut, own in same.values()
    ]  # fmt: skip
    where = as_png(mark_boxes(picture, face, detectors[0].plan), f"face in frame {found.frame}, with landmarks")
    return FaceShown(found.time_s, where, crops, list(person.faces[row].p_fake.items()))


def as_png(picture: Picture, words: str) -> Shown:
    """Put a picture into the page, pixel by pixel.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.
    words : str
        What it shows.

    Returns
    -------
    Shown
    """
    done, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    source = "data:image/png;base64," + base64.b64encode(content.tobytes()).decode("ascii")
    return Shown(source, words, picture.shape[1], picture.shape[0])
