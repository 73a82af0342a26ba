"""The stage `robustness`: scores of altered faces, changes of AUC and of answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from facestudy.core import tables
from facestudy.core.arrays import FloatArray
from facestudy.core.errors import StudyError
from facestudy.evaluation.intervals import EvaluateSettings, differences
from facestudy.evaluation.scores import Scores
from facestudy.media.archive import read_picture
from facestudy.media.encoding import encode
from facestudy.models import layers
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings
from facestudy.robustness import scoring
from facestudy.robustness.results import (
    COLUMNS,
    change,
    check_same,
    extra_change,
    flip_rate,
    largest_fall,
    robustness_table,
    stored_extra_change,
)
from facestudy.robustness.settings import Alteration
from facestudy.runtime.backend import make_deterministic
from facestudy.runtime.parallel import ComputeSettings
from facestudy.training import loop
from facestudy.training.data import Faces
from stages import crops, robustness
from tests.project import SMALL, params, write_params
from tests.test_crops import make_faces
from tests.test_recoding import scoring_of

MODEL: dict[str, Any] = {"network": "meso4", "learning_rate": 0.01} | SMALL
TESTED = ["fake-0", "fake-1", "real-0", "real-1"]
OTHER = ["fake-2", "real-2"]
SHIFT = Alteration("shift", 4)


def mean_brightness(_: Any, faces: Faces) -> FloatArray:
    """A detector that finds bright faces fake."""
    return np.asarray(faces.pictures[faces.rows].mean(axis=(1, 2, 3)) / 255, np.float64)


class Study:
    """A folder with six faces, their crops, and trained models."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        make_faces(folder)
        monkeypatch.chdir(folder)
        nothing: dict[str, list[float]] = {kind: [] for kind in params()["robustness"]}
        values = params() | {"models": {"tiny": MODEL}, "seeds": [1, 2], "compute": {"workers": 1}} | changes
        values["robustness"] = nothing | values["robustness"]
        self.variants: list[str] = values["variants"]
        write_params(folder, values)
        for variant in self.variants:
            crops.main(variant)

    def predict(
        self,
        name: str,
        score: Any,
        tested: Sequence[str] = TESTED,
        held_out: Sequence[str] = OTHER,
        cell: str = "full/tiny",
    ) -> None:
        """Write the predictions of one training."""
        subsets = dict.fromkeys(tested, "test") | dict.fromkeys(held_out, "validation")
        p_fake: dict[str, float] = {}
        for ids in (sorted(tested), sorted(held_out)):  # each subset in batches of its own, as after a training
            folder = Path("data/crops") / cell.split("/")[0]
            pictures = np.stack([np.asarray(read_picture(folder / f"{face}.png")) for face in ids])
            scores = score(Faces(pictures, np.arange(len(ids)), np.zeros(len(ids), np.float32)))
            p_fake |= dict(zip(ids, scores, strict=True))
        rows = [
            {"face_id": face, "video_id": face, "track_id": face, "group": f"g{face[-1]}", "method": "", "p_fake": p}
            | {"label": face.split("-")[0], "subset": subsets[face]}
            for face, p in p_fake.items()
        ]
        weights = Path(f"models/{cell}/{name}/model.weights.h5")
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
        path = Path(f"predictions/{cell}/{name}.csv")
        tables.write(path, tables.to_dataframe(rows, tables.PREDICTIONS), tables.PREDICTIONS)

    def train(self, name: str, seed: int, cell: str = "full/tiny") -> None:
        """Write random weights, and predictions with them."""
        make_deterministic(seed)
        model = build(ModelSettings(**MODEL))
        folder = Path(f"models/{cell}/{name}")
        folder.mkdir(parents=True)
        model.save_weights(folder / "model.weights.h5")
        self.predict(name, lambda faces: loop.predict(model, faces), cell=cell)

    def run(self) -> pd.DataFrame:
        """The table that the stage writes."""
        self.said = robustness.main()
        return pd.read_csv("metrics/robustness.csv").set_index(["variant", "kind", "severity"]).sort_index()


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training is the detector of brightness."""
    monkeypatch.setattr(loop, "predict", mean_brightness)
    monkeypatch.setattr(layers, "load_by_name", lambda *_: None)
    monkeypatch.setattr(scoring, "_network", lambda *_: None)


@pytest.mark.usefixtures("bright")
def test_a_detector_of_brightness_reacts_as_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the brightness: the same order of faces, and no answer above .5 is left."""
    study = Study(tmp_path, monkeypatch, variants=["full"], robustness={"brightness": [0.5, 1, 4], "rotate": [3]})
    for seed in "12":
        study.predict(seed, lambda faces: mean_brightness(None, faces))
    table = study.run().loc["full"]
    data = tables.read(Path("predictions/full/tiny/1.csv"), tables.PREDICTIONS).query("subset == 'test'")
    auc = roc_auc_score(data["label"] == "fake", data["p_fake"])
    assert auc == 0  # these fakes are darker
    assert table["auc"].tolist() == [auc] * 5 and (table["change"].dropna() == 0).all()
    order = pd.read_csv("metrics/robustness.csv")["kind"].tolist()
    assert order == ["none", "rotate", "brightness", "brightness", "brightness"]
    assert (table["faces"] == 4).all()
    half, same, four = (table.loc[("brightness", value), "flip_rate"] for value in (0.5, 1, 4))
    p = data["p_fake"].to_numpy()
    assert same == 0 and half == pytest.approx(((p > 0.5) & (p / 2 <= 0.5)).mean())
    assert four == pytest.approx(((p <= 0.5) & (4 * p > 0.51)).mean()) and four > 0
    assert study.said.startswith("4 test faces with 4 alterations, 1 models on 1 variants, 2 trainings each; AUC falls")


