"""The stage `robustness`: changes of AUC and of answers on altered faces."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from facestudy.alterations.settings import ALTERED_SCORES, Alteration
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.evaluation.intervals import EvaluateSettings, differences
from facestudy.evaluation.scores import Change, Scores
from facestudy.media.archive import read_picture
from facestudy.robustness.results import COLUMNS, change, flip_rate, largest_fall, robustness_table
from stages import robustness
from tests.pipeline_files import ROOT
from tests.project import call, params
from tests.test_altered import OTHER, TESTED, prepare, run, write_clips, write_split

SHIFT = Alteration("shift", 4)
SETTINGS = EvaluateSettings()


class Study:
    """A folder with six faces, their crops and altered crops, and predictions of a detector of brightness."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        chosen = {"models": {"tiny": {}}, "seeds": [1, 2]} | changes
        prepare(folder, monkeypatch, **chosen)
        self.variants: list[str] = chosen.get("variants", params()["variants"])

    def cut(self) -> None:
        for variant in self.variants:
            run(variant)

    def predict(self, name: str, tested: Sequence[str] = TESTED, held_out: Sequence[str] = OTHER) -> None:
        """Write the scores of one training on every variant: how bright a crop is."""
        for variant in self.variants:
            crops, altered = (Path("data") / kind / variant for kind in ("crops", "altered"))
            rows = [
                {"face_id": face, "video_id": face, "track_id": face, "group": f"g{face[-1]}", "method": ""}
                | {"label": face.split("-")[0], "subset": subset, "p_fake": brightness(crops / f"{face}.png")}
                for subset, faces in (("test", tested), ("validation", held_out))
                for face in faces
            ]
            path = Path(f"predictions/{variant}/tiny/{name}.csv")
            tables.write(path, tables.to_dataframe(rows, tables.PREDICTIONS), tables.PREDICTIONS)
            names = [path.name for path in altered.iterdir() if path.is_dir()]
            scored = [
                {"alteration": name, "face_id": face, "p_fake": brightness(altered / name / f"{face}.png")}
                for name in names
                for face in tested
            ]
            tables.write(path.with_suffix(".altered.csv"), tables.to_dataframe(scored, ALTERED_SCORES), ALTERED_SCORES)

    def run(self) -> pd.DataFrame:
        """The table that the stage writes."""
        self.said = robustness.main()
        return pd.read_csv("metrics/robustness.csv").set_index(["variant", "kind", "severity"]).sort_index()


def brightness(path: Path) -> float:
    """A detector that finds bright faces fake."""
    return float(np.asarray(read_picture(path)).mean() / 255)


def test_a_detector_of_brightness_reacts_as_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the brightness: the same order of faces, and no answer above .5 is left."""
    study = Study(tmp_path, monkeypatch, variants=["full"], robustness={"brightness": [0.5, 1, 4], "rotate": [3]})
    study.cut()
    for seed in "12":
        study.predict(seed)
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
    first = "4 test faces with 4 alterations, 1 models on 1 variants, 2 trainings each"
    assert study.said == f"{first}; no alteration lowers the AUC"


def test_each_splits_models_score_its_own_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(tmp_path, monkeypatch, split=params()["split"] | {"repeats": 2}, robustness={"shift": [4]})
    write_split(TESTED, OTHER)
    study.cut()
    for seed in "12":
        study.predict(f"{seed}-1")
        study.predict(f"{seed}-2", OTHER, TESTED)
    table = study.run()
    assert (table["faces"] == 6).all() and "4 trainings each" in study.said
    shifted = table.xs("shift", level="kind")
    assert shifted[["change", "change_low", "change_high", "change_p"]].notna().all(axis=None)
    extra = shifted[["extra", "extra_low", "extra_high", "extra_p"]]
    assert extra.loc["eyes_lower"].notna().all(axis=None) and extra.loc["full"].isna().all(axis=None)


def test_without_alterations_the_unaltered_faces_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(tmp_path, monkeypatch, robustness={})
    study.cut()
    study.predict("1")
    study.predict("2")
    table = study.run()
    assert table.index.get_level_values("kind").tolist() == ["none"] * 2 and table["auc"].notna().all()
    assert study.said.endswith("nothing is altered")


@pytest.mark.parametrize("stills", [False, True])
def test_only_what_needs_a_clip_may_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stills: bool) -> None:
    study = Study(tmp_path, monkeypatch, variants=["full"], robustness={"shift": [4], "h264": [30]})
    write_clips("png" if stills else "mp4")
    study.cut()
    study.predict("1")
    study.predict("2")
    kinds = pd.Index(study.run().index.get_level_values("kind"))
    assert ("h264" in kinds) != stills and "shift" in kinds
    assert study.said.endswith("h264 is skipped, as pictures have no clip to encode") == stills
    for name in "12":
        path = Path(f"predictions/full/tiny/{name}.altered.csv")
        tables.write(path, tables.read(path, ALTERED_SCORES).query("alteration != 'shift_4'"), ALTERED_SCORES)
    with pytest.raises(StudyError, match="predictions/full/tiny has no scores of faces with shift 4 %"):
        study.run()


def test_another_rest_changes_only_what_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each face is its own clip: there is no other frame."""
    study = Study(tmp_path, monkeypatch, robustness={"shift": [4], "composite": ["other_frame", "other_person"]})
    study.cut()
    study.predict("1")
    study.predict("2")
    table = study.run().xs("composite", level="kind")
    assert table.index.tolist() == [("eyes_lower", "other_person"), ("full", "other_person")]
    cropped = table.loc["eyes_lower", ["change", "change_low", "change_high", "flip_rate"]]
    assert (cropped == 0).all(axis=None)
    scores = [
        tables.read(Path(f"predictions/{variant}/tiny/1.csv"), tables.PREDICTIONS).set_index("face_id")["p_fake"]
        - tables.read(Path(f"predictions/{variant}/tiny/1.altered.csv"), ALTERED_SCORES)
        .query("alteration == 'composite_other_person'")
        .set_index("face_id")["p_fake"]
        for variant in ("full", "eyes_lower")
    ]
    assert (scores[0].dropna() != 0).all() and (scores[1].dropna() == 0).all() and len(scores[1].dropna()) == 4
    said = "rest from another frame is skipped, as too many test faces have no such face to take it from"
    assert study.said.endswith(f"; {said}")


