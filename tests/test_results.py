"""The report, and the stages evaluate, compare and focus on made-up predictions."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import yaml
from sklearn.metrics import roc_auc_score

from commands.study import print_results
from facestudy.alterations.settings import ALTERED_SCORES
from facestudy.attribution.findings import ATTRIBUTION
from facestudy.controls.shortcuts import DROP_RATE, ONE_CLASS, SHORTCUTS, WITHOUT_FACE
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.evaluation.intervals import FEW_GROUPS
from facestudy.evaluation.metrics import NAMES, point_metrics, tuned_threshold
from stages import compare, evaluate, focus, hypotheses, report
from tests.pipeline_files import ROOT
from tests.project import params

MODEL = {"network": "meso4", "input_size": 128, "epochs": 25, "learning_rate": 0.002}
SMALL = {"network": "vgg19", "input_size": 96, "epochs": 12, "learning_rate": 0.001, "width": 0.25}


def made_up_predictions(seed: int, strength: float, groups: int = 24) -> pd.DataFrame:
    """Twins: each group one real and one fake video of two faces; some validation rows besides."""
    rng = np.random.default_rng(seed)
    rows = []
    for group in range(groups + 3):
        for label in tables.LABELS:
            centre = rng.normal((strength if label == "fake" else -strength), 1)
            for face in range(2):
                rows.append(
                    {
                        "face_id": f"p{group:03}-{label}-{face}",
                        "video_id": f"p{group:03}-{label}",
                        "track_id": f"p{group:03}-{label}_t0",
                        "group": f"p{group:03}",
                        "method": "swap" if label == "fake" else "",
                        "label": label,
                        "subset": "test" if group < groups else "validation",
                        "p_fake": 1 / (1 + np.exp(-centre - rng.normal(0, 0.5))),
                    }
                )
    return tables.to_dataframe(rows, tables.PREDICTIONS)


def made_up_altered(predictions: pd.DataFrame) -> pd.DataFrame:
    """Scores of the test faces after the shift that the contrast `sensitivity` is about."""
    tested = predictions[predictions["subset"] == "test"]
    p_fake = 0.9 * tested["p_fake"] + 0.1 * np.random.default_rng(1).random(len(tested))
    return pd.DataFrame({"alteration": "shift_4", "face_id": tested["face_id"], "p_fake": p_fake})


class Study:
    """A project folder with settings and predictions in which stages can be run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, groups: int = 24) -> None:
        self.monkeypatch = monkeypatch
        self.params = params() | {
            "models": {"mesonet": MODEL, "vgg": SMALL},
            "variants": ["full", "eyes_lower", "nose"],
            "seeds": [1, 2, 3],
            "source": "sample",
            "focus": "full",
            "evaluate": {"confidence": 0.95},
        }
        self.save()
        self.write_clips()
        strengths = {"full": 1.0, "eyes_lower": 3.0, "nose": 0.0}
        for v, (variant, strength) in enumerate(strengths.items()):
            for m, model in enumerate(self.params["models"]):
                for seed in self.params["seeds"]:
                    data = made_up_predictions(100 * v + 10 * m + seed, strength, groups)
                    path = self.predictions(variant, model, seed)
                    tables.write(path, data, tables.PREDICTIONS)
                    tables.write(path.with_suffix(".altered.csv"), made_up_altered(data), ALTERED_SCORES)

    @staticmethod
    def predictions(variant: str, model: str, seed: int) -> Path:
        return Path(f"predictions/{variant}/{model}/{seed}.csv")

    def save(self) -> None:
        Path("params.yaml").write_text(yaml.safe_dump(self.params, sort_keys=False))

    def set(self, **changes: Any) -> None:
        self.params |= changes
        self.save()

    def evaluate(self, model: str, variant: str) -> str:
        return evaluate.main(model, variant)

    def write_clips(self, *lost: dict[str, str]) -> None:
        """data/clip_counts.csv with two clips that were used, and those that were not."""
        used = [{"video_id": f"p000-{label}", "label": label, "status": "used"} for label in tables.LABELS]
        tables.write(Path("data/clip_counts.csv"), tables.to_dataframe([*used, *lost], tables.CLIPS), tables.CLIPS)

    def write_shortcuts(self, value: float, low: float, share: float = 0.0) -> None:
        """metrics/shortcuts.csv with one group of cues, and a group of faces with a share of the fakes."""
        row = {"measure": "auc", "value": value, "low": low, "high": 1.0, "cues": "container codec"}
        rates = {"measure": "difference", "value": 0.0, "real": 0.25, "fake": 0.25, "p": 1.0}
        rows = [{"control": "format", **row}, {"control": WITHOUT_FACE, **row}, {"control": DROP_RATE, **rates}]
        rows.append(
            {"control": ONE_CLASS, "measure": "share", "value": share, "real": 0.0, "fake": share, "cues": "p007"}
        )
        tables.write(Path("metrics/shortcuts.csv"), tables.to_dataframe(rows, SHORTCUTS), SHORTCUTS)

    def write_robustness(self) -> None:
        """metrics/robustness.csv with three alterations; the changes of AUC count up over the cells."""
        rows = []
        for number, variant in enumerate(self.params["variants"]):
            for model in self.params["models"]:
                cell = {"model": model, "variant": variant, "kind": "none", "auc": "0.9"}
                p = "0.0004" if len(self.params["seeds"]) > 1 else ""
                extra = [f"-0.{number}", f"-1.{number}", f"0.{number}", p] if number else [""] * 4
                columns = ["change", "change_low", "change_high", "extra", "extra_low", "extra_high", "extra_p"]
                change = [f"-0.1{number}", f"-0.2{number}", f"0.0{number}"]
                altered = dict(zip(columns, change + extra, strict=True))
                kinds = (("shift", "4"), ("jpeg", "4"), ("composite", "other_person"))
                rows += [cell, *({**cell, "kind": kind, "severity": value, **altered} for kind, value in kinds)]
        Path("metrics/robustness.csv").parent.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_csv("metrics/robustness.csv", index=False)

    def spread(self, variant: str, model: str, seed: int, spread: float) -> None:
        """Squeeze the p_fake of one training into a range of this width."""
        path = self.predictions(variant, model, seed)
        table = tables.read(path, tables.PREDICTIONS)
        tested = table["subset"] == "test"
        p_fake = table.loc[tested, "p_fake"].rank(pct=True)
        table.loc[tested, "p_fake"] = 0.6 + spread * (p_fake - p_fake.min()) / (p_fake.max() - p_fake.min())
        tables.write(path, table, tables.PREDICTIONS)

    def compare(self) -> tuple[pd.DataFrame, str]:
        compare.main()
        self.write_robustness()
        hypotheses.main()
        if not Path("metrics/shortcuts.csv").exists():
            self.write_shortcuts(0.55, 0.45)
        if not Path("metrics/attribution.csv").exists():
            tables.write(Path("metrics/attribution.csv"), tables.to_dataframe([], ATTRIBUTION), ATTRIBUTION)
        for variant in self.params["variants"]:
            for model in self.params["models"]:
                rows = [
                    {"training": str(seed), "epoch": epoch, "loss": 1 / epoch, "validation_loss": loss}
                    | {"validation_auc": 0.75, "selected": int(epoch == seed)}
                    for seed in (1, 2)
                    for epoch, loss in ((1, 0.75), (2, 0.5), (3, math.nan))
                ]
                path = Path(f"metrics/training/{variant}/{model}.csv")
                path.parent.mkdir(parents=True, exist_ok=True)
                tables.write(path, tables.to_dataframe(rows, tables.TRAININGS), tables.TRAININGS)
        report.main()
        return pd.read_csv("metrics/comparison.csv"), Path("metrics/results.md").read_text()


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    return Study(monkeypatch)