@pytest.mark.usefixtures("bright")
def test_each_splits_models_score_its_own_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = params()["split"] | {"repeats": 2}
    study = Study(tmp_path, monkeypatch, split=split, robustness={"shift": [4]})
    for cell in ("full/tiny", "eyes_lower/tiny"):
        for seed in "12":
            study.predict(f"{seed}-1", lambda faces: mean_brightness(None, faces), cell=cell)
            study.predict(f"{seed}-2", lambda faces: mean_brightness(None, faces), OTHER, TESTED, cell)
    table = study.run()
    assert (table["faces"] == 6).all() and "4 trainings each" in study.said
    shifted = table.xs("shift", level="kind")
    assert shifted[["change", "change_low", "change_high", "change_p"]].notna().all(axis=None)
    extra = shifted[["extra", "extra_low", "extra_high", "extra_p"]]
    assert extra.loc["eyes_lower"].notna().all(axis=None) and extra.loc["full"].isna().all(axis=None)


@pytest.mark.usefixtures("bright")
@pytest.mark.parametrize("stills", [False, True])
def test_pictures_have_no_clip_to_encode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stills: bool) -> None:
    study = Study(tmp_path, monkeypatch, variants=["full"], robustness={"shift": [4], "h264": [30]})
    for seed in "12":
        study.predict(seed, lambda faces: mean_brightness(None, faces))
    index = Path("data/faces/index.csv")
    tables.write(index, tables.read(index, tables.FACES).assign(rotation=0), tables.FACES)
    faces, ending = [*TESTED, *OTHER], "png" if stills else "mp4"
    for name, table, rows in (
        ("frames", tables.FRAMES, [{"frame_id": face, "video_id": face, "frame_number": 3} for face in faces]),
        ("videos", tables.VIDEOS, [{"video_id": face, "path": f"{face}.{ending}"} for face in faces]),
    ):
        tables.write(Path("data") / name / "index.csv", tables.to_dataframe(rows, table), table)
    if not stills:
        for face in TESTED:
            pictures = (np.full((180, 220, 3), 90, np.uint8) for _ in range(5))
            encode(pictures, Fraction(10), 20, Path(f"data/videos/{face}.mp4"))
    kinds = pd.Index(study.run().index.get_level_values("kind"))
    assert ("h264" in kinds) != stills and "shift" in kinds
    note = "h264 is left out, as 4 test faces are from pictures, which have no clip to encode"
    assert study.said.endswith(note) == stills


