"""A donor's face on the target's head, as blended images for Face X-ray are made (Li et al., CVPR 2020, section 4)."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from facestudy.core.arrays import BoolArray, FloatArray, Layer, Picture
from facestudy.core.regions import similarity

GAIN = (0.5, 2.0)
"""Limits of the factor on the spread of a colour channel: a flat donor would become noise."""


def to_lab(picture: Picture) -> Layer:
    """Convert to CIE L*a*b*.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        RGB (sRGB).

    Returns
    -------
    ndarray of shape (height, width, 3), float32
        L 0 to 100.
    """
    return np.asarray(cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def from_lab(lab: Layer) -> Layer:
    """Convert from CIE L*a*b*.

    Parameters
    ----------
    lab : ndarray of shape (height, width, 3), float32

    Returns
    -------
    ndarray of shape (height, width, 3), float32
        RGB, 0 to 255; colours that no screen has are clipped.
    """
    return np.asarray(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * np.float32(255), np.float32)


def moments(pictures: Iterable[tuple[Layer, BoolArray]]) -> tuple[FloatArray, FloatArray]:
    """Compute the mean and the standard deviation of each channel over parts of several pictures.

    Parameters
    ----------
    pictures : iterable of tuple
        A picture of shape (height, width, 3), and where its pixels count, shape (height, width).

    Returns
    -------
    mean, spread : ndarray of shape (3,)

    Raises
    ------
    ValueError
        When no pixel counts.
    """
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for picture, inside in pictures:
        pixels = picture[inside].astype(float)
        count += len(pixels)
        total += pixels.sum(axis=0)
        squares += (pixels**2).sum(axis=0)
    if not count:
        raise ValueError("no pixel counts")
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def colour_transfer(
    source: tuple[FloatArray, FloatArray], target: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Find the gain and offset per channel that give the source the target's mean and standard deviation.

    Parameters
    ----------
    source, target : tuple of ndarray of shape (3,)
        Mean and standard deviation, in L*a*b*.

    Returns
    -------
    gain, offset : ndarray of shape (3,)
        Rounded to 4 decimals. The gain lies within GAIN.

    References
    ----------
    Reinhard et al., Color Transfer between Images, IEEE Computer Graphics and Applications 21, 2001, section 3; there
    in the space l-alpha-beta.

    Examples
    --------
    >>> gain, offset = colour_transfer((np.full(3, 10.0), np.full(3, 2.0)), (np.full(3, 50.0), np.full(3, 3.0)))
    >>> gain.tolist(), offset.tolist()
    ([1.5, 1.5, 1.5], [35.0, 35.0, 35.0])
    """
    gain = np.clip(target[1] / np.maximum(source[1], 1e-6), *GAIN).round(4)
    return gain, (target[0] - source[0] * gain).round(4)


def warp_donor(donor: Picture, points: FloatArray, target_points: FloatArray, shape: tuple[int, ...]) -> Picture:
    """Lay a donor's frame over the target's, by the similarity of the landmarks.

    Parameters
    ----------
    donor : ndarray of shape (h, w, 3), uint8
        RGB.
    points : ndarray of shape (5, 2)
        The donor's landmarks, pixels of its frame.
    target_points : ndarray of shape (5, 2)
        The target's landmarks, pixels of its frame.
    shape
        Height and width of the target's frame.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        Beyond the edge of the donor's frame its last pixels are repeated.
    """
    cosine, sine = similarity(target_points, points)[:, 0]
    scale = float(np.sqrt(cosine**2 + sine**2))  # pixels of the donor for one of the target
    if scale > 1:  # averaged first, so that nothing aliases
        size = tuple(max(1, round(side / scale)) for side in donor.shape[1::-1])
        points = (points + 0.5) * (np.array(size) / donor.shape[1::-1]) - 0.5
        donor = np.asarray(cv2.resize(donor, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(
        cv2.warpAffine(
            donor, similarity(target_points, points), (shape[1], shape[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )  # fmt: skip


def recoloured(picture: Picture, gain: FloatArray, offset: FloatArray) -> Layer:
    """Apply gain and offset to a picture, in L*a*b*.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
        RGB.
    gain, offset : ndarray of shape (3,)
        From `colour_transfer`.

    Returns
    -------
    ndarray of shape (height, width, 3), float32
        RGB, 0 to 255.
    """
    return from_lab(to_lab(picture) * gain.astype(np.float32) + offset.astype(np.float32))
