"""Composites: eyes and lower face are those of one face, the rest of the picture comes from another.

Both pictures are aligned by their landmarks. The kept boxes are those of the study's crop, and a crop that shows only
them does not change. Outside of the soft edge around them, every pixel is the donor's, with the donor's colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facestudy.core import regions
from facestudy.core.arrays import Layer, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.crops.cutting import canonical_to_cut, read_cut_out, warp
from facestudy.faces.face import Face

KEPT = ("eyes", "lower_face")
"""The regions that stay: those of the crop variant `eyes_lower`."""
REACH = 3.0
"""Pixels of the cut-out around the kept boxes that stay too: a crop of a box is interpolated from pixels that are up to
2 rows and 2 columns beyond its edge, so up to 2.83 pixels away where the face is turned."""


@dataclass(frozen=True, eq=False)
class Receiver(Face):
    """A face and the one that the rest of its picture comes from.

    Attributes
    ----------
    donor : Face, optional
        None: the face keeps its own rest.
    """

    donor: Face | None = None


@dataclass(frozen=True)
class Rest:
    """How the rest of a picture is replaced.

    Attributes
    ----------
    folder : Path
        The folder that the paths of the donors are relative to.
    kept : tuple of Box
        The boxes that stay, in canonical coordinates.
    feather : float
        The width of the soft edge around them, canonical units.
    """

    folder: Path
    kept: tuple[Box, ...]
    feather: float


def kept_boxes(boxes: Mapping[str, Box]) -> tuple[Box, ...]:
    """Look up the boxes that stay.

    Parameters
    ----------
    boxes
        Named boxes on the canonical face.

    Returns
    -------
    tuple of Box

    Raises
    ------
    StudyError
        When one of KEPT is missing.
    """
    for name in KEPT:
        if name not in boxes:
            raise StudyError(
                f"params.yaml: robustness.composite keeps the region {name!r}, which `regions` does not hold."
            )
    return tuple(boxes[name] for name in KEPT)


def with_donors(faces: Sequence[Face], donors: Mapping[str, str]) -> list[Receiver]:
    """Add to each face its donor, so that a worker process is sent the donors of its own faces only.

    Parameters
    ----------
    faces
        The faces, donors among them.
    donors
        The id of the donor by the id of the face. Other faces keep their own rest.

    Returns
    -------
    list of Receiver
        In the order of `faces`.
    """
    known = {face.face_id: face for face in faces}
    return [
        Receiver(**vars(face), donor=known[donors[face.face_id]] if face.face_id in donors else None) for face in faces
    ]


def with_other_rest(cut_out: Picture, face: Receiver, rest: Rest) -> Picture:
    """Replace all of a cut-out but the kept boxes by the picture of the donor.

    Parameters
    ----------
    cut_out : ndarray of shape (side, side, 3), uint8
        RGB; not changed.
    face
        The face and its donor.
    rest
        How it is replaced.

    Returns
    -------
    ndarray of shape (side, side, 3), uint8
        RGB.

    Raises
    ------
    StudyError
        When the cut-out of the donor cannot be read, or landmarks are not those of a face.
    """
    if face.donor is None:
        return cut_out
    return composite(cut_out, face, read_cut_out(rest.folder, face.donor), face.donor, rest.kept, rest.feather)


def composite(
    cut_out: Picture, face: Face, donor_cut_out: Picture, donor: Face, kept: Sequence[Box], feather: float
) -> Picture:
    """Put the kept boxes of a face into the picture of another one.

    Parameters
    ----------
    cut_out : ndarray of shape (side, side, 3), uint8
        RGB; not changed.
    face
        The face.
    donor_cut_out : ndarray of shape (side, side, 3), uint8
        RGB, of any side; not changed.
    donor
        The face that the rest comes from.
    kept, feather
        As in `Rest`.

    Returns
    -------
    ndarray of shape (side, side, 3), uint8
        RGB, of the shape of `cut_out`: its pixels in the kept boxes, those of the donor beyond their soft edge.

    Raises
    ------
    StudyError
        When landmarks are not those of a face.
    """
    other = aligned(donor_cut_out, donor, face, cut_out.shape).astype(np.float32)
    own = own_share(face, cut_out.shape, kept, feather)[..., None]
    return np.asarray(np.floor(other + own * (cut_out - other) + np.float32(0.5)), np.uint8)


def aligned(donor_cut_out: Picture, donor: Face, face: Face, shape: Sequence[int]) -> Picture:
    """Show a donor where another face is in its cut-out.

    Parameters
    ----------
    donor_cut_out : ndarray of shape (side, side, 3), uint8
        RGB.
    donor, face
        Both are placed by the canonical face. Beyond the edge of the donor's cut-out this edge is repeated.
    shape
        Height and width of the cut-out of `face`.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB.

    Raises
    ------
    StudyError
        When landmarks are not those of a face.
    """
    to_canonical, to_donor = regions.invert(canonical_to_cut(face)), canonical_to_cut(donor)
    height, width = shape[:2]
    linear = to_donor[:, :2] @ to_canonical[:, :2]
    shift = regions.apply(to_donor, regions.apply(to_canonical, np.array([[-0.5, -0.5]])))[0]  # edges, as `warp` takes
    return warp(donor_cut_out, np.column_stack([linear, shift]), (0, 0, width, height), (width, height))


def own_share(face: Face, shape: Sequence[int], kept: Sequence[Box], feather: float) -> Layer:
    """How much of each pixel stays: all of it in the kept boxes, none of it beyond their soft edge.

    Parameters
    ----------
    face
        The face.
    shape
        Height and width of its cut-out.
    kept
        The boxes that stay, in canonical coordinates.
    feather
        The width of the soft edge, canonical units, above 0. It begins REACH pixels outside of the boxes.

    Returns
    -------
    ndarray of shape (height, width), float32
        0 to 1.

    Raises
    ------
    StudyError
        When the landmarks are not those of a face.
    """
    matrix = regions.invert(canonical_to_cut(face))
    columns, rows = np.arange(shape[1]), np.arange(shape[0])[:, None]
    x, y = (linear[0] * columns + linear[1] * rows + linear[2] for linear in matrix)
    reach = REACH * float(np.hypot(*matrix[:, 0]))
    away = np.min(
        [np.maximum(np.maximum(x0 - x, x - x1), np.maximum(y0 - y, y - y1)) for x0, y0, x1, y1 in kept], axis=0
    )
    return np.clip(1 - (away - reach) / feather, 0, 1).astype(np.float32)
