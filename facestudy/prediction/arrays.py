"""Four calls for notebooks and other programs: from a picture as an array to p_fake, by the steps of the pipeline.

`import facestudy` has them: docs/notebooks.md shows how they go together. Settings that a call does not get are those
of the project's params.yaml, as in `python -m commands.predict`; this module is the only one of facestudy to read it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check, quoted, read_yaml
from facestudy.crops import cutting
from facestudy.crops.cutting import Colour, CropSettings, Plan, Variant, resolve
from facestudy.faces import extraction
from facestudy.faces.detection import FaceSettings
from facestudy.faces.face import Face
from facestudy.prediction import published
from facestudy.prediction.clip import can_be_placed, minimum
from facestudy.prediction.detectors import Detector, score_with
from facestudy.prediction.trained import trained
from facestudy.runtime.work_cache import ROOT

S = TypeVar("S")


def find_faces(picture: Picture, study: Path | str = ROOT) -> list[Face]:
    """Find the faces in a picture that can be scored, measure them and cut them out.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB, 0 to 255, upright.
    study : Path or str
        A folder with a params.yaml: its section `faces` says how faces are found and which are usable. Where it sets no
        least size and sharpness, those of `python -m commands.predict` hold.

    Returns
    -------
    list of Face
        With their cut-outs, the largest first; empty where there is no usable face. Coordinates are in pixels of the
        picture.

    Raises
    ------
    StudyError
        When `picture` is something else, or the settings cannot be read.

    Examples
    --------
    >>> find_faces(np.zeros((240, 320, 3), np.uint8))
    []
    """
    _check_pictures(picture, 3, "the picture is", "(height, width, 3)")
    settings = minimum(_section(Path(study), "faces", FaceSettings)).model_copy(update={"all": True})
    ((faces, _),) = extraction.find_faces([picture], settings)
    return [face for face in faces if not settings.quality.reason(face.quality) and can_be_placed(face)]


def crop(face: Face, variant: str | Detector, colour: Colour = (0, 0, 0), study: Path | str = ROOT) -> Picture:
    """Cut the crop of a face.

    Parameters
    ----------
    face : Face
        With its cut-out, from `find_faces`.
    variant : str or Detector
        One of `crop_variants` in params.yaml, or a model from `load_model`, which gets the crop that it was trained on.
    colour : (int, int, int)
        Red, green and blue, 0 to 255, of the parts that a variant hides. A model has its own.
    study : Path or str
        A folder with a params.yaml: its sections `crop_variants`, `regions` and `crops` say what a variant shows. They
        do not matter with a model.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, 0 to 255.

    Raises
    ------
    StudyError
        When there is no such variant, the face has no cut-out, or the settings cannot be read.

    Examples
    --------
    >>> side = np.full((200, 200, 3), 99, np.uint8)
    >>> points = np.array([[75.0, 85], [125, 85], [100, 110], [80, 135], [120, 135]])
    >>> face = Face(50, 40, 100, 120, 0.99, points, picture=side, valid=(0, 0, 200, 200))
    >>> crop(face, "eyes_lower").shape
    (64, 64, 3)
    """
    if not isinstance(face, Face):
        raise StudyError(f"{quoted(face)} is not a face: `find_faces(picture)` finds the faces in a picture.")
    if face.picture is None:
        raise StudyError("the face has no cut-out in `picture`; take a face that `find_faces` returned.")
    if isinstance(variant, Detector):
        return cutting.crop(face.picture, face, variant.plan, variant.colour)
    return cutting.crop(face.picture, face, _plan(variant, Path(study)), colour)


def load_model(name: Path | str, weights: Path | str | None = None, allow_sample: bool = False) -> Detector:
    """Load a published detector or a trained model of a study.

    The networks are built when they are used first.

    Parameters
    ----------
    name : Path or str
        "Meso4_DF" or "MesoInception4_DF", or a folder of trained models: "models/full/mesonet/1" is one training, and
        "models/full/mesonet" all of them. A relative path begins in the project's folder.
    weights : Path or str, optional
        The folder with the weights of published detectors; nothing is fetched then. By default they are in the user's
        cache, and fetched into it on first use.
    allow_sample : bool
        Load models that have seen drawn people only. Their scores say nothing about real footage.

    Returns
    -------
    Detector
        `trainings` are its networks, `plan` is its crop, and `seen` says what it was trained on.

    Raises
    ------
    StudyError
        When there is no such model, its files are missing or are not those that were published or trained, or it was
        trained on drawn people and these are not allowed.

    Examples
    --------
    >>> load_model("Xception")
    Traceback (most recent call last):
    facestudy.core.errors.StudyError: there is no model 'Xception'; give Meso4_DF, MesoInception4_DF, or the folder of \
