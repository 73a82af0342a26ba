"""Score altered test faces with trained models.

TensorFlow is imported by the processes that score, not by the one that starts them. A task is some faces on one
variant, with all alterations, for all models: their crops are cut once, and a process builds each network once and
fills it with the weights of one training after the other.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.crops.cutting import Colour, Plan, crop, read_cut_out
from facestudy.faces.face import Face
from facestudy.models.settings import ModelSettings
from facestudy.robustness.alterations import altered
from facestudy.robustness.recoding import Footage, recoded_cut_outs
from facestudy.robustness.settings import RECODED, Alteration
from facestudy.runtime.parallel import ComputeSettings, map_items
from facestudy.runtime.work_cache import file_sha256

TASK_FACES = 256
"""Most faces of a task. To import TensorFlow and to read the weights is not worth it for fewer. The number of processes
does not decide which faces are a task, so it changes no score."""
TASK_BYTES = 256e6
"""Most bytes of the crops of a task, unless one face has more."""
DECIMALS = 6
"""Of p_fake, as in stored predictions."""
WEIGHTS = "model.weights.h5"


@dataclass(frozen=True)
class Scoring:
    """What is done to every face.

    Attributes
    ----------
    cut_outs : Path
        The folder that the paths of the cut-outs are relative to.
    region : Box
        The face region in canonical coordinates.
    alterations : sequence of Alteration
    views : mapping of str to (Plan, Colour)
        By variant: its plan, and what fills the parts that it does not show.
    networks : mapping of str to ModelSettings
        By model.
    models : Path
        The folder of the trained models.
    footage : Footage or None
        The clips; needed where an alteration encodes them again.
    """

    cut_outs: Path
    region: Box
    alterations: Sequence[Alteration]
    views: Mapping[str, tuple[Plan, Colour]]
    networks: Mapping[str, ModelSettings]
    models: Path
    footage: Footage | None = None

    def weights(self, model: str, variant: str, training: str) -> Path:
        """Name the file with the weights of a training.

        Parameters
        ----------
        model, variant
            The cell.
        training
            The name of the training.

        Returns
        -------
        Path
        """
        return self.models / variant / model / training / WEIGHTS


@dataclass(frozen=True)
class Task:
    """Some faces on one variant.

    Attributes
    ----------
    variant : str
    faces : sequence of Face
    trainings : sequence of str
        Those that score the faces: names below models/<variant>/<model>/.
    """

    variant: str
    faces: Sequence[Face]
    trainings: Sequence[str]


@dataclass(frozen=True)
class Tested:
    """The test faces of one split.

    Attributes
    ----------
    faces : sequence of Face
    trainings : sequence of str
        The trainings of the split, by name.
    """

    faces: Sequence[Face]
    trainings: Sequence[str]


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


def altered_scores(splits: Sequence[Tested], scoring: Scoring, compute: ComputeSettings) -> list[FloatArray]:
    """Score faces, unaltered and with each alteration, with every training of every model on every variant.

    Parameters
    ----------
    splits
        The test faces of each split and its trainings.
    scoring
        What is done to them.
    compute
        Section `compute` of the settings.

    Returns
    -------
    list of ndarray of float64, shape (models, variants, 1 + alterations, trainings, faces)
        For each split: p_fake with six decimals; the unaltered faces are the first of the third axis.

    Raises
    ------
    StudyError
        When a cut-out, a clip or a file of weights cannot be read.
    """
    for split in splits:
        for model in scoring.networks:
            for variant in scoring.views:
                for path in (scoring.weights(model, variant, name) for name in split.trainings):
                    if not path.is_file():
                        raise StudyError(f"{path} is missing; `make pull WHAT=train` or `dvc repro` brings it.")
    width, height = next(iter(scoring.views.values()))[0].size  # crops.size is that of every variant
    most = max(1, min(TASK_FACES, int(TASK_BYTES / (3 * width * height * (1 + len(scoring.alterations))))))
    chunks = [_alike(split.faces, most) for split in splits]
    tasks = [
        Task(variant, chunk, split.trainings)
        for split, of_split in zip(splits, chunks, strict=True)
        for variant in scoring.views
        for chunk in of_split
    ]
    found = map_items(functools.partial(score, scoring=scoring), tasks, compute, "altered faces")
    of_splits = [
        [np.concatenate([next(found) for _ in of_split], axis=-1) for _ in scoring.views] for of_split in chunks
    ]
    return [np.stack(of_variants, axis=1).round(DECIMALS) for of_variants in of_splits]


def _alike(faces: Sequence[Face], most: int) -> list[Sequence[Face]]:
    """As few parts as possible, none with more than `most` faces, of about the same size."""
    size = math.ceil(len(faces) / math.ceil(len(faces) / most))
    return [faces[start : start + size] for start in range(0, len(faces), size)]


_ONE_AT_A_TIME = threading.Lock()
"""Held while a model scores: Dask may run tasks in threads, which share the models."""


def score(task: Task, scoring: Scoring) -> FloatArray:
    """Score the faces of a task; see `altered_scores`.

    Parameters
    ----------
    task
        The faces and the trainings.
    scoring
        What is done to the faces.

    Returns
    -------
    ndarray of float64, shape (models, 1 + alterations, trainings, faces)
        p_fake.
    """
    from facestudy.models.layers import load_by_name
    from facestudy.training.data import Faces
    from facestudy.training.loop import predict

    crops = altered_crops(task.faces, task.variant, scoring)
    rows, count = crops.shape[:2]
    every = np.arange(rows * count)
    faces = Faces(crops.reshape(-1, *crops.shape[2:]), every, np.zeros(len(every), np.float32))
    p_fake = np.empty((len(scoring.networks), rows, len(task.trainings), count))
    for number, (model, settings) in enumerate(scoring.networks.items()):
        for training, name in enumerate(task.trainings):
            path = scoring.weights(model, task.variant, name)
            with _ONE_AT_A_TIME:
                network = _network(settings, path)
                load_by_name(network, path)
                p_fake[number, :, training] = predict(network, faces).reshape(rows, count)
    return p_fake


def altered_crops(faces: Sequence[Face], variant: str, scoring: Scoring) -> Picture:
    """Cut the crops of faces on one variant, unaltered and with each alteration.

    Parameters
    ----------
    faces
        The faces.
    variant
        The crop variant.
    scoring
        What is done to them.

    Returns
    -------
    ndarray of uint8, shape (1 + alterations, faces, height, width, 3)
        RGB.

    Raises
    ------
    StudyError
        When a cut-out or a clip cannot be read.
    """
    plan, colour = scoring.views[variant]
    crops = np.empty((1 + len(scoring.alterations), len(faces), plan.size[1], plan.size[0], 3), np.uint8)
    quantizers = [int(one.severity) for one in scoring.alterations if one.kind == RECODED]
    for column, face in enumerate(faces):
        cut_out = read_cut_out(scoring.cut_outs, face)
        crops[0, column] = crop(cut_out, face, plan, colour)
        if quantizers:
            assert scoring.footage is not None
            recoded = iter(recoded_cut_outs(cut_out, face, scoring.footage, quantizers))
        for row, one in enumerate(scoring.alterations, start=1):
            again = one.kind == RECODED
            picture, moved = (next(recoded), None) if again else altered(cut_out, face, scoring.region, one)
            crops[row, column] = crop(picture, face, plan, colour, moved)
    return crops


_networks: dict[ModelSettings, Any] = {}
"""The networks that this process has built."""


def _network(settings: ModelSettings, path: Path) -> Any:
    """The network, with some weights; the digest is that of the file itself, which DVC keeps."""
    if settings not in _networks:
        from facestudy.models.networks import load
        from facestudy.runtime.backend import make_deterministic

        make_deterministic(0)
        _networks[settings] = load(settings, path, file_sha256(path))
    return _networks[settings]