def test_evaluate_writes_one_flat_schema_of_numbers(study: Study) -> None:
    summary = study.evaluate("mesonet", "full")
    assert "96 test faces of 48 videos in 24 groups, 3 seeds" in summary
    study.evaluate("vgg", "nose")
    found = json.loads(Path("metrics/full/mesonet.json").read_text())
    assert list(json.loads(Path("metrics/nose/vgg.json").read_text())) == list(found)
    assert all(isinstance(value, int | float) for value in found.values())
    for prefix in ("", "video_"):
        for name in NAMES:
            for interval in ("", "_groups"):
                value, low, high = (
                    found[f"{prefix}{name}{end}"] for end in ("", f"{interval}_low", f"{interval}_high")
                )
                assert low < value < high
            assert found[f"{prefix}{name}_seed_sd"] >= 0
    assert found["auc_seed_sd"] > 0
    counts = {key: found[key] for key in found if key.startswith("test_")} | {"seeds": found["seeds"]}
    assert counts == {
        "test_groups": 24,
        "test_videos": 48,
        "test_real_videos": 24,
        "test_fake_videos": 24,
        "test_faces": 96,
        "test_real_faces": 48,
        "test_fake_faces": 48,
        "seeds": 3,
    }


def columns(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows["label"].to_numpy() == "fake", rows["p_fake"].to_numpy()


def test_evaluate_is_the_mean_over_seeds_of_the_test_rows(study: Study) -> None:
    study.evaluate("mesonet", "full")
    found = json.loads(Path("metrics/full/mesonet.json").read_text())
    faces: list[dict[str, float]] = []
    videos: list[dict[str, float]] = []
    for seed in (1, 2, 3):
        data = pd.read_csv(study.predictions("full", "mesonet", seed))
        means = data.groupby(["subset", "video_id", "label"], as_index=False)["p_fake"].mean()
        for rows, collected in ((data, faces), (means, videos)):
            tuned = tuned_threshold(*columns(rows.query("subset == 'validation'")))
            collected.append(point_metrics(*columns(rows.query("subset == 'test'")), tuned))
    for prefix, seeds in (("", faces), ("video_", videos)):
        for name in NAMES:
            each = [values[name] for values in seeds]
            assert found[prefix + name] == pytest.approx(np.mean(each), abs=1e-6)
            assert found[f"{prefix}{name}_seed_sd"] == pytest.approx(np.std(each, ddof=1), abs=1e-6)


def test_same_bytes_again(study: Study) -> None:
    study.evaluate("mesonet", "full")
    before = [Path("metrics/full/mesonet.json").read_bytes(), *study.compare()[1:]]
    study.evaluate("mesonet", "full")
    assert [Path("metrics/full/mesonet.json").read_bytes(), *study.compare()[1:]] == before


def test_names_come_from_params_not_from_files(study: Study) -> None:
    study.set(models={"mesonet": MODEL}, variants=["full", "nose"], seeds=[2])
    summary = study.evaluate("mesonet", "full")
    assert "1 seed" in summary
    found = json.loads(Path("metrics/full/mesonet.json").read_text())
    assert found["seeds"] == 1
    assert found["accuracy_seed_sd"] == 0
    table, page = study.compare()
    assert set(table["model"]) == {"mesonet"}
    assert set(table["variant"]) == {"nose"}
    assert "vgg" not in page
    with pytest.raises(StudyError, match=r"models has no 'vgg' \(it has mesonet\)"):
        study.evaluate("vgg", "full")
    with pytest.raises(StudyError, match="variants has no 'eyes_lower'"):
        study.evaluate("mesonet", "eyes_lower")


def test_evaluate_refuses_missing_and_unlike_predictions(study: Study) -> None:
    path = study.predictions("full", "mesonet", 2)
    data = tables.read(path, tables.PREDICTIONS)
    tables.write(path, data[data["face_id"] != "p000-real-0"], tables.PREDICTIONS)
    with pytest.raises(StudyError, match="p000-real-0 is in one only"):
        study.evaluate("mesonet", "full")
    path.unlink()
    with pytest.raises(StudyError, match=r"predictions/full/mesonet/2\.csv is missing"):
        study.evaluate("mesonet", "full")
    assert not Path("metrics").exists()


def test_comparison_is_holm_corrected_over_models(study: Study) -> None:
    table, _ = study.compare()
    assert list(zip(table["model"], table["variant"], table["metric"], strict=True)) == [
        (model, variant, metric)
        for model in ("mesonet", "vgg")
        for variant in ("eyes_lower", "nose")
        for metric in ("accuracy", "auc")
    ]
    np.testing.assert_allclose(table["difference"], table["value"] - table["reference"], atol=2e-6)
    assert (table["low"] < table["difference"]).all()
    assert (table["difference"] < table["high"]).all()
    assert ((table["low"] > 0) == ((table["p"] < 0.05) & (table["difference"] > 0))).all()
    for _, family in table.groupby(["variant", "metric"]):
        small, large = np.sort(family["p"])
        first, second = np.sort(family["p_holm"])
        assert first == pytest.approx(2 * small, rel=1e-3)
        assert second == pytest.approx(max(2 * small, large), rel=1e-3)
    sign = np.where(table["difference"] > 0, "better", "worse")
    assert list(table["verdict"]) == list(np.where(table["p_holm"] < 0.05, sign, "no_difference"))
    assert {"better", "worse"} <= set(table["verdict"])
    assert (table["detectable"] > 0).all()
    assert (table[["test_groups", "test_videos", "test_faces", "seeds"]] == [24, 48, 96, 3]).all(axis=None)


def test_results_page(study: Study) -> None:
    study.evaluate("mesonet", "eyes_lower")
    found = json.loads(Path("metrics/eyes_lower/mesonet.json").read_text())
    _, page = study.compare()
    lines = page.splitlines()
    head = [cell.strip() for cell in lines[lines.index("## Accuracy, %") + 2].split("|")[1:-1]]
    assert head == ["model", "normal (full)", "cropped (eyes_lower)", "cropped (nose)"]
    row = [cell.strip() for cell in lines[lines.index("## AUC") + 4].split("|")[1:-1]]
    assert row[0] == "mesonet"
    # The table and the metrics file say the same.
    assert row[2] == f"{found['auc']:.3f} [{found['auc_low']:.3f}, {found['auc_high']:.3f}]"
    assert "24 groups, 48 videos, 96 faces (48 fake)" in page
    assert "- vgg: vgg19, width 0.25, 96 × 96 pixels, trained from scratch, 12 epochs, seeds 1, 2, 3" in page
    assert "about the built-in sample" in page
    assert "hold 12 intervals" in page
    assert f"{100 * (1 - 0.95**12):.0f} % of the time" in page
    assert "Warning" not in page
    tables_in_page = [line for line in lines if line.startswith("|")]
    contrasts = 2 + 2 * 2  # crop and sensitivity
    assert len(tables_in_page) == 2 * (2 + 2) + 2 * (2 + 4) + 2 + 6 + (2 + 6) + (2 + 2) + (2 + 6) + contrasts
    study.set(source="folder")
    assert "built-in sample" not in study.compare()[1]


def test_attribution_has_a_section_where_faces_were_examined(study: Study) -> None:
    assert "## Which parts the models rely on" not in study.compare()[1]
    shared = {"model": "mesonet", "variant": "full", "region": "eyes", "area": 0.18, "faces": 80, "trainings": 5}
    figures = {"value": 2.08, "value_low": 1.9, "value_high": 2.26}
    figures |= {"random": 1.1, "random_low": 0.9, "random_high": 1.2}
    rows = [
        {**shared, **figures, "method": "occlusion", "finding": "preferred"},
        {**shared, **figures, "method": "grad_cam", "value": 0.5, "value_low": math.nan, "value_high": math.nan},
        {**shared, **figures, "method": "occlusion", "region": "altered", "faces": 40, "finding": "none"},
    ]
    tables.write(Path("metrics/attribution.csv"), tables.to_dataframe(rows, ATTRIBUTION), ATTRIBUTION)
    lines = study.compare()[1].splitlines()
    start = lines.index("## Which parts the models rely on")
    assert "At most 80 test faces" in lines[start + 2]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 4 : start + 8]]
    assert cells[0][4:] == [f"{m}: {c}" for m in ("grad_cam", "occlusion") for c in ("trained", "random", "finding")]
    shown = {row[2]: row[4:] for row in cells[2:]}
    random = "1.10 [0.90, 1.20]"
    assert shown["eyes"] == ["0.50", random, "–", "2.08 [1.90, 2.26]", random, "preferred"]
    assert shown["altered"] == ["–", "–", "–", "2.08 [1.90, 2.26]", random, "none"]