def test_real_models_score_unaltered_faces_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights from the files, the same scores as after the training, the same bytes again; else it stops."""
    study = Study(tmp_path, monkeypatch, robustness={"shift": [4], "jpeg": [10]})
    for cell in ("full/tiny", "eyes_lower/tiny"):
        for seed in (1, 2):
            study.train(str(seed), seed + len(cell), cell)
    table = study.run()
    assert table["auc"].between(0, 1).all() and (table.xs("shift", level="kind")["flip_rate"] <= 1).all()
    first = Path("metrics/robustness.csv").read_bytes()
    found = Scored(monkeypatch)
    study.run()
    ((scores,),) = found.results
    assert scores.shape == (1, 2, 3, 2, 4)
    for of_variant, variant in enumerate(study.variants):
        for seed in (1, 2):
            stored = tables.read(Path(f"predictions/{variant}/tiny/{seed}.csv"), tables.PREDICTIONS)
            assert stored["p_fake"].nunique() == 6
            expected = stored.query("subset == 'test'")["p_fake"]
            np.testing.assert_allclose(scores[0, of_variant, 0, seed - 1], expected, atol=2e-6)
    assert Path("metrics/robustness.csv").read_bytes() == first

    weights = [Path(f"models/full/tiny/{seed}/model.weights.h5") for seed in (1, 2)]
    weights[0].write_bytes(weights[1].read_bytes())
    with pytest.raises(StudyError, match=r"models/full/tiny/1 gives the face \S+ the score .*predictions/full/tiny/1"):
        study.run()
    weights[1].unlink()
    with pytest.raises(StudyError, match=r"models/full/tiny/2/model.weights.h5 is missing; `make pull WHAT=train`"):
        study.run()
    assert Path("metrics/robustness.csv").read_bytes() == first


class Scored:
    """Notes what `altered_scores` returns to the stage."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results: list[list[FloatArray]] = []
        monkeypatch.setattr(robustness, "altered_scores", self)

    def __call__(self, *arguments: Any) -> list[FloatArray]:
        self.results.append(scoring.altered_scores(*arguments))
        return self.results[-1]


@pytest.mark.parametrize(
    ("counts", "side", "sizes"),
    [
        ([161], 64, [161, 161]),
        ([300, 100], 64, [150, 150] * 2 + [100] * 2),
        ([3], 64, [3, 3]),
        ([70], 512, [24, 24, 22] * 2),
        ([2], 2048, [1, 1] * 2),
    ],
)
def test_tasks_are_alike_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: list[int], side: int, sizes: list[int]
) -> None:
    """And their scores are put together by split, variant and face."""
    found: list[int] = []

    def score(_: Any, tasks: Sequence[scoring.Task], *__: Any) -> Iterator[FloatArray]:
        found.extend(len(task.faces) for task in tasks)
        return iter([np.array(task.faces, float)[None, None, None] + (task.variant == "b") / 2 for task in tasks])

    monkeypatch.setattr(scoring, "map_items", score)
    faces: list[Any] = [range(1000 * split, 1000 * split + count) for split, count in enumerate(counts)]
    settings = scoring_of(side, 12, tmp_path)
    settings = replace(settings, views=dict.fromkeys("ab", settings.views["full"]))
    results = scoring.altered_scores([scoring.Tested(one, []) for one in faces], settings, ComputeSettings())
    for result, of_split in zip(results, faces, strict=True):
        assert result.shape == (1, 2, 1, 1, len(of_split))
        assert result[0, :, 0, 0].tolist() == [list(of_split), [number + 0.5 for number in of_split]]
    assert found == sizes
    assert all(size == 1 or 3 * 13 * side**2 * size <= scoring.TASK_BYTES for size in sizes)


# --- the table ---------------------------------------------------------------------------------


