"""McNemar's and DeLong's tests against definitions, scipy and simulated studies without a difference."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from facestudy.evaluation.classical_tests import delong, mcnemar, placements


@given(st.integers(0, 2**32 - 1))
def test_placements_are_shares_of_the_other_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fake = np.append(rng.random(20) < 0.4, [True, False])
    scores = rng.integers(0, 8, 22) / 8
    pairs = np.sign(scores[fake][:, None] - scores[~fake][None]) / 2 + 0.5
    of_fakes, of_reals = placements(fake, scores)
    np.testing.assert_allclose(of_fakes, pairs.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(of_reals, pairs.mean(axis=0), atol=1e-12)
    assert of_fakes.mean() == pytest.approx(roc_auc_score(fake, scores))


def test_the_variance_is_that_of_delong() -> None:
    """Equations 4 to 6 of the paper, as written there: two covariance matrices of the placements."""
    rng = np.random.default_rng(3)
    fake = np.arange(60) % 3 == 0
    scores = [fake + rng.normal(0, 1.2, 60), fake + rng.normal(0, 0.8, 60)]
    of_fakes, of_reals = zip(*(placements(fake, each) for each in scores), strict=True)
    covariance = np.cov(of_fakes) / fake.sum() + np.cov(of_reals) / (~fake).sum()
    contrast = np.array([-1, 1])
    z = (contrast @ [np.mean(part) for part in of_fakes]) / np.sqrt(contrast @ covariance @ contrast)
    assert delong(fake, *scores) == pytest.approx(2 * scipy.stats.norm.sf(abs(z)))


def test_equal_detectors_rarely_differ() -> None:
    rng = np.random.default_rng(5)
    fake = np.arange(80) % 2 == 0
    p = []
    for _ in range(400):
        common = fake + rng.normal(0, 1, 80)
        p.append(delong(fake, common + rng.normal(0, 0.7, 80), common + rng.normal(0, 0.7, 80)))
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.08


def test_detectors_with_equal_ranks_have_p_1() -> None:
    fake = np.arange(10) % 2 == 0
    scores = np.linspace(0, 1, 10)
    assert delong(fake, scores, scores**3) == 1
    assert delong(fake, scores, fake.astype(float)) < 0.05
    assert np.isnan(delong(np.arange(10) == 0, scores, scores))


def test_mcnemar_is_the_binomial_test_of_discordant_pairs() -> None:
    first, second = np.zeros(30, bool), np.zeros(30, bool)
    first[:9], second[7:22] = True, True  # both right in 2, first alone in 7, second alone in 13
    assert mcnemar(first, second) == pytest.approx(scipy.stats.binomtest(7, 20).pvalue)
    assert mcnemar(first, second) == mcnemar(second, first)
    assert mcnemar(first, first) == 1
