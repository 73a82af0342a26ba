"""ROC and precision-recall curves against scikit-learn, their bands, histograms, confusion matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve, roc_auc_score, roc_curve

from facestudy.core.scoring import operating_points
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
    return Scores(fake, 1 / (1 + np.exp(-logit)), group, group, group_names=tuple(f"g{n}" for n in range(groups)))


@given(LABELS_AND_SCORES)
def test_roc_is_scikit_learns(rows: list[tuple[bool, int]]) -> None:
    fake, p_fake = arrays(rows)
    found = curves.roc(*operating_points(fake, p_fake, np.ones((1, len(fake)))))[0]
    fpr, tpr, _ = roc_curve(fake, p_fake, drop_intermediate=False)
    np.testing.assert_allclose(found, np.interp(curves.GRID, fpr, tpr), atol=1e-12)


@given(LABELS_AND_SCORES)
def test_precision_is_scikit_learns(rows: list[tuple[bool, int]]) -> None:
    fake, p_fake = arrays(rows)
    found = curves.precision_recall(*operating_points(fake, p_fake, np.ones((1, len(fake)))))[0]
    precision, recall, thresholds = precision_recall_curve(fake, p_fake)
    for target, value in zip(curves.GRID[1:], found[1:], strict=True):
        reached = recall[: len(thresholds)] >= target - 1e-9
        assert value == pytest.approx(precision[: len(thresholds)][reached][-1])


def test_the_areas_are_auc_and_average_precision() -> None:
    cell = scores(400, 1, 1.0)
    counts = operating_points(cell.fake, cell.p_fake[0], np.ones((1, 1600)))
    roc, precision = curves.roc(*counts)[0], curves.precision_recall(*counts)[0]
    assert np.trapezoid(roc, curves.GRID) == pytest.approx(roc_auc_score(cell.fake, cell.p_fake[0]), abs=0.003)
    assert precision[1:].mean() == pytest.approx(average_precision_score(cell.fake, cell.p_fake[0]), abs=0.005)


@given(LABELS_AND_SCORES, st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_a_weight_is_a_repeated_face(rows: list[tuple[bool, int]], seed: int) -> None:
    fake, p_fake = arrays(rows)
    weights = np.random.default_rng(seed).integers(1, 4, size=len(fake))
    weighted = operating_points(fake, p_fake, weights[None].astype(float))
    repeated = operating_points(fake.repeat(weights), p_fake.repeat(weights), np.ones((1, weights.sum())))
    np.testing.assert_array_equal(weighted, repeated)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven points instead of 101: each has an estimate of its own, which takes most of the time."""
    monkeypatch.setattr(curves, "GRID", np.linspace(0.0, 1.0, 11))


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("groups", "trainings", "studies", "least"), [(40, 5, 30, 0.87), (40, 2, 30, 0.87), (400, 2, 20, 0.85)]
)
def test_a_band_covers_new_trainings_on_new_groups(groups: int, trainings: int, studies: int, least: float) -> None:
    """The curve of many trainings on many groups lies in the band of a study, at each point, 95 % of the time."""
    many = scores(4000, 25, 1.0, seed=0)
    truth = np.mean([curves.roc(*operating_points(many.fake, p, np.ones((1, 16_000))))[0] for p in many.p_fake], axis=0)
    inside = []
    for seed in range(1, studies + 1):
        (one,) = [scores(groups, trainings, 1.0, seed)]
        table = curves.curve_tables({"m": {"v": [one]}}, 0.95, 0.25)["roc"].astype(
            {"fpr": float, "low": float, "high": float}
        )
        assert table["fpr"].tolist() == pytest.approx(curves.GRID.tolist())
        inside.append((table["low"] <= truth) & (truth <= table["high"]))
    assert truth[9] > 0.95  # at the false positive rate .9
    assert (np.mean(inside, axis=0)[[2, 9]] >= least).all()


