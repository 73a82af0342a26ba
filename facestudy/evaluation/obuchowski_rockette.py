"""Variance of a mean over trainings and test groups: the analysis of Obuchowski and Rockette.

A study of radiologists has readers who rate the same cases under two modalities. Here a reader is a
training (a seed), a case is a test group, and a modality is a crop variant. Readers and cases are
both random: the question is about new trainings and new people, not about the ones at hand.

Trainings are nested in variants. The training with seed 1 on one variant shares nothing with the
training with seed 1 on another: `facestudy.models.settings.training_seed` draws their weights and batches
independently. `design="crossed"` is the usual analysis of readers who see both modalities: the same
trained models on altered faces (`facestudy.robustness`), and published results.

References
----------
.. [1] Obuchowski and Rockette 1995, Hypothesis testing of diagnostic accuracy for multiple readers
       and multiple tests: an ANOVA approach with dependent observations, Communications in
       Statistics - Simulation and Computation 24.
.. [2] Hillis 2007, A comparison of denominator degrees of freedom methods for multiple observer ROC
       analysis, Statistics in Medicine 26.
.. [3] Hillis 2014, A marginal-mean ANOVA approach for analyzing multireader multicase radiological
       imaging data, Statistics in Medicine 33.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from facestudy.core.arrays import BoolArray, FloatArray

Design = Literal["nested", "crossed"]


@dataclass(frozen=True)
class Part:
    """One additive part of a variance, with the degrees of freedom of its estimate.

    Attributes
    ----------
    variance : float
        Not negative.
    freedom : float
        ``inf`` where the estimate is taken as exact.
    """

    variance: float
    freedom: float


def total(parts: Sequence[Part]) -> tuple[float, float]:
    """Standard error and degrees of freedom of a sum of independent variance estimates.

    Parameters
    ----------
    parts : sequence of Part
        The estimates.

    Returns
    -------
    standard_error : float
        The root of the sum of the variances.
    freedom : float
        By Satterthwaite's approximation; ``inf`` when no part has finite degrees of freedom.

    References
    ----------
    Satterthwaite 1946, An approximate distribution of estimates of variance components,
    Biometrics Bulletin 2, equation 17.

    Examples
    --------
    >>> total([Part(3.0, 4), Part(1.0, np.inf)])
    (2.0, 7.111111111111111)
    """
    variance = sum(part.variance for part in parts)
    spread = sum(part.variance**2 / part.freedom for part in parts)
    return float(np.sqrt(variance)), float(variance**2 / spread) if spread > 0 else float("inf")


def jackknife_covariance(jackknife: FloatArray) -> FloatArray:
    """Covariance of statistics over groups, by the jackknife.

    Parameters
    ----------
    jackknife : ndarray of shape (..., groups)
        Each statistic, computed without one group.

    Returns
    -------
    ndarray of shape (..., ...)
        Covariance of each statistic with each.

    Examples
    --------
    >>> jackknife_covariance(np.array([[0.0, 1.0, 2.0]]))
    array([[1.33333333]])
    """
    groups = jackknife.shape[-1]
    flat = jackknife.reshape(-1, groups)
    centred = flat - flat.mean(axis=1, keepdims=True)
    covariance = (groups - 1) / groups * centred @ centred.T
    return np.asarray(covariance.reshape(*jackknife.shape[:-1], *jackknife.shape[:-1]))


def error_covariances(covariance: FloatArray) -> tuple[float, float, float, float]:
    """Error variance and covariances of the model, averaged over variants and trainings.

    Parameters
    ----------
    covariance : ndarray of shape (variants, trainings, variants, trainings)
        From `jackknife_covariance`.

    Returns
    -------
    variance : float
        Of one training on one variant.
    cov1 : float
        Between variants, same training.
    cov2 : float
        Between trainings, same variant.
    cov3 : float
        Between trainings, between variants.

    References
    ----------
    Obuchowski and Rockette 1995, [1]_ of the module.
    """
    variants, trainings = covariance.shape[:2]
    flat = covariance.reshape(variants * trainings, -1)
    same_variant = np.kron(np.eye(variants), np.ones((trainings, trainings))).astype(bool)
    same_training = np.kron(np.ones((variants, variants)), np.eye(trainings)).astype(bool)

    def mean(chosen: BoolArray) -> float:
        return float(flat[chosen].mean()) if chosen.any() else 0.0

    return (
        mean(same_variant & same_training),
        mean(~same_variant & same_training),
        mean(same_variant & ~same_training),
        mean(~same_variant & ~same_training),
    )


def parts_of_mean(values: FloatArray, covariance: FloatArray, group_freedom: float = np.inf) -> list[Part]:
    """Variance of the mean over trainings, for new trainings and new groups.

    Parameters
    ----------
    values : ndarray of shape (trainings,)
        At least two.
    covariance : ndarray of shape (trainings, trainings)
        Of the values over groups.
    group_freedom : float
        Degrees of freedom of the part that groups contribute. Hillis takes ``inf``.

    Returns
    -------
    list of Part
        That of the trainings, that of the groups. ([3]_, single-modality analysis.)
    """
    trainings = len(values)
    cov2 = error_covariances(covariance[None, :, None, :])[2]
    return [
        Part(float(values.var(ddof=1)) / trainings, trainings - 1),
        Part(max(cov2, 0.0), group_freedom),
    ]


def parts_of_difference(
    values: FloatArray, covariance: FloatArray, group_freedom: float = np.inf, design: Design = "nested"
) -> list[Part]:
    """Variance of the difference between two means over trainings, for new trainings and new groups.

    Parameters
    ----------
    values : ndarray of shape (2, trainings)
        At least two trainings.
    covariance : ndarray of shape (2, trainings, 2, trainings)
        Of the values over groups.
    group_freedom : float
        Degrees of freedom of the part that groups contribute. Hillis takes ``inf``.
    design : {"nested", "crossed"}
        Whether the trainings of the two variants are independent, or each training has both.

    Returns
    -------
    list of Part
        Those of the trainings, that of the groups. Crossed: [2]_. Nested: as [3]_, but each variant
        keeps its own mean square, because the spread between trainings differs between variants.
    """
    trainings = values.shape[1]
    _, cov1, cov2, cov3 = error_covariances(covariance)
    if design == "crossed":
        interaction = values[1] - values[0]
        of_trainings = [Part(float(interaction.var(ddof=1)) / trainings, trainings - 1)]
    else:
        of_trainings = [Part(float(row.var(ddof=1)) / trainings, trainings - 1) for row in values]
        # Nested trainings have no partner: every pair across variants is a pair of different trainings.
        cov3 = (cov1 + (trainings - 1) * cov3) / trainings
    return [*of_trainings, Part(max(2 * (cov2 - cov3), 0.0), group_freedom)]
