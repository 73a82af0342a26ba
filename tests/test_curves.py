"""ROC and precision-recall curves against scikit-learn, their bands, histograms, confusion matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve, roc_auc_score, roc_curve

from facestudy.evaluation import curves
from facestudy.evaluation.scores import Scores

LABELS_AND_SCORES = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60).filter(
    lambda rows: len({fake for fake, _ in rows}) == 2
)


def arrays(rows: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([fake for fake, _ in rows]), np.array([score / 20 for _, score in rows])


def scores(groups: int, seeds: int, shift: float, seed: int = 3) -> Scores:
    """Two real and two fake faces in each group; `shift`: how far the logits of fakes lie above, in sd."""
    generator = np.random.default_rng(seed)
    fake = np.tile([False, False, True, True], groups)
    of_group, of_seed = generator.normal(size=groups).repeat(4), generator.normal(size=(seeds, 1))
    logit = generator.normal(size=(seeds, 4 * groups)) + of_group + shift * fake * (1 + 0.3 * of_seed)
    group = np.arange(groups).repeat(4)
    return Scores(fake, 1 / (1 + np.exp(-logit)), group, group)


@given(LABELS_AND_SCORES)
def test_roc_is_scikit_learns(rows: list[tuple[bool, int]]) -> None:
    fake, p_fake = arrays(rows)
    found = curves.roc(curves.passed(fake, p_fake, np.ones((1, len(fake)))))[0]
    fpr, tpr, _ = roc_curve(fake, p_fake, drop_intermediate=False)
    np.testing.assert_allclose(found, np.interp(curves.GRID, fpr, tpr), atol=1e-12)


@given(LABELS_AND_SCORES)
def test_precision_is_scikit_learns(rows: list[tuple[bool, int]]) -> None:
    fake, p_fake = arrays(rows)
    found = curves.precision_recall(curves.passed(fake, p_fake, np.ones((1, len(fake)))))[0]
    precision, recall, thresholds = precision_recall_curve(fake, p_fake)
    for target, value in zip(curves.GRID[1:], found[1:], strict=True):
        reached = recall[: len(thresholds)] >= target - 1e-9
        assert value == pytest.approx(precision[: len(thresholds)][reached][-1])


def test_the_areas_are_auc_and_average_precision() -> None:
    cell = scores(400, 1, 1.0)
    counts = curves.passed(cell.fake, cell.p_fake[0], np.ones((1, 1600)))
    roc, precision = curves.roc(counts)[0], curves.precision_recall(counts)[0]
    assert np.trapezoid(roc, curves.GRID) == pytest.approx(roc_auc_score(cell.fake, cell.p_fake[0]), abs=0.003)
    assert precision[1:].mean() == pytest.approx(average_precision_score(cell.fake, cell.p_fake[0]), abs=0.005)


@given(LABELS_AND_SCORES, st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_a_weight_is_a_repeated_face(rows: list[tuple[bool, int]], seed: int) -> None:
    fake, p_fake = arrays(rows)
    weights = np.random.default_rng(seed).integers(1, 4, size=len(fake))
    weighted = curves.passed(fake, p_fake, weights[None].astype(float))
    repeated = curves.passed(fake.repeat(weights), p_fake.repeat(weights), np.ones((1, weights.sum())))
    np.testing.assert_array_equal(weighted, repeated)


def test_a_band_covers_new_trainings_on_new_groups() -> None:
    """The curve of many trainings on many groups lies in the band of 5 trainings on 40 groups, at one point, 95 %."""
    at, many = 20, scores(4000, 25, 1.0, seed=0)
    truth = np.mean([curves.roc(curves.passed(many.fake, p, np.ones((1, 16_000))))[0, at] for p in many.p_fake])
    inside = []
    for seed in range(1, 31):
        row = curves.curve_tables({"m": {"v": [scores(40, 5, 1.0, seed)]}}, 0.95)["roc"].iloc[at]
        assert row["fpr"] == "0.2000"
        inside.append(float(row["low"]) <= truth <= float(row["high"]))
    assert np.mean(inside) >= 0.87


def test_more_trainings_and_groups_give_a_narrower_band() -> None:
    def width(groups: int, seeds: int) -> float:
        table = curves.curve_tables({"m": {"v": [scores(groups, seeds, 1.0)]}}, 0.95)["roc"]
        return float((table["high"].astype(float) - table["low"].astype(float)).mean())

    assert width(200, 5) < width(20, 5)
    assert width(40, 20) < width(40, 2)


def test_a_perfect_detector_has_a_perfect_curve() -> None:
    fake = np.array([False, True] * 10)
    perfect = Scores(fake, np.stack([fake * 0.9] * 2), np.arange(20), np.arange(20))
    found = curves.curve_tables({"m": {"v": [perfect]}}, 0.95)
    assert (found["roc"]["tpr"] == "1.0000").all()
    assert (found["precision_recall"]["precision"] == "1.0000").all()


def test_curves_of_several_splits_are_averaged() -> None:
    first, second = scores(30, 2, 0.5, seed=1), scores(30, 2, 2.0, seed=2)
    one, other, both = (
        curves.curve_tables({"m": {"v": splits}}, 0.95)["roc"]["tpr"].astype(float).to_numpy()
        for splits in ([first], [second], [first, second])
    )
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-4)


def test_histograms_hold_all_scores() -> None:
    cell = scores(30, 3, 1.0)
    table = curves.histogram_table({"m": {"v": [cell]}}).astype({"share": float, "low": float})
    assert table.groupby("label")["share"].sum().round(3).tolist() == [1.0, 1.0]
    expected = (
        np.histogram(cell.p_fake[:, cell.fake], bins=curves.BINS, range=(0, 1))[0] / cell.p_fake[:, cell.fake].size
    )
    np.testing.assert_allclose(table[table["label"] == "fake"]["share"], expected, atol=5e-5)


def test_confusion_is_the_mean_of_scikit_learns() -> None:
    cell = scores(30, 3, 1.0)
    table = curves.confusion_table({"m": {"v": [cell]}})
    expected = np.mean([confusion_matrix(cell.fake, p > 0.5) for p in cell.p_fake], axis=0)
    np.testing.assert_allclose(table["faces"].astype(float), expected.ravel(), atol=0.05)
