"""Point metrics against scikit-learn; weighted resamples against physically repeated data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import brentq

from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.scoring import log_loss, roc_auc
from facestudy.evaluation import metrics
from facestudy.evaluation.metrics import (
    CLIP,
    COUNTED,
    NAMES,
    RANGES,
    metrics_without_groups,
    point_metrics,
    tuned_threshold,
    weighted_metrics,
)
from facestudy.evaluation.scores import Scores, by_video, group_metrics, same_faces, scores_of, select_method


def test_auc_and_log_loss_of_training() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        fake = np.append(generator.integers(0, 2, 30), [0, 1]) == 1
        p_fake = generator.integers(0, 11, 32) / 10  # many ties, also at 0 and 1
        assert roc_auc(fake, p_fake) == pytest.approx(sk.roc_auc_score(fake, p_fake))
        held = np.clip(p_fake, 1e-7, 1 - 1e-7)
        found = log_loss(fake, p_fake, np.ones((1, 32)), 1e-7)
        assert found == pytest.approx(sk.log_loss(fake, held))


def read_scores(paths: Sequence[Path]) -> Scores:
    return scores_of({path: tables.read(path, tables.PREDICTIONS) for path in paths})


def sklearn_metrics(
    fake: np.ndarray, p_fake: np.ndarray, weight: np.ndarray | None = None, tuned: float = 0.5
) -> dict[str, float]:
    said = p_fake > 0.5
    false_positives, true_positives, _ = sk.roc_curve(fake, p_fake, sample_weight=weight, drop_intermediate=False)
    return {
        "accuracy": sk.accuracy_score(fake, said, sample_weight=weight),
        "accuracy_tuned": sk.accuracy_score(fake, p_fake > tuned, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(fake, said, sample_weight=weight),
        "auc": sk.roc_auc_score(fake, p_fake, sample_weight=weight),
        "average_precision": sk.average_precision_score(fake, p_fake, sample_weight=weight),
        "equal_error_rate": polygon_crossing(false_positives, true_positives),
        "log_loss": sk.log_loss(fake, np.clip(p_fake, CLIP, 1 - CLIP), sample_weight=weight),
        "brier": sk.brier_score_loss(fake, p_fake, sample_weight=weight),
    }


def polygon_crossing(false_positives: np.ndarray, true_positives: np.ndarray) -> float:
    """The equal error rate by root finding along the ROC polygon, walked at constant |dx| + |dy|."""
    walked = false_positives + true_positives
    rate = brentq(lambda s: np.interp(s, walked, false_positives) - (1 - np.interp(s, walked, true_positives)), 0, 2)
    return float(np.interp(rate, walked, false_positives))


@st.composite
def labelled_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Both classes; p_fake from a coarse grid (many ties) or a fine one."""
    n = draw(st.integers(2, 40))
    fake = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    fake[:2] = [True, False]
    steps = draw(st.sampled_from([3, 10, 1_000_000]))
    p_fake = np.array(draw(st.lists(st.integers(0, steps), min_size=n, max_size=n))) / steps
    return fake, p_fake


@given(labelled_scores())
def test_point_metrics_are_those_of_scikit_learn(scores: tuple[np.ndarray, np.ndarray]) -> None:
    ours, theirs = point_metrics(*scores, tuned=0.3), sklearn_metrics(*scores, tuned=0.3)
    for name in NAMES:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9), name


@given(labelled_scores(), st.integers(0, 2**32 - 1))
def test_fractional_weights_are_those_of_scikit_learn(scores: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    fake, p_fake = scores
    weights = np.random.default_rng(seed).uniform(0.1, 3, size=(2, len(fake)))
    ours = weighted_metrics(fake, p_fake, weights)
    for row in range(2):
        theirs = sklearn_metrics(fake, p_fake, weights[row])
        for name in NAMES:
            assert ours[name][row] == pytest.approx(theirs[name], abs=1e-9), name


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from([4, 1_000_000]))
def test_a_resample_is_the_data_physically_repeated(seed: int, groups: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 6, size=groups)
    group = np.repeat(np.arange(groups), sizes)
    fake = np.concatenate([np.arange(size) % 2 == 0 for size in sizes])
    p_fake = rng.integers(0, steps + 1, size=(2, len(group))) / steps
    multiplicities = rng.multinomial(groups, np.full(groups, 1 / groups), size=3)
    ours = group_metrics(Scores(fake, p_fake, group, group), NAMES, multiplicities)
    for row, times in enumerate(multiplicities):
        picked = np.repeat(np.arange(len(group)), times[group])
        per_seed = [sklearn_metrics(fake[picked], p[picked]) for p in p_fake]
        for name in NAMES:
            assert ours[name][:, row] == pytest.approx([m[name] for m in per_seed], abs=1e-9), name