def test_robustness_of_the_first_two_variants_is_shown(study: Study) -> None:
    study.compare()

    def rows() -> list[list[str]]:
        section = Path("metrics/results.md").read_text().split("## Robustness")[1].split("##")[0]
        return [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line[:1] == "|"]

    assert rows()[0] == ["model", "altered", "change, full", "change, eyes_lower", "eyes_lower minus full", "p"]
    changes = ["-0.100 [-0.200, +0.000]", "-0.110 [-0.210, +0.010]"]
    assert rows()[2] == ["mesonet", "shift 4 %", *changes, "-0.100 [-1.100, +0.100]", "< .001"]
    altered = ["shift 4 %", "JPEG quality 4", "rest from another person"]
    assert [row[:2] for row in rows()[2:]] == [[model, one] for model in ("mesonet", "vgg") for one in altered]
    study.spread("eyes_lower", "vgg", 2, spread=0)
    study.compare()
    assert rows()[5] == ["vgg", "shift 4 %", changes[0], "broken", "broken", "–"] and rows()[2][3] == changes[1]
    study.set(variants=["full"])
    study.compare()
    assert rows()[0] == ["model", "altered", "change, full"] and rows()[2] == ["mesonet", "shift 4 %", changes[0]]
    Path("metrics/robustness.csv").write_text("model,variant,kind,severity\nmesonet,full,none,\n")
    report.main()
    assert "Robustness" not in Path("metrics/results.md").read_text()
    Path("metrics/robustness.csv").unlink()
    with pytest.raises(StudyError, match=r"metrics/robustness\.csv cannot be read"):
        report.main()


