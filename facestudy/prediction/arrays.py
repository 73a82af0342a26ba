"""Four calls for notebooks and other programs: from a picture as an array to p_fake, by the steps of the pipeline.

`import facestudy` has them: docs/notebooks.md shows how they go together. Settings that a call does not get are those
of the project's params.yaml, as in `facestudy predict`; this module is the only one of facestudy to read it.
Relative paths begin in the project's folder, wherever the program runs.
"""

from __future__ import annotations

import functools
import operator
import os
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
from facestudy.sources.user_files import called

S = TypeVar("S")


def find_faces(picture: Picture, study: Path | str = ROOT) -> list[Face]:
    """Find the faces in a picture that can be scored, measure them and cut them out.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB, 0 to 255, upright.
    study : Path or str
        A folder with a params.yaml: its section `faces` says how faces are found and which are usable. Where it sets no
        least size and sharpness, those of `facestudy predict` hold. A relative path begins in the project's folder.

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
    pictures = [_checked(picture, 3, "the picture is", "(height, width, 3)")]
    settings = minimum(_section(_path(study, "study"), "faces", FaceSettings)).model_copy(update={"all": True})
    ((faces, _),) = extraction.find_faces(pictures, settings)
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
        do not matter with a model. A relative path begins in the project's folder.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, 0 to 255.

    Raises
    ------
    StudyError
        When there is no such variant or colour, the face has no cut-out, or the settings cannot be read.

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
    cut_out = _checked(face.picture, 3, "the cut-out is", "(side, side, 3)")
    if isinstance(variant, Detector):
        return cutting.crop(cut_out, face, variant.plan, variant.colour)
    if not isinstance(variant, str):
        raise StudyError(f"{quoted(variant)} is not a crop variant; give the name of one in params.yaml, or a model.")
    return cutting.crop(cut_out, face, _plan(variant, _path(study, "study")), _checked_colour(colour))


def load_model(name: Path | str, weights: Path | str | None = None, allow_sample: bool = False) -> Detector:
    """Load a published detector or a trained model of a study.

    The networks are built when they are used first.

    Parameters
    ----------
    name : Path or str
        "Meso4_DF" or "MesoInception4_DF", or a folder of trained models: "models/full/mesonet/1" is one training, and
        "models/full/mesonet" all of them. A relative path begins in the project's folder.
    weights : Path or str, optional
        The folder with the weights of published detectors; nothing is fetched then. A relative path begins in the
        project's folder. By default they are in the user's cache, and fetched into it on first use.
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
    path, known = _path(name, "name"), published.names()
    if str(name) in known:
        folder = published.cache_folder() if weights is None else _path(weights, "weights")
        return published.detector(published.DETECTORS[known.index(str(name))], folder, fetch=weights is None)
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
    if not isinstance(model, Detector) and not hasattr(model, "predict_on_batch"):
        raise StudyError(f"{quoted(model)} is not a model; pass what `load_model` returns, or a Keras network.")
    rows = crops.shape[:1] if isinstance(crops, np.ndarray) else (len(crops),) if isinstance(crops, Sequence) else ()
    if rows == (0,):
        return np.zeros(0)
    pictures = _checked(crops, 4, "the crops are", "(n, height, width, 3)")
    if not isinstance(model, Detector):
        try:
            return score_with(model, pictures)
        except (ValueError, IndexError) as error:
            taken = " x ".join(map(str, pictures.shape[1:]))
            raise StudyError(
                f"the network does not take crops of {taken}, or does not give one p_fake each."
            ) from error
    (width, height), wanted = pictures.shape[2:0:-1], model.plan.size
    if (width, height) != wanted:
        raise StudyError(
            f"the crops have {width}x{height} pixels, {model.name} takes {wanted[0]}x{wanted[1]}; "
            "`crop(face, model)` cuts the crop that a model takes."
        )
    return np.asarray(model.score_crops(pictures).mean(axis=0), float)


def _checked(pictures: Any, axes: int, what: str, wanted: str) -> Picture:
    """Pictures as an array. Raises StudyError when they are something else."""
    if isinstance(pictures, Sequence):
        sizes = sorted({np.shape(one) for one in pictures if isinstance(one, np.ndarray)})
        if len(sizes) > 1:
            raise StudyError(f"{what} of different shapes, {', '.join(map(str, sizes))}; give arrays of one shape.")
    need = f"give RGB as uint8, 0 to 255, of shape {wanted}"
    try:
        found = np.asarray(pictures)
    except (TypeError, ValueError, RuntimeError):  # NumPy's, and those of arrays of other libraries
        raise StudyError(f"{what} a {type(pictures).__name__} that makes no array; {need}.") from None
    if found.dtype == np.uint8 and found.ndim == axes and found.shape[-1] == 3 and found.size:
        return found
    raise StudyError(f"{what} {found.dtype} of shape {found.shape}; {need}.")


def _checked_colour(colour: Any) -> Colour:
    try:
        red, green, blue = (operator.index(value) for value in colour)
    except (TypeError, ValueError):
        red = green = blue = -1
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise StudyError(f"{quoted(colour)} is not a colour; give red, green and blue, 0 to 255, as in (0, 128, 255).")
    return red, green, blue


def _path(path: Any, name: str) -> Path:
    """A path that may begin in the project's folder."""
    if not isinstance(path, str | os.PathLike):
        raise StudyError(f"{name} = {quoted(path)} is not a path; give text or a Path.")
    return ROOT / path


def _plan(variant: str, study: Path) -> Plan:
    variants = _section(study, "crop_variants", dict[str, Variant])
    boxes, settings = _section(study, "regions", dict[str, Box]), _section(study, "crops", CropSettings)
    sample = _section(study, "sample", dict[str, Any])
    feather = check(float, sample.get("feather"), "sample.feather", str(study / "params.yaml"))
    return resolve(variant, variants, boxes, settings, feather)


def _section(study: Path, name: str, kind: type[S]) -> S:
    """One section of a study's settings, checked."""
    path = study / "params.yaml"
    try:
        params = _parsed(path.read_bytes(), str(path))
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        why = getattr(error, "strerror", None) or error
        raise StudyError(f"{called(path)} cannot be read ({why}); give the folder of a study.") from None
    if not isinstance(params, dict) or name not in params:
        raise StudyError(f"{path}: the section {name} is missing.")
    return check(kind, params[name], name, str(path))


@functools.lru_cache(maxsize=8)
def _parsed(text: bytes, file: str) -> Any:
    return read_yaml(text, file)
