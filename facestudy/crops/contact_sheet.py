"""Contact sheets: faces of both classes, each crop beside the cut-out that it was cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facestudy.core import regions
from facestudy.core.arrays import FloatArray
from facestudy.core.regions import Box
from facestudy.crops.cutting import (
    Colour,
    Picture,
    Plan,
    crop,
    plane_to_cut,
    read_cut_out,
    sheet_choice,
)
from facestudy.faces.face import Face

TILE = 160
"""Width and height of one picture on the sheet, pixels."""
GAP = 6
MARGIN = 70
"""Left margin for the labels of the rows."""
BACKGROUND = 245
SHOWN, HIDDEN, OUTLINE, POINT = (60, 220, 60), (240, 60, 40), (255, 255, 255), (255, 220, 0)


@dataclass(frozen=True)
class SheetRow:
    """A row of pictures with a label.

    Attributes
    ----------
    label : str
        One or more lines.
    pictures : sequence of ndarray of shape (h, w, 3), uint8
        RGB, of any size.
    """

    label: str
    pictures: Sequence[Picture]


def crop_sheet(faces: Sequence[Face], folder: Path, plan: Plan, colour: Colour, count: int) -> Picture:
    """Make the contact sheet of a variant: cut-outs and crops of real faces above those of fake faces.

    The cut-outs show the face region (white), the boxes (green: shown, red: filled) and the landmarks.

    Parameters
    ----------
    faces
        The faces to choose from.
    folder
        The folder that their paths are relative to.
    plan
        The plan of the variant.
    colour
        What fills the parts that the variant does not show.
    count
        The largest number of faces of a class; each is of another video.

    Returns
    -------
    ndarray of shape (h, w, 3), uint8
        RGB.

    Raises
    ------
    StudyError
        When a cut-out cannot be read.
    """
    rows = []
    for label, chosen in sheet_choice(faces, count):
        cut_outs = [read_cut_out(folder, face) for face in chosen]
        marked = [mark_boxes(picture, face, plan) for picture, face in zip(cut_outs, chosen, strict=True)]
        crops = [crop(picture, face, plan, colour) for picture, face in zip(cut_outs, chosen, strict=True)]
        # The crops of both classes next to each other: that is where the eye compares.
        pair = [SheetRow(f"{label}\nsource", marked), SheetRow(f"{label}\ncrop", crops)]
        rows += pair if label == "real" else pair[::-1]
    width, height = plan.size
    return sheet(rows, f"{plan.name}: {plan.layout}, {width}x{height}")


def mark_boxes(cut_out: Picture, face: Face, plan: Plan) -> Picture:
    """Draw the boxes of a plan and the landmarks of a face on its cut-out.

    Parameters
    ----------
    cut_out : ndarray of shape (side, side, 3), uint8
        RGB; not changed.
    face
        The face.
    plan
        The plan of the variant.

    Returns
    -------
    ndarray of shape (TILE, TILE, 3), uint8
        RGB.
    """
    scale = TILE / cut_out.shape[0]
    tile = np.ascontiguousarray(_fitted(cut_out))
    matrix = plane_to_cut(face, plan)
    _outline(tile, matrix, plan.whole, scale, OUTLINE)
    for box in plan.boxes:
        _outline(tile, matrix, box, scale, HIDDEN if plan.layout == "occlude" else SHOWN)
    origin = np.array([face.cut_x, face.cut_y])
    for x, y in (face.landmarks + 0.5 - origin) * face.cut_scale * scale - 0.5:
        cv2.circle(tile, (round(float(x)), round(float(y))), 1, POINT, -1, cv2.LINE_AA)
    return tile


def _outline(tile: Picture, matrix: FloatArray, box: Box, scale: float, colour: Colour) -> None:
    x0, y0, x1, y1 = box
    corners = regions.apply(matrix, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    # 4 fractional bits: OpenCV takes sixteenths of a pixel.
    points = np.round(((corners + 0.5) * scale - 0.5) * 16).astype(np.int32)
    cv2.polylines(tile, [points.reshape(-1, 1, 2)], True, colour, 1, cv2.LINE_AA, shift=4)


def _fitted(picture: Picture) -> Picture:
    """The picture within TILE x TILE pixels, its aspect kept."""
    height, width = picture.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)


def sheet(rows: Sequence[SheetRow], title: str) -> Picture:
    """Put rows of pictures under a title, each row with its label at the left.

    Parameters
    ----------
    rows
        The rows, from the top.
    title
        One line.

    Returns
    -------
    ndarray of shape (h, w, 3), uint8
        RGB.

    Examples
    --------
    >>> sheet([SheetRow("real", [np.zeros((20, 10, 3), np.uint8)])], "full").shape
    (196, 420, 3)
    """
    columns = max((len(row.pictures) for row in rows), default=0)
    top = 30
    height = top + len(rows) * (TILE + GAP)
    width = max(MARGIN + columns * (TILE + GAP), 420)
    page = np.full((height, width, 3), BACKGROUND, np.uint8)
    _text(page, title, GAP, 20)
    for i, row in enumerate(rows):
        y = top + i * (TILE + GAP)
        for k, line in enumerate(row.label.split("\n")):
            _text(page, line, GAP, y + 20 + 20 * k)
        for j, picture in enumerate(row.pictures):
            tile = _fitted(picture)
            x = MARGIN + j * (TILE + GAP) + (TILE - tile.shape[1]) // 2
            page[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return page


def _text(page: Picture, text: str, x: int, y: int) -> None:
    cv2.putText(page, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
