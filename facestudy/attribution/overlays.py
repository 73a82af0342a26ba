"""Maps painted over crops."""

from __future__ import annotations

import cv2
import numpy as np

from facestudy.core.arrays import FloatArray, Picture

HEAT = np.array([255, 110, 0])
STRENGTH = 0.75
"""Colour of a map, and how much of it covers the pixels that count most."""
GAP = 4
"""Pixels between the two halves of `beside`."""


def painted(picture: Picture, found: FloatArray) -> Picture:
    """Paint a map over a crop: the crop in grey, the colour as strong as the map, the highest value strongest.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.
    found : ndarray of float64, shape (height, width)
        Not negative.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB.

    Examples
    --------
    >>> painted(np.full((1, 2, 3), 100, np.uint8), np.array([[0.0, 2.0]]))[0].tolist()
    [[100, 100, 100], [216, 108, 25]]
    """
    grey = picture.astype(float) @ [0.299, 0.587, 0.114]
    alpha = STRENGTH * (found / found.max() if found.any() else found)[..., None]
    return np.asarray(np.rint((1 - alpha) * grey[..., None] + alpha * HEAT), np.uint8)


def beside(picture: Picture, found: FloatArray, height: int) -> Picture:
    """Put a crop and the crop with a map painted over it side by side.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w, 3)
        RGB.
    found : ndarray of float64, shape (h, w)
        Not negative.
    height : int
        Of the result, pixels.

    Returns
    -------
    ndarray of uint8, shape (height, 2 * width + GAP, 3)
        RGB, the gap white.

    Examples
    --------
    >>> beside(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3)), 20).shape
    (20, 64, 3)
    """
    size = round(height * picture.shape[1] / picture.shape[0]), height
    crop, map_ = (cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in (picture, painted(picture, found)))
    return np.asarray(np.hstack([crop, np.full((height, GAP, 3), 255, np.uint8), map_]))
