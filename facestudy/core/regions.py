"""The canonical face: where eyes, nose and mouth lie, and the named regions around them.

Canonical coordinates are fractions of a square that spans the face from above the hairline to
below the chin; x runs to the right and y down, as in pictures. Its landmarks follow the widely
used five-point template of ArcFace (Deng et al. 2019, insightface's `arcface_dst`), enlarged
about the point between the eyes so that forehead and chin lie inside. The crops and the sample's
artefact place their regions through this module, so the same name means the same skin.

Order of the five landmarks everywhere: left eye, right eye, nose, left and right corner of the
mouth, "left" being the left side of the picture.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from facestudy.core.arrays import FloatArray

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")

CANONICAL_LANDMARKS: FloatArray = np.array(
    [[0.344, 0.375], [0.656, 0.375], [0.500, 0.553], [0.371, 0.736], [0.629, 0.736]]
)
"""(5, 2) canonical x, y. The eyes are 0.3125 apart: the square is 3.2 times that distance."""


def _check_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise ValueError("a box is [left, top, right, bottom], fractions of the canonical face, 0 to 1")
    return box


Box = Annotated[tuple[float, float, float, float], Field(strict=False), AfterValidator(_check_box)]
"""left, top, right, bottom in canonical coordinates."""


def similarity(source: FloatArray, target: FloatArray) -> FloatArray:
    """Find the least-squares similarity (rotation, one scale, shift) that takes source to target.

    Reflections are excluded.

    Parameters
    ----------
    source, target : ndarray of shape (n, 2)
        Points x, y in any units; n is at least 2.

    Returns
    -------
    ndarray of shape (2, 3)
        A matrix M such that ``target`` is close to ``source @ M[:, :2].T + M[:, 2]``.

    Raises
    ------
    ValueError
        When the source points coincide.

    References
    ----------
    Umeyama 1991, Least-squares estimation of transformation parameters between two point patterns, IEEE
    Transactions on Pattern Analysis and Machine Intelligence 13, equations 40 to 43.

    Examples
    --------
    >>> similarity(np.array([[0.0, 0], [1, 0]]), np.array([[1.0, 1], [1, 3]])).round(6).tolist()
    [[0.0, -2.0, 1.0], [2.0, 0.0, 1.0]]
    """
    source, target = np.asarray(source, float), np.asarray(target, float)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    s, t = source - source_mean, target - target_mean
    variance = (s**2).sum()
    if variance == 0:
        raise ValueError("the source points coincide")
    # In two dimensions the optimal rotation has a closed form.
    a = (s * t).sum() / variance
    b = (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum() / variance
    linear = np.array([[a, -b], [b, a]])
    return np.hstack([linear, (target_mean - linear @ source_mean)[:, None]])


def apply(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """Transform points by an affine matrix.

    Parameters
    ----------
    matrix : ndarray of shape (2, 3)
    points : ndarray of shape (n, 2)
        Points x, y.

    Returns
    -------
    ndarray of shape (n, 2)

    Examples
    --------
    >>> apply(np.array([[2.0, 0, 1], [0, 2, 0]]), np.array([[1.0, 1]])).tolist()
    [[3.0, 2.0]]
    """
    return np.asarray(points, float) @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: FloatArray) -> FloatArray:
    """Invert an affine matrix.

    Parameters
    ----------
    matrix : ndarray of shape (2, 3)

    Returns
    -------
    ndarray of shape (2, 3)
        The matrix that undoes `matrix`.

    Raises
    ------
    numpy.linalg.LinAlgError
        When the matrix has no inverse.

    Examples
    --------
    >>> invert(np.array([[2.0, 0, 1], [0, 2, 3]])).tolist()
    [[0.5, 0.0, -0.5], [0.0, 0.5, -1.5]]
    """
    linear = np.linalg.inv(matrix[:, :2])
    return np.hstack([linear, -(linear @ matrix[:, 2])[:, None]])


def to_canonical(landmarks: FloatArray) -> FloatArray:
    """Find the similarity from picture pixels to the canonical face.

    Parameters
    ----------
    landmarks : ndarray of shape (5, 2)
        Points x, y in pixels, in the order of LANDMARKS.

    Returns
    -------
    ndarray of shape (2, 3)

    Raises
    ------
    ValueError
        When the landmarks coincide.

    Examples
    --------
    >>> landmarks = 100 * CANONICAL_LANDMARKS + 20
    >>> np.allclose(apply(to_canonical(landmarks), landmarks), CANONICAL_LANDMARKS)
    True
    """
    return similarity(landmarks, CANONICAL_LANDMARKS)
