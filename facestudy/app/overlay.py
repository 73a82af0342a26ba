"""The part of one face that a detector relies on: an occlusion map over the crop."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facestudy.attribution.areas import shown_places
from facestudy.attribution.overlays import painted
from facestudy.core.arrays import BoolArray, FloatArray, Picture
from facestudy.crops.cutting import crop
from facestudy.evaluation.metrics import THRESHOLD
from facestudy.prediction.clip import Found
from facestudy.prediction.detectors import Detector, score_with


@dataclass(frozen=True)
class Overlay:
    """What one training of a detector relies on in one face.

    Attributes
    ----------
    detector, training : str
    p_fake : float
        Of the face, by this training.
    time_s : float
        Of the frame, seconds.
    says : {"fake", "real"}
        What the map is evidence for.
    picture : ndarray of uint8, shape (height, width, 3)
        The crop in grey, with the map in colour.
    empty : bool
        True when hiding a part never lowers the evidence.
    """

    detector: str
    training: str
    p_fake: float
    time_s: float
    says: str
    picture: Picture
    empty: bool


def overlay(detector: Detector, faces: Sequence[Found], p_fake: Sequence[float]) -> Overlay:
    """Make the overlay for the face with the most typical score, by the training with the most typical one.

    Parameters
    ----------
    detector : Detector
    faces : sequence of Found
        The faces of one person, with cut-outs.
    p_fake : sequence of float
        Of each face, mean over trainings.

    Returns
    -------
    Overlay

    Raises
    ------
    StudyError
        When the network cannot be loaded, or has no layer that attribution can use.
    """
    cut_outs = [(one.face.picture, one.face) for one in faces]
    cut = [crop(picture, face, detector.plan, detector.colour) for picture, face in cut_outs if picture is not None]
    pictures, row = np.stack(cut), int(np.abs(np.asarray(p_fake) - np.mean(p_fake)).argmin())
    networks = {name: load() for name, load in detector.trainings.items()}
    one = pictures[row : row + 1]
    scores = {name: float(score_with(network, one)[0]) for name, network in networks.items() if len(networks) > 1}
    scores = scores or dict.fromkeys(networks, float(p_fake[row]))
    training = min(scores, key=lambda name: abs(scores[name] - p_fake[row]))
    says = "fake" if scores[training] > THRESHOLD else "real"
    shown = ~np.isnan(shown_places(detector.plan)[..., 0])
    found = occlusion(networks[training], pictures, row, shown, 1.0 if says == "fake" else -1.0)
    return Overlay(
        detector.name, training, scores[training], faces[row].time_s, says,
        painted(pictures[row], found), not found.any(),
    )  # fmt: skip


def occlusion(network: Any, pictures: Picture, row: int, shown: BoolArray, sign: float) -> FloatArray:
    """Compute the occlusion map of one picture.

    Parameters
    ----------
    network : keras.Model
        Its last layers are `logit` and `p_fake`.
    pictures : ndarray of uint8, shape (n, height, width, 3)
        RGB. Hidden parts get their mean colour.
    row : int
        Which of them.
    shown : ndarray of bool, shape (height, width)
        Where they show a face.
    sign : float
        1 for evidence of fake, -1 for evidence of real.

    Returns
    -------
    ndarray of float64, shape (height, width)
        As facestudy.attribution.maps.occlusion.

    Raises
    ------
    StudyError
        When the network has no layer that attribution can use.
    """
    from facestudy.attribution import maps  # imports TensorFlow

    probe, one = opened(network), slice(row, row + 1)
    filled = maps.replacement(pictures, shown, "mean")[one]
    before = probe.logits(pictures[one])
    evidence = maps.Evidence(probe, pictures[one], shown, filled, np.array([sign]), before)
    return np.asarray(maps.occlusion(evidence)[0])


@functools.lru_cache(maxsize=64)
def opened(network: Any) -> Any:
    """Open a network for inspection, once: TensorFlow takes a second or two to build the graph."""
    from facestudy.attribution.maps import Probe

    return Probe(network)
