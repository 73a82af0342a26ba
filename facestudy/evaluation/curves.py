"""Curves of the scores: ROC, precision–recall, histograms, confusion matrices. Figures for plots, no verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from facestudy.core.arrays import BoolArray, FloatArray, IntArray
from facestudy.evaluation.comparisons import Cells
from facestudy.evaluation.metrics import THRESHOLD
from facestudy.evaluation.scores import Scores

GRID = np.linspace(0.0, 1.0, 101)
"""Where the curves are computed: false positive rates, or recalls."""
BINS = 20
"""Bins of equal width from 0 to 1 in the histograms."""
RESAMPLES = 1000


class Passed(NamedTuple):
    """How many faces pass each threshold, for several weightings of the faces.

    Attributes
    ----------
    real, fake : ndarray of float64, shape (rows, thresholds + 1)
        Weighted counts of the faces with a score at or above a threshold, from the strictest threshold, which no face
        reaches, to the loosest.
    """

    real: FloatArray
    fake: FloatArray


def passed(fake: BoolArray, p_fake: FloatArray, weights: FloatArray) -> Passed:
    """Count the faces that pass every threshold; faces with equal scores pass together.

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
        True for the positive class.
    p_fake : ndarray of float64, shape (n,)
        Scores of one training.
    weights : ndarray of float64, shape (rows, n)
        How often each face counts.

    Returns
    -------
    Passed

    Examples
    --------
    >>> fake, p_fake = np.array([True, True, False]), np.array([0.9, 0.4, 0.4])
    >>> found = passed(fake, p_fake, np.ones((1, 3)))
    >>> found.real.tolist(), found.fake.tolist()
    ([[0.0, 0.0, 1.0]], [[0.0, 1.0, 2.0]])
    """
    order = np.argsort(-p_fake, kind="stable")
    last_of_ties = np.flatnonzero(np.diff(p_fake[order], append=-np.inf))
    counts = [np.cumsum(weights[:, order] * members[order], axis=1)[:, last_of_ties] for members in (~fake, fake)]
    return Passed(*(np.pad(part, ((0, 0), (1, 0))) for part in counts))


def roc(counts: Passed) -> FloatArray:
    """Compute the true positive rate at the false positive rates of GRID, shape (rows, len(GRID)).

    Both classes must have faces in each row. Between thresholds the curve is a straight line; on a vertical piece the
    upper end counts.

    References
    ----------
    Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006 (algorithm 3, vertical averaging).
    """
    pairs = zip(counts.real, counts.fake, strict=True)
    return np.stack([np.interp(GRID, real / real[-1], fake / fake[-1]) for real, fake in pairs])


def precision_recall(counts: Passed) -> FloatArray:
    """Compute the precision at the recalls of GRID, shape (rows, len(GRID)).

    Both classes must have faces in each row. It is the precision at the strictest threshold that reaches the recall,
    not interpolated, as in scikit-learn's average precision.
    """
    found = np.empty((len(counts.fake), len(GRID)))
    for row, (real, fake) in enumerate(zip(counts.real, counts.fake, strict=True)):
        # at recall 0: the strictest threshold that some face reaches
        at = np.maximum(np.searchsorted(fake, GRID * fake[-1] - 1e-9), np.flatnonzero(fake + real)[0])
        found[row] = fake[at] / (fake[at] + real[at])
    return found


def band(curves: FloatArray, drawn: IntArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Compute a pointwise band from resampled curves.

    Parameters
    ----------
    curves : ndarray of float64, shape (trainings, resamples, points)
        The curve of each training on each resample of the groups.
    drawn : ndarray of int, shape (resamples, trainings)
        How often each training counts in a resample.
    confidence : float
        0 to 1.

    Returns
    -------
    low, high : ndarray of float64, shape (points,)
        Percentiles of the mean over the drawn trainings.
    """
    means = np.einsum("rt,trp->rp", drawn / drawn.sum(axis=1, keepdims=True), curves)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def curve_tables(cells: Cells, confidence: float) -> dict[str, pd.DataFrame]:
    """Compute the ROC and precision–recall curve of each cell, with pointwise bands.

    Parameters
    ----------
    cells : mapping of model and variant to sequence of Scores
        Scores on the test faces, one for each split.
    confidence : float
        Of the bands, 0 to 1.

    Returns
    -------
    dict of str to DataFrame of str
        `roc`: model, variant, fpr, tpr, low, high; `precision_recall`: model, variant, recall, precision, low, high.

    Notes
    -----
    A curve is the mean over the trainings and splits. Its band resamples the test groups and the trainings, both with
    replacement and independently (pigeonhole bootstrap): new trainings on new groups, a little too wide. A resample
    without one of the classes is replaced by the test faces as they are. The band describes a curve; intervals and
    p-values come from `intervals`.

    References
    ----------
    Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007.
    """
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in KINDS}
    for model, variant, splits in _each(cells):
        whole, resampled, drawn = _resample(splits)
        for name, (x, y, _) in KINDS.items():
            mean = np.mean(whole[name], axis=(0, 1))
            low, high = band(np.stack(resampled[name]), drawn, confidence)
            columns = {x: GRID, y: mean, "low": np.minimum(low, mean), "high": np.maximum(high, mean)}
            texts = {key: [f"{value:.4f}" for value in column] for key, column in columns.items()}
            tables[name].append(pd.DataFrame({"model": model, "variant": variant} | texts))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