def test_scores_of_other_faces_or_alterations_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(tmp_path, monkeypatch, variants=["full"], robustness={"shift": [4], "blur": [2]})
    study.cut()
    study.predict("1")
    study.predict("2")
    path = Path("predictions/full/tiny/2.altered.csv")
    whole = tables.read(path, ALTERED_SCORES)
    fewer = whole.query("alteration != 'blur_2' or face_id != 'real-1'")
    for table, message in (
        (fewer, r"2\.altered\.csv: the faces with blur_2 are not the test faces of the predictions"),
        (whole.query("alteration != 'blur_2'"), r"1\.altered\.csv and \S+2\.altered\.csv have different alterations"),
        (whole.assign(p_fake=1.5), r"2\.altered\.csv: face fake-0 with blur_2 has p_fake = 1\.5, not 0 to 1"),
    ):
        tables.write(path, table, ALTERED_SCORES)
        with pytest.raises(StudyError, match=message):
            study.run()
    path.unlink()
    with pytest.raises(StudyError, match=r"predictions/full/tiny/2\.altered\.csv is missing"):
        study.run()
    assert not Path("metrics/robustness.csv").exists()


def test_the_stage_needs_no_tensorflow_and_no_opencv() -> None:
    code = "import sys, stages.robustness; print({'keras', 'tensorflow', 'cv2'} & set(sys.modules))"
    assert call(ROOT, sys.executable, "-c", code).stdout == "set()\n"


# --- the table ---------------------------------------------------------------------------------


