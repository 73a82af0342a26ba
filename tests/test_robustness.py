"""The stage `robustness`: scores of altered faces, changes of AUC and of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from facestudy.core import tables
from facestudy.core.arrays import FloatArray
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops.cutting import CropSettings, Variant, resolve
from facestudy.evaluation.intervals import EvaluateSettings, differences
from facestudy.evaluation.scores import Scores
from facestudy.media.archive import read_picture
from facestudy.models import layers
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings
from facestudy.robustness import scoring
from facestudy.robustness.results import check_same, flip_rate, largest_fall, robustness_table
from facestudy.robustness.settings import Alteration
from facestudy.runtime.backend import make_deterministic
from facestudy.runtime.parallel import ComputeSettings
from facestudy.training import loop
from facestudy.training.data import Faces
from stages import crops, robustness
from tests.project import SMALL, params, write_params
from tests.test_crops import make_faces

MODEL: dict[str, Any] = {"network": "meso4", "learning_rate": 0.01} | SMALL
TESTED = ["fake-0", "fake-1", "real-0", "real-1"]
OTHER = ["fake-2", "real-2"]


def mean_brightness(_: Any, faces: Faces) -> FloatArray:
    """A detector that finds bright faces fake."""
    return np.asarray(faces.pictures[faces.rows].mean(axis=(1, 2, 3)) / 255, np.float64)


class Cell:
    """A folder with six faces, their crops, and trained models of one cell."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        make_faces(folder)
        monkeypatch.chdir(folder)
        nothing: dict[str, list[float]] = {kind: [] for kind in params()["robustness"]}
        values = params() | {"models": {"tiny": MODEL}, "seeds": [1, 2], "compute": {"workers": 1}} | changes
        values["robustness"] = nothing | values["robustness"]
        write_params(folder, values)
        crops.main("full")

    def predict(self, name: str, score: Any, tested: Sequence[str] = TESTED, held_out: Sequence[str] = OTHER) -> None:
        """Write the predictions of one training."""
        subsets = dict.fromkeys(tested, "test") | dict.fromkeys(held_out, "validation")
        p_fake: dict[str, float] = {}
        for ids in (sorted(tested), sorted(held_out)):  # each subset in batches of its own, as after a training
            pictures = np.stack([np.asarray(read_picture(Path(f"data/crops/full/{face}.png"))) for face in ids])
            scores = score(Faces(pictures, np.arange(len(ids)), np.zeros(len(ids), np.float32)))
            p_fake |= dict(zip(ids, scores, strict=True))
        rows = [
            {"face_id": face, "video_id": face, "track_id": face, "group": f"g{face[-1]}", "method": "", "p_fake": p}
            | {"label": face.split("-")[0], "subset": subsets[face]}
            for face, p in p_fake.items()
        ]
        path = Path(f"predictions/full/tiny/{name}.csv")
        tables.write(path, tables.to_dataframe(rows, tables.PREDICTIONS), tables.PREDICTIONS)

    def run(self) -> pd.DataFrame:
        """The table that the stage writes."""
        self.said = robustness.main("tiny", "full")
        return pd.read_csv("metrics/robustness/full/tiny.csv").set_index(["kind", "severity"])


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training is the detector of brightness."""
    monkeypatch.setattr(loop, "predict", mean_brightness)
    monkeypatch.setattr(layers, "load_by_name", lambda *_: None)
    monkeypatch.setattr(scoring, "_network", lambda *_: None)


@pytest.mark.usefixtures("bright")
def test_a_detector_of_brightness_reacts_as_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the brightness: the same order of faces, and no answer above .5 is left."""
    cell = Cell(tmp_path, monkeypatch, robustness={"brightness": [0.5, 1, 4], "rotate": [3]})
    for seed in "12":
        cell.predict(seed, lambda faces: mean_brightness(None, faces))
    table = cell.run()
    data = tables.read(Path("predictions/full/tiny/1.csv"), tables.PREDICTIONS).query("subset == 'test'")
    auc = roc_auc_score(data["label"] == "fake", data["p_fake"])
    assert auc == 0  # these fakes are darker
    assert table["auc"].tolist() == [auc] * 5 and (table["change"].dropna() == 0).all()
    assert [kind for kind, _ in table.index] == ["none", "rotate", "brightness", "brightness", "brightness"]
    assert (table["faces"] == 4).all()
    half, same, four = (table.loc[("brightness", value), "flip_rate"] for value in (0.5, 1, 4))
    p = data["p_fake"].to_numpy()
    assert same == 0 and half == pytest.approx(((p > 0.5) & (p / 2 <= 0.5)).mean())
    assert four == pytest.approx(((p <= 0.5) & (4 * p > 0.51)).mean()) and four > 0
    assert cell.said.startswith("tiny on full: 4 test faces unaltered and with 4 alterations, 2 trainings; AUC 0.000")


