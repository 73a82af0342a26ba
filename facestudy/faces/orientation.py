"""Clips that lie on their side or stand on their head: which way to turn them.

A detector finds some faces in a turned picture too, and puts their landmarks where an upright face
would have them. Such faces look plausible one by one; it is by the clip that they are found out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from facestudy.faces import detection, quality
from facestudy.faces.detection import FaceSettings
from facestudy.faces.face import Face
from facestudy.media.video import Picture

ROTATIONS = (0, 90, 180, 270)
"""Degrees clockwise."""
LOOKED_AT = 8
"""Frames of a clip that vote, evenly spaced."""


def turned(picture: Picture, rotation: int) -> Picture:
    """Turn a picture clockwise.

    Parameters
    ----------
    picture
        Of any size.
    rotation
        0, 90, 180 or 270 degrees.

    Returns
    -------
    ndarray
        A copy.

    Examples
    --------
    >>> turned(np.arange(2, dtype=np.uint8).reshape(1, 2, 1), 90).ravel().tolist()
    [0, 1]
    """
    return np.ascontiguousarray(np.rot90(picture, -rotation // 90))


def looked_at(count: int) -> list[int]:
    """List the numbers of the frames that vote.

    Parameters
    ----------
    count
        The frames of the clip.

    Returns
    -------
    list of int
        Ascending, from 0.

    Examples
    --------
    >>> looked_at(3), looked_at(16)
    ([0, 1, 2], [0, 2, 4, 6, 9, 11, 13, 15])
    """
    return np.linspace(0, count - 1, min(count, LOOKED_AT)).round().astype(int).tolist()


def rotation_of(pictures: Sequence[Picture], settings: FaceSettings) -> int:
    """Find by how many degrees a clip has to be turned clockwise to stand upright.

    Each picture votes for the orientation in which its best upright face is found: the detector is surest of it, and
    its landmarks lie where a face has them. A clip is turned when more than half of the pictures want the same.

    Parameters
    ----------
    pictures
        RGB frames of one clip, any sizes.
    settings
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
    """Both parts are needed: of a turned face the detector can be as sure, or put the landmarks as well."""
    return face.confidence - quality.landmark_error(face.landmarks)
