"""Find out whether a clip lies on its side or is upside down, and by how much to turn it.

A detector finds some faces in a turned picture too, and places their landmarks where those of an upright face would
be. Each such face looks plausible; only a comparison over the whole clip shows that the clip is turned.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from facestudy.core.arrays import Picture
from facestudy.faces import detection, quality
from facestudy.faces.detection import FaceSettings
from facestudy.faces.face import Face

ROTATIONS = (0, 90, 180, 270)
"""Degrees clockwise."""
VOTERS = 8
"""Number of frames of a clip that vote, evenly spaced."""


def turned(picture: Picture, rotation: int) -> Picture:
    """Turn a picture clockwise.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.
    rotation : int
        0, 90, 180 or 270 degrees.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3) or (width, height, 3)
        A contiguous array.

    Examples
    --------
    >>> turned(np.arange(2, dtype=np.uint8).reshape(1, 2, 1), 90).ravel().tolist()
    [0, 1]
    """
    return np.ascontiguousarray(np.rot90(picture, -rotation // 90))


def voters(count: int) -> list[int]:
    """Choose the frames of a clip that vote on its orientation, evenly spaced.

    Parameters
    ----------
    count : int
        The number of frames.

    Returns
    -------
    list of int
        At most `VOTERS` frame numbers, ascending.

    Examples
    --------
    >>> voters(3), voters(16)
    ([0, 1, 2], [0, 2, 4, 6, 9, 11, 13, 15])
    """
    return np.linspace(0, count - 1, min(count, VOTERS)).round().astype(int).tolist()


def rotation_of(pictures: Sequence[Picture], settings: FaceSettings) -> int:
    """Find by how many degrees a clip has to be turned clockwise to be upright.

    Each picture votes for the orientation with its best upright face. The best face is the one with the greatest
    difference of detector confidence and landmark error. A clip is turned when more than half of its pictures vote for
    the same rotation.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (height, width, 3)
        RGB frames of one clip, any sizes.
    settings : FaceSettings
        How faces are searched for and chosen.

    Returns
    -------
    int
        0, 90, 180 or 270.
    """
    scores = []
    for rotation in ROTATIONS:
        copies = [turned(picture, rotation) for picture in pictures]
        found = zip(copies, detection.detect(copies, settings), strict=True)
        chosen = [detection.select(candidates, copy.shape, settings)[0] for copy, candidates in found]
        scores.append([max(map(_score, faces), default=-math.inf) for faces in chosen])
    votes = Counter(ROTATIONS[int(np.argmax(own))] for own in np.transpose(scores) if own.max() > -math.inf)
    rotation, count = votes.most_common(1)[0] if votes else (0, 0)
    return rotation if 2 * count > len(pictures) else 0


def _score(face: Face) -> float:
    """Score a face. Both terms are needed: either one alone can be as good for a turned face as for an upright one."""
    return face.confidence - quality.landmark_error(face.landmarks)
