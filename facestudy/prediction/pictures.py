"""A clip's faces as a picture, and its scores over time as a picture and a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from facestudy.core.arrays import Picture
from facestudy.crops.contact_sheet import SheetRow, mark_boxes, sheet
from facestudy.crops.cutting import crop
from facestudy.media.archive import write_picture
from facestudy.prediction.answer import ClipAnswer, Person
from facestudy.prediction.clip import Examined, Found
from facestudy.prediction.detectors import Detector
from facestudy.sources.folder import make_id

SIDE = 160
"""Width of a crop on the sheet, pixels."""
PER_ROW = 10
"""Faces of a person on the sheet, evenly spaced."""
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 900, 360, 60, 50, 50
"""Pixels of the chart, and of its margins."""
COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189))
GREY, BLACK = (215, 215, 215), (40, 40, 40)


def write_report(folder: Path, clip: ClipAnswer, examined: Examined, detector: Detector) -> list[Path]:
    """Write a contact sheet and a table of the faces, and for a video the scores over time.

    Parameters
    ----------
    folder : Path
        The folder to write to.
    clip : ClipAnswer
        With a score.
    examined : Examined
        The faces that it is about.
    detector : Detector
        Its crop is shown.

    Returns
    -------
    list of Path
        The files; their names begin with an id made of the clip's name.
    """
    name = make_id(clip.source)
    paths = [folder / f"{name}_faces.png", folder / f"{name}_faces.csv"]
    write_picture(paths[0], face_sheet(clip, examined, detector))
    _write_table(paths[1], clip)
    for person in clip.persons:
        if len(person.faces) > 1:
            paths.append(folder / f"{name}_person_{person.person}.png")
            write_picture(paths[-1], chart(person))
    return paths


def face_sheet(clip: ClipAnswer, examined: Examined, detector: Detector) -> Picture:
    """Show each person's faces: as found, as the detector gets them, and their p_fake.

    Parameters
    ----------
    clip : ClipAnswer
    examined : Examined
    detector : Detector

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB.
    """
    rows = []
    for person in clip.persons:
        own = [one for one in examined.found if one.person == person.person]
        shown = np.linspace(0, len(own) - 1, min(len(own), PER_ROW)).round().astype(int)
        rows += [
            SheetRow(f"{person.person}\nsource", [_source(own[row], detector) for row in shown]),
            SheetRow("crop\nP(fake)", [_crop(own[row], detector, person.faces[row].p_fake) for row in shown]),
        ]
    return sheet(rows, "P(fake) by " + ", ".join(score.detector for score in clip.persons[0].scores))


def _source(found: Found, detector: Detector) -> Picture:
    assert found.face.picture is not None
    return mark_boxes(found.face.picture, found.face, detector.plan)


def _crop(found: Found, detector: Detector, p_fake: Mapping[str, float]) -> Picture:
    """What the detector gets, above the scores."""
    assert found.face.picture is not None
    cut = crop(found.face.picture, found.face, detector.plan, detector.colour)
    high = round(SIDE * cut.shape[0] / cut.shape[1])
    shown = np.asarray(cv2.resize(cut, (SIDE, high), interpolation=cv2.INTER_AREA), np.uint8)
    strip = np.full((30, SIDE, 3), 245, np.uint8)
    _write(strip, "  ".join(f"{score:.2f}" for score in p_fake.values()), 5, 22)
    return np.vstack([shown, strip])


def chart(person: Person) -> Picture:
    """Draw p_fake of a person's faces over time, one line for each detector.

    Parameters
    ----------
    person : Person
        With two faces or more.

    Returns
    -------
    ndarray of uint8, shape (HEIGHT, WIDTH, 3)
        RGB.
    """
    page = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    times = np.array([face.time_s for face in person.faces])
    span = max(float(np.ptp(times)), 1e-3)

    def place(time: float, p_fake: float) -> tuple[int, int]:
        x = LEFT + (WIDTH - LEFT - 30) * (time - times[0]) / span
        return round(x), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * p_fake)

    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        start, end = place(times[0], level), place(times[-1], level)
        cv2.line(page, start, end, BLACK if level == 0.5 else GREY, 1)
        _write(page, f"{level:g}", 12, start[1] + 5)
    for time in (times[0], times[-1]):
        _write(page, f"{time:.1f} s", max(LEFT, place(time, 0)[0] - 60), HEIGHT - 20)
    for number, name in enumerate(person.faces[0].p_fake):
        colour = COLOURS[number % len(COLOURS)]
        points = [place(face.time_s, face.p_fake[name]) for face in person.faces]
        cv2.polylines(page, [np.array(points, np.int32).reshape(-1, 1, 2)], False, colour, 2, cv2.LINE_AA)
        for point in points:
            cv2.circle(page, point, 4, colour, -1, cv2.LINE_AA)
        _write(page, name, LEFT + 230 * number, 25, colour)
    return page


def _write(page: Picture, words: str, x: int, y: int, colour: tuple[int, int, int] = BLACK) -> None:
    cv2.putText(page, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)


def _write_table(path: Path, clip: ClipAnswer) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        first = clip.persons[0].faces[0]
        columns = ["frame", "time_s", "x", "y", "w", "h", "confidence"]
        writer.writerow(["person", *columns, *first.quality, *(f"p_fake.{name}" for name in first.p_fake)])
        for person in clip.persons:
            for face in person.faces:
                cells = [getattr(face, name) for name in columns]
                writer.writerow([person.person, *cells, *face.quality.values(), *face.p_fake.values()])
