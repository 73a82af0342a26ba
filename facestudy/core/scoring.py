"""AUC and log loss: training selects an epoch with them, evaluation reports them.

They are not in `facestudy.evaluation.metrics`, so that adding a metric there does not repeat any training.
"""

from __future__ import annotations

import numpy as np

from facestudy.core.arrays import BoolArray, FloatArray


def log_loss(fake: BoolArray, p_fake: FloatArray, weights: FloatArray, clip: float) -> FloatArray:
    """Compute the mean negative log-likelihood, with p_fake kept within [clip, 1 - clip].

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
    p_fake : ndarray of float64, shape (n,)
    weights : ndarray of float64, shape (r, n)
    clip : float

    Returns
    -------
    ndarray of float64, shape (r,)

    Examples
    --------
    >>> log_loss(np.array([True, False]), np.array([0.5, 0.5]), np.ones((1, 2)), 1e-7).round(4)
    array([0.6931])
    """
    clipped = np.clip(p_fake, clip, 1 - clip)
    loss = -np.where(fake, np.log(clipped), np.log1p(-clipped))
    return np.asarray((weights @ loss) / weights.sum(axis=1))


def roc_auc(fake: BoolArray, p_fake: FloatArray) -> float:
    """Compute the AUC.

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
    p_fake : ndarray of float64, shape (n,)

    Examples
    --------
    >>> roc_auc(np.array([False, False, True, True]), np.array([0.1, 0.6, 0.4, 0.9]))
    0.75
    """
    return float(area(*operating_points(fake, p_fake, np.ones((1, len(fake)))))[0])


def operating_points(fake: BoolArray, p_fake: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weigh the fakes and the reals at or above each distinct p_fake, greatest p_fake first.

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
    p_fake : ndarray of float64, shape (n,)
    weights : ndarray of float64, shape (r, n)

    Returns
    -------
    found, alarms : ndarray of float64, shape (r, thresholds + 1)
        Weights of the fakes and of the reals. The first column is 0, the threshold above everything.
    """
    order = np.argsort(-p_fake, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(p_fake[order])), len(order) - 1)
    ordered = weights[:, order]
    found = np.cumsum(ordered * fake[order], axis=1)[:, ends]
    alarms = np.cumsum(ordered * ~fake[order], axis=1)[:, ends]
    return np.pad(found, ((0, 0), (1, 0))), np.pad(alarms, ((0, 0), (1, 0)))


def area(found: FloatArray, alarms: FloatArray) -> FloatArray:
    """Compute the AUC from the operating points: the area below the ROC polygon.

    It is the probability that a fake scores above a real, ties count half.

    Parameters
    ----------
    found, alarms : ndarray of float64, shape (r, thresholds + 1)
        As `operating_points` returns them.

    Returns
    -------
    ndarray of float64, shape (r,)

    References
    ----------
    Hanley and McNeil, Radiology 143, 1982.
    """
    below = (np.diff(alarms, axis=1) * (found[:, 1:] + found[:, :-1])).sum(axis=1) / 2
    return np.asarray(below / (found[:, -1] * alarms[:, -1]))