@pytest.mark.usefixtures("bright")
def test_each_splits_models_score_its_own_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = params()["split"] | {"repeats": 2}
    cell = Cell(tmp_path, monkeypatch, split=split, robustness={"shift": [4]})
    for seed in "12":
        cell.predict(f"{seed}-1", lambda faces: mean_brightness(None, faces))
        cell.predict(f"{seed}-2", lambda faces: mean_brightness(None, faces), OTHER, TESTED)
    table = cell.run()
    assert (table["faces"] == 6).all() and "4 trainings" in cell.said
    assert table[["change", "change_low", "change_high", "p"]].loc["shift"].notna().all(axis=None)


def test_real_models_score_unaltered_faces_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights from the files, the same scores as after the training, the same bytes again; else it stops."""
    cell = Cell(tmp_path, monkeypatch, robustness={"shift": [4], "jpeg": [10]})
    for seed in (1, 2):
        make_deterministic(seed)
        model = build(ModelSettings(**MODEL))
        folder = Path(f"models/full/tiny/{seed}")
        folder.mkdir(parents=True)
        model.save_weights(folder / "model.weights.h5")
        cell.predict(str(seed), lambda faces, model=model: loop.predict(model, faces))
    table = cell.run()
    assert table["auc"].between(0, 1).all() and table.loc[("shift", 4), "flip_rate"] <= 1
    first = Path("metrics/robustness/full/tiny.csv").read_bytes()
    stored = tables.read(Path("predictions/full/tiny/1.csv"), tables.PREDICTIONS)
    assert stored["p_fake"].nunique() == 6
    found = Scored(monkeypatch)
    cell.run()
    (scores,) = found.arrays
    np.testing.assert_array_equal(scores[0, 0], stored.query("subset == 'test'")["p_fake"])
    assert Path("metrics/robustness/full/tiny.csv").read_bytes() == first

    Path("models/full/tiny/1/model.weights.h5").write_bytes(Path("models/full/tiny/2/model.weights.h5").read_bytes())
    with pytest.raises(StudyError, match=r"models/full/tiny/1 gives the face \S+ the score .*predictions/full/tiny/1"):
        cell.run()
    assert Path("metrics/robustness/full/tiny.csv").read_bytes() == first


class Scored:
    """Notes what `altered_scores` returns to the stage."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrays: list[FloatArray] = []
        monkeypatch.setattr(robustness, "altered_scores", self)

    def __call__(self, *arguments: Any) -> FloatArray:
        self.arrays.append(scoring.altered_scores(*arguments))
        return self.arrays[-1]


@pytest.mark.parametrize(("count", "side", "most"), [(190, 64, 192), (300, 64, 160), (1000, 64, 256), (300, 2048, 32)])
def test_tasks_are_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, side: int, most: int
) -> None:
    """Else a face would be in another batch than after its training, and its score could differ."""
    assert scoring.BATCH == loop.PREDICTION_BATCH
    sizes: list[int] = []

    def score(_: Any, chunks: Sequence[Sequence[int]], *__: Any) -> list[FloatArray]:
        sizes.extend(map(len, chunks))
        return [np.array(chunk, float)[None, None] for chunk in chunks]

    monkeypatch.setattr(scoring, "map_items", score)
    boxes = check(dict[str, Box], params()["regions"], "regions")
    variants = {"full": Variant(regions=["face"], layout="stack")}
    plan = resolve("full", variants, boxes, CropSettings(size=(side, side)))
    cropping = scoring.Cropping(tmp_path, plan, (0, 0, 0), boxes["face"])
    faces: Any = range(count)
    found = scoring.altered_scores(faces, [], cropping, ModelSettings(**MODEL), [], ComputeSettings(), "")
    assert found.ravel().tolist() == list(range(count))
    assert sizes[0] == min(most, count) and all(size % 32 == 0 for size in sizes[:-1])


