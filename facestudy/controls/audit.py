"""The shortcut audit: how well a regression that does not see the face tells real from fake.

A logistic regression is fitted to the cues of the training faces and tested on the test faces, with the same interval
as the AUC of the models. Nothing is tuned: the cues, the regression and its strength are the same for every study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from facestudy.controls.cues import CATEGORIES, CUES
from facestudy.controls.shortcuts import DROP_RATE, ONE_CLASS, SHORTCUTS, WITH_FACE, WITHOUT_FACE
from facestudy.core import tables
from facestudy.core.arrays import FloatArray
from facestudy.evaluation.comparisons import cell_estimates, ends
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.evaluation.scores import subset_scores
from facestudy.faces.quality import exclusions

STRENGTH = 1.0
"""C of the regression, the inverse of its L2 penalty: scikit-learn's default, fixed in advance."""
RARE = 0.05
"""Categories with a smaller share of the training faces are merged into one."""
CONTROLS: Mapping[str, tuple[str, ...]] = {
    **CUES,
    WITHOUT_FACE: tuple(cue for group, cues in CUES.items() if group != "face" for cue in cues),
    WITH_FACE: tuple(cue for cues in CUES.values() for cue in cues),
}
"""The cues of each regression of the audit."""


def varying(training: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Select the cues that are not constant over the training faces.

    Parameters
    ----------
    training : DataFrame
        The cues of the training faces; NaN is a missing number.
    names : sequence of str
        The cues to look at.

    Returns
    -------
    list of str
        In the order of `names`. A cue that is missing for some faces only varies.

    Examples
    --------
    >>> varying(pd.DataFrame({"fps": [25.0, 25.0], "log_bytes": [9.1, np.nan]}), ["fps", "log_bytes"])
    ['log_bytes']
    """
    return [name for name in names if training[name].nunique(dropna=False) > 1]


def regression(training: pd.DataFrame, faces: pd.DataFrame, test: pd.DataFrame, names: Sequence[str]) -> FloatArray:
    """Fit a logistic regression on cues, and apply it.

    Each video has a weight of 1, shared by its faces: what a file reveals is not known better for more of its frames.

    Numbers: a missing one becomes the median of the training faces and sets an indicator. Text: one-hot, with rare
    values (RARE) and those that training does not have as one. All columns are standardised.

    Parameters
    ----------
    training : DataFrame
        The cues of the training faces.
    faces : DataFrame
        The same faces in the same order, with columns label and video_id.
    test : DataFrame
        The cues of the test faces.
    names : sequence of str
        The cues to use. Those that are constant in training are left out.

    Returns
    -------
    ndarray of float64, shape (test faces,)
        p_fake with nine decimals, so that equal cues give equal values on any CPU; .5 where no cue varies.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    used = varying(training, names)
    if not used:
        return np.full(len(test), 0.5)
    texts = [name for name in used if name in CATEGORIES]
    columns = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median", add_indicator=True), [n for n in used if n not in texts]),
            ("texts", OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE), texts),
        ],
        sparse_threshold=0,
    )
    model = make_pipeline(columns, StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=10_000))
    weights = 1 / faces.groupby("video_id")["label"].transform("size").to_numpy()
    model.fit(training[used], faces["label"].to_numpy() == "fake", logisticregression__sample_weight=weights)
    return np.round(expit(model.decision_function(test[used])), 9)


def audit(cues: pd.DataFrame, split: pd.DataFrame, settings: EvaluateSettings, test_share: float) -> pd.DataFrame:
    """Fit and judge the regression on each of CONTROLS.

    Parameters
    ----------
    cues : DataFrame
        The cues of all training and test faces, indexed by face_id.
    split : DataFrame
        As tables.SPLIT.
    settings : EvaluateSettings
        Section `evaluate` of the settings.
    test_share : float
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    DataFrame
        The rows of SHORTCUTS with the measure `auc`. The interval holds for these regressions on new groups; with
        several splits, for new splits too.

    Raises
    ------
    StudyError
        When the test subset lacks a class.
    """
    rows = []
    for control, names in CONTROLS.items():
        cell, used = [], set()
        for _, faces in split.groupby("repeat"):
            training, test = (faces[faces["subset"] == subset] for subset in ("train", "test"))
            fitted = cues.loc[training["face_id"]]
            used |= set(varying(fitted, names))
            p_fake = regression(fitted, training, cues.loc[test["face_id"]], names)
            cell.append(subset_scores({Path("data/split.csv"): test.assign(p_fake=p_fake)}, "test"))
        found = cell_estimates(cell, settings, test_share, ("auc",))["auc"]
        low, high = ends(found)
        row = {"control": control, "measure": "auc", "value": found.value, "low": low, "high": high}
        row |= {"cues": " ".join(name for name in names if name in used)}
        rows.append(row | {"constant": " ".join(name for name in names if name not in used)})
    return tables.to_dataframe(rows, SHORTCUTS)


def drop_rate(faces: pd.DataFrame, dropped: pd.DataFrame) -> pd.DataFrame:
    """Compare the shares of the classes' frames that gave no usable face.

    Parameters
    ----------
    faces : DataFrame
        As tables.FACES.
    dropped : DataFrame
        As tables.DROPPED; all reasons count as one. A frame with another face that is used is not lost.

    Returns
    -------
    DataFrame
        One row of SHORTCUTS: the difference fake - real, both rates, and p of a permutation of the classes over the
        videos, NaN with fewer than two videos of a class. Without a lost frame there is nothing to test, and p is 1.
        Fisher's exact test on frames would take the frames of one video as independent.
    """
    columns = ["frame_id", "video_id", "label"]
    used = faces[columns].drop_duplicates("frame_id")
    lost = dropped.loc[~dropped["frame_id"].isin(used["frame_id"]), columns].drop_duplicates("frame_id")
    found = exclusions(used.to_dict("records"), lost.assign(reason="any").to_dict("records"))
    rates, p = dict.fromkeys(tables.LABELS, 0.0), 1.0
    if found:
        rates = {label: found[0].dropped[label] / max(1, found[0].examined[label]) for label in tables.LABELS}
        p = found[0].p
    row = {"control": DROP_RATE, "measure": "difference", "value": rates["fake"] - rates["real"], "p": p, **rates}
    return tables.to_dataframe([row], SHORTCUTS)


def one_class(split: pd.DataFrame) -> pd.DataFrame:
    """Find the group that makes up most of a class, among the groups whose faces are all of that class.

    Parameters
    ----------
    split : DataFrame
        As tables.SPLIT. All splits use the same faces, so the first one is counted.

    Returns
    -------
    DataFrame
        One row of SHORTCUTS: the largest share of each class, the larger of both, and its group in the column cues;
        0 and no group where every group has both classes.
    """
    used = split[(split["repeat"] == 1) & (split["subset"] != "unused")]
    faces = pd.crosstab(used["group"], used["label"]).reindex(columns=list(tables.LABELS), fill_value=0)
    shares = (faces / faces.sum()).where((faces > 0).sum(axis=1) == 1, 0.0)
    largest = shares.max()
    label = largest.idxmax()
    row = {"control": ONE_CLASS, "measure": "share", "value": largest[label], **largest}
    row |= {"cues": shares[label].idxmax() if largest[label] > 0 else ""}
    return tables.to_dataframe([row], SHORTCUTS)
