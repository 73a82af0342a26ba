"""Expected calibration error and reliability curve: definitions and known answers."""

from __future__ import annotations

import numpy as np
import pytest

from facestudy.evaluation.calibration import calibration, reliability_table
from facestudy.evaluation.scores import Scores


def scores(fake: np.ndarray, p_fake: np.ndarray) -> Scores:
    numbers = np.arange(len(fake))
    return Scores(fake, np.atleast_2d(p_fake), numbers, numbers)


def test_the_error_is_a_weighted_mean_over_bins() -> None:
    p_fake = np.array([0.0, 0.05, 0.12, 0.95, 1.0])
    fake = np.array([False, True, False, True, True])
    found = calibration([scores(fake, p_fake)])
    assert found.error == pytest.approx((2 * abs(0.5 - 0.025) + 0.12 + 2 * abs(1 - 0.975)) / 5)
    assert [(part.low, part.high, part.scores) for part in found.bins] == [(0, 0.1, 2), (0.1, 0.2, 1), (0.9, 1, 2)]
    assert [part.fake_share for part in found.bins] == [0.5, 0, 1]
    table = reliability_table({"mesonet": {"full": found}})
    assert table["mean_p_fake"].tolist() == ["0.025000", "0.120000", "0.975000"]


def test_a_calibrated_score_has_the_expected_error() -> None:
    rng = np.random.default_rng(2)
    p_fake = rng.random(300)
    errors = [calibration([scores(rng.random(300) < p_fake, p_fake)]).error for _ in range(300)]
    expected = calibration([scores(p_fake > 0.5, p_fake)]).error_if_calibrated
    assert np.mean(errors) == pytest.approx(expected, rel=0.05)


def test_an_overconfident_score_has_a_larger_error() -> None:
    rng = np.random.default_rng(4)
    p_fake = rng.random(2000)
    fake = rng.random(2000) < 0.25 + p_fake / 2
    found = calibration([scores(fake, p_fake)])
    assert found.error == pytest.approx(0.125, abs=0.02)  # mean of |.25 + p / 2 - p|
    assert found.error > 3 * found.error_if_calibrated


def test_trainings_and_splits_count_alike() -> None:
    fake = np.array([False, True])
    sure, unsure = np.array([0.0, 1.0]), np.array([0.5, 0.5])
    found = calibration([scores(fake, np.stack([sure, unsure])), scores(fake, np.stack([sure, sure]))])
    assert found.error == 0 and sum(part.scores for part in found.bins) == 8
    assert found.threshold == 0.5 and found.threshold_sd == 0
