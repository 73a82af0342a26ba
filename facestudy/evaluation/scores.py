"""Test predictions of one model on one variant, for faces and videos, and their metrics with reweighted groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from facestudy.core import tables
from facestudy.core.arrays import BoolArray, FloatArray, IntArray
from facestudy.core.errors import StudyError
from facestudy.evaluation.metrics import NAMES, THRESHOLD, tuned_threshold, weighted_metrics

MIN_SPREAD = 1e-3
"""A model is broken when its greatest and its least p_fake of the test faces differ by less than this."""
CHUNK = 1_000_000  # number of weights (rows x faces) held at once


@dataclass(frozen=True)
class Scores:
    """Scored faces or videos of the test subset, with one p_fake per seed.

    Attributes
    ----------
    fake : ndarray of bool, shape (n,)
        True for the positive class.
    p_fake : ndarray of float64, shape (seeds, n)
        Predicted probabilities of fake, in [0, 1].
    video : ndarray of int, shape (n,)
        Number of the video that a face belongs to, from 0.
    group : ndarray of int, shape (n,)
        Number of the group that a face or video belongs to, from 0.
    ids : tuple of str
        Ids of the faces; empty for videos.
    methods : tuple of str
        Manipulation methods of the faces; empty for videos.
    track : ndarray of int, shape (n,), optional
        Number of the person that a face belongs to, from 0. None means that each video shows one person.
    group_names : tuple of str
        Names of the groups, by number; empty where results of several splits are not combined.
    validation : Scores, optional
        Of the same trainings on the validation subset; there the threshold of `accuracy_tuned` is chosen.
    """

    fake: BoolArray
    p_fake: FloatArray
    video: IntArray
    group: IntArray
    ids: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    track: IntArray | None = None
    group_names: tuple[str, ...] = ()
    validation: Scores | None = None

    @property
    def thresholds(self) -> list[float]:
        """The threshold of each training that is best on the validation subset; without one, .5."""
        if self.validation is None:
            return [THRESHOLD] * len(self.p_fake)
        return [tuned_threshold(self.validation.fake, p) for p in self.validation.p_fake]

    @property
    def groups(self) -> int:
        """The number of groups."""
        return int(self.group.max()) + 1

    @property
    def videos(self) -> int:
        """The number of videos."""
        return int(self.video.max()) + 1

    def groups_with(self, fake: bool) -> BoolArray:
        """Find the groups that contain a class.

        Parameters
        ----------
        fake : bool
            True for fake, False for real.

        Returns
        -------
        ndarray of bool, shape (groups,)
            True where the group has a face or video of the class.
        """
        counts = np.bincount(self.group[self.fake == fake], minlength=self.groups)
        return np.asarray(counts > 0)


@dataclass(frozen=True)
class Change:
    """Scores that the same trained models give to the same faces before and after the faces are altered.

    Attributes
    ----------
    before, after : Scores
    """

    before: Scores
    after: Scores


Predictions = Mapping[Path, pd.DataFrame]
"""Of one model on one variant and split: tables.PREDICTIONS of each training, by file."""


def furthest_wrong(scored: pd.DataFrame) -> pd.DataFrame:
    """Sort the rows whose p_fake is on the wrong side of THRESHOLD.

    Parameters
    ----------
    scored : DataFrame
        With the columns label and p_fake.

    Returns
    -------
    DataFrame
        Real ones first, of each class the furthest from the threshold first.

    Examples
    --------
    >>> furthest_wrong(pd.DataFrame({"label": ["fake", "real", "real"], "p_fake": [0.25, 0.75, 1.0]})).index.tolist()
    [2, 1, 0]
    """
    parts = []
    for label, sign in (("real", -1), ("fake", 1)):
        wrong = scored[(scored["label"] == label) & (sign * (scored["p_fake"] - THRESHOLD) < 0)]
        parts.append(wrong.sort_values("p_fake", ascending=sign > 0, kind="stable"))
    return pd.concat(parts)


def read_predictions(folder: Path, seeds: Sequence[int], repeats: int) -> list[Predictions]:
    """Read the predictions of one model on one variant.

    Parameters
    ----------
    folder : Path
        The folder with the predictions of one model on one variant.
    seeds : sequence of int
        The seeds of the trainings on each split.
    repeats : int
        The number of splits.

    Returns
    -------
    list of mapping
        One for each split.

    Raises
    ------
    StudyError
        When a file is missing or is not such a table.
    """
    return [
        {
            path: tables.read(path, tables.PREDICTIONS)
            for path in (folder / f"{tables.training_name(seed, repeat, repeats)}.csv" for seed in seeds)
        }
        for repeat in range(1, repeats + 1)
    ]


def scores_of(predictions: Predictions) -> Scores:
    """Take the test and validation rows of the predictions of one model on one variant and split.

    Parameters
    ----------
    predictions : mapping of Path to DataFrame
        One table per seed; the paths are for messages.

    Returns
    -------
    Scores
        The test faces, sorted by id.

    Raises
    ------
    StudyError
        When a table lists other faces than the first, when a label or a p_fake is out of range, when a video has two
        labels or groups, or when a class is missing.
    """
    return replace(subset_scores(predictions, "test"), validation=subset_scores(predictions, "validation"))


def subset_scores(predictions: Predictions, subset: str) -> Scores:
    """Take the rows of one subset of the predictions of one model on one variant and split.

    Parameters
    ----------
    predictions : mapping of Path to DataFrame
        One table per seed; the paths are for messages.
    subset : str
        "test" or "validation".

    Returns
    -------
    Scores
        The faces of the subset, sorted by id, without validation scores.

    Raises
    ------
    StudyError
        As `scores_of`.
    """
    reference = pd.DataFrame()
    p_fake: list[FloatArray] = []
    for path, table in predictions.items():
        rows = table[table["subset"] == subset].sort_values("face_id", kind="stable").reset_index(drop=True)
        _check_rows(path, rows, subset)
        if p_fake:
            _check_same_faces(next(iter(predictions)), reference, path, rows, subset)
        else:
            reference = rows
        p_fake.append(rows["p_fake"].to_numpy(dtype=np.float64))
    video, _ = pd.factorize(reference["video_id"], sort=True)
    group, names = pd.factorize(reference["group"], sort=True)
    fake = reference["label"].to_numpy() == "fake"
    track, _ = pd.factorize(reference["track_id"], sort=True)
    ids, methods = tuple(reference["face_id"]), tuple(reference["method"])
    return Scores(fake, np.stack(p_fake), video, group, ids, methods, track, tuple(names))


def _check_rows(path: Path, rows: pd.DataFrame, subset: str) -> None:
    again = "`dvc repro -f` makes the table again"
    wrong = rows[~rows["label"].isin(tables.LABELS)]
    if len(wrong):
        row = wrong.iloc[0]
        raise StudyError(f"{path}: face {row['face_id']} has the label {row['label']!r}; {again}.")
    for label in tables.LABELS:
        if not (rows["label"] == label).any():
            raise StudyError(
                f"{path}: no {subset} row has the label {label}, so the classes cannot be compared; "
                f"raise split.{subset} or add videos that are {label}."
            )
    wrong = rows[~rows["p_fake"].between(0, 1)]
    if len(wrong):
        row = wrong.iloc[0]
        raise StudyError(f"{path}: face {row['face_id']} has p_fake = {row['p_fake']}, not 0 to 1; {again}.")
    for thing, column in (("video", "label"), ("video", "group"), ("track", "video_id")):
        values = rows.groupby(f"{thing}_id")[column].nunique()
        if (values > 1).any():
            raise StudyError(f"{path}: {thing} {values.idxmax()} has more than one {column}; {again}.")


def _check_same_faces(first_path: Path, first: pd.DataFrame, path: Path, rows: pd.DataFrame, subset: str) -> None:
    columns = ["face_id", "video_id", "track_id", "group", "method", "label"]
    if rows[columns].equals(first[columns]):
        return
    odd = sorted(set(first["face_id"]) ^ set(rows["face_id"]))
    what = f"{odd[0]} is in one only" if odd else "what they say of a face differs"
    raise StudyError(
        f"{first_path} and {path} are not about the same {subset} faces ({what}); `dvc repro -f` makes both again."
    )


def constant_trainings(splits: Sequence[Scores]) -> int:
    """Count the trainings whose output is constant: their p_fake differ by less than MIN_SPREAD over the test faces.

    Such a model answers without looking at the picture. Its accuracy is the share of one class, 50 % on balanced
    classes, which looks like a result but is a defect, as a head that always gives 1.

    Parameters
    ----------
    splits : sequence of Scores
        Results of one model on one variant, one for each split.

    Returns
    -------
    int
        Summed over splits.
    """
    return sum(int((np.ptp(scores.p_fake, axis=1) < MIN_SPREAD).sum()) for scores in splits)


def groups_in(splits: Sequence[Scores], fake: bool | None = None) -> int:
    """Count the groups that are tested in one or more splits.

    Parameters
    ----------
    splits : sequence of Scores
        Results of one model on one variant, one for each split.
    fake : bool, optional
        Count only groups that contain fakes (True) or reals (False). By default all groups count.

    Returns
    -------
    int
        A group that is tested in several splits counts once.
    """
    if len(splits) == 1:
        return splits[0].groups if fake is None else int(splits[0].groups_with(fake).sum())
    found: set[str] = set()
    for scores in splits:
        holds = np.ones(scores.groups, bool) if fake is None else scores.groups_with(fake)
        found |= {name for name, chosen in zip(scores.group_names, holds, strict=True) if chosen}
    return len(found)


def same_faces(first: Scores, second: Scores) -> bool:
    """Check whether two results are about the same faces, so that they can be paired.

    Parameters
    ----------
    first, second : Scores
        The results to compare.

    Returns
    -------
    bool
        True when ids, labels, videos and groups are equal.
    """
    return (
        first.ids == second.ids
        and np.array_equal(first.fake, second.fake)
        and np.array_equal(first.video, second.video)
        and np.array_equal(first.group, second.group)
    )


def by_video(faces: Scores) -> Scores:
    """Aggregate the scores of faces to scores of videos, for each seed.

    The score of a person is the mean p_fake over the person's faces. The score of a video is the greatest score of its
    persons, because one swapped face makes a video fake.

    Parameters
    ----------
    faces : Scores
        Scores of faces.

    Returns
    -------
    Scores
        One row per video, in the order of the video numbers; those of the validation subset too.
    """
    track = faces.video if faces.track is None else faces.track
    count = np.bincount(track).astype(np.float64)
    means = np.stack([np.bincount(track, weights=p) for p in faces.p_fake]) / count
    _, of_track = np.unique(track, return_index=True)
    p_fake = np.zeros((len(means), faces.videos))
    for seed, row in enumerate(means):
        np.maximum.at(p_fake[seed], faces.video[of_track], row)
    # Rounded well below the 6 decimals of p_fake: a mean of exactly .5 must not depend on the order.
    p_fake = np.clip(np.round(p_fake, 12), 0.0, 1.0)
    _, first = np.unique(faces.video, return_index=True)
    return Scores(
        faces.fake[first],
        p_fake,
        np.arange(faces.videos),
        faces.group[first],
        group_names=faces.group_names,
        validation=None if faces.validation is None else by_video(faces.validation),
    )


def select_method(faces: Scores, method: str) -> Scores:
    """Select the real faces and the fakes of one manipulation method.

    Parameters
    ----------
    faces : Scores
        Scores of faces.
    method : str
        The manipulation method.

    Returns
    -------
    Scores
        The selected faces, with videos and groups renumbered from 0, and all validation faces.
    """
    rows = np.flatnonzero(~faces.fake | (np.array(faces.methods) == method))
    video = np.unique(faces.video[rows], return_inverse=True)[1]
    kept, group = np.unique(faces.group[rows], return_inverse=True)
    names = tuple(faces.group_names[number] for number in kept) if faces.group_names else ()
    ids, methods = (tuple(column[row] for row in rows) for column in (faces.ids, faces.methods))
    p_fake = faces.p_fake[:, rows]
    return Scores(faces.fake[rows], p_fake, video, group, ids, methods, group_names=names, validation=faces.validation)


def group_metrics(
    scores: Scores, names: Sequence[str] = NAMES, multiplicities: npt.NDArray[np.integer] | None = None
) -> dict[str, FloatArray]:
    """Compute metrics of each training when whole groups are left out or repeated.

    Parameters
    ----------
    scores : Scores
        Scores of faces or videos.
    names : sequence of str
        Metrics of `NAMES`.
    multiplicities : ndarray of int, shape (rows, groups), optional
        How often each group counts. By default one row, in which each group counts once.

    Returns
    -------
    dict of str to ndarray of float64, shape (seeds, rows)
        The values of each metric.

    Notes
    -----
    Rows are computed in chunks, so memory is bounded to about 100 MB.
    """
    if multiplicities is None:
        multiplicities = np.ones((1, scores.groups), np.int8)
    parts: dict[str, list[FloatArray]] = {name: [] for name in names}
    trainings = list(zip(scores.p_fake, scores.thresholds, strict=True))
    for rows in _chunks(len(multiplicities), len(scores.fake)):
        weights = multiplicities[rows][:, scores.group].astype(np.float64)
        per_seed = [weighted_metrics(scores.fake, p, weights, names, tuned) for p, tuned in trainings]
        for name in names:
            parts[name].append(np.stack([values[name] for values in per_seed]))
    return {name: np.concatenate(values, axis=1) for name, values in parts.items()}


def _chunks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, CHUNK // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, start + step)