def clips_section(page: str) -> list[str]:
    lines = page.splitlines()
    return lines[lines.index("## Clips") + 2 : lines.index("## How to read the tables") - 1]


def lost_clip(number: int, path: str, reason: str = "the file is empty") -> dict[str, str]:
    return {"video_id": f"lost-{number:02}", "label": "real", "path": path, "status": "rejected", "reason": reason}


def test_clips_are_one_line_when_all_are_used(study: Study) -> None:
    assert clips_section(study.compare()[1]) == ["2 clips: 2 used; data/clips.csv has a row for each."]


def test_clips_have_the_mean_p_fake_of_each_cell(study: Study) -> None:
    study.compare()
    table = tables.clips_table(study.params["models"], study.params["variants"])
    found = tables.read(Path("data/clips.csv"), table).set_index("video_id")
    for model in study.params["models"]:
        for variant in study.params["variants"]:
            files = [study.predictions(variant, model, seed) for seed in study.params["seeds"]]
            every = pd.concat(tables.read(file, tables.PREDICTIONS) for file in files)
            means = every.groupby("video_id")["p_fake"].mean()
            assert found[f"{model}.{variant}"].tolist() == pytest.approx(means[found.index].tolist(), abs=1e-6)


def test_lost_clips_are_named_with_their_reasons(study: Study) -> None:
    study.write_clips(
        lost_clip(1, "real/notes.txt", "not a video or picture (.txt)"),
        lost_clip(2, "real/a\n\n<img src=x>.mp4"),
        {"video_id": "link-1", "label": "fake", "status": "unavailable", "reason": "private"},
    )
    assert clips_section(study.compare()[1]) == [
        "5 clips: 2 used, 2 rejected, 1 unavailable; data/clips.csv has a row for each.",
        "",
        "    'real/a\\n\\n<img src=x>.mp4'  rejected: the file is empty",
        "    real/notes.txt               rejected: not a video or picture (.txt)",
        "    link-1                       unavailable: private",
    ]


