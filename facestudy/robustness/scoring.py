"""Score altered test faces with trained models.

TensorFlow is imported by the processes that score, not by the one that starts them.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facestudy.core.arrays import FloatArray
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.crops.cutting import Colour, Plan, read_cut_out
from facestudy.faces.face import Face
from facestudy.models.settings import ModelSettings
from facestudy.robustness.alterations import altered_crop
from facestudy.robustness.settings import Alteration
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import file_sha256

BATCH = 32
"""Of `facestudy.training.loop.predict`. A task scores whole batches, so a face is in the batch it was in before."""
TASK_BATCHES = 8
"""Most batches of a task. Every process imports TensorFlow, which fewer faces are not worth."""
TASK_BYTES = 256e6
"""Most bytes of the crops of a task, unless one batch has more."""
DECIMALS = 6
"""Of p_fake, as in stored predictions."""


@dataclass(frozen=True)
class Cropping:
    """How the faces of a cell are cropped.

    Attributes
    ----------
    folder : Path
        The folder that the paths of the cut-outs are relative to.
    plan : Plan
        The plan of the crop variant.
    colour : (int, int, int)
        What fills the parts that the variant does not show.
    region : Box
        The face region in canonical coordinates.
    """

    folder: Path
    plan: Plan
    colour: Colour
    region: Box


def select_faces(faces: Sequence[Face], ids: Sequence[str]) -> list[Face]:
    """Select faces by their ids.

    Parameters
    ----------
    faces
        All faces.
    ids
        The ids of those to select.

    Returns
    -------
    list of Face
        In the order of `ids`.

    Raises
    ------
    StudyError
        When there is no face of an id.
    """
    by_id = {face.face_id: face for face in faces}
    if missing := [face_id for face_id in ids if face_id not in by_id]:
        raise StudyError(f"the predictions have the face {missing[0]}, data/faces/index.csv has not; run `dvc repro`.")
    return [by_id[face_id] for face_id in ids]


def altered_scores(
    faces: Sequence[Face],
    alterations: Sequence[Alteration],
    cropping: Cropping,
    settings: ModelSettings,
    weights: Sequence[Path],
    compute: ComputeSettings,
    description: str,
) -> FloatArray:
    """Score faces, unaltered and with each alteration, with every training of a model.

    Parameters
    ----------
    faces
        The faces, in the order in which the training scored them.
    alterations
        What is done to them.
    cropping
        How they are cropped.
    settings
        The settings of the model.
    weights
        model.weights.h5 of each training.
    compute
        Section `compute` of the settings.
    description
        The label of the progress bar.

    Returns
    -------
    ndarray of float64, shape (1 + alterations, trainings, faces)
        p_fake with six decimals; first that of the unaltered faces.

    Raises
    ------
    StudyError
        When a cut-out or a file of weights cannot be read.
    """
    width, height = cropping.plan.size
    of_batch = BATCH * width * height * 3 * (1 + len(alterations))
    most = max(1, min(TASK_BATCHES, int(TASK_BYTES / of_batch)))
    batches = math.ceil(len(faces) / BATCH)
    size = BATCH * math.ceil(batches / math.ceil(batches / most))
    chunks = [faces[start : start + size] for start in range(0, len(faces), size)]
    work = functools.partial(
        score_chunk, alterations=alterations, cropping=cropping, settings=settings, weights=weights
    )
    return np.concatenate(list(map_items(work, chunks, compute, description)), axis=2).round(DECIMALS)


_ONE_AT_A_TIME = threading.Lock()
"""Held while a model scores: Dask may run tasks in threads, which share the model."""


def score_chunk(
    faces: Sequence[Face],
    alterations: Sequence[Alteration],
    cropping: Cropping,
    settings: ModelSettings,
    weights: Sequence[Path],
) -> FloatArray:
    """Score a few faces; see `altered_scores`.

    Parameters
    ----------
    faces
        The faces.
    alterations
        What is done to them.
    cropping
        How they are cropped.
    settings
        The settings of the model.
    weights
        model.weights.h5 of each training.

    Returns
    -------
    ndarray of float64, shape (1 + alterations, trainings, faces)
        p_fake.
    """
    from facestudy.models.layers import load_by_name
    from facestudy.training.data import Faces
    from facestudy.training.loop import predict

    cut_outs = [read_cut_out(cropping.folder, face) for face in faces]
    rows, labels = np.arange(len(faces)), np.zeros(len(faces), np.float32)
    altered = []
    for alteration in (None, *alterations):
        crops = [
            altered_crop(cut_out, face, cropping.plan, cropping.colour, cropping.region, alteration)
            for cut_out, face in zip(cut_outs, faces, strict=True)
        ]
        altered.append(Faces(np.stack(crops), rows, labels))
    p_fake = np.empty((len(altered), len(weights), len(faces)))
    with _ONE_AT_A_TIME:
        model = _network(settings, weights[0])
        for training, path in enumerate(weights):
            load_by_name(model, path)
            for number, pictures in enumerate(altered):
                p_fake[number, training] = predict(model, pictures)
    return p_fake


@functools.lru_cache(maxsize=1)
def _network(settings: ModelSettings, path: Path) -> Any:
    """The network, made once in a process; the digest is that of the file itself, which DVC keeps."""
    from facestudy.models.networks import load
    from facestudy.runtime.backend import make_deterministic

    make_deterministic(0)
    return load(settings, path, file_sha256(path))