def made_up(seeds: int = 5, groups: int = 30, seed: int = 4) -> Scores:
    """Trainings that differ much in AUC."""
    generator = np.random.default_rng(seed)
    fake = np.tile([False, True], groups)
    strength = np.linspace(0.2, 2.5, seeds)[:, None] * fake
    p_fake = 1 / (1 + np.exp(-(strength + generator.normal(size=(seeds, 2 * groups)) - 0.8)))
    number = np.arange(2 * groups)
    return Scores(fake, p_fake.round(6), number, number // 2, tuple(f"f{n:02}" for n in number))


def disturbed(before: Scores, seed: int, amount: float = 0.05) -> Scores:
    noise = np.random.default_rng(seed).normal(scale=amount, size=before.p_fake.shape)
    return replace(before, p_fake=np.clip(before.p_fake + noise, 0, 1).round(6))


def table_of(**cells: tuple[Scores, Scores]) -> pd.DataFrame:
    """The table of one model whose faces are altered in one way."""
    pairs = {variant: {None: [before], SHIFT: [after]} for variant, (before, after) in cells.items()}
    return robustness_table({"tiny": pairs}, 0.25)


def test_changes_are_paired_by_training() -> None:
    """The spread between trainings cancels, as the same ones are on both sides."""
    before = made_up()
    after = disturbed(before, 5)
    row = table_of(full=(before, after)).iloc[1]
    aucs = [[roc_auc_score(before.fake, p) for p in side.p_fake] for side in (before, after)]
    changes = np.diff(aucs, axis=0)[0]
    assert float(row["change"]) == pytest.approx(changes.mean(), abs=1e-6)
    crossed = differences(before, after, EvaluateSettings(), ["auc"], design="crossed")["auc"]
    assert crossed.spreads[0].parts[0].variance == pytest.approx(changes.var(ddof=1) / 5)
    nested = differences(before, after, EvaluateSettings(), ["auc"])["auc"]
    assert (crossed.low, crossed.high) == pytest.approx((float(row["change_low"]), float(row["change_high"])), abs=1e-6)
    assert crossed.high - crossed.low < 0.3 * (nested.high - nested.low)


def test_the_extra_change_is_that_against_the_first_variant() -> None:
    cells = {name: (before := made_up(seed=n), disturbed(before, n, 0.3 * n)) for n, name in enumerate("abc", start=1)}
    table = table_of(**cells)
    assert list(table.columns) == COLUMNS and table["variant"].tolist() == list("aabbcc")
    assert (table.loc[table["variant"] == "a", "extra"] == "").all() and (table.loc[::2, "extra_p"] == "").all()
    changes = dict(zip(table["variant"][1::2], table["change"][1::2].astype(float), strict=True))
    for name in "bc":
        found = stored_extra_change(table, "tiny", name, SHIFT)
        first, second = (([before], [after]) for before, after in (cells["a"], cells[name]))
        computed = extra_change(first, second, 0.25)
        assert found is not None and found.value == pytest.approx(changes[name] - changes["a"], abs=2e-6)
        for field in ("first", "second", "value", "low", "high", "p"):
            assert getattr(found, field) == pytest.approx(getattr(computed, field), abs=2e-6, rel=1e-3), field
    assert stored_extra_change(table, "tiny", "a", SHIFT) is None
    assert stored_extra_change(table, "tiny", "b", Alteration("shift", 2)) is None


def test_turned_scores_turn_the_table() -> None:
    before = made_up()
    after = replace(before, p_fake=1 - before.p_fake)
    table = table_of(full=(before, after))
    none, turned = table.to_dict("records")
    assert float(turned["auc"]) == pytest.approx(1 - float(none["auc"]), abs=2e-6)
    assert float(turned["flip_rate"]) == flip_rate(([before], [after])) == 1
    assert (turned["kind"], turned["severity"], turned["faces"]) == ("shift", "4", "60")
    assert none["change"] == none["change_p"] == none["flip_rate"] == none["severity"] == ""
    fall = -change(([before], [after]), 0.25).value
    said = f"AUC falls most for tiny on full with shift 4 %: by {fall:.3f} to {float(turned['auc']):.3f}"
    assert largest_fall(table) == said and fall > 0.3
    assert largest_fall(table[:1]) == "nothing is altered"


def test_one_training_gives_no_p_value() -> None:
    cells = {name: (made_up(1, seed=n), made_up(1, seed=n + 1)) for n, name in enumerate("ab")}
    table = table_of(**cells)
    row = table.iloc[3]
    assert row["change_p"] == row["extra_p"] == "" and row["change_low"] != "" != row["extra_low"]
    assert float(row["auc_low"]) < float(row["auc"])
    found = stored_extra_change(table, "tiny", "b", SHIFT)
    assert found is not None and np.isnan([found.low, found.high, found.p]).all()
    assert found.groups_low < found.value < found.groups_high


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