def test_not_more_than_twenty_clips_are_named(study: Study) -> None:
    study.write_clips(*[lost_clip(number, f"real/{number:02}.mp4") for number in range(30)])
    section = clips_section(study.compare()[1])
    assert len(section) == 2 + 20 + 1
    assert section[-2:] == ["    real/19.mp4  rejected: the file is empty", "    ... and 10 more in data/clips.csv"]


def test_verdicts_are_said_in_words(study: Study) -> None:
    table, page = study.compare()
    lines = [line for line in page.splitlines() if " than full by " in line or "no difference found" in line]
    assert len(lines) == len(table)
    for line, row in zip(lines, table.to_dict("records"), strict=True):
        assert row["model"] in line and row["variant"] in line
        scale, digits = (100, 1) if row["metric"] == "accuracy" else (1, 3)
        number = row["detectable"] if row["verdict"] == "no_difference" else abs(row["difference"])
        assert f"{scale * number:.{digits}f} " in line
        assert row["verdict"].replace("_", " ") in line


def test_one_seed_gives_no_p_value_and_no_verdict(study: Study) -> None:
    study.set(seeds=[2])
    study.evaluate("mesonet", "full")
    found = json.loads(Path("metrics/full/mesonet.json").read_text())
    assert "auc_low" not in found and found["auc_groups_low"] < found["auc"] < found["auc_groups_high"]
    table, page = study.compare()
    assert (table["verdict"] == "not_tested").all()
    assert table[["p", "p_holm", "low", "high", "detectable"]].isna().all(axis=None)
    assert table[["groups_low", "groups_high", "groups_p"]].notna().all(axis=None)
    assert "Warning: one seed" in page and "no difference found" not in page and "| p " not in page
    study.set(focus="full", models={"mesonet": MODEL})
    focus.main()
    shown = json.loads(Path("metrics/focus.json").read_text())
    assert shown["mesonet"] == {key: found[key] for key in ("accuracy", "auc")}


