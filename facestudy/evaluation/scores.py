"""Test predictions of one model on one variant, of faces and of videos, and their metrics by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from facestudy.core import tables
from facestudy.core.arrays import BoolArray, FloatArray, IntArray
from facestudy.core.errors import StudyError
from facestudy.evaluation.metrics import NAMES, weighted_metrics

CHUNK = 1_000_000  # weights (rows x things) held at once


@dataclass(frozen=True)
class Scores:
    """Scored things (faces or videos) of the test subset, one row per thing, one p_fake per seed.

    fake: (n,) True for the positive class. p_fake: (seeds, n) in [0, 1]. video, group: (n,) numbers
    from 0 of the video and the group that a thing belongs to. ids, methods: of the faces; empty for videos.
    track: (n,) numbers from 0 of the person in a video; None: one person a video.
    group_names: of the groups, by number; empty where results of several splits are not combined.
    """

    fake: BoolArray
    p_fake: FloatArray
    video: IntArray
    group: IntArray
    ids: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    track: IntArray | None = None
    group_names: tuple[str, ...] = ()

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.group.max()) + 1

    @property
    def videos(self) -> int:
        """How many videos there are."""
        return int(self.video.max()) + 1

    def groups_with(self, fake: bool) -> BoolArray:
        """(groups,) True where a group holds something of this class."""
        counts = np.bincount(self.group[self.fake == fake], minlength=self.groups)
        return np.asarray(counts > 0)


def read_scores(paths: Sequence[Path]) -> Scores:
    """The test rows of the predictions of one model on one variant, one file a seed.

    Raises
    ------
    StudyError
        When a file is missing or lists other test faces than the first, when a label or a p_fake is out of range, when
        a video has two labels or groups, and when a class is missing.
    """
    reference = pd.DataFrame()
    p_fake: list[FloatArray] = []
    for path in paths:
        table = tables.read(path, tables.PREDICTIONS)
        rows = table[table["subset"] == "test"].sort_values("face_id", kind="stable").reset_index(drop=True)
        _check_rows(path, rows)
        if p_fake:
            _check_same_faces(paths[0], reference, path, rows)
        else:
            reference = rows
        p_fake.append(rows["p_fake"].to_numpy(dtype=np.float64))
    video, _ = pd.factorize(reference["video_id"], sort=True)
    group, names = pd.factorize(reference["group"], sort=True)
    fake = reference["label"].to_numpy() == "fake"
    track, _ = pd.factorize(reference["track_id"], sort=True)
    ids, methods = tuple(reference["face_id"]), tuple(reference["method"])
    return Scores(fake, np.stack(p_fake), video, group, ids, methods, track, tuple(names))


def read_splits(folder: Path, seeds: Sequence[int], repeats: int) -> list[Scores]:
    """The test rows of one model on one variant, one `Scores` for each split; see `read_scores`."""
    return [
        read_scores([folder / f"{tables.training_name(seed, repeat, repeats)}.csv" for seed in seeds])
        for repeat in range(1, repeats + 1)
    ]


def _check_rows(path: Path, rows: pd.DataFrame) -> None:
    again = "`dvc repro -f` makes the table again"
    wrong = rows[~rows["label"].isin(tables.LABELS)]
    if len(wrong):
        row = wrong.iloc[0]
        raise StudyError(f"{path}: face {row['face_id']} has the label {row['label']!r}; {again}.")
    for label in tables.LABELS:
        if not (rows["label"] == label).any():
            raise StudyError(
                f"{path}: no test row has the label {label}, so the classes cannot be compared; "
                f"raise split.test or add videos that are {label}."
            )
    wrong = rows[~rows["p_fake"].between(0, 1)]
    if len(wrong):
        row = wrong.iloc[0]
        raise StudyError(f"{path}: face {row['face_id']} has p_fake = {row['p_fake']}, not 0 to 1; {again}.")
    for thing, column in (("video", "label"), ("video", "group"), ("track", "video_id")):
        values = rows.groupby(f"{thing}_id")[column].nunique()
        if (values > 1).any():
            raise StudyError(f"{path}: {thing} {values.idxmax()} has more than one {column}; {again}.")


def _check_same_faces(first_path: Path, first: pd.DataFrame, path: Path, rows: pd.DataFrame) -> None:
    columns = ["face_id", "video_id", "track_id", "group", "method", "label"]
    if rows[columns].equals(first[columns]):
        return
    odd = sorted(set(first["face_id"]) ^ set(rows["face_id"]))
    what = f"{odd[0]} is in one only" if odd else "what they say of a face differs"
    raise StudyError(
        f"{first_path} and {path} are not about the same test faces ({what}); `dvc repro -f` makes both again."
    )


def groups_in(splits: Sequence[Scores], fake: bool | None = None) -> int:
    """How many groups are tested in one or more splits; with `fake`, groups that hold this class."""
    if len(splits) == 1:
        return splits[0].groups if fake is None else int(splits[0].groups_with(fake).sum())
    found: set[str] = set()
    for scores in splits:
        holds = np.ones(scores.groups, bool) if fake is None else scores.groups_with(fake)
        found |= {name for name, chosen in zip(scores.group_names, holds, strict=True) if chosen}
    return len(found)


def same_faces(first: Scores, second: Scores) -> bool:
    """Whether two results are about the same faces, so that they can be paired."""
    return (
        first.ids == second.ids
        and np.array_equal(first.fake, second.fake)
        and np.array_equal(first.video, second.video)
        and np.array_equal(first.group, second.group)
    )


def by_video(faces: Scores) -> Scores:
    """Videos instead of faces: the mean p_fake over the faces of a person, the greatest of a video's persons.

    One swapped face makes a video fake, whoever else is in it. For each seed.
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
    return Scores(faces.fake[first], p_fake, np.arange(faces.videos), faces.group[first], group_names=faces.group_names)