def made_up(seeds: int = 5, groups: int = 30, seed: int = 4) -> Scores:
    """Trainings that differ much in AUC."""
    generator = np.random.default_rng(seed)
    fake = np.tile([False, True], groups)
    strength = np.linspace(0.2, 2.5, seeds)[:, None] * fake
    p_fake = 1 / (1 + np.exp(-(strength + generator.normal(size=(seeds, 2 * groups)) - 0.8)))
    number = np.arange(2 * groups)
    return Scores(fake, p_fake.round(6), number, number // 2, tuple(f"f{n:02}" for n in number))


def disturbed(before: Scores, seed: int, amount: float = 0.05) -> Change:
    noise = np.random.default_rng(seed).normal(scale=amount, size=before.p_fake.shape)
    return Change(before, replace(before, p_fake=np.clip(before.p_fake + noise, 0, 1).round(6)))


def table_of(cells: Mapping[str, Change], settings: EvaluateSettings = SETTINGS) -> pd.DataFrame:
    """The table of one model whose faces are altered in one way."""
    unaltered = {"tiny": {variant: [one.before] for variant, one in cells.items()}}
    altered = {"tiny": {variant: {SHIFT: [one]} for variant, one in cells.items()}}
    return robustness_table(unaltered, altered, settings, 0.25)


def test_changes_are_paired_by_training() -> None:
    """The spread between trainings cancels, as the same ones are on both sides."""
    before = made_up()
    cell = disturbed(before, 5)
    row = table_of({"full": cell}).iloc[1]
    aucs = [[roc_auc_score(before.fake, p) for p in side.p_fake] for side in (before, cell.after)]
    changes = np.diff(aucs, axis=0)[0]
    assert float(row["change"]) == pytest.approx(changes.mean(), abs=1e-6)
    crossed = differences(before, cell.after, SETTINGS, ["auc"], design="crossed")["auc"]
    assert crossed.spreads[0].parts[0].variance == pytest.approx(changes.var(ddof=1) / 5)
    nested = differences(before, cell.after, SETTINGS, ["auc"])["auc"]
    assert (crossed.low, crossed.high) == pytest.approx((float(row["change_low"]), float(row["change_high"])), abs=1e-6)
    assert crossed.high - crossed.low < 0.3 * (nested.high - nested.low)


def test_the_extra_change_is_that_against_the_first_variant() -> None:
    cells = {name: disturbed(made_up(seed=n), n, 0.3 * n) for n, name in enumerate("abc", start=1)}
    table = table_of(cells)
    assert list(table.columns) == COLUMNS and table["variant"].tolist() == list("aabbcc")
    assert (table.loc[table["variant"] == "a", "extra"] == "").all() and (table.loc[::2, "extra_p"] == "").all()
    rows = table[1::2].set_index("variant")
    for name in "bc":
        computed = differences(cells["a"], cells[name], SETTINGS, ["auc"])["auc"]
        found = rows.loc[name].replace("", "nan")
        values = {"value": "extra", "low": "extra_low", "high": "extra_high", "p": "extra_p", "second": "change"}
        for field, column in values.items():
            assert float(found[column]) == pytest.approx(getattr(computed, field), abs=2e-6, rel=1e-3), field
        assert computed.first == pytest.approx(float(rows.loc["a", "change"]), abs=2e-6)


def test_the_same_crops_leave_nothing_to_estimate() -> None:
    """With another rest, equal scores mean equal crops; otherwise other faces might still change."""
    before = made_up()
    same, other = Change(before, before), disturbed(made_up(seed=2), 2)
    for alteration, certain in ((Alteration("composite", "other_person"), True), (SHIFT, False)):
        cells = {"full": other, "eyes_lower": same}
        unaltered = {"tiny": {variant: [one.before] for variant, one in cells.items()}}
        altered = {"tiny": {variant: {alteration: [one]} for variant, one in cells.items()}}
        full, row = (robustness_table(unaltered, altered, SETTINGS, 0.25).iloc[n] for n in (1, 3))
        assert (row["change"], row["change_p"], row["severity"]) == ("0.000000", "1", alteration.written)
        assert (row["change_low"] == row["change_high"] == "0.000000") == certain
        assert float(row["extra"]) == -float(full["change"])
        assert float(row["extra_low"]) < float(row["extra"]) < float(row["extra_high"])


def test_the_confidence_is_that_of_the_settings() -> None:
    cells = {name: disturbed(made_up(seed=n), n) for n, name in enumerate("ab")}
    usual, sure = (table_of(cells, EvaluateSettings(confidence=level)).iloc[3] for level in (0.95, 0.99))
    for name in ("auc", "change", "extra"):
        assert usual[name] == sure[name]
        assert float(sure[f"{name}_low"]) < float(usual[f"{name}_low"])
        assert float(sure[f"{name}_high"]) > float(usual[f"{name}_high"])


def test_turned_scores_turn_the_table() -> None:
    before = made_up()
    cell = Change(before, replace(before, p_fake=1 - before.p_fake))
    table = table_of({"full": cell})
    none, turned = table.to_dict("records")
    assert float(turned["auc"]) == pytest.approx(1 - float(none["auc"]), abs=2e-6)
    assert float(turned["flip_rate"]) == flip_rate([cell]) == 1
    assert (turned["kind"], turned["severity"], turned["faces"]) == ("shift", "4", "60")
    assert none["change"] == none["change_p"] == none["flip_rate"] == none["severity"] == ""
    fall = -change([cell], SETTINGS, 0.25).value
    said = f"AUC falls most for tiny on full with shift 4 %: by {fall:.3f} to {float(turned['auc']):.3f}"
    assert largest_fall(table) == said and fall > 0.3
    assert largest_fall(table[:1]) == "nothing is altered"


def test_one_training_gives_no_p_value() -> None:
    cells = {name: Change(made_up(1, seed=n), made_up(1, seed=n + 1)) for n, name in enumerate("ab")}
    table = table_of(cells)
    row = table.iloc[3]
    assert row["change_p"] == row["extra_p"] == "" and row["change_low"] != "" != row["extra_low"]
    assert float(row["auc_low"]) < float(row["auc"])