def test_the_page_needs_no_second_computation(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    _, page = study.compare()
    Path("metrics/results.md").unlink()
    monkeypatch.setattr("facestudy.evaluation.comparisons.cell_estimates", None)
    report.main()
    assert Path("metrics/results.md").read_text() == page


def test_constant_output_is_broken_and_not_a_result(study: Study) -> None:
    before = study.compare()[0]
    study.spread("full", "mesonet", 2, 0.0009)
    assert study.evaluate("mesonet", "full").endswith("; BROKEN: 1 with a constant output")
    assert json.loads(Path("metrics/full/mesonet.json").read_text())["constant_trainings"] == 1
    table, page = study.compare()
    assert compare.main().split("; ")[1] == "1 cell BROKEN: constant output"
    assert json.loads(Path("metrics/results.json").read_text())["constant_trainings"]["mesonet"]["full"] == 1
    broken = table["model"] == "mesonet"
    assert (table.loc[broken, "verdict"] == "broken").all()
    assert table.loc[broken, ["p_holm", "detectable"]].isna().all(axis=None)
    # The other model is alone in its families now.
    np.testing.assert_allclose(table.loc[~broken, "p_holm"], before.loc[~broken, "p"])
    lines = page.splitlines()
    warned = next(i for i, line in enumerate(lines) if line.startswith("**Warning: broken: constant output of mesonet"))
    assert "mesonet on full (1 of 3 trainings)." in lines[warned] and warned < lines.index("## Accuracy, %")
    for title in ("## Accuracy, %", "## AUC"):
        row = [cell.strip() for cell in lines[lines.index(title) + 4].split("|")[1:-1]]
        assert row[:2] == ["mesonet", "broken"] and "[" in row[2]
    row = [cell.strip() for cell in lines[lines.index("## Difference from full") + 6].split("|")[1:-1]]
    assert row == ["mesonet", "eyes_lower", "broken", "", "", "broken", "", ""]
    assert page.count("broken: constant output on eyes_lower or full, no verdict") == 2
    scored = next(one for one in lines[lines.index("## Thresholds and calibration") :] if one.startswith("| mesonet"))
    assert [cell.strip() for cell in scored.split("|")[1:-1]] == ["mesonet", "full", "broken", "", "", "", ""]
    assert "The tables of accuracy and AUC hold 10 intervals." in page  # of five cells


def test_a_small_spread_is_not_yet_broken(study: Study) -> None:
    study.spread("full", "mesonet", 2, 0.0011)
    table, page = study.compare()
    assert "broken" not in set(table["verdict"]) and "broken" not in page


def test_a_broken_control_variant_leaves_the_others_alone(study: Study) -> None:
    before = study.compare()[0]
    study.spread("nose", "vgg", 1, 0.0)
    table = study.compare()[0]
    assert list(table.loc[table["verdict"] == "broken", "variant"]) == ["nose", "nose"]
    kept = table["variant"] == "eyes_lower"
    pd.testing.assert_frame_equal(table[kept], before[kept])


def test_one_seed_can_be_broken_too(study: Study) -> None:
    study.set(seeds=[2])
    study.spread("full", "mesonet", 2, 0.0)
    table, page = study.compare()
    assert set(table["verdict"]) == {"broken", "not_tested"}
    assert "mesonet on full (1 of 1 training)" in page and "nan" not in page.split("## Training")[0]


def test_shortcuts_are_warned_of_above_the_first_table(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    _, page = study.compare()
    assert "Without seeing the face: AUC 0.550 [0.450, 1.000] (logistic regression on format)." in page
    assert "Frames without a usable face: 25.0% of the real, 25.0% of the fake (p 1.000)." in page
    study.write_shortcuts(0.9, 0.8)
    lines = study.compare()[1].splitlines()
    first = lines.index("## Accuracy, %")
    assert lines[first - 2].startswith("**Warning: real and fake can be told apart without seeing the face, AUC 0.900 ")
    print_results()
    assert capsys.readouterr().out.splitlines()[-2] == lines[first - 2].strip("*")
    study.write_shortcuts(0.5, 0.4, share=0.25)
    lines = study.compare()[1].splitlines()
    assert lines[first - 2].startswith("**Warning: 25% of the fake faces belong to one group (p007 in data/split.csv)")


def test_the_gap_between_training_and_validation_is_shown(study: Study) -> None:
    lines = study.compare()[1].splitlines()
    row = [cell.strip() for cell in lines[lines.index("## Training and validation") + 6].split("|")[1:-1]]
    # What no training has, such as a loss that is not finite, is nan.
    assert row == ["mesonet", "full", "1.5", "0.750", "0.625", "-0.125", "3.0", "0.333", "nan", "nan"]
    path = Path("metrics/training/full/mesonet.csv")
    path.write_text("{")
    with pytest.raises(StudyError, match=r"training/full/mesonet\.csv"):
        report.main()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"test": {}}'])
def test_a_damaged_results_file_is_named(study: Study, text: str) -> None:
    study.compare()
    Path("metrics/results.json").write_text(text)
    with pytest.raises(StudyError, match=r"metrics/results\.json cannot be read"):
        report.main()


def test_a_control_is_labelled(study: Study) -> None:
    assert "Control:" not in study.compare()[1]
    study.set(split=study.params["split"] | {"unit": "face"})
    assert "**Control: faces of one person are on both sides of the split. Its figures are no" in study.compare()[1]


def test_a_trial_is_labelled(study: Study) -> None:
    assert "Trial" not in study.compare()[1]
    study.set(evaluate={"confidence": 0.95, "trial": True})
    assert compare.main().startswith("trial, no result: 2 models on 3 variants")
    report.main()
    assert "# Results\n\n**Trial: " in Path("metrics/results.md").read_text()


def test_several_splits_are_averaged_with_corrected_variance(study: Study) -> None:
    """Against the formula of Nadeau & Bengio 2003, written out."""
    repeats = 4
    study.set(split=study.params["split"] | {"repeats": repeats, "test": 0.25})
    areas: dict[str, list[float]] = {"full": [], "nose": []}
    for variant, strength in (("full", 1.0), ("eyes_lower", 2.0), ("nose", 0.3)):
        for m, model in enumerate(study.params["models"]):
            for repeat in range(1, repeats + 1):
                each = []
                for seed in study.params["seeds"]:
                    data = made_up_predictions(1000 * m + 100 * repeat + seed, strength, 6)
                    path = Path(f"predictions/{variant}/{model}/{seed}-{repeat}.csv")
                    tables.write(path, data, tables.PREDICTIONS)
                    part = data[data["subset"] == "test"]
                    each.append(roc_auc_score(part["label"] == "fake", part["p_fake"].round(6)))
                if model == "vgg" and variant in areas:
                    areas[variant].append(float(np.mean(each)))
    table, page = study.compare()
    row = table.query("model == 'vgg' and variant == 'nose' and metric == 'auc'").iloc[0]
    splits = np.array(areas["nose"]) - np.array(areas["full"])
    error = np.sqrt((1 / repeats + 0.25 / 0.75) * splits.var(ddof=1))
    assert row["difference"] == pytest.approx(splits.mean(), abs=1e-6)
    mean = splits.mean()
    share = (mean + 1) / 2
    t = np.log(share / (1 - share)) / (error / 2 / (share * (1 - share)))
    assert row["p"] == pytest.approx(2 * scipy.stats.t.sf(abs(t), repeats - 1), rel=1e-3)
    assert (row["splits"], row["test_groups"]) == (repeats, 6)
    assert "new splits, trainings and groups" in page and "4 splits" in page
    assert "4 splits" in study.evaluate("vgg", "nose")
    found = json.loads(Path("metrics/nose/vgg.json").read_text())
    assert found["auc"] == pytest.approx(np.mean(areas["nose"]), abs=1e-6)
    assert "auc_low" in found and "auc_groups_low" not in found


def test_a_path_of_weights_is_no_html_on_the_results_page(study: Study) -> None:
    """Nor does it begin another line, or end the span that keeps it from being any."""
    whole = {"network": "resnet50", "input_size": 64, "epochs": 1, "learning_rate": 0.1, "weights_sha256": "0" * 64}
    for path, said in (
        ("w/<img src=x>.h5", "`w/<img src=x>.h5`"),
        ("`<img src=x>`.h5", "`` `<img src=x>`.h5 ``"),
        ("w\n\n<img src=x>.h5", "`'w\\n\\n<img src=x>.h5'`"),
    ):
        study.set(models={"mesonet": MODEL, "vgg": whole | {"weights": path}})
        assert f"starting from the weights {said}, 1 epochs" in study.compare()[1]


def test_the_page_says_which_models_are_not_trained(study: Study) -> None:
    given = {"network": "meso4", "input_size": 256, "weights": "published", "epochs": 0}
    study.set(models={"mesonet": MODEL, "vgg": given})
    _, page = study.compare()
    assert "- vgg: meso4, width 1, 256 × 256 pixels, weights `published`, not trained here: its scores are " in page


def test_results_by_method_use_its_fakes_and_all_reals(study: Study) -> None:
    study.evaluate("vgg", "nose")
    _, page = study.compare()
    assert "by method" not in page  # one method: nothing to tell apart
    (whole,) = pd.read_csv("metrics/methods.csv").query("model == 'vgg' and variant == 'nose'").to_dict("records")
    found = json.loads(Path("metrics/nose/vgg.json").read_text())
    assert (whole["auc"], whole["auc_low"]) == (found["auc"], found["auc_low"])
    data = {}
    for variant in study.params["variants"]:
        for model in study.params["models"]:
            for seed in study.params["seeds"]:
                path = study.predictions(variant, model, seed)
                table = tables.read(path, tables.PREDICTIONS)
                odd = (table["label"] == "fake") & table["group"].str[-1].isin(list("13579"))
                table["method"] = table["method"].mask(odd, "puppet")
                tables.write(path, table, tables.PREDICTIONS)
                data[variant, model, seed] = table[table["subset"] == "test"]
    _, page = study.compare()
    by_method = pd.read_csv("metrics/methods.csv")
    assert len(by_method) == 3 * 2 * 2 and (by_method["fake_groups"] == 12).all()
    for row in by_method.to_dict("records"):
        aucs = []
        for seed in study.params["seeds"]:
            table = data[row["variant"], row["model"], seed]
            part = table[(table["label"] == "real") | (table["method"] == row["method"])]
            aucs.append(roc_auc_score(part["label"] == "fake", part["p_fake"]))
        assert row["auc"] == pytest.approx(np.mean(aucs), abs=1e-6)
        assert row["auc_low"] < row["auc"] <= row["auc_high"]
    assert page.count("| puppet") == page.count("| swap") == 2


def test_few_groups_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = Study(monkeypatch, groups=FEW_GROUPS - 1)
    assert "fewer than 20 groups" in study.evaluate("vgg", "full")
    assert "Warning: only 19 test groups" in study.compare()[1]


def test_full_alone_is_reported_without_comparisons(study: Study) -> None:
    study.set(variants=["full"])
    table, page = study.compare()
    assert len(table) == 0
    assert "p_holm" in table.columns
    assert "Difference" not in page
    assert "normal (full)" in page


def test_the_first_variant_is_the_reference(study: Study) -> None:
    forth = study.compare()[0]
    study.set(variants=["eyes_lower", "full"])
    back, page = study.compare()
    assert "normal (eyes_lower)" in page and "Difference from eyes_lower" in page
    forth = forth[forth["variant"] == "eyes_lower"].reset_index(drop=True)
    np.testing.assert_allclose(back["difference"], -forth["difference"], atol=2e-6)
    np.testing.assert_allclose(back["low"], -forth["high"], atol=2e-6)
    np.testing.assert_allclose(back["p"], forth["p"], rtol=1e-3)


def test_contrasts_of_different_faces_are_refused(study: Study) -> None:
    study.set(seeds=[1])
    path = study.predictions("eyes_lower", "vgg", 1)
    data = tables.read(path, tables.PREDICTIONS)
    tables.write(path, data[data["group"] != "p005"], tables.PREDICTIONS)
    with pytest.raises(
        StudyError, match="predictions/eyes_lower/vgg and predictions/full/mesonet are not about the same"
    ):
        hypotheses.main()
    assert not Path("metrics").exists()


def test_compare_refuses(study: Study) -> None:
    study.set(variants=[])
    with pytest.raises(StudyError, match="variants is empty"):
        compare.main()
    study.set(variants=["full", "nose"], seeds=[])
    with pytest.raises(StudyError, match="seeds is empty"):
        compare.main()
    study.set(seeds=[1])
    path = study.predictions("nose", "vgg", 1)
    data = tables.read(path, tables.PREDICTIONS)
    tables.write(path, data[data["group"] != "p005"], tables.PREDICTIONS)
    with pytest.raises(StudyError, match="predictions/nose/vgg and predictions/full/mesonet are not about the same"):
        compare.main()
    path.unlink()
    with pytest.raises(StudyError, match=r"predictions/nose/vgg/1\.csv is missing"):
        compare.main()
    assert not Path("metrics").exists()


def test_focus_copies_the_main_figures_of_every_model(study: Study) -> None:
    for model in ("mesonet", "vgg"):
        for variant in ("full", "nose"):
            study.evaluate(model, variant)
    for variant in ("full", "nose"):
        study.set(focus=variant)
        assert focus.main() == f"{variant}, 2 models"
        shown = json.loads(Path("metrics/focus.json").read_text())
        assert (shown.pop("test_faces"), shown.pop("test_groups")) == (96, 24)
        assert list(shown) == ["mesonet", "vgg"]
        for model, found in shown.items():
            whole = json.loads(Path(f"metrics/{variant}/{model}.json").read_text())
            assert found == {"accuracy": whole["accuracy"], "auc": whole["auc"]}
    study.set(models={"vgg": SMALL})
    focus.main()
    assert list(json.loads(Path("metrics/focus.json").read_text())) == ["vgg", "test_faces", "test_groups"]


def test_focus_refuses(study: Study) -> None:
    study.set(focus="mouth")
    with pytest.raises(StudyError, match=r"focus = 'mouth' is not among the variants \(full, eyes_lower"):
        focus.main()
    study.set(focus="full", variants=["full"])
    with pytest.raises(StudyError, match=r"metrics/full/mesonet\.json is missing"):
        focus.main()
    Path("metrics/full").mkdir(parents=True)
    for text, message in (("{", "not valid JSON"), ('{"auc": 1}', "has no accuracy"), ("[]", "has no accuracy")):
        Path("metrics/full/mesonet.json").write_text(text)
        with pytest.raises(StudyError, match=message):
            focus.main()


def test_the_stages_do_without_heavy_libraries() -> None:
    code = "import sys, stages.clips, stages.evaluate, stages.compare, stages.focus; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "mtcnn", "cv2", "av", "sklearn", "scipy.stats"} & set(done.stdout.split())


def test_a_refusal_is_one_sentence_without_traceback(study: Study) -> None:
    study.predictions("full", "mesonet", 1).unlink()
    command = [sys.executable, "-m", "stages.evaluate", "--model", "mesonet", "--variant", "full"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("evaluate: predictions/full/mesonet/1.csv is missing")
    assert len(done.stderr.splitlines()) == 1
