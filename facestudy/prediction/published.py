"""Detectors whose weights their authors published: Meso4 and MesoInception4, trained on deepfakes of the web of 2018.

Their crop is a square around the face, turned upright, with a side of 2.86 times the distance of the eyes from the
mouth (`pipeline.py` of the authors' code: K = 2.2 times l_factor = 1.3). On the canonical face that distance is 0.361,
so their square is 1.03 wide: the canonical square itself. The region `face` of the study is a part of it.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facestudy.core.regions import Box
from facestudy.crops.cutting import CropSettings, Plan, Variant, resolve
from facestudy.models.mesonet_weights import INPUT_SIZE, PLACE, PUBLISHED, cache_folder
from facestudy.models.pinned import Pinned, at_its_place
from facestudy.prediction.detectors import Detector, Known

__all__ = [
    "DETECTORS",
    "Published",
    "authors_crop",
    "cache_folder",
    "detector",
    "detectors",
    "load",
    "names",
    "weights_file",
]

SQUARE: Box = (0.0, 0.0, 1.0, 1.0)
SEEN = "face swaps and real videos from the web of 2018"
KNOWN = Known(codecs=frozenset({"h264"}), smallest_frame=(854, 480))
"""Of the authors' videos (Afchar et al. 2018, section 3.1)."""


@dataclass(frozen=True)
class Published:
    """A detector with published weights.

    Attributes
    ----------
    name : str
    network : str
        Its network, a function of facestudy.models.mesonet.
    weights : Pinned
        Its weights file.
    measured : str
        What others measured with these weights.
    """

    name: str
    network: str
    weights: Pinned
    measured: str


DETECTORS = (
    Published(
        "Meso4_DF",
        "meso4",
        PUBLISHED["meso4"],
        "AUC 0.85 on FaceForensics++ Deepfakes, 0.75 on DFDC, 0.55 on Celeb-DF; calls slightly blurred real faces fake",
    ),
    Published(
        "MesoInception4_DF",
        "mesoinception4",
        PUBLISHED["mesoinception4"],
        "AUC 0.83 on FaceForensics++ Deepfakes, 0.73 on DFDC, 0.54 on Celeb-DF; calls slightly blurred real faces fake",
    ),
)
"""The figures are those of Li, Yang, Sun, Qi and Lyu, Celeb-DF, CVPR 2020, table 2: per frame, with these weights.
`python -m benchmarks.one_clip` shows what blur does."""


def names() -> list[str]:
    """List the names of the published detectors.

    Examples
    --------
    >>> names()
    ['Meso4_DF', 'MesoInception4_DF']
    """
    return [one.name for one in DETECTORS]


def authors_crop() -> Plan:
    """Work out the crop of the authors: the canonical square, at the size that the networks take."""
    variant = Variant(regions=["square"], layout="stack")
    settings = CropSettings(size=(INPUT_SIZE, INPUT_SIZE))
    return resolve("square", {"square": variant}, {"face": SQUARE, "square": SQUARE}, settings)


def load(network: str, path: Path) -> Any:
    """Build a network with published weights.

    Parameters
    ----------
    network : str
        A function of facestudy.models.mesonet.
    path : Path
        What `weights_file` returned.

    Returns
    -------
    keras.Model
        uint8 RGB (batch, h, w, 3) to p_fake (batch, 1).

    Raises
    ------
    StudyError
        When the file does not fit the network.
    """
    mesonet = importlib.import_module("facestudy.models.mesonet")  # imports TensorFlow, which takes seconds
    return getattr(mesonet, network)(INPUT_SIZE, weights=str(path))


def detectors(folder: Path, fetch: bool = True, place: str = PLACE) -> list[Detector]:
    """List the published detectors; their networks are built when they are used first.

    Parameters
    ----------
    folder : Path
        Where their weights are, or are fetched to.
    fetch : bool
        Whether missing files are fetched.
    place : str
        See `weights_file`.

    Returns
    -------
    list of Detector

    Raises
    ------
    StudyError
        As `weights_file`.
    """
    return [detector(one, folder, fetch, place) for one in DETECTORS]


def detector(one: Published, folder: Path, fetch: bool = True, place: str = PLACE) -> Detector:
    """Prepare a published detector; its network is built when it is used first.

    Parameters
    ----------
    one : Published
    folder, fetch, place
        As in `detectors`.

    Returns
    -------
    Detector

    Raises
    ------
    StudyError
        As `weights_file`.
    """
    loaded = functools.cache(functools.partial(load, one.network, weights_file(one, folder, fetch, place)))
    return Detector(one.name, {"published": loaded}, authors_crop(), seen=SEEN, measured=one.measured, known=KNOWN)


def weights_file(detector: Published, folder: Path, fetch: bool = True, place: str = PLACE) -> Path:
    """Find the weights of a detector in a folder, or fetch them into it.

    Parameters
    ----------
    detector : Published
    folder : Path
    fetch : bool
        Whether a missing file is fetched.
    place : str
        The address that the name of the file is added to.

    Returns
    -------
    Path
        The file, whose sha256 is right.

    Raises
    ------
    StudyError
        When the file is missing and cannot be fetched, or is another file; the message says which file belongs where.
    """
    return at_its_place(replace(detector.weights, address=f"{place}/{detector.weights.name}"), folder, fetch)