@pytest.mark.usefixtures("coarse")
def test_a_band_has_no_spikes_near_1() -> None:
    """Where one of 20 groups alone keeps a rate from 1, the band reaches little lower than at the rate 1 (.83)."""
    lows: list[float] = []
    for seed in range(20):
        table = curves.curve_tables({"m": {"v": [scores(20, 3, 1.5, seed)]}}, 0.95, 0.25)["roc"]
        rate, low = table["tpr"].astype(float), table["low"].astype(float)
        lows += low[(rate > 0.98) & (rate < 1)].tolist()
    assert len(lows) >= 10 and min(lows) > 0.7


@pytest.mark.usefixtures("coarse")
def test_a_band_of_several_splits_covers_new_splits() -> None:
    """Five splits of 160 people, each with the mean curve of its own trainings, have one band for all."""
    at, shift = 2, 1.0
    fake = np.tile([False, False, True, True], 160)
    truth = norm.sf(norm.isf(0.2) - shift / np.sqrt(2))
    inside, widths = [], []
    for seed in range(25):
        generator = np.random.default_rng(seed)
        person = generator.normal(size=160).repeat(4)
        splits = []
        for _ in range(5):
            chosen = np.sort(generator.choice(160, 40, replace=False))
            rows = np.isin(np.arange(160).repeat(4), chosen)
            logit = generator.normal(size=(3, rows.sum())) + person[rows] + shift * fake[rows]
            group = np.arange(40).repeat(4)
            names = tuple(f"g{number}" for number in chosen)
            splits.append(Scores(fake[rows], 1 / (1 + np.exp(-logit)), group, group, group_names=names))
        row = curves.curve_tables({"m": {"v": splits}}, 0.95, 0.25)["roc"].iloc[at]
        inside.append(float(row["low"]) <= truth <= float(row["high"]))
        widths.append(float(row["high"]) - float(row["low"]))
    assert np.mean(inside) >= 0.85 and np.mean(widths) > 0.15


def test_a_band_knows_that_groups_were_not_seen() -> None:
    """A perfect detector on few groups, and a class that lies in one group."""
    fake = np.array([False, True] * 10)
    perfect = Scores(fake, np.stack([fake * 0.9] * 2), np.arange(20), np.arange(10).repeat(2))
    one = Scores(fake, np.stack([fake * 0.6 + 0.1] * 2), np.arange(20), np.where(fake, 0, np.arange(20)) // 2)
    for cell in (perfect, one):
        row = curves.curve_tables({"m": {"v": [cell]}}, 0.95, 0.25)["roc"].iloc[50]
        assert float(row["low"]) < 0.9 and float(row["high"]) > 0.99


def test_one_training_has_a_band_for_new_groups() -> None:
    table = curves.curve_tables({"m": {"v": [scores(40, 1, 1.0)]}}, 0.95, 0.25)["roc"]
    several = curves.curve_tables({"m": {"v": [scores(40, 2, 1.0)]}}, 0.95, 0.25)["roc"]
    widths = [(one["high"].astype(float) - one["low"].astype(float)).mean() for one in (table, several)]
    assert 0.05 < widths[0] < widths[1]


def test_more_trainings_and_groups_give_a_narrower_band() -> None:
    def width(groups: int, seeds: int) -> float:
        table = curves.curve_tables({"m": {"v": [scores(groups, seeds, 1.0)]}}, 0.95, 0.25)["roc"]
        return float((table["high"].astype(float) - table["low"].astype(float)).mean())

    assert width(200, 5) < width(20, 5)
    assert width(40, 20) < width(40, 2)


def test_a_perfect_detector_has_a_perfect_curve() -> None:
    fake = np.array([False, True] * 10)
    perfect = Scores(fake, np.stack([fake * 0.9] * 2), np.arange(20), np.arange(20))
    found = curves.curve_tables({"m": {"v": [perfect]}}, 0.95, 0.25)
    assert (found["roc"]["tpr"] == "1.0000").all()
    assert (found["precision_recall"]["precision"] == "1.0000").all()


def test_curves_of_several_splits_are_averaged() -> None:
    first, second = scores(30, 2, 0.5, seed=1), scores(30, 2, 2.0, seed=2)
    one, other, both = (
        curves.curve_tables({"m": {"v": splits}}, 0.95, 0.25)["roc"]["tpr"].astype(float).to_numpy()
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
