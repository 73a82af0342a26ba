"""The analysis of Obuchowski and Rockette: published output, and variances known by construction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from facestudy.evaluation.obuchowski_rockette import (
    Part,
    error_covariances,
    jackknife_covariance,
    parts_of_difference,
    parts_of_mean,
    total,
)
from facestudy.evaluation.scores import Scores, group_metrics

READERS = 5
MODALITIES = 2


def van_dyke(path: Path) -> list[Scores]:
    """One Scores per modality: a reader is a seed, a case is a group."""
    rows = [line.split(",") for line in path.read_text().split("BEGIN DATA:")[1].split()]
    truth = {case: float(score) for reader, case, _, score in rows if reader == "-1"}
    rating = {(int(m), int(r), case): float(score) for r, case, m, score in rows if r != "-1"}
    cases = np.arange(len(truth))
    readers = sorted({reader for _, reader, _ in rating})
    scores = [
        [[rating[modality, reader, case] for case in truth] for reader in readers] for modality in range(MODALITIES)
    ]
    diseased = np.array(list(truth.values())) == 1
    return [Scores(diseased, np.array(of), cases, cases) for of in scores]


class Analysis:
    """Values and covariances of the AUC of the Van Dyke data."""

    def __init__(self, path: Path) -> None:
        sides = van_dyke(path)
        without = 1 - np.eye(sides[0].groups, dtype=np.int8)
        self.values = np.stack([group_metrics(side, ["auc"])["auc"][:, 0] for side in sides])
        self.jackknife = np.stack([group_metrics(side, ["auc"], without)["auc"] for side in sides])
        self.covariance = jackknife_covariance(self.jackknife)
        self.difference = float(self.values[0].mean() - self.values[1].mean())


@pytest.fixture(scope="module")
def analysis(outside_data: Path) -> Analysis:
    return Analysis(outside_data / "mrmc" / "VanDyke.imrmc")


def interval(value: float, parts: list[Part]) -> list[float]:
    error, freedom = total(parts)
    return [value + sign * scipy.stats.t.ppf(0.975, freedom) * error for sign in (-1, 1)]


def p_value(value: float, parts: list[Part]) -> float:
    error, freedom = total(parts)
    return float(2 * scipy.stats.t.sf(abs(value) / error, freedom))


# Expected numbers: published output of OR-DBM MRMC 2.51, trapezoidal AUC, jackknife.


def test_van_dyke_values(analysis: Analysis) -> None:
    published = [
        [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
        [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
    ]
    np.testing.assert_allclose(analysis.values, published, atol=5e-9)
    assert analysis.difference == pytest.approx(-0.04380032, abs=5e-9)


def test_van_dyke_covariances(analysis: Analysis) -> None:
    published = [0.00080229, 0.00034661, 0.00034407, 0.00023903]
    np.testing.assert_allclose(error_covariances(analysis.covariance), published, atol=5e-9)


def test_van_dyke_random_readers_random_cases(analysis: Analysis) -> None:
    parts = parts_of_difference(analysis.values, analysis.covariance, design="crossed")
    error, freedom = total(parts)
    assert parts[0].variance * READERS / 2 == pytest.approx(0.00055103, abs=5e-9)  # MS(T*R)
    assert error**2 * READERS / 2 == pytest.approx(0.00107626, abs=5e-9)  # the error term
    assert (analysis.difference / error) ** 2 == pytest.approx(4.46, abs=0.005)
    assert freedom == pytest.approx(15.26, abs=0.005)
    assert error == pytest.approx(0.02075, abs=5e-6)
    assert p_value(analysis.difference, parts) == pytest.approx(0.0517, abs=5e-5)
    assert interval(analysis.difference, parts) == pytest.approx([-0.08796, 0.00036], abs=5e-6)


def test_van_dyke_single_modalities(analysis: Analysis) -> None:
    published = [
        (0.00308263, 0.00048396, 12.74, [0.82522360, 0.96885048]),
        (0.00130460, 0.00020419, 12.71, [0.89413783, 0.98753689]),
    ]
    for modality, (mean_square, cov2, freedom, ends) in enumerate(published):
        values = analysis.values[modality]
        parts = parts_of_mean(values, analysis.covariance[modality, :, modality])
        assert parts[0].variance * READERS == pytest.approx(mean_square, abs=5e-9)
        assert parts[1].variance == pytest.approx(cov2, abs=5e-9)
        assert total(parts)[1] == pytest.approx(freedom, abs=0.005)
        assert interval(float(values.mean()), parts) == pytest.approx(ends, abs=5e-9)


def test_van_dyke_fixed_readers_random_cases(analysis: Analysis) -> None:
    """The interval for these trained models on new groups rests on this variance."""
    influence = analysis.jackknife.mean(axis=1)
    variance = float(jackknife_covariance((influence[0] - influence[1])[None])[0, 0])
    parts = [Part(variance, np.inf)]
    assert analysis.difference**2 / variance == pytest.approx(5.47595, abs=5e-6)
    assert p_value(analysis.difference, parts) == pytest.approx(0.0193, abs=5e-5)
    assert interval(analysis.difference, parts) == pytest.approx([-0.08049, -0.00711], abs=5e-6)


def test_van_dyke_random_readers_fixed_cases(analysis: Analysis) -> None:
    parts = parts_of_difference(analysis.values, analysis.covariance, design="crossed")[:1]
    assert (analysis.difference / total(parts)[0]) ** 2 == pytest.approx(8.70, abs=0.005)
    assert p_value(analysis.difference, parts) == pytest.approx(0.0420, abs=5e-5)
    assert interval(analysis.difference, parts) == pytest.approx([-0.08502, -0.00258], abs=5e-6)


def test_jackknife_of_a_mean_is_its_sampling_variance() -> None:
    values = np.random.default_rng(1).normal(size=(2, 30))
    jackknife = (values.sum(axis=1, keepdims=True) - values) / 29
    np.testing.assert_allclose(jackknife_covariance(jackknife), np.cov(values) / 30)


@pytest.mark.parametrize("design", ["nested", "crossed"])
def test_variance_of_the_difference_is_unbiased(design: str) -> None:
    """A metric that is a plain mean, so that every variance of the model is known."""
    rng = np.random.default_rng(2)
    groups, seeds, found, differences = 30, 4, [], []
    for _ in range(3000):
        of_seeds = rng.normal(size=(1 if design == "crossed" else 2, seeds, 1)) * [[[0.2]]]
        shared = rng.normal(size=(1, 1, groups))
        own = rng.normal(size=(2, 1, groups)) * 0.5
        error = rng.normal(size=(2, seeds, groups)) * 0.7
        data = of_seeds + shared + own + error
        values = data.mean(axis=2)
        jackknife = (data.sum(axis=2, keepdims=True) - data) / (groups - 1)
        parts = parts_of_difference(values, jackknife_covariance(jackknife), design=design)  # type: ignore[arg-type]
        found.append(total(parts)[0] ** 2)
        differences.append(values[1].mean() - values[0].mean())
    assert np.mean(found) == pytest.approx(np.var(differences), rel=0.08)
    if design == "nested":  # and by arithmetic: trainings, own effects of groups, errors
        expected = 2 * 0.2**2 / seeds + 2 * 0.5**2 / groups + 2 * 0.7**2 / seeds / groups
        assert np.mean(found) == pytest.approx(expected, rel=0.05)


def test_satterthwaite_of_equal_parts_adds_their_freedom() -> None:
    error, freedom = total([Part(2.0, 4), Part(2.0, 4)])
    assert (error, freedom) == (2.0, 8.0)
    assert total([Part(4.0, np.inf)]) == (2.0, np.inf)
