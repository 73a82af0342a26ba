"""Resizing of pictures with the same result on every CPU."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

P = TypeVar("P", npt.NDArray[np.uint8], npt.NDArray[np.float32])


def resize(picture: P, size: tuple[int, int], interpolation: int) -> P:
    """Resize a picture with OpenCV's own code.

    OpenCV's wheel leaves cubic interpolation, and linear interpolation of floats, to IPP, which rounds differently with
    other instruction sets.

    Parameters
    ----------
    picture : ndarray of uint8 or float32, shape (height, width) or (height, width, channels)
    size : (int, int)
        New width and height, pixels.
    interpolation : int
        One of OpenCV's constants, such as `cv2.INTER_CUBIC`.

    Returns
    -------
    ndarray
        Of the same type.

    Examples
    --------
    >>> resize(np.zeros((2, 3, 3), np.uint8), (6, 4), cv2.INTER_CUBIC).shape
    (4, 6, 3)
    """
    used = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)  # in this thread only
    try:
        return np.asarray(cv2.resize(picture, size, interpolation=interpolation), picture.dtype)
    finally:
        cv2.ipp.setUseIPP(used)
