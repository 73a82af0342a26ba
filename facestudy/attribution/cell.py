"""The attribution of one cell: one model on one crop variant, all its trainings.

TensorFlow is imported by the processes that compute, not by the one that starts them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from facestudy.attribution.settings import Fill
from facestudy.core.arrays import BoolArray, FloatArray, IntArray, Picture
from facestudy.core.errors import StudyError
from facestudy.models.settings import ModelSettings
from facestudy.runtime.work_cache import file_sha256

TOLERANCE = 1e-4
"""Of p_fake. Another processor may give other last digits; other weights or crops differ by far more."""


@dataclass(frozen=True)
class Cell:
    """The faces and trainings of one model on one crop variant.

    Attributes
    ----------
    model, variant : str
        Their names.
    settings : ModelSettings
        Of the model.
    weights : tuple of Path
        model.weights.h5 of each training.
    seeds : tuple of int
        Of the random weights that each training is compared with.
    stored : ndarray of shape (trainings, n)
        p_fake in the predictions of each training.
    pictures : ndarray of uint8, shape (n, height, width, 3)
        The crops, RGB.
    fake : ndarray of bool, shape (n,)
    group : ndarray of int, shape (n,)
        Number of the group of each face, from 0.
    shown : ndarray of bool, shape (height, width)
        Where the crops show a face.
    regions : tuple of str
        Names of the areas.
    areas : ndarray of bool, shape (areas, n, height, width)
        Within `shown`; an area may be empty for some faces.
    wrong : DataFrame
        Test faces that the trainings get wrong: face_id, video_id, label, p_fake; may be empty.
    wrong_pictures : ndarray of uint8, shape (m, height, width, 3)
        Their crops.
    broken : bool
        Whether a training has a constant output.
    """

    model: str
    variant: str
    settings: ModelSettings
    weights: tuple[Path, ...]
    seeds: tuple[int, ...]
    stored: FloatArray
    pictures: Picture
    fake: BoolArray
    group: IntArray
    shown: BoolArray
    regions: tuple[str, ...]
    areas: BoolArray
    wrong: pd.DataFrame
    wrong_pictures: Picture
    broken: bool = False


@dataclass(frozen=True)
class Measured:
    """What was measured of a cell.

    Attributes
    ----------
    trained, random : dict of str to ndarray of shape (trainings, areas, n)
        By method, the share of the attribution over the share of the crop: of the trainings, and of the same networks
        with random weights (`shuffled`). See `facestudy.attribution.maps.concentration`.
    change : ndarray of shape (trainings, areas, n)
        By how much the logit of the true class falls when the whole area is hidden, over its share of the crop.
    wrong : ndarray of shape (m, height, width)
        For each face in `Cell.wrong`, the occlusion map of the wrong class, mean over the trainings.
    """

    trained: dict[str, FloatArray]
    random: dict[str, FloatArray]
    change: FloatArray
    wrong: FloatArray


def choose_faces(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Choose test faces, the same number of each class, from as many groups as possible.

    Parameters
    ----------
    predictions : DataFrame
        Rows of tables.PREDICTIONS.
    count : int
        Number of faces of each class; fewer where the study has fewer.

    Returns
    -------
    DataFrame
        Rows of the test subset, sorted by face_id. Where every group has both classes, they are of the same groups.

    Examples
    --------
    >>> rows = [(f"{group}_{label}{n}", group, label, "test") for group in "ab" for label in ("real", "fake")
    ...         for n in range(2)]
    >>> table = pd.DataFrame(rows, columns=["face_id", "group", "label", "subset"])
    >>> choose_faces(table, 2)["face_id"].tolist()
    ['a_fake0', 'a_real0', 'b_fake0', 'b_real0']
    """
    test = predictions[predictions["subset"] == "test"].sort_values("face_id", kind="stable")
    turn = test.groupby(["label", "group"]).cumcount()
    order = test.assign(turn=turn).sort_values(["turn", "group", "face_id"], kind="stable")
    chosen = order.groupby("label").head(count)
    return chosen.drop(columns="turn").sort_values("face_id", kind="stable").reset_index(drop=True)


