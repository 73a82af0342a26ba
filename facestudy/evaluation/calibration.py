"""Whether p_fake can be read as a probability: reliability curve and expected calibration error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from facestudy.evaluation.scores import Scores

BINS = 10
"""Bins of equal width from 0 to 1."""


@dataclass(frozen=True)
class ReliabilityBin:
    """The faces whose p_fake lies in one bin, over all trainings.

    Attributes
    ----------
    low, high : float
        Ends of the bin; the lower end belongs to it, the last bin includes 1.
    scores : int
        The number of scores: a face counts once for each training.
    mean_p_fake : float
        Their mean p_fake.
    fake_share : float
        The share of them that are fake.
    """

    low: float
    high: float
    scores: int
    mean_p_fake: float
    fake_share: float


@dataclass(frozen=True)
class Calibration:
    """How p_fake of a cell relates to the share of fakes, and the thresholds of its trainings.

    Attributes
    ----------
    error : float
        Expected calibration error, mean over trainings: the mean distance between the share of fakes and mean p_fake
        in a bin, weighted by the scores of the bin.
    error_if_calibrated : float
        What this error would be on average if p_fake were the true probability. With few faces it is far from 0.
    threshold, threshold_sd : float
        The threshold tuned on the validation subset: mean and standard deviation over trainings.
    bins : list of ReliabilityBin
        The reliability curve; bins without scores are left out.
    """

    error: float
    error_if_calibrated: float
    threshold: float
    threshold_sd: float
    bins: list[ReliabilityBin]


def calibration(cell: Sequence[Scores]) -> Calibration:
    """Compute the calibration of one cell.

    Parameters
    ----------
    cell : sequence of Scores
        Scores on the test faces of one model on one variant, one for each split.

    Returns
    -------
    Calibration

    Notes
    -----
    If each label were drawn with probability p_fake, the sum of (label - p_fake) over a bin would have the variance
    sum of p_fake (1 - p_fake); `error_if_calibrated` uses the mean absolute value of a normal variable of this
    variance. Faces of a clip are not independent, so it is a lower bound.

    References
    ----------
    Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015 (expected
    calibration error). Bröcker and Smith, Increasing the reliability of reliability diagrams, Weather and Forecasting
    22, 2007 (the error of a calibrated forecast).
    """
    errors, expected = [], []
    count, total, fakes = np.zeros(BINS), np.zeros(BINS), np.zeros(BINS)
    for scores in cell:
        for p_fake in scores.p_fake:
            bins = np.minimum((p_fake * BINS).astype(int), BINS - 1)
            n, p, fake, variance = (
                np.bincount(bins, weights=values, minlength=BINS)
                for values in (np.ones(len(bins)), p_fake, scores.fake.astype(float), p_fake * (1 - p_fake))
            )
            errors.append(np.abs(fake - p).sum() / len(bins))
            expected.append(np.sqrt(2 / np.pi * variance).sum() / len(bins))
            count, total, fakes = count + n, total + p, fakes + fake
    thresholds = [threshold for scores in cell for threshold in scores.thresholds]
    return Calibration(
        error=float(np.mean(errors)),
        error_if_calibrated=float(np.mean(expected)),
        threshold=float(np.mean(thresholds)),
        threshold_sd=float(np.std(thresholds, ddof=1)) if len(thresholds) > 1 else 0.0,
        bins=[
            ReliabilityBin(
                i / BINS, (i + 1) / BINS, int(count[i]), float(total[i] / count[i]), float(fakes[i] / count[i])
            )
            for i in range(BINS)
            if count[i]
        ],
    )


def reliability_table(calibrations: Mapping[str, Mapping[str, Calibration]]) -> pd.DataFrame:
    """The content of metrics/reliability.csv as text cells: the reliability curve of each cell.

    Parameters
    ----------
    calibrations : mapping of model and variant to Calibration

    Returns
    -------
    DataFrame
        One row per bin with scores.
    """
    return pd.DataFrame(
        [
            {
                "model": model,
                "variant": variant,
                "low": f"{part.low:.1f}",
                "high": f"{part.high:.1f}",
                "scores": str(part.scores),
                "mean_p_fake": f"{part.mean_p_fake:.6f}",
                "fake_share": f"{part.fake_share:.6f}",
            }
            for model, variants in calibrations.items()
            for variant, found in variants.items()
            for part in found.bins
        ]
    )
