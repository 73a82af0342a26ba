"""Altered faces: crops that are misplaced, cut-outs of less quality, and composites of two faces.

Pictures are altered before they are cropped, and crops are moved on the cut-out, by the same distance in its pixels
for every crop variant. So all models and variants meet the same faces. What is random is drawn from the id of the face
and the kind of alteration: a face is moved in the same direction at every severity.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from facestudy.alterations.composites import Receiver, Rest, with_other_rest
from facestudy.alterations.recoding import Footage, recoded
from facestudy.alterations.settings import COMPOSITE, PLACEMENTS, RECODED, Alteration
from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.regions import Box
from facestudy.crops.cutting import canonical_to_cut
from facestudy.crops.jitter import generator, misplacement
from facestudy.faces.face import Face
from facestudy.media.resizing import resize


def altered(
    cut_out: Picture,
    face: Face,
    alteration: Alteration,
    region: Box,
    footage: Footage | None = None,
    rest: Rest | None = None,
) -> tuple[Picture, FloatArray | None]:
    """Alter one face: its picture, or the place of its crop.

    Parameters
    ----------
    cut_out : ndarray of shape (side, side, 3), uint8
        RGB; not changed.
    face
        The face; with its donor where the rest is replaced.
    alteration
        What to do.
    region
        The face region in canonical coordinates; its width is the width of the face.
    footage
        The clips; needed where the alteration encodes them again.
    rest
        Needed where the rest is replaced.

    Returns
    -------
    picture : ndarray of shape (side, side, 3), uint8
        RGB.
    displacement : ndarray of shape (2, 3) or None
        As `facestudy.crops.cutting.crop` takes it.

    Raises
    ------
    StudyError
        When the landmarks are not those of a face, or its clip or donor cannot be read.
    """
    if alteration.kind in PLACEMENTS:
        return cut_out, displacement(alteration, face, region)
    if alteration.kind == RECODED:
        assert footage is not None
        return recoded(cut_out, face, footage, int(alteration.amount)), None
    if alteration.kind == COMPOSITE:
        assert rest is not None and isinstance(face, Receiver)
        return with_other_rest(cut_out, face, rest), None
    return altered_picture(cut_out, face_width(face, region), alteration, face.face_id), None


def face_width(face: Face, region: Box) -> float:
    """Measure the face region on a cut-out.

    Parameters
    ----------
    face
        The face.
    region
        The face region in canonical coordinates.

    Returns
    -------
    float
        Its width, pixels of the cut-out.

    Raises
    ------
    StudyError
        When the landmarks are not those of a face.
    """
    return (region[2] - region[0]) * float(np.hypot(*canonical_to_cut(face)[:, 0]))


def displacement(alteration: Alteration, face: Face, region: Box) -> FloatArray:
    """The matrix that moves the crop of one face on its cut-out.

    Parameters
    ----------
    alteration
        Of a kind in `facestudy.alterations.settings.PLACEMENTS`.
    face
        The face; its id decides the direction.
    region
        The face region in canonical coordinates. Crops are turned and scaled about its centre.

    Returns
    -------
    ndarray of shape (2, 3)
        From pixel indices of the cut-out to pixel indices of the cut-out.

    Raises
    ------
    StudyError
        When the landmarks are not those of a face.
    """
    share = generator(face.face_id, alteration.kind).random()
    sign = 1 if share < 0.5 else -1
    shift, angle, factor = np.zeros(2), 0.0, 1.0
    if alteration.kind == "shift":
        direction = 2 * math.pi * share
        shift = alteration.amount / 100 * np.array([math.cos(direction), math.sin(direction)])
    elif alteration.kind == "rotate":
        angle = sign * math.radians(alteration.amount)
    else:
        factor = 1 + sign * alteration.amount / 100
    return misplacement(canonical_to_cut(face), region, shift, angle, factor)


def altered_picture(cut_out: Picture, width: float, alteration: Alteration, face_id: str) -> Picture:
    """Alter a picture of a face; every pixel keeps its place.

    Parameters
    ----------
    cut_out : ndarray of shape (h, w, 3), uint8
        RGB; not changed.
    width
        The width of the face, pixels.
    alteration
        Of a kind that is neither `h264` nor `composite` nor in `facestudy.alterations.settings.PLACEMENTS`.
    face_id
        Decides the noise.

    Returns
    -------
    ndarray of shape (h, w, 3), uint8
        RGB.

    Examples
    --------
    >>> grey = np.full((2, 2, 3), 100, np.uint8)
    >>> altered_picture(grey, 2, Alteration("brightness", 0.7), "face").max()
    np.uint8(70)
    """
    severity = alteration.amount
    if alteration.kind == "jpeg":
        bgr = cv2.cvtColor(cut_out, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(severity)])
        return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)
    if alteration.kind == "blur":
        sigma = width * severity / 100
        return np.asarray(cv2.GaussianBlur(cut_out, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)
    if alteration.kind == "noise":
        noise = severity * generator(face_id, "noise").standard_normal(cut_out.shape)
        return np.asarray(cv2.add(cut_out, np.rint(noise).astype(np.int16), dtype=cv2.CV_8U), np.uint8)
    if alteration.kind == "brightness":
        levels = np.clip(np.rint(np.arange(256) * severity), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(cut_out, levels), np.uint8)
    height, length = cut_out.shape[:2]
    share = severity / width
    if share >= 1:  # the face is no wider than that
        return cut_out
    size = (max(1, round(share * length)), max(1, round(share * height)))
    small = cv2.resize(cut_out, size, interpolation=cv2.INTER_AREA)
    return resize(small, (length, height), cv2.INTER_CUBIC)
