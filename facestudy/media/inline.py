"""Pictures inside an HTML page, which then needs no other file."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from facestudy.core.arrays import Picture


@dataclass(frozen=True)
class Inline:
    """A picture on a page.

    Attributes
    ----------
    text : str
        What it shows.
    source : str
        The picture as a data: address.
    width, height : int
        Pixels.
    """

    text: str
    source: str
    width: int
    height: int


def inline(text: str, picture: Picture, jpeg_quality: int | None = None, max_width: int | None = None) -> Inline:
    """Encode a picture for a page.

    Parameters
    ----------
    text : str
        What it shows.
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.
    jpeg_quality : int, optional
        By default it is a PNG, which keeps every pixel.
    max_width : int, optional
        Pixels; wider pictures are reduced.

    Returns
    -------
    Inline
    """
    if max_width is not None and picture.shape[1] > max_width:
        height = round(picture.shape[0] * max_width / picture.shape[1])
        picture = np.asarray(cv2.resize(picture, (max_width, height), interpolation=cv2.INTER_AREA), np.uint8)
    kind, settings = ("png", []) if jpeg_quality is None else ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    done, content = cv2.imencode(f".{kind}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    assert done
    source = f"data:image/{kind};base64," + base64.b64encode(content.tobytes()).decode("ascii")
    return Inline(text, source, picture.shape[1], picture.shape[0])