KINDS = {"roc": ("fpr", "tpr", roc), "precision_recall": ("recall", "precision", precision_recall)}
"""The curves: the columns of x and y, and what computes y at GRID."""


def _each(cells: Cells) -> Iterator[tuple[str, str, Sequence[Scores]]]:
    for model, variants in cells.items():
        for variant, splits in variants.items():
            yield model, variant, splits


Curves = dict[str, list[FloatArray]]


def _resample(splits: Sequence[Scores]) -> tuple[Curves, Curves, IntArray]:
    """The curves of each training with all groups, and with resampled groups; how often each training is drawn."""
    generator = np.random.default_rng(0)
    whole: Curves = {name: [] for name in KINDS}
    resampled: Curves = {name: [] for name in KINDS}
    trainings = 0
    for scores in splits:
        weights = _multiplicities(generator, RESAMPLES, scores.groups)[:, scores.group].astype(np.float64)
        both_classes = weights[:, scores.fake].any(axis=1) & weights[:, ~scores.fake].any(axis=1)
        weights[~both_classes] = 1.0  # every face once
        for p_fake in scores.p_fake:
            trainings += 1
            for found, rows in ((whole, np.ones((1, len(p_fake)))), (resampled, weights)):
                counts = passed(scores.fake, p_fake, rows)
                for name, (_, _, compute) in KINDS.items():
                    found[name].append(compute(counts))
    return whole, resampled, _multiplicities(generator, RESAMPLES, trainings)


def _multiplicities(generator: np.random.Generator, rows: int, things: int) -> IntArray:
    """How often each of some things is drawn, with replacement, as often as there are things."""
    drawn = generator.integers(things, size=(rows, things))
    return np.stack([np.bincount(row, minlength=things) for row in drawn])


def histogram_table(cells: Cells) -> pd.DataFrame:
    """Compute histograms of p_fake of the test faces, by class.

    Parameters
    ----------
    cells : mapping of model and variant to sequence of Scores

    Returns
    -------
    DataFrame of str
        model, variant, label, low, high (ends of the bin), share (of the faces of the class, over all trainings).
    """
    rows = []
    for model, variant, splits in _each(cells):
        for label, fake in (("real", False), ("fake", True)):
            counts = np.zeros(BINS)
            for scores in splits:
                values = scores.p_fake[:, scores.fake == fake].ravel()
                counts += np.bincount(np.minimum((values * BINS).astype(int), BINS - 1), minlength=BINS)
            for number, share in enumerate(counts / counts.sum()):
                low, high = number / BINS, (number + 1) / BINS
                rows.append((model, variant, label, f"{low:.2f}", f"{high:.2f}", f"{share:.4f}"))
    return pd.DataFrame(rows, columns=["model", "variant", "label", "low", "high", "share"])


def confusion_table(cells: Cells) -> pd.DataFrame:
    """Compute the confusion matrix of each cell at the threshold .5.

    Parameters
    ----------
    cells : mapping of model and variant to sequence of Scores

    Returns
    -------
    DataFrame of str
        model, variant, label, predicted, faces (mean over trainings and splits), share (of the faces of the label).
    """
    rows = []
    for model, variant, splits in _each(cells):
        for label, fake in (("real", False), ("fake", True)):
            called_fake = np.concatenate([(s.p_fake[:, s.fake == fake] > THRESHOLD).sum(axis=1) for s in splits]).mean()
            faces = np.concatenate([[(s.fake == fake).sum()] * len(s.p_fake) for s in splits]).mean()
            for predicted, count in (("real", faces - called_fake), ("fake", called_fake)):
                rows.append((model, variant, label, predicted, f"{count:.1f}", f"{count / faces:.4f}"))
    return pd.DataFrame(rows, columns=["model", "variant", "label", "predicted", "faces", "share"])
