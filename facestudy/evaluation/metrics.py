"""Eight metrics of how well p_fake tells fake from real, on faces and on videos.

Fake is the positive class. Every metric takes weights, one per face, so that a jackknife over groups needs only a few
array operations. A weight of 2 counts a face twice, a weight of 0 leaves it out.

`accuracy`            share of correct answers; a face is called fake when p_fake > .5, as in Keras
`accuracy_tuned`      the same with the threshold that is best on the validation subset (`tuned_threshold`)
`balanced_accuracy`   mean of the shares of correct answers in the two classes
`auc`                 probability that a fake scores above a real, ties count half (Hanley & McNeil
                      1982): the area below the ROC polygon
`average_precision`   sum over thresholds of (recall gained) x precision, not interpolated, as in
                      scikit-learn; faces with equal p_fake pass the threshold together
`equal_error_rate`    the rate at which false positives and false negatives are equally frequent, on
                      the ROC polygon: the empirical operating points joined by straight lines
                      (ISO/IEC 19795-1), not their convex hull, so it exceeds .5 for a classifier
                      that is worse than chance
`log_loss`            mean of -ln of the probability given to the true class, with p_fake clipped to
                      [5e-7, 1 - 5e-7]; 5e-7 is half of the last decimal of a stored prediction
`brier`               mean of (p_fake - label)^2 (Brier 1950)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from facestudy.core.arrays import BoolArray, FloatArray, IntArray
from facestudy.core.scoring import area, log_loss, operating_points

NAMES = (
    "accuracy",
    "accuracy_tuned",
    "balanced_accuracy",
    "auc",
    "average_precision",
    "equal_error_rate",
    "log_loss",
    "brier",
)
COUNTED = NAMES[:6]
"""Metrics that depend on counts of faces only."""
CHUNK = 200_000  # number of operating points (groups x thresholds) held at once
THRESHOLD = 0.5
CLIP = 5e-7
RANGES = dict.fromkeys(NAMES, (0.0, 1.0)) | {"log_loss": (float(-np.log1p(-CLIP)), float(-np.log(CLIP)))}
"""The smallest and the largest value of each metric."""


def point_metrics(fake: BoolArray, p_fake: FloatArray, tuned: float = THRESHOLD) -> dict[str, float]:
    """Compute every metric of `NAMES`, with equal weights.

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
        True for the positive class. Both classes must be present.
    p_fake : ndarray of float64, shape (n,)
        Predicted probabilities of fake, in [0, 1].
    tuned : float
        The threshold of `accuracy_tuned`, 0 to 1.

    Returns
    -------
    dict of str to float
        The value of each metric.

    Examples
    --------
    >>> scores = point_metrics(np.array([False, False, True, True]), np.array([0.1, 0.6, 0.4, 0.9]))
    >>> scores["accuracy"], scores["auc"], scores["equal_error_rate"]
    (0.5, 0.75, 0.5)
    """
    values = weighted_metrics(fake, p_fake, np.ones((1, len(fake))), tuned=tuned)
    return {name: float(value[0]) for name, value in values.items()}


def tuned_threshold(fake: BoolArray, p_fake: FloatArray) -> float:
    """Choose the threshold with the greatest balanced accuracy.

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
        True for the positive class. Both classes must be present.
    p_fake : ndarray of float64, shape (n,)
        Predicted probabilities of fake, in [0, 1].

    Returns
    -------
    float
        Halfway between two neighbouring values of p_fake; of equally good thresholds the one closest to .5. When all
        values are equal, .5.

    References
    ----------
    Youden, Index for rating diagnostic tests, Cancer 3, 1950: its index is 2 x balanced accuracy - 1.

    Examples
    --------
    >>> tuned_threshold(np.array([False, False, True, True]), np.array([0.1, 0.25, 0.75, 0.9]))
    0.5
    """
    values = np.unique(p_fake)
    candidates = (values[1:] + values[:-1]) / 2
    if not len(candidates):
        return THRESHOLD
    missed = np.searchsorted(np.sort(p_fake[fake]), candidates, side="right")
    passed = np.searchsorted(np.sort(p_fake[~fake]), candidates, side="right")
    index = passed * fake.sum() - missed * (~fake).sum()  # whole numbers: ties are exact
    best = candidates[index == index.max()]
    return float(best[np.argmin(np.abs(best - THRESHOLD))])


def weighted_metrics(
    fake: BoolArray, p_fake: FloatArray, weights: FloatArray, names: Sequence[str] = NAMES, tuned: float = THRESHOLD
) -> dict[str, FloatArray]:
    """Compute metrics of the same faces or videos under several sets of weights.

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
        True for the positive class.
    p_fake : ndarray of float64, shape (n,)
        Predicted probabilities of fake, in [0, 1].
    weights : ndarray of float64, shape (r, n)
        Not negative. Each row has a positive weight in each class.
    names : sequence of str
        Metrics of `NAMES`.
    tuned : float
        The threshold of `accuracy_tuned`, 0 to 1.

    Returns
    -------
    dict of str to ndarray of float64, shape (r,)
        The values of each metric, one per row of `weights`.

    Notes
    -----
    The arrays that are held at once have a few times r x n elements.

    References
    ----------
    Hanley and McNeil, Radiology 143, 1982 (`auc`). ISO/IEC 19795-1 (`equal_error_rate`). Brier, Monthly Weather Review
    78, 1950 (`brier`).
    """
    values = _accuracies(lambda chosen: weights @ chosen, fake, p_fake, names, tuned)
    if "log_loss" in names:
        values["log_loss"] = log_loss(fake, p_fake, weights, CLIP)
    if "brier" in names:
        values["brier"] = (weights @ (p_fake - fake) ** 2) / (weights @ fake + weights @ ~fake)
    if {"auc", "average_precision", "equal_error_rate"} & set(names):
        found, alarms = operating_points(fake, p_fake, weights)
        values["auc"] = area(found, alarms)
        if "average_precision" in names:
            values["average_precision"] = _average_precision(found, alarms)
        if "equal_error_rate" in names:
            values["equal_error_rate"] = _equal_error_rate(found, alarms)
    return {name: values[name] for name in names}


def metrics_without_groups(
    fake: BoolArray, p_fake: FloatArray, group: IntArray, names: Sequence[str], tuned: float = THRESHOLD
) -> dict[str, FloatArray]:
    """Compute metrics without each group, for all groups at once.

    What the members of a group contribute is taken away from the counts of all. The values are those of
    `weighted_metrics` up to rounding, and take a fraction of its time.

    Parameters
    ----------
    fake : ndarray of bool, shape (n,)
    p_fake : ndarray of float64, shape (n,)
    group : ndarray of int, shape (n,)
        0 to groups - 1. Each class is in at least two groups.
    names : sequence of str
        Metrics of `COUNTED`.
    tuned : float
        The threshold of `accuracy_tuned`, 0 to 1.

    Returns
    -------
    dict of str to ndarray of float64, shape (groups,)

    Examples
    --------
    >>> fake, p_fake = np.array([False, False, True, True]), np.array([0.1, 0.6, 0.4, 0.9])
    >>> metrics_without_groups(fake, p_fake, np.array([0, 1, 0, 1]), ["accuracy", "auc"])
    {'accuracy': array([0.5, 0.5]), 'auc': array([1., 1.])}
    """
    groups = int(group.max()) + 1

    def others(chosen: BoolArray) -> FloatArray:
        """How many of the chosen are not in each group."""
        return np.asarray(chosen.sum() - np.bincount(group[chosen], minlength=groups), float)

    values = _accuracies(others, fake, p_fake, names, tuned)
    if "auc" in names:
        values["auc"] = _pairs_without_groups(fake, p_fake, group) / (others(fake) * others(~fake))
    if {"average_precision", "equal_error_rate"} & set(names):
        parts = [
            (_average_precision(*points), _equal_error_rate(*points))
            for points in _points_without_groups(fake, p_fake, group)
        ]
        for name, of_parts in zip(("average_precision", "equal_error_rate"), zip(*parts, strict=True), strict=True):
            values[name] = np.concatenate(of_parts)
    return {name: values[name] for name in names}


def _accuracies(
    total: Callable[[BoolArray], FloatArray], fake: BoolArray, p_fake: FloatArray, names: Sequence[str], tuned: float
) -> dict[str, FloatArray]:
    """The accuracies among `names`; `total` weighs the chosen faces in each row."""
    fakes, reals, right = total(fake), total(~fake), (p_fake > THRESHOLD) == fake
    values: dict[str, FloatArray] = {}
    if "accuracy" in names:
        values["accuracy"] = total(right) / (fakes + reals)
    if "accuracy_tuned" in names:
        values["accuracy_tuned"] = total((p_fake > tuned) == fake) / (fakes + reals)
    if "balanced_accuracy" in names:
        values["balanced_accuracy"] = (total(right & fake) / fakes + total(right & ~fake) / reals) / 2
    return values


def _pairs_without_groups(fake: BoolArray, p_fake: FloatArray, group: IntArray) -> FloatArray:
    """In how many pairs of a fake and a real the fake scores higher, ties count half, without each group."""
    groups = int(group.max()) + 1
    values, rank = np.unique(p_fake, return_inverse=True)
    keys, place = np.unique(group * len(values) + rank, return_inverse=True)  # by group, then by score

    def lower(at: IntArray, count: int) -> FloatArray:
        """The reals with a lower number in `at`, and half of those with the same, for each number."""
        reals = np.bincount(at[~fake], minlength=count)
        return np.asarray(np.cumsum(reals) - reals / 2)

    below = lower(rank, len(values))[rank]
    fakes = np.bincount(rank[fake], minlength=len(values))
    above = (fake.sum() - np.cumsum(fakes) + fakes / 2)[rank]
    reals_in = np.bincount(group[~fake], minlength=groups)
    below_inside = lower(place, len(keys))[place] - (np.cumsum(reals_in) - reals_in)[group]

    with_group = np.bincount(group, np.where(fake, below, above), groups)
    inside = np.bincount(group, np.where(fake, below_inside, 0), groups)
    return np.asarray(below[fake].sum() - with_group + inside)


def _points_without_groups(
    fake: BoolArray, p_fake: FloatArray, group: IntArray
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """The operating points without each group, as `operating_points`, for some groups at a time."""
    groups, (values, rank) = int(group.max()) + 1, np.unique(-p_fake, return_inverse=True)
    width = len(values) + 1
    step = max(1, CHUNK // width)
    for start in range(0, groups, step):
        rows = min(step, groups - start)
        here = (group >= start) & (group < start + rows)

        def without(one: BoolArray, start: int = start, rows: int = rows, here: BoolArray = here) -> FloatArray:
            cells = (group[here & one] - start) * width + rank[here & one] + 1
            inside = np.bincount(cells, minlength=rows * width).reshape(rows, width).astype(float)
            total = np.cumsum(np.bincount(rank[one] + 1, minlength=width))
            return np.asarray(total - np.cumsum(inside, axis=1, out=inside))

        yield without(fake), without(~fake)


def _average_precision(found: FloatArray, alarms: FloatArray) -> FloatArray:
    total = found[:, 1:] + alarms[:, 1:]
    # Thresholds above all p_fake with a positive weight gain no recall; their precision does not matter.
    precision = np.divide(found[:, 1:], total, out=np.zeros_like(total), where=total > 0)
    return np.asarray((np.diff(found, axis=1) * precision).sum(axis=1) / found[:, -1])


def _equal_error_rate(found: FloatArray, alarms: FloatArray) -> FloatArray:
    false_positives = alarms / alarms[:, -1:]
    false_negatives = 1 - found / found[:, -1:]
    # Along the polygon this difference rises from -1 to 1, so it crosses 0 once.
    excess = false_positives - false_negatives
    after = np.argmax(excess >= 0, axis=1)
    rows = np.arange(len(after))
    low, high = excess[rows, after - 1], excess[rows, after]
    step = -low / (high - low)
    before = false_positives[rows, after - 1]
    return np.asarray(before + step * (false_positives[rows, after] - before))