trained models, as in models/full/mesonet/1.
    """
    known = [one.name for one in published.DETECTORS]
    if str(name) in known:
        folder = published.cache_folder() if weights is None else Path(weights)
        return published.detector(published.DETECTORS[known.index(str(name))], folder, fetch=weights is None)
    path = ROOT / name
    for training, folder in ((path.name, path.parent), ("", path)):
        if folder.parts[-3:-2] == ("models",):
            study, model, variant = folder.parents[2], folder.name, folder.parent.name
            return trained(study, model, variant, training, allow_sample).detector
    raise StudyError(
        f"there is no model {quoted(str(name))}; give {', '.join(known)}, or the folder of trained models, as in "
        "models/full/mesonet/1."
    )


def score(model: Any, crops: Picture | Sequence[Picture]) -> FloatArray:
    """Compute p_fake of crops.

    Parameters
    ----------
    model : Detector or keras.Model
        From `load_model`, or a network of your own that takes uint8 RGB and gives p_fake (facestudy.models.networks).
    crops : ndarray of uint8, shape (n, height, width, 3), or sequence of n ndarrays of shape (height, width, 3)
        RGB, 0 to 255, all of one size, as `crop` gives them. For a Detector it is the size of its crop.

    Returns
    -------
    ndarray of float64, shape (n,)
        Probabilities of fake, in [0, 1]; of a model with several trainings their mean.

    Raises
    ------
    StudyError
        When `crops` are something else, or the networks cannot be loaded.

    Examples
    --------
    >>> from facestudy.models.networks import ModelSettings, build
    >>> network = build(ModelSettings(network="meso4", input_size=64, epochs=1, learning_rate=1e-3))
    >>> score(network, [np.zeros((64, 64, 3), np.uint8)] * 2).shape
    (2,)
    """
    if len(crops) == 0:
        return np.zeros(0)
    sizes = sorted({np.shape(one) for one in crops})
    if len(sizes) > 1:
        raise StudyError(f"the crops have different shapes, {', '.join(map(str, sizes))}; give crops of one variant.")
    pictures = np.asarray(crops)
    _check_pictures(pictures, 4, "the crops are", "(n, height, width, 3)")
    if not isinstance(model, Detector):
        return score_with(model, pictures)
    (width, height), wanted = pictures.shape[2:0:-1], model.plan.size
    if (width, height) != wanted:
        raise StudyError(
            f"the crops have {width}x{height} pixels, {model.name} takes {wanted[0]}x{wanted[1]}; "
            "`crop(face, model)` cuts the crop that a model takes."
        )
    return np.asarray(model.score_crops(pictures).mean(axis=0), float)


def _check_pictures(pictures: Any, axes: int, what: str, wanted: str) -> None:
    found = np.asarray(pictures)
    if found.dtype == np.uint8 and found.ndim == axes and found.shape[-1] == 3 and found.size:
        return
    raise StudyError(f"{what} {found.dtype} of shape {found.shape}; give RGB as uint8, 0 to 255, of shape {wanted}.")


def _plan(variant: str, study: Path) -> Plan:
    variants = _section(study, "crop_variants", dict[str, Variant])
    boxes, settings = _section(study, "regions", dict[str, Box]), _section(study, "crops", CropSettings)
    feather = _section(study, "sample", dict[str, Any])["feather"]
    return resolve(variant, variants, boxes, settings, feather)


def _section(study: Path, name: str, kind: type[S]) -> S:
    """One section of a study's settings, checked."""
    path = study / "params.yaml"
    try:
        params = _parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror}); give the folder of a study.") from None
    if not isinstance(params, dict) or name not in params:
        raise StudyError(f"{path}: the section {name} is missing.")
    return check(kind, params[name], name, str(path))


@functools.lru_cache(maxsize=8)
def _parsed(text: bytes, file: str) -> Any:
    return read_yaml(text, file)
