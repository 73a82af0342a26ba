"""A detector: one or more trainings of a network, the crop that it takes, and what is known of its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from facestudy.core.arrays import FloatArray, Picture
from facestudy.crops.cutting import Colour, Plan, crop
from facestudy.faces.face import Face
from facestudy.media.video import Probe
from facestudy.training.data import Faces

UNITS = {"size": " pixels", "sharpness": "", "brightness": "", "landmark_error": "", "blockiness": ""}
"""Of the measures of a face that are compared with those of the training and test faces."""


@dataclass(frozen=True)
class ScoreBin:
    """Test faces of a study with similar scores.

    Attributes
    ----------
    low, high : float
        p_fake from `low` to below `high`; the last bin includes 1.
    scores : int
        Scores of test faces in the bin, over all trainings.
    fake_share : float
        The share of them that are of fakes.
    """

    low: float
    high: float
    scores: int
    fake_share: float


@dataclass(frozen=True)
class Known:
    """What is known of the clips and faces that a detector was trained and tested on.

    Attributes
    ----------
    codecs : frozenset of str
        FFmpeg's names, and formats of pictures; empty where they are not known.
    smallest_frame : (int, int), optional
        Longer and shorter side of the smallest frames, pixels.
    faces : mapping of str to (float, float)
        Measures of facestudy.faces.quality, and the range of the middle 98 % of the faces.
    trained_on : frozenset of str
        The sha256 of clips that it has been fitted or selected on.
    """

    codecs: frozenset[str] = frozenset()
    smallest_frame: tuple[int, int] | None = None
    faces: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    trained_on: frozenset[str] = frozenset()

    def warnings(self, probe: Probe, sha256: str, faces: Sequence[Face]) -> list[str]:
        """Say in what a clip differs from the known ones.

        Parameters
        ----------
        probe : Probe
            Of the clip.
        sha256 : str
            Of the clip.
        faces : sequence of Face
            Its faces, at least one.

        Returns
        -------
        list of str
            One phrase for each difference; none where nothing is known.

        Examples
        --------
        >>> probe = Probe("vp9", 640, 360, 25.0, 4.0, 100)
        >>> face = Face(0, 0, 50, 60, 0.99, np.zeros((5, 2)), quality={"size": 50.0})
        >>> Known(frozenset({"h264"}), None, {"size": (80, 200)}).warnings(probe, "", [face])
        ['format vp9, known: h264', 'size of the face 50 pixels (median), known: 80 to 200 pixels']
        """
        found = []
        if sha256 in self.trained_on:
            found.append("this clip was used in training, so its score has no meaning")
        if self.codecs and probe.codec not in self.codecs:
            found.append(f"format {probe.codec}, known: {', '.join(sorted(self.codecs))}")
        sides = sorted((probe.width, probe.height), reverse=True)
        if self.smallest_frame and (sides[0] < self.smallest_frame[0] or sides[1] < self.smallest_frame[1]):
            least = "x".join(map(str, self.smallest_frame))
            found.append(f"frames of {probe.width}x{probe.height}, known: {least} and larger")
        for measure, (low, high) in self.faces.items():
            median, unit = float(np.median([face.quality[measure] for face in faces])), UNITS[measure]
            if not low <= median <= high:
                found.append(f"{measure} of the face {median:.3g}{unit} (median), known: {low:.3g} to {high:.3g}{unit}")
        return found


@dataclass(frozen=True, eq=False)
class Detector:
    """A detector that can score faces.

    Attributes
    ----------
    name : str
    trainings : mapping of str to callable
        By name, what loads the network: a keras.Model. A published detector has one.
    plan : Plan
        Its crop.
    colour : Colour
        What fills the parts of the crop that it does not show.
    seen : str
        What it was trained on, as a phrase.
    measured : str
        How well it did where it was tested, as a phrase; "" where that is not known.
    known : Known
        The data that it was trained and tested on.
    bins : sequence of ScoreBin
        How often faces with a score were fake where it was tested; empty where that is not known.
    """

    name: str
    trainings: Mapping[str, Callable[[], Any]]
    plan: Plan
    colour: Colour = (0, 0, 0)
    seen: str = ""
    measured: str = ""
    known: Known = field(default_factory=Known)
    bins: Sequence[ScoreBin] = ()

    def score(self, faces: Sequence[Face]) -> FloatArray:
        """Compute p_fake of each face with each training.

        Parameters
        ----------
        faces : sequence of Face
            With cut-outs, at least one.

        Returns
        -------
        ndarray of float64, shape (trainings, faces)
            In [0, 1].

        Raises
        ------
        StudyError
            When a face cannot be cropped, or a network cannot be loaded.
        """
        cut = [crop(face.picture, face, self.plan, self.colour) for face in faces if face.picture is not None]
        return self.score_crops(np.stack(cut))

    def score_crops(self, crops: Picture) -> FloatArray:
        """Compute p_fake of each crop with each training.

        Parameters
        ----------
        crops : ndarray of uint8, shape (crops, height, width, 3)
            RGB, of the size in `plan`; at least one.

        Returns
        -------
        ndarray of float64, shape (trainings, crops)
            In [0, 1].

        Raises
        ------
        StudyError
            When a network cannot be loaded.
        """
        return np.stack([score_with(load(), crops) for load in self.trainings.values()])

    def bin_of(self, p_fake: float) -> ScoreBin | None:
        """Find the bin of a score; None where it is not known how often such scores were fake."""
        return next((one for one in self.bins if one.low <= p_fake < one.high or p_fake == one.high == 1), None)


def score_with(network: Any, crops: Picture) -> FloatArray:
    """Compute p_fake of crops with one network.

    Parameters
    ----------
    network : keras.Model
        uint8 RGB (batch, height, width, 3) to p_fake (batch, 1).
    crops : ndarray of uint8, shape (crops, height, width, 3)
        RGB, at least one.

    Returns
    -------
    ndarray of float64, shape (crops,)
        In [0, 1].
    """
    from facestudy.training.loop import predict

    return predict(network, Faces(crops, np.arange(len(crops)), np.zeros(len(crops), np.float32)))