def measure(cell: Cell, fill: Fill) -> Measured:
    """Measure the attribution of every training of a cell, and of its network with random weights.

    Parameters
    ----------
    cell
        The cell.
    fill
        What replaces hidden parts, see `facestudy.attribution.maps.replacement`.

    Returns
    -------
    Measured

    Raises
    ------
    StudyError
        When weights are missing or do not fit, or when they give the crops other scores than the predictions.
    """
    from facestudy.attribution.maps import Evidence, Probe, attribution_maps, concentration, occlusion, replacement
    from facestudy.models.layers import load_by_name
    from facestudy.models.networks import load
    from facestudy.runtime.backend import make_deterministic

    for path in cell.weights:
        if not path.is_file():
            raise StudyError(f"{path} is missing, and attribution looks into trained models; `dvc pull` fetches them.")
    sign = np.where(cell.fake, 1.0, -1.0)
    filled = replacement(cell.pictures, cell.shown, fill)
    claimed = np.where(cell.wrong["label"] == "fake", -1.0, 1.0)
    shares = cell.areas.sum(axis=(2, 3)) / cell.shown.sum()

    def evidence() -> Evidence:
        """With the present weights."""
        return Evidence(probe, cell.pictures, cell.shown, filled, sign, probe.logits(cell.pictures))

    def wrong_evidence() -> Evidence:
        """Of the class that each face in `Cell.wrong` is taken for, with the present weights."""
        pictures, hidden = cell.wrong_pictures, replacement(cell.wrong_pictures, cell.shown, fill)
        return Evidence(probe, pictures, cell.shown, hidden, claimed, probe.logits(pictures))

    def concentrations(found: Evidence) -> dict[str, FloatArray]:
        return {method: concentration(one, cell.areas, cell.shown) for method, one in attribution_maps(found).items()}

    trained, random, changes, wrong = [], [], [], np.zeros(cell.wrong_pictures.shape[:3])
    with _ONE_AT_A_TIME:
        make_deterministic(0)
        model = load(cell.settings, cell.weights[0], file_sha256(cell.weights[0]))
        probe = Probe(model)
        for number, (seed, path) in enumerate(zip(cell.seeds, cell.weights, strict=True)):
            load_by_name(model, path)
            found = evidence()
            _check_same(cell, number, found.before)
            trained.append(concentrations(found))
            lost = [found.lost(area) for area in cell.areas]
            changes.append(np.array(lost).reshape(shares.shape) / np.where(shares > 0, shares, np.nan))
            if len(wrong):
                wrong += occlusion(wrong_evidence()) / len(cell.weights)
            model.set_weights(shuffled(model.get_weights(), seed))
            random.append(concentrations(evidence()))
    return Measured(_stacked(trained), _stacked(random), np.stack(changes), wrong)


_ONE_AT_A_TIME = threading.Lock()
"""Held while a network computes: Dask may run tasks in threads, which share random generators."""


def shuffled(weights: Sequence[npt.NDArray[np.float32]], seed: int) -> list[npt.NDArray[np.float32]]:
    """Make the random weights that a trained network is compared with: its own, shuffled within each array.

    They are as large as trained ones and have learned nothing. Initial weights would not do: the residual branches of
    ResNet-50 begin at zero, and what remains sees a few spots of the picture only.

    Parameters
    ----------
    weights : sequence of ndarray
        Of the layers of a trained network.
    seed
        Of the order.

    Returns
    -------
    list of ndarray
        Of the same shapes.

    Examples
    --------
    >>> shuffled([np.arange(3.0), np.ones((1, 2))], seed=3)[1].tolist()
    [[1.0, 1.0]]
    """
    rng = np.random.default_rng(seed)
    return [rng.permutation(array.ravel()).reshape(array.shape) for array in weights]


def _stacked(trainings: list[dict[str, FloatArray]]) -> dict[str, FloatArray]:
    return {method: np.stack([one[method] for one in trainings]) for method in trainings[0]}


def _check_same(cell: Cell, number: int, logits: FloatArray) -> None:
    """Compare the scores of the crops with the predictions.

    For this stage, DVC does not compare models and crops with the lock; the scores tell whether they belong together.
    """
    worst = float(np.abs(expit(logits) - cell.stored[number]).max())
    if not worst <= TOLERANCE:
        raise StudyError(
            f"{cell.weights[number]} and data/crops/{cell.variant} give scores that differ by up to {worst:.4f} from "
            "those in predictions/, so they are not of the same run; `dvc repro` or `dvc pull` brings them up to date."
        )
