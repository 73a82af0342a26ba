"""The places of the regions of the canonical face, and of the altered part of a fake, in a crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facestudy.core.arrays import BoolArray, FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box, apply
from facestudy.crops.cutting import Plan, canonical_to_frame
from facestudy.faces.face import Face

ALTERED_FROM = 128
"""A pixel counts as altered when at least half of it is the donor's; masks go to 255."""


def shown_places(plan: Plan) -> FloatArray:
    """Find out which place of the face each pixel of a crop shows.

    Parameters
    ----------
    plan
        The plan of the crop variant.

    Returns
    -------
    ndarray of shape (height, width, 2)
        x, y of the pixel's centre on the plane of the plan; NaN where the crop shows no face.
    """
    width, height = plan.size
    places = np.full((height, width, 2), np.nan)
    for part in plan.parts:
        x0, y0, x1, y1 = part.rect
        left, top, right, bottom = part.box
        x = left + (np.arange(x1 - x0) + 0.5) / (x1 - x0) * (right - left)
        y = top + (np.arange(y1 - y0) + 0.5) / (y1 - y0) * (bottom - top)
        places[y0:y1, x0:x1] = np.stack(np.meshgrid(x, y), axis=2)
    if plan.layout != "stack":
        inside = np.zeros((height, width), bool)
        for x0, y0, x1, y1 in plan.rects:
            inside[y0:y1, x0:x1] = True
        places[inside if plan.layout == "occlude" else ~inside] = np.nan
    return places


def region_area(places: FloatArray, box: Box) -> BoolArray:
    """Find the pixels of a crop that show a region.

    Parameters
    ----------
    places : ndarray of shape (height, width, 2)
        From `shown_places`.
    box
        The region.

    Returns
    -------
    ndarray of bool, shape (height, width)
        Those whose centre lies in the box.

    Examples
    --------
    >>> region_area(np.array([[[0.1, 0.1], [0.6, 0.1]]]), (0.5, 0.0, 1.0, 1.0)).tolist()
    [[False, True]]
    """
    x, y = places[..., 0], places[..., 1]
    return np.asarray((x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3]))


def altered_area(places: FloatArray, face: Face, mask: Picture, scale: float) -> BoolArray:
    """Find the pixels of a crop that show an altered part of its frame.

    Parameters
    ----------
    places : ndarray of shape (height, width, 2)
        From `shown_places`, on the canonical face.
    face
        The face that was cropped.
    mask : ndarray of shape (height, width), uint8
        The share of the donor in each pixel of the clip, 255 for all of it, turned as the frame was.
    scale
        Pixels of the clip per pixel of the frame, which may be reduced.

    Returns
    -------
    ndarray of bool, shape (height, width)

    Raises
    ------
    StudyError
        When the landmarks are not those of a face.
    """
    shown = ~np.isnan(places[..., 0])
    points = (apply(canonical_to_frame(face), places[shown]) + 0.5) * scale - 0.5
    column, row = np.rint(points).astype(int).T
    height, width = mask.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    altered = np.zeros(len(points), bool)
    altered[inside] = mask[row[inside], column[inside]] >= ALTERED_FROM
    area = np.zeros(shown.shape, bool)
    area[shown] = altered
    return area


def read_mask(path: Path, frame: int) -> Picture:
    """Read the mask of one frame of a clip that the project made.

    Parameters
    ----------
    path
        What `truth_path` of tables.VIDEOS names.
    frame
        The number of the frame, from 0.

    Returns
    -------
    ndarray of shape (height, width), uint8
        The share of the donor in each pixel, 255 for all of it.

    Raises
    ------
    StudyError
        When the file is missing or has no such mask.
    """
    try:
        with np.load(path) as truth:
            return np.asarray(truth["mask"][frame], np.uint8)
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        raise StudyError(f"{path} has no mask of frame {frame} ({error}); `dvc repro -f videos` makes it.") from None