@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.sampled_from([2, 4, 1_000_000]))
def test_metrics_without_a_group_are_those_of_the_others(seed: int, groups: int, steps: int) -> None:
    """Groups of one class too. Of the AUC nothing is rounded before the last division."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(groups), rng.integers(1, 6, size=groups)))
    fake = rng.integers(0, 2, len(group)) == 1
    for number, one in enumerate((True, False, True, False)):  # each class in two groups
        fake[np.flatnonzero(group == number % groups)[0]] = one
    p_fake = rng.integers(0, steps + 1, size=len(group)) / steps
    weights = (np.arange(groups)[:, None] != group).astype(float)
    assume(all((weights @ one).all() for one in (fake, ~fake)))
    with patch.object(metrics, "CHUNK", 30):  # some groups at a time
        found = metrics_without_groups(fake, p_fake, group, COUNTED, tuned=0.3)
    expected = weighted_metrics(fake, p_fake, weights, COUNTED, tuned=0.3)
    assert list(found) == list(COUNTED)
    for name in COUNTED:
        assert found[name] == pytest.approx(expected[name], rel=1e-12, abs=1e-15), name
    assert found["auc"].tolist() == expected["auc"].tolist()
    kept = group != 0
    assert found["auc"][0] == pytest.approx(sk.roc_auc_score(fake[kept], p_fake[kept]))


@given(labelled_scores())
def test_no_threshold_is_better_than_the_tuned_one(scores: tuple[np.ndarray, np.ndarray]) -> None:
    fake, p_fake = scores
    tuned = tuned_threshold(fake, p_fake)
    found = sk.balanced_accuracy_score(fake, p_fake > tuned)
    _, false_positives, thresholds = sk.roc_curve(fake, p_fake, drop_intermediate=False)
    assert len(thresholds) == len(false_positives)
    inner = [t for t in thresholds if p_fake.min() < t <= p_fake.max()]  # one answer for all needs no threshold
    best = max([sk.balanced_accuracy_score(fake, p_fake >= t) for t in inner], default=0.5)
    assert found == pytest.approx(best)
    assert not (p_fake == tuned).any() or p_fake.min() == p_fake.max()


def test_each_training_has_its_own_threshold() -> None:
    fake, group = np.array([False, False, True, True]), np.arange(4)
    validation = Scores(fake, np.array([[0.1, 0.2, 0.3, 0.4], [0.6, 0.7, 0.8, 0.9]]), group, group)
    test = Scores(fake, np.array([[0.2, 0.26, 0.24, 0.3], [0.7, 0.74, 0.76, 0.8]]), group, group, validation=validation)
    assert test.thresholds == pytest.approx([0.25, 0.75])
    found = group_metrics(test, ["accuracy", "accuracy_tuned"])
    assert found["accuracy"].ravel().tolist() == [0.5, 0.5]
    assert found["accuracy_tuned"].ravel().tolist() == [0.5, 1.0]
    videos = Scores(fake, test.p_fake, np.array([0, 0, 1, 1]), np.zeros(4, int), validation=validation)
    assert by_video(videos).thresholds == pytest.approx([0.25, 0.75])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(6), 4)
    scores = Scores(np.arange(24) % 2 == 0, rng.random((2, 24)).round(2), group, group)
    multiplicities = rng.multinomial(6, np.full(6, 1 / 6), size=11)
    whole = group_metrics(scores, NAMES, multiplicities)
    monkeypatch.setattr("facestudy.evaluation.scores.CHUNK", 50)
    for name, values in group_metrics(scores, NAMES, multiplicities).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-13)


def test_known_answers() -> None:
    fake = np.array([False, False, True, True])
    perfect = point_metrics(fake, np.array([0.0, 0.0, 1.0, 1.0]))
    assert [perfect[name] for name in NAMES[:6]] == [1, 1, 1, 1, 1, 0]
    assert perfect["log_loss"] == pytest.approx(RANGES["log_loss"][0], rel=1e-6)
    inverted = point_metrics(fake, np.array([1.0, 1.0, 0.0, 0.0]))
    assert (inverted["auc"], inverted["equal_error_rate"], inverted["brier"]) == (0, 1, 1)
    assert inverted["log_loss"] == pytest.approx(RANGES["log_loss"][1])
    undecided = point_metrics(fake, np.full(4, 0.5))
    # .5 is not above .5: everything is called real.
    assert undecided["accuracy"] == undecided["auc"] == undecided["equal_error_rate"] == 0.5
    assert undecided["log_loss"] == pytest.approx(np.log(2))


def test_fake_is_the_positive_class() -> None:
    fake = np.array([True, False, False, False, True, False])
    p_fake = np.array([0.9, 0.8, 0.3, 0.2, 0.7, 0.1])
    assert point_metrics(fake, p_fake)["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert point_metrics(fake, p_fake)["auc"] == pytest.approx(7 / 8)


def predictions(rows: int = 8) -> pd.DataFrame:
    return tables.to_dataframe(
        [
            {
                "face_id": f"face-{i:02}",
                "video_id": f"video-{i // 2}",
                "track_id": f"video-{i // 2}_t0",
                "group": f"group-{i // 4}",
                "method": "swap",
                "label": "fake" if i // 2 % 2 else "real",
                "subset": "test",
                "p_fake": i / 10,
            }
            for i in range(rows)
        ]
        + [
            {
                "face_id": f"a-validation-face-{label}",
                "video_id": label,
                "track_id": f"{label}_t0",
                "group": "other",
                "method": "swap",
                "label": label,
                "subset": "validation",
                "p_fake": p_fake,
            }
            for label, p_fake in (("real", 0.1), ("fake", 0.2))
        ],
        tables.PREDICTIONS,
    )


def write(folder: Path, seed: int, data: pd.DataFrame) -> Path:
    path = folder / f"{seed}.csv"
    tables.write(path, data, tables.PREDICTIONS)
    return path


def test_reads_test_rows_only_and_averages_videos(tmp_path: Path) -> None:
    first = predictions()
    second = first.assign(p_fake=first["p_fake"] / 2).iloc[::-1]
    faces = read_scores([write(tmp_path, 1, first), write(tmp_path, 2, second)])
    assert (len(faces.fake), faces.videos, faces.groups) == (8, 4, 2)
    np.testing.assert_allclose(faces.p_fake, [np.arange(8) / 10, np.arange(8) / 20])
    videos = by_video(faces)
    np.testing.assert_allclose(videos.p_fake[0], [0.05, 0.25, 0.45, 0.65])
    assert videos.fake.tolist() == [False, True, False, True]
    assert videos.group.tolist() == [0, 0, 1, 1]
    assert same_faces(faces, read_scores([tmp_path / "2.csv"]))


def test_a_video_mean_of_one_half_is_exact_in_any_order() -> None:
    p_fake = np.array([0.1, 0.7, 0.7, 0.9, 0.4, 0.2])
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 0, 4, 2, 1]):
        scores = Scores(np.ones(6, bool), p_fake[order][None], np.zeros(6, int), np.zeros(6, int))
        assert by_video(scores).p_fake[0, 0] == 0.5


def test_a_video_is_as_fake_as_the_most_fake_person_in_it(tmp_path: Path) -> None:
    data = predictions()
    data["track_id"] = [f"{video}_t{n % 2}" for n, video in enumerate(data["video_id"])]
    videos = by_video(read_scores([write(tmp_path, 1, data)]))
    np.testing.assert_allclose(videos.p_fake[0], [0.1, 0.3, 0.5, 0.7])


def test_the_fakes_of_one_method_against_all_reals() -> None:
    scores = Scores(
        np.array([False, True, True, False, True]),
        np.array([[0.1, 0.2, 0.3, 0.4, 0.5]]),
        np.array([0, 1, 2, 3, 4]),
        np.array([0, 0, 1, 2, 2]),
        tuple("abcde"),
        ("none", "swap", "puppet", "none", "swap"),
    )
    part = select_method(scores, "swap")
    assert part.ids == ("a", "b", "d", "e") and part.fake.tolist() == [False, True, False, True]
    assert part.video.tolist() == [0, 1, 2, 3] and part.group.tolist() == [0, 0, 1, 1]
    assert part.p_fake.tolist() == [[0.1, 0.2, 0.4, 0.5]]


def test_refuses_predictions_it_cannot_use(tmp_path: Path) -> None:
    good = predictions()
    path = write(tmp_path, 1, good)
    bad = {
        "not about the same test faces .face-07 is in one only": good[good["face_id"] != "face-07"],
        "what they say of a face differs": good.assign(group=good["video_id"]),
        "no test row has the label real": good[(good["label"] == "fake")],
        "no test row has the label fake": good[good["label"] == "real"],
        "face face-03 has p_fake = 1.5": good.assign(p_fake=good["p_fake"].where(good["face_id"] != "face-03", 1.5)),
        "face face-03 has p_fake = nan": good.assign(p_fake=good["p_fake"].where(good["face_id"] != "face-03")),
        "face face-03 has the label 'FAKE'": good.assign(
            label=good["label"].where(good["face_id"] != "face-03", "FAKE")
        ),
        "track one has more than one video_id": good.assign(track_id="one"),
        "video video-0 has more than one label": good.assign(
            label=good["label"].where(good["face_id"] != "face-00", "fake")
        ),
        "video video-1 has more than one group": good.assign(
            group=good["group"].where(good["face_id"] != "face-02", "group-1")
        ),
    }
    for message, table in bad.items():
        with pytest.raises(StudyError, match=message) as caught:
            read_scores([path, write(tmp_path, 2, table)])
        assert "2.csv" in str(caught.value)
    with pytest.raises(StudyError, match=r"3\.csv is missing"):
        read_scores([path, tmp_path / "3.csv"])
