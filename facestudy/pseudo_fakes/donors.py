"""The choice of donors: pairs of people with similar landmarks.

Donors join groups (facestudy.dataset.split), and with donors drawn freely nearly all clips become one group. So people
are put into pairs that give their faces to each other, and a group has two people at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facestudy.core.arrays import FloatArray, IntArray
from facestudy.core.regions import apply, to_canonical
from facestudy.runtime.work_cache import key_of

CANDIDATES = 8
"""Random people among whom the one with the nearest landmarks is taken."""


@dataclass(frozen=True)
class Clip:
    """A clip that may give or take a face.

    Attributes
    ----------
    name : str
        Any text that differs between clips.
    person : str
        Who is shown. Clips of one person are not each other's donors.
    subset : str
        Of an official split; a donor comes from the same one.
    shape : ndarray of shape (5, 2)
        The mean of its aligned landmarks, canonical units.
    """

    name: str
    person: str
    subset: str
    shape: FloatArray


def aligned(landmarks: FloatArray) -> FloatArray:
    """Bring the landmarks of frames onto the canonical face; what remains is pose, expression and anatomy.

    Parameters
    ----------
    landmarks : ndarray of shape (n, 5, 2)
        Pixels.

    Returns
    -------
    ndarray of shape (n, 5, 2)
        Canonical units, rounded to 5 decimals so that no choice depends on the CPU.
    """
    return np.array([apply(to_canonical(points), points) for points in landmarks]).round(5)


def distance(first: FloatArray, second: FloatArray) -> FloatArray:
    """Compute the Euclidean distance between sets of landmarks.

    Parameters
    ----------
    first, second : ndarray of shape (..., 5, 2)
        Aligned landmarks; the leading axes broadcast.

    Returns
    -------
    ndarray of shape (...)

    Examples
    --------
    >>> float(distance(np.zeros((5, 2)), np.ones((5, 2))).round(4))
    3.1623
    """
    return np.asarray(np.sqrt(((first - second) ** 2).sum(axis=(-2, -1))), float)


def nearest_frames(target: FloatArray, donor: FloatArray) -> IntArray:
    """Choose, for each frame of the target, the frame of the donor with the nearest landmarks.

    Parameters
    ----------
    target : ndarray of shape (n, 5, 2)
    donor : ndarray of shape (m, 5, 2)
        Aligned landmarks.

    Returns
    -------
    ndarray of shape (n,)
        Numbers of frames of the donor, from 0; the first of equal ones.
    """
    return np.array([int(distance(points, donor).argmin()) for points in target], np.intp)


def choose_donors(clips: Sequence[Clip], seed: int) -> dict[str, str]:
    """Choose a donor for each clip.

    People come in random order. Each is paired with the nearest of the next CANDIDATES people without a partner; the
    clips of each take their donors from the clips of the other. With an odd number of people, the last one has none.

    Parameters
    ----------
    clips
        The clips; their order does not matter.
    seed
        Decides the order of the people.

    Returns
    -------
    dict of str to str
        The name of each clip that has a donor, and of its donor: the clip of the partner with the nearest landmarks.
    """
    donors: dict[str, str] = {}
    for subset in sorted({clip.subset for clip in clips}):
        people: dict[str, list[Clip]] = {}
        for clip in sorted(clips, key=lambda clip: clip.name):
            if clip.subset == subset:
                people.setdefault(clip.person, []).append(clip)
        waiting = sorted(people, key=lambda person: key_of(seed, person))
        while len(waiting) > 1:
            first = waiting.pop(0)
            second = min(waiting[:CANDIDATES], key=lambda other: _apart(people, first, other))
            waiting.remove(second)
            for taker, giver in ((first, second), (second, first)):
                for clip in people[taker]:
                    donors[clip.name] = min(people[giver], key=lambda own: float(distance(clip.shape, own.shape))).name
    return donors


def _apart(people: Mapping[str, Sequence[Clip]], first: str, second: str) -> float:
    """How far the nearest clips of two people are from each other."""
    return min(float(distance(a.shape, b.shape)) for a in people[first] for b in people[second])
