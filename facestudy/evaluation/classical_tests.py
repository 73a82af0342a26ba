"""Two tests that papers on detectors report for a pair of models: McNemar's and DeLong's.

Both take the trained models as given and the videos as independent. They are here for comparison with the literature;
the verdicts of the study come from `facestudy.evaluation.intervals`.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import bdtr

from facestudy.core.arrays import BoolArray, FloatArray


def mcnemar(first_right: BoolArray, second_right: BoolArray) -> float:
    """Test whether two classifiers are right equally often: McNemar's exact test.

    Parameters
    ----------
    first_right, second_right : ndarray of bool, shape (n,)
        Whether each answer is right, for the same videos.

    Returns
    -------
    float
        Two-sided p-value; 1 when the classifiers are right on the same videos.

    References
    ----------
    McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12, 1947; the
    exact form is the sign test on the videos where one classifier is right and the other wrong.

    Examples
    --------
    >>> mcnemar(np.array([True] * 6 + [False]), np.array([False] * 6 + [False]))
    0.03125
    """
    gained = int((second_right & ~first_right).sum())
    lost = int((first_right & ~second_right).sum())
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def delong(fake: BoolArray, first: FloatArray, second: FloatArray) -> float:
    """Test whether two classifiers have the same AUC: DeLong's test.

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
        True for the positive class. At least two videos of each class.
    first, second : ndarray of float64, shape (n,)
        The scores of the two classifiers for the same videos.

    Returns
    -------
    float
        Two-sided p-value; 1 when the AUCs are equal, 0 when they differ and the difference has no variance. NaN when a
        class has one video.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated receiver operating
    characteristic curves, Biometrics 44, 1988.

    Examples
    --------
    >>> fake = np.arange(40) % 2 == 0
    >>> noise = np.random.default_rng(0).normal(size=(2, 40))
    >>> round(delong(fake, noise[0], 3 * fake + noise[1]), 6) < 0.001
    True
    """
    if min(fake.sum(), (~fake).sum()) < 2:
        return math.nan
    of_fakes, of_reals = zip(*(placements(fake, scores) for scores in (first, second)), strict=True)
    difference = float(of_fakes[1].mean() - of_fakes[0].mean())
    variance = sum(
        float((part[1] - part[0]).var(ddof=1)) / len(part[0]) for part in (np.stack(of_fakes), np.stack(of_reals))
    )
    if abs(difference) < 1e-12:
        return 1.0
    return math.erfc(abs(difference) / math.sqrt(2 * variance)) if variance > 0 else 0.0


def placements(fake: BoolArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute how each video ranks among those of the other class.

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
    scores : ndarray of float64, shape (n,)

    Returns
    -------
    of_fakes : ndarray of float64, shape (fakes,)
        For each fake, the share of the reals that score lower, ties count half.
    of_reals : ndarray of float64, shape (reals,)
        For each real, the share of the fakes that score higher, ties count half. Both means are the AUC.
    """
    return _share_below(scores[~fake], scores[fake]), 1 - _share_below(scores[fake], scores[~fake])


def _share_below(others: FloatArray, scores: FloatArray) -> FloatArray:
    ordered = np.sort(others)
    twice = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return np.asarray(twice / (2 * len(others)))