# --- the table ---------------------------------------------------------------------------------


def made_up(seeds: int = 5, groups: int = 30) -> Scores:
    """Trainings that differ much in AUC."""
    generator = np.random.default_rng(4)
    fake = np.tile([False, True], groups)
    strength = np.linspace(0.2, 2.5, seeds)[:, None] * fake
    p_fake = 1 / (1 + np.exp(-(strength + generator.normal(size=(seeds, 2 * groups)) - 0.8)))
    number = np.arange(2 * groups)
    return Scores(fake, p_fake.round(6), number, number // 2, tuple(f"f{n:02}" for n in number))


def test_changes_are_paired_by_training() -> None:
    """The spread between trainings cancels, as the same ones are on both sides."""
    before = made_up()
    noise = np.random.default_rng(5).normal(scale=0.05, size=before.p_fake.shape)
    after = replace(before, p_fake=np.clip(before.p_fake + noise, 0, 1).round(6))
    row = robustness_table([before], {Alteration("noise", 8): [after]}, EvaluateSettings(), 0.25).iloc[1]
    aucs = [[roc_auc_score(before.fake, p) for p in side.p_fake] for side in (before, after)]
    change = np.diff(aucs, axis=0)[0]
    assert float(row["change"]) == pytest.approx(change.mean(), abs=1e-6)
    crossed = differences(before, after, EvaluateSettings(), ["auc"], design="crossed")["auc"]
    assert crossed.spreads[0].parts[0].variance == pytest.approx(change.var(ddof=1) / 5)
    nested = differences(before, after, EvaluateSettings(), ["auc"])["auc"]
    assert (crossed.low, crossed.high) == pytest.approx((float(row["change_low"]), float(row["change_high"])), abs=1e-6)
    assert crossed.high - crossed.low < 0.3 * (nested.high - nested.low)


def test_turned_scores_turn_the_table() -> None:
    before = made_up()
    after = replace(before, p_fake=1 - before.p_fake)
    table = robustness_table([before], {Alteration("shift", 4): [after]}, EvaluateSettings(), 0.25)
    none, turned = table.to_dict("records")
    assert float(turned["auc"]) == pytest.approx(1 - float(none["auc"]), abs=2e-6)
    assert float(turned["flip_rate"]) == flip_rate([before], [after]) == 1
    assert (turned["kind"], turned["severity"], turned["faces"]) == ("shift", "4", "60")
    assert none["change"] == none["p"] == none["flip_rate"] == ""
    assert largest_fall(table).endswith(f"lowest {float(turned['auc']):.3f} (shift 4 %)")
    assert largest_fall(table[:1]) == f"AUC {float(none['auc']):.3f}"


def test_one_training_gives_no_p_value() -> None:
    before = made_up(seeds=1)
    after = replace(before, p_fake=np.clip(before.p_fake + 0.01, 0, 1))
    row = robustness_table([before], {Alteration("jpeg", 30): [after]}, EvaluateSettings(), 0.25).iloc[1]
    assert row["p"] == "" and row["change_low"] != "" and float(row["auc_low"]) < float(row["auc"])


def test_models_of_other_predictions_are_refused() -> None:
    scores = made_up(seeds=2)
    names = ["full/tiny/1", "full/tiny/2"]
    check_same(scores, scores.p_fake + 1e-5, names)
    other = scores.p_fake.copy()
    other[1, 7] += 0.001
    with pytest.raises(StudyError, match="models/full/tiny/2 gives the face f07 the score"):
        check_same(scores, other, names)


def test_a_face_without_a_row_is_refused(tmp_path: Path) -> None:
    faces = make_faces(tmp_path)
    assert [face.face_id for face in scoring.select_faces(faces, ["real-1", "fake-0"])] == ["real-1", "fake-0"]
    with pytest.raises(StudyError, match=r"the face gone, data/faces/index\.csv has not"):
        scoring.select_faces(faces, ["real-1", "gone"])
