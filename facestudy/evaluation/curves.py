"""Curves of the scores: ROC, precision–recall, histograms, confusion matrices. Figures for plots, no verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from facestudy.core.arrays import FloatArray, IntArray
from facestudy.core.scoring import operating_points
from facestudy.evaluation.comparisons import Cells, ends
from facestudy.evaluation.intervals import Estimate, repeated_estimate, resampled_estimate, resampled_groups
from facestudy.evaluation.metrics import THRESHOLD
from facestudy.evaluation.scores import Scores

GRID = np.linspace(0.0, 1.0, 101)
"""The points at which the curves are computed: false positive rates, or recalls."""
BINS = 20
"""Bins of equal width from 0 to 1 in the histograms."""
RESAMPLES = 400
CHUNK = 2_000_000
"""Weights of faces that are in memory at a time."""


def roc(found: FloatArray, alarms: FloatArray) -> FloatArray:
    """Compute the true positive rate at the false positive rates of GRID.

    Between thresholds the curve is a straight line; on a vertical piece the upper end counts.

    Parameters
    ----------
    found, alarms : ndarray of float64, shape (rows, thresholds + 1)
        As `operating_points` returns them; both classes have faces in each row.

    Returns
    -------
    ndarray of float64, shape (rows, len(GRID))

    References
    ----------
    Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006 (algorithm 3, vertical averaging).
    """
    pairs = zip(alarms, found, strict=True)
    return np.stack([np.interp(GRID, real / real[-1], fake / fake[-1]) for real, fake in pairs])


def precision_recall(found: FloatArray, alarms: FloatArray) -> FloatArray:
    """Compute the precision at the recalls of GRID.

    It is the precision at the strictest threshold that reaches the recall, not interpolated, as in scikit-learn's
    average precision.

    Parameters
    ----------
    found, alarms : ndarray of float64, shape (rows, thresholds + 1)
        As `operating_points` returns them; both classes have faces in each row.

    Returns
    -------
    ndarray of float64, shape (rows, len(GRID))
    """
    curves = np.empty((len(found), len(GRID)))
    for row, (fake, real) in enumerate(zip(found, alarms, strict=True)):
        # at recall 0: the strictest threshold that some face reaches
        at = np.maximum(np.searchsorted(fake, GRID * fake[-1] - 1e-9), np.flatnonzero(fake + real)[0])
        curves[row] = fake[at] / (fake[at] + real[at])
    return curves


def curve_tables(cells: Cells, confidence: float, test_share: float) -> dict[str, pd.DataFrame]:
    """Compute the ROC and precision–recall curve of each cell, with pointwise bands.

    Parameters
    ----------
    cells : mapping of model and variant to sequence of Scores
        Scores on the test faces, one for each split.
    confidence : float
        Of the bands, 0 to 1.
    test_share : float
        The share of the groups in a test subset, 0 to 1; it matters with several splits only.

    Returns
    -------
    dict of str to DataFrame of str
        `roc`: model, variant, fpr, tpr, low, high; `precision_recall`: model, variant, recall, precision, low, high.

    Notes
    -----
    A curve is the mean over the trainings and splits. At each point, its band is an interval as `intervals` gives one
    to a metric: for new trainings on new groups, with one training for new groups, with several splits for new splits.
    The covariances come from resampled groups (Obuchowski and Rockette allow any method), and the interval is Wilson's.
    """
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in KINDS}
    for model, variant, splits in _each(cells):
        for name, found in _estimates(splits, confidence, test_share).items():
            x, y, _ = KINDS[name]
            low, high = np.array([ends(one) for one in found]).T
            columns = {x: GRID, y: [one.value for one in found], "low": low, "high": high}
            texts = {key: [f"{value:.4f}" for value in column] for key, column in columns.items()}
            tables[name].append(pd.DataFrame({"model": model, "variant": variant} | texts))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


KINDS = {"roc": ("fpr", "tpr", roc), "precision_recall": ("recall", "precision", precision_recall)}
"""The curves: the columns of x and y, and what computes y at GRID."""


def _each(cells: Cells) -> Iterator[tuple[str, str, Sequence[Scores]]]:
    for model, variants in cells.items():
        for variant, splits in variants.items():
            yield model, variant, splits


def _estimates(splits: Sequence[Scores], confidence: float, test_share: float) -> dict[str, list[Estimate]]:
    """Each curve's estimate at every point of GRID."""
    if len(splits) > 1:
        whole = [_curves(scores, np.ones((1, scores.groups), int)) for scores in splits]
        return {
            name: [
                repeated_estimate(
                    [of[name][:, 0, at] for of in whole],
                    splits,
                    (0.0, 1.0),
                    test_share,
                    confidence,
                    "wilson",
                )
                for at in range(len(GRID))
            ]
            for name in KINDS
        }
    (scores,) = splits
    once, drawn = np.ones((1, scores.groups), int), resampled_groups(scores, RESAMPLES)
    values, resampled = _curves(scores, once), _curves(scores, drawn)
    return {
        name: [
            resampled_estimate(values[name][:, 0, at], resampled[name][:, :, at], scores, confidence)
            for at in range(len(GRID))
        ]
        for name in KINDS
    }


def _curves(scores: Scores, drawn: IntArray) -> dict[str, FloatArray]:
    """The curves of each training for each row of `drawn`, how often a group counts: (trainings, rows, points)."""
    found: dict[str, list[FloatArray]] = {name: [] for name in KINDS}
    rows = max(1, CHUNK // len(scores.fake))
    for p_fake in scores.p_fake:
        parts: dict[str, list[FloatArray]] = {name: [] for name in KINDS}
        for start in range(0, len(drawn), rows):
            weights = drawn[start : start + rows][:, scores.group].astype(np.float64)
            counted = operating_points(scores.fake, p_fake, weights)
            for name, (_, _, compute) in KINDS.items():
                parts[name].append(compute(*counted))
        for name, part in parts.items():
            found[name].append(np.concatenate(part))
    return {name: np.stack(part) for name, part in found.items()}


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