def select_method(faces: Scores, method: str) -> Scores:
    """The real faces and the fakes of one manipulation method, with groups renumbered from 0."""
    rows = np.flatnonzero(~faces.fake | (np.array(faces.methods) == method))
    video = np.unique(faces.video[rows], return_inverse=True)[1]
    kept, group = np.unique(faces.group[rows], return_inverse=True)
    names = tuple(faces.group_names[number] for number in kept) if faces.group_names else ()
    ids, methods = (tuple(column[row] for row in rows) for column in (faces.ids, faces.methods))
    return Scores(faces.fake[rows], faces.p_fake[:, rows], video, group, ids, methods, group_names=names)


def group_metrics(
    scores: Scores, names: Sequence[str] = NAMES, multiplicities: npt.NDArray[np.integer] | None = None
) -> dict[str, FloatArray]:
    """Metrics of each training when whole groups are left out or repeated.

    Parameters
    ----------
    scores : Scores
    names : sequence of str
        Metrics of `NAMES`.
    multiplicities : ndarray of int, shape (rows, groups), optional
        How often each group counts. By default one row, each group once.

    Returns
    -------
    dict of str to ndarray of shape (seeds, rows)
        Rows are computed in chunks, so memory is bounded (some 100 MB).
    """
    if multiplicities is None:
        multiplicities = np.ones((1, scores.groups), np.int8)
    parts: dict[str, list[FloatArray]] = {name: [] for name in names}
    for rows in _chunks(len(multiplicities), len(scores.fake)):
        weights = multiplicities[rows][:, scores.group].astype(np.float64)
        per_seed = [weighted_metrics(scores.fake, p, weights, names) for p in scores.p_fake]
        for name in names:
            parts[name].append(np.stack([values[name] for values in per_seed]))
    return {name: np.concatenate(values, axis=1) for name, values in parts.items()}


def _chunks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, CHUNK // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, start + step)
