"""Misplaced crops: the same face, cropped as if its landmarks had been found a little elsewhere."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from facestudy.core import regions
from facestudy.core.arrays import FloatArray
from facestudy.core.regions import Box
from facestudy.core.settings import Section


class Jitter(Section):
    """How far the training crops of a variant are misplaced, at random: `jitter` of a crop variant."""

    copies: Annotated[int, Field(ge=1, le=64)]
    shift: Annotated[float, Field(ge=0, le=50)] = 0.0  # most, % of the width of the face region, in any direction
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0  # most, degrees, to either side
    scale: Annotated[float, Field(ge=0, le=50)] = 0.0  # most, %, larger or smaller


def copies_folder(folder: Path, copy: int) -> Path:
    """The folder with one misplaced copy of each crop.

    Parameters
    ----------
    folder
        The folder of the crops.
    copy
        The number of the copy, from 1.

    Returns
    -------
    Path
    """
    return folder / "copies" / str(copy)


def generator(face_id: str, purpose: str) -> np.random.Generator:
    """Make the random numbers of one face, the same for every model and variant.

    Parameters
    ----------
    face_id
        The id of the face.
    purpose
        What they decide: each purpose has numbers of its own.

    Returns
    -------
    numpy.random.Generator
    """
    digest = hashlib.sha256(f"{purpose} {face_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def misplacement(to_cut: FloatArray, region: Box, shift: FloatArray, angle: float, factor: float) -> FloatArray:
    """The matrix that moves a crop on its cut-out.

    Parameters
    ----------
    to_cut : ndarray of shape (2, 3)
        From canonical units to pixel indices of the cut-out.
    region
        The face region in canonical coordinates. Crops are turned and scaled about its centre.
    shift : ndarray of shape (2,)
        In widths of the face region.
    angle
        Radians.
    factor
        Above 1 the crop shows a larger area.

    Returns
    -------
    ndarray of shape (2, 3)
        From pixel indices of the cut-out to pixel indices of the cut-out.

    Examples
    --------
    >>> to_cut = np.array([[100.0, 0, 0], [0, 100, 0]])
    >>> misplacement(to_cut, (0, 0, 1, 1), np.array([0.1, 0.0]), 0.0, 1.0)[:, 2].tolist()
    [10.0, 0.0]
    """
    x0, y0, x1, y1 = region
    centre = regions.apply(to_cut, np.array([[(x0 + x1) / 2, (y0 + y1) / 2]]))[0]
    width = (x1 - x0) * float(np.hypot(*to_cut[:, 0]))
    c, s = factor * math.cos(angle), factor * math.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    return np.hstack([linear, (centre + width * shift - linear @ centre)[:, None]])


def drawn(jitter: Jitter, to_cut: FloatArray, region: Box, face_id: str, copy: int) -> FloatArray:
    """Draw the misplacement of one copy of a face; it depends on the face, the copy and the settings only.

    Parameters
    ----------
    jitter
        The settings. The shift is uniform on a disc, the angle and the logarithm of the scale on an interval.
    to_cut : ndarray of shape (2, 3)
        From canonical units to pixel indices of the cut-out.
    region
        The face region in canonical coordinates.
    face_id
        The face.
    copy
        The number of the copy, from 1.

    Returns
    -------
    ndarray of shape (2, 3)
        As `misplacement`.
    """
    radius, direction, turn, zoom = generator(face_id, f"jitter {copy}").random(4)
    length = jitter.shift / 100 * math.sqrt(radius)
    angle = 2 * math.pi * direction
    shift = length * np.array([math.cos(angle), math.sin(angle)])
    factor = math.exp((2 * zoom - 1) * math.log1p(jitter.scale / 100))
    return misplacement(to_cut, region, shift, (2 * turn - 1) * math.radians(jitter.rotate), factor)
