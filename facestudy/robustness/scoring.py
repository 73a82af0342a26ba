"""Score altered test faces with trained models.

TensorFlow is imported by the processes that score, not by the one that starts them. A task is a few faces, with all
alterations, on all variants, for all models: so a picture is read and altered once, and a process builds each network
once and fills it with the weights of one training after the other.
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

TASK_FACES = 128
"""Most faces of a task. Every process imports TensorFlow, which fewer faces are not worth. The number of processes
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
        """The file with the weights of a training."""
        return self.models / variant / model / training / WEIGHTS


@dataclass(frozen=True)
class Task:
    """A few faces, and the trainings that score them.

    Attributes
    ----------
    faces : sequence of Face
    trainings : sequence of str
        Names below models/<variant>/<model>/.
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


def altered_scores(splits: Sequence[Task], scoring: Scoring, compute: ComputeSettings) -> list[FloatArray]:
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
    pixels = sum(plan.size[0] * plan.size[1] for plan, _ in scoring.views.values())
    most = max(1, min(TASK_FACES, int(TASK_BYTES / (3 * pixels * (1 + len(scoring.alterations))))))
    tasks, ends = [], []
    for split in splits:
        size = math.ceil(len(split.faces) / math.ceil(len(split.faces) / most))
        starts = range(0, len(split.faces), size)
        tasks += [Task(split.faces[start : start + size], split.trainings) for start in starts]
        ends.append(len(tasks))
    work = functools.partial(score, scoring=scoring)
    found = list(map_items(work, tasks, compute, "altered faces"))
    return [
        np.concatenate(found[start:end], axis=-1).round(DECIMALS)
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


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
    ndarray of float64, shape (models, variants, 1 + alterations, trainings, faces)
        p_fake.
    """
    from facestudy.models.layers import load_by_name
    from facestudy.training.data import Faces
    from facestudy.training.loop import predict

    rows, count = 1 + len(scoring.alterations), len(task.faces)
    everything = np.arange(rows * count)
    p_fake = np.empty((len(scoring.networks), len(scoring.views), rows, len(task.trainings), count))
    for of_variant, (variant, pictures) in enumerate(altered_crops(task.faces, scoring).items()):
        faces = Faces(pictures.reshape(-1, *pictures.shape[2:]), everything, np.zeros(len(everything), np.float32))
        for of_model, (model, settings) in enumerate(scoring.networks.items()):
            for training, name in enumerate(task.trainings):
                path = scoring.weights(model, variant, name)
                with _ONE_AT_A_TIME:
                    network = _network(settings, path)
                    load_by_name(network, path)
                    found = predict(network, faces)
                p_fake[of_model, of_variant, :, training] = found.reshape(rows, count)
    return p_fake


def altered_crops(faces: Sequence[Face], scoring: Scoring) -> dict[str, Picture]:
    """Cut the crops of faces on every variant, unaltered and with each alteration.

    Parameters
    ----------
    faces
        The faces.
    scoring
        What is done to them.

    Returns
    -------
    dict of str to ndarray of uint8, shape (1 + alterations, faces, height, width, 3)
        RGB, by variant.

    Raises
    ------
    StudyError
        When a cut-out or a clip cannot be read.
    """
    shape = (1 + len(scoring.alterations), len(faces))
    crops = {
        variant: np.empty((*shape, plan.size[1], plan.size[0], 3), np.uint8)
        for variant, (plan, _) in scoring.views.items()
    }
    quantizers = [int(one.severity) for one in scoring.alterations if one.kind == RECODED]
    for column, face in enumerate(faces):
        cut_out = read_cut_out(scoring.cut_outs, face)
        pictures: list[tuple[Picture, FloatArray | None]] = [(cut_out, None)]
        if quantizers:
            assert scoring.footage is not None
            recoded = iter(recoded_cut_outs(cut_out, face, scoring.footage, quantizers))
        for one in scoring.alterations:
            again = one.kind == RECODED
            pictures.append((next(recoded), None) if again else altered(cut_out, face, scoring.region, one))
        for variant, (plan, colour) in scoring.views.items():
            for row, (picture, displacement) in enumerate(pictures):
                crops[variant][row, column] = crop(picture, face, plan, colour, displacement)
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
