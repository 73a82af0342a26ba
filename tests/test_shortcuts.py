"""The shortcut audit: cues without the face, the regression on them, its warning, losses in training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy.stats import fisher_exact
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from facestudy.controls import audit
from facestudy.controls.cues import CATEGORIES, CUES, cue_table, face_cues, file_cues, surroundings
from facestudy.controls.jpeg import MAX_SEGMENTS, mean_quantisation
from facestudy.controls.shortcuts import (
    LARGE,
    ONE_CLASS,
    SHORTCUTS,
    WITHOUT_FACE,
    drop_summary,
    one_class_warning,
    summary,
    told_apart,
    warning,
)
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.evaluation.intervals import EvaluateSettings
from facestudy.faces.detection import cut_out
from facestudy.faces.extraction import write
from facestudy.faces.face import Face
from facestudy.faces.quality import measure
from facestudy.runtime.parallel import ComputeSettings
from facestudy.training.gaps import gaps
from stages import shortcuts as shortcuts_stage
from tests.project import params

NUMBERS = [name for names in CUES.values() for name in names if name not in CATEGORIES]
BOX = (20.0, 20.0, 24.0, 24.0)
TABLES = {"faces": tables.FACES, "frames": tables.FRAMES, "videos": tables.VIDEOS}
LANDMARKS = np.array([[26, 30], [38, 30], [32, 35], [28, 40], [36, 40]], float)


def noise(seed: int, width: int = 64, height: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def face_in(picture: np.ndarray) -> Face:
    """A face of 24 pixels with its measures and its cut-out."""
    face = Face(*BOX, 0.99, LANDMARKS, quality=measure(picture, BOX, LANDMARKS))
    return cut_out(picture, face)


# --- JPEG tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [1, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "optimize": True}])
def test_jpeg_tables_are_those_that_pillow_reads(tmp_path: Path, quality: int, options: dict[str, Any]) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x9286] = "x" * 3000
    Image.fromarray(noise(1)).save(path, quality=quality, exif=exif, **options)
    with Image.open(path) as picture:
        read: dict[int, list[int]] = picture.quantization  # type: ignore[attr-defined]
    wanted = [float(np.mean(read[number])) for number in (0, 1)]
    assert mean_quantisation(path) == pytest.approx(wanted)


def test_jpeg_tables_of_the_standard(tmp_path: Path) -> None:
    """ITU-T T.81, K.1: the sums of the two tables, which quality 50 uses as they are."""
    Image.fromarray(noise(1)).save(tmp_path / "a.jpg", quality=50)
    assert mean_quantisation(tmp_path / "a.jpg") == pytest.approx((3688 / 64, 5505 / 64))


def test_what_is_no_jpeg_has_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "a"
    Image.fromarray(noise(1)[:, :, 0]).save(path, format="JPEG", quality=75)
    luminance, chrominance = mean_quantisation(path)
    assert luminance > 1 and math.isnan(chrominance)  # grey: one table
    whole = path.read_bytes()
    tail = b"\xff\xdb\x00\x43\x00" + bytes(range(1, 65))
    endless = b"\xff\xd8" + b"\xff\xfe\x00\x02" * MAX_SEGMENTS + tail
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff\xdb\x00\x01", whole[:40], b"\x89PNG", endless):
        path.write_bytes(content)
        assert all(map(math.isnan, mean_quantisation(path)))
    path.write_bytes(b"\xff\xd8\xff\xff\xff\xfe\x00\x02" + tail)
    assert mean_quantisation(path)[0] == 32.5


# --- cues ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_surroundings_do_not_depend_on_the_face(seed: int) -> None:
    one, other = noise(seed), noise(seed)
    x, y, w, h = map(int, BOX)
    other[y : y + h, x : x + w] = noise(seed + 100, w, h) // 4
    assert surroundings(face_in(one)) == surroundings(face_in(other))
    other[8:14] = 255 - other[8:14]  # within the cut-out
    assert surroundings(face_in(one)) != surroundings(face_in(other))


def test_surroundings_are_measured() -> None:
    picture = np.full((64, 64, 3), (200, 100, 50), np.uint8)
    found = surroundings(face_in(picture))
    assert [found[name] for name in ("red", "green", "blue", "blockiness")] == [200, 100, 50, 1]
    assert found["log_sharpness"] == pytest.approx(math.log(1e-6))
    blocks = np.kron(noise(1, 8, 8), np.ones((8, 8, 1), np.uint8))
    ramp = np.arange(64, dtype=np.uint8)[None, :, None]
    assert surroundings(face_in(blocks // 2 + ramp))["blockiness"] > 5  # the grid is that of the frame
    shifted = np.roll(blocks // 2, 4, axis=(0, 1)) + ramp
    assert surroundings(face_in(shifted))["blockiness"] < 1


def test_a_face_that_fills_the_frame_has_no_surroundings() -> None:
    small = noise(3)[18:48, 18:48]
    face = cut_out(small, Face(2, 2, 26, 26, 0.9, LANDMARKS - 18, quality={}))
    assert all(map(math.isnan, surroundings(face).values()))


def test_cues_of_a_file_and_of_a_face(tmp_path: Path) -> None:
    path = tmp_path / "A.MP4"
    path.write_bytes(b"x" * 4000)
    video = {"codec": "h264", "width": 20, "height": 10, "fps": 4.0, "duration_s": 0.5}
    found = file_cues(path, video)
    assert (found["container"], found["codec"], found["width_x_height"]) == (".mp4", "h264", "20x10")
    assert found["log_bytes_per_pixel"] == pytest.approx(math.log(4000 / (20 * 10 * 2)))
    assert math.isnan(float(found["log_luminance_table"]))
    still = file_cues(path, video | {"fps": 0.0, "duration_s": 0.0})
    assert math.isnan(float(still["fps"])) and math.isnan(float(still["log_duration"]))
    placed = face_cues(face_in(noise(1)), 128.0, 64.0)
    assert (placed["face_x"], placed["face_y"]) == (0.25, 0.5)
    assert placed["log_face_width"] == pytest.approx(math.log(24 / 128))
    assert set(found) | set(placed) | set(surroundings(face_in(noise(1)))) == set(audit.CONTROLS["with_face"])


# --- the regression --------------------------------------------------------------------------------


def made_up(seed: int, groups: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cues that say nothing, and a split: in each group a real and a fake video with two faces each."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for group in range(groups):
        subset = ("train", "train", "test")[group % 3]
        for label in tables.LABELS:
            for face in range(2):
                video = {"video_id": f"p{group:03}-{label}", "track_id": f"p{group:03}-{label}_t0"}
                rows.append({**video, "face_id": f"p{group:03}-{label}-{face}", "label": label, "subset": subset})
                rows[-1] |= {"group": f"p{group:03}", "repeat": 1, "method": "swap" if label == "fake" else "none"}
    split = tables.to_dataframe(rows, tables.SPLIT)
    of_group, of_video = (rng.normal(size=(len(rows) // n, len(NUMBERS))).repeat(n, axis=0) for n in (4, 2))
    cues = pd.DataFrame(of_group + of_video + rng.normal(size=of_group.shape), columns=NUMBERS, index=split["face_id"])
    for name in CATEGORIES:
        cues[name] = rng.choice(["a", "b", "c"], len(rows) // 2).repeat(2)
    return cues, split


def test_the_regression_is_the_textbook_one() -> None:
    cues, split = made_up(1)
    names = ["fps", "log_bytes", "red"]
    training, test = (split[split["subset"] == subset] for subset in ("train", "test"))
    x, y = (cues.loc[part["face_id"], names].to_numpy() for part in (training, test))
    scaled, tested = ((part - x.mean(axis=0)) / x.std(axis=0) for part in (x, y))
    # Two faces a video, so half a weight each: the penalty counts double.
    wanted = LogisticRegression(C=0.5, max_iter=10_000).fit(scaled, training["label"] == "fake")
    found = audit.regression(cues.loc[training["face_id"]], training, cues.loc[test["face_id"]], names)
    np.testing.assert_allclose(found, wanted.predict_proba(tested)[:, 1], atol=1e-3)
    table = audit.audit(cues.assign(**dict.fromkeys(set(NUMBERS) - set(names), 0.0)), split, EvaluateSettings(), 0.25)
    row = table.set_index("control").loc["time"]
    alone = audit.regression(cues.loc[training["face_id"]], training, cues.loc[test["face_id"]], CUES["time"][:2])
    assert row["value"] == pytest.approx(roc_auc_score(test["label"] == "fake", alone))
    assert (row["cues"], row["constant"]) == ("fps frame_rate", "log_duration")


def test_missing_rare_and_unknown_values_are_handled() -> None:
    cues, split = made_up(2)
    fake = (split["label"] == "fake").to_numpy()
    trained, tested = ((split["subset"] == subset).to_numpy() for subset in ("train", "test"))

    def scores(names: list[str]) -> np.ndarray:
        return audit.regression(cues[trained], split[trained], cues[tested], names)

    cues.loc[fake, "log_duration"] = np.nan  # only missing for fakes: the indicator tells
    assert roc_auc_score(fake[tested], scores(["log_duration"])) == 1
    cues["log_luminance_table"] = np.where(tested, np.nan, cues["red"])  # missing in test only
    assert np.isfinite(scores(["log_luminance_table"])).all()
    cues["codec"] = np.where(tested, "new", "old")
    cues.iloc[0, cues.columns.get_loc("codec")] = "once"
    assert np.ptp(scores(["codec"])) == 0
    cues["log_chrominance_table"] = np.nan
    assert audit.varying(cues[trained], ["codec", "log_chrominance_table"]) == ["codec"]
    assert (scores(["log_chrominance_table"]) == 0.5).all()


def test_equal_cues_give_equal_scores() -> None:
    """Whatever their row: a sum in another order would break ties between the classes."""
    cues, split = made_up(3)
    trained = (split["subset"] == "train").to_numpy()
    test = pd.concat([cues[~trained].iloc[[0]]] * 1001)
    found = audit.regression(cues[trained], split[trained], test, list(cues.columns))
    assert len(set(found)) == 1


def test_without_a_shortcut_there_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "CONTROLS", {WITHOUT_FACE: audit.CONTROLS[WITHOUT_FACE]})
    held, warned, values = 0, 0, []
    for seed in range(25):
        cues, split = made_up(seed)
        table = audit.audit(cues, split, EvaluateSettings(), 0.25)
        held += int(table["low"][0] <= 0.5 <= table["high"][0])
        warned += bool(told_apart(table))
        values.append(float(table["value"][0]))
    assert held >= 22 and warned <= 1  # 23.75 and .6 are expected
    assert abs(np.mean(values) - 0.5) < 0.03


@pytest.mark.parametrize(
    ("value", "low", "said"),
    [
        (0.6, 0.501, "can be told apart"),
        (0.9, 0.5, "may be told apart"),
        (1.0, 0.478, "may be told apart"),
        (0.599, 0.55, ""),
    ],
)
def test_the_rule_of_the_warning(value: float, low: float, said: str) -> None:
    row = {"measure": "auc", "value": value, "low": low, "high": 1.0, "cues": "fps"}
    rows = [{**row, "control": WITHOUT_FACE}, {**row, "control": "time"}, {**row, "control": "face", "value": 1.0}]
    text = warning(tables.to_dataframe(rows, SHORTCUTS))
    assert bool(text) == bool(said) and said in text
    assert not said or f"AUC {value:.3f} [{low:.3f}, 1.000]" in text
    assert (f"(alone: time {value:.3f})." in text) == (said == "can be told apart")


def test_several_splits_are_judged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "CONTROLS", {"time": CUES["time"]})
    cues, split = made_up(4)
    other = split.assign(repeat=2, subset=split["subset"].to_numpy()[np.arange(len(split)) - 4])
    cues.loc[(split["label"] == "fake").to_numpy(), "fps"] += 5
    both = pd.concat([split, other], ignore_index=True).astype({"repeat": "Int64"})
    each = [audit.audit(cues, part, EvaluateSettings(), 0.33).set_index("control")["value"] for part in (split, other)]
    found = audit.audit(cues, both, EvaluateSettings(), 0.33).set_index("control")["value"]
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2)


# --- groups of one class ---------------------------------------------------------------------------


def split_of(*groups: tuple[str, int, int]) -> pd.DataFrame:
    """Used faces: the name of each group, its real and its fake faces."""
    rows = [
        {"face_id": f"{group}-{label}-{face}", "group": group, "label": label, "subset": "train", "repeat": 1}
        for group, *counts in groups
        for label, count in zip(tables.LABELS, counts, strict=True)
        for face in range(count)
    ]
    return tables.to_dataframe(rows, tables.SPLIT)


def test_the_largest_group_of_one_class_is_found() -> None:
    split = split_of(("a", 8, 2), ("b", 2, 0), ("c", 0, 5), ("d", 0, 3))
    row = audit.one_class(split).iloc[0]
    assert (row["value"], row["real"], row["fake"], row["cues"]) == (0.5, 0.2, 0.5, "c")
    other = split.assign(repeat=2, label="fake").astype({"repeat": "Int64"})
    unused = split_of(("e", 0, 90)).assign(subset="unused")
    assert audit.one_class(pd.concat([split, other, unused])).iloc[0].equals(row)
    twins = audit.one_class(split_of(("a", 8, 2), ("b", 1, 9))).iloc[0]
    assert (twins["value"], twins["cues"]) == (0, "")


@pytest.mark.parametrize(("fakes", "warned"), [(1, False), (2, True)])
def test_a_large_group_of_one_class_raises_a_warning(fakes: int, warned: bool) -> None:
    found = audit.one_class(split_of(("a", 10, 10 - fakes), ("b", 0, fakes)))
    assert found["value"][0] == fakes / 10 and LARGE == 0.2
    text = one_class_warning(found)
    assert bool(text) == warned
    assert not warned or text.startswith(
        "Warning: 20% of the fake faces belong to one group (b in data/split.csv), which has no real face."
    )


# --- frames that gave no face ----------------------------------------------------------------------


def frames_of(label: str, video: int, count: int) -> pd.DataFrame:
    ids = [f"{label}{video}-{n}" for n in range(count)]
    return pd.DataFrame({"face_id": ids, "frame_id": ids, "video_id": f"{label}{video}", "label": label})


def test_drop_rates_take_videos_as_the_unit() -> None:
    faces = pd.concat(frames_of(label, video, 25) for label in tables.LABELS for video in range(4))
    lost = (faces["video_id"] == "fake0") | (faces["face_id"] == "real0-0")
    row = audit.drop_rate(faces[~lost], faces[lost].assign(reason="no_face")).iloc[0]
    assert (row["real"], row["fake"], row["value"]) == (0.01, 0.25, 0.24)
    assert fisher_exact([[1, 99], [25, 75]]).pvalue < 1e-6  # frames of one video are no evidence of their own
    assert row["p"] > 0.3
    few = faces["face_id"].str.split("-").str[1].astype(int) < 5
    lost = (faces["label"] == "fake") & few
    row = audit.drop_rate(faces[~lost], faces[lost].assign(reason="no_face")).iloc[0]
    assert row["p"] == pytest.approx(2 / math.comb(8, 4), abs=1e-6)  # the most extreme of 70 ways to name the videos
    assert audit.drop_rate(faces, faces[:0].assign(reason=""))["p"].tolist() == [1.0]


def test_frames_with_a_used_face_are_not_lost() -> None:
    faces = pd.concat(frames_of(label, video, 5) for label in tables.LABELS for video in range(4))
    bystanders = faces[faces["label"] == "fake"].assign(reason="size_below_60")
    row = audit.drop_rate(faces, bystanders).iloc[0]
    assert (row["real"], row["fake"], row["p"]) == (0, 0, 1)
    two = pd.concat([faces, faces])  # two faces in each frame
    lost = pd.concat([frames_of("real", 9, 5).assign(reason="no_face")] * 2)
    row = audit.drop_rate(two, lost).iloc[0]
    assert (row["real"], row["fake"]) == (pytest.approx(5 / 25), 0)


def test_one_video_of_a_class_gives_no_p() -> None:
    faces = pd.concat([frames_of("real", 0, 10), *(frames_of("fake", video, 10) for video in range(8))])
    lost = (faces["label"] == "fake") & faces["frame_id"].str.endswith(("1", "2"))
    table = audit.drop_rate(faces[~lost], faces[lost].assign(reason="no_face"))
    assert math.isnan(table["p"].iloc[0])
    said = drop_summary(table)
    assert said.endswith("20.0% of the fake (not tested: fewer than two videos of a class).")


# --- the stage -------------------------------------------------------------------------------------


class Folder:
    """A study of pictures up to its split: people with a real and a fake picture each."""

    def __init__(self, planted: str, people: int = 48) -> None:
        values = params()
        values |= {"source": "folder", "compute": {"workers": 1}, "folder": {**values["folder"], "path": "pictures"}}
        Path("params.yaml").write_text(yaml.safe_dump(values))
        videos, frames, faces, split = [], [], [], []
        for person in range(people):
            for label in tables.LABELS:
                odd = label == "fake"
                side = 96 if odd and planted == "resolution" else 64
                kind = "png" if odd and planted == "codec" else "jpg"
                quality = 95 if odd and planted == "quality" else 90
                name = f"p{person:02}-{label}"
                source = cv2.GaussianBlur(noise(1000 * (person + 100) + odd, side, side), (0, 0), 2)
                path = Path("pictures") / f"{name}.{kind}"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(source).save(path, quality=quality)
                video = {"video_id": name, "label": label, "path": path.name, "codec": kind, "fps": 0, "duration_s": 0}
                videos.append(video | {"width": side, "height": side, "status": "ok"})
                frames.append({"frame_id": f"{name}_000000", "video_id": name, "width": side, "height": side})
                ids = {"face_id": f"{name}_000000_f0", "video_id": name, "label": label}
                stored = Path("data/faces") / f"{name}.png"
                stored.parent.mkdir(parents=True, exist_ok=True)
                row = write(face_in(np.asarray(Image.open(path))), stored)
                faces.append({**row, **ids, "frame_id": f"{name}_000000", "rotation": 0})
                subset = ("train", "test", "validation")[person % 3]
                split.append({**ids, "repeat": 1, "track_id": name, "group": f"p{person:02}", "subset": subset})
        for table, rows, file in (
            (tables.VIDEOS, videos, "videos/index"),
            (tables.FRAMES, frames, "frames/index"),
            (tables.FACES, faces, "faces/index"),
            (tables.DROPPED, [], "faces/dropped"),
            (tables.SPLIT, split, "split"),
        ):
            tables.write(Path(f"data/{file}.csv"), tables.to_dataframe(rows, table), table)


@pytest.mark.parametrize(
    ("planted", "told"), [("quality", "JPEG tables"), ("resolution", "resolution"), ("codec", "format"), ("", "")]
)
def test_a_planted_shortcut_raises_the_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Folder(planted)
    said = shortcuts_stage.main()
    found = tables.read(Path("metrics/shortcuts.csv"), SHORTCUTS).set_index("control")
    assert "Frames without a usable face: 0.0% of the real, 0.0% of the fake (p 1.000)." in said
    without = found.loc[WITHOUT_FACE]
    if planted:
        assert without["value"] > 0.95 and without["low"] > 0.5
        assert f"{told} 1.000" in said.split("Warning: real and fake can be told apart without seeing the face")[1]
    else:
        assert without["low"] < 0.5 < without["high"] and "Warning" not in said
        assert found.loc[ONE_CLASS, ["value", "cues"]].tolist() == [0, ""]
        assert "constant: format, JPEG tables, placement, resolution, time" in said
        assert found.loc["time", ["value", "cues"]].tolist() == [0.5, ""]


def test_an_altered_cut_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Folder("")
    Path("data/faces/p00-real.png").unlink()
    with pytest.raises(StudyError, match=r"data/faces/p00-real\.png is missing or not a picture"):
        shortcuts_stage.main()
    Path("data/faces/p00-real.png").write_bytes(Path("data/faces/p00-fake.png").read_bytes())
    with pytest.raises(StudyError, match="is not the picture that was stored"):
        shortcuts_stage.main()


@pytest.mark.parametrize(("rotation", "place"), [(0, (0.25, 0.5)), (90, (0.5, 0.25)), (180, (0.25, 0.5))])
def test_the_place_of_a_face_is_that_in_the_turned_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rotation: int, place: tuple[float, float]
) -> None:
    monkeypatch.chdir(tmp_path)
    Folder("", people=3)
    faces, frames, videos = (tables.read(Path(f"data/{name}/index.csv"), table) for name, table in TABLES.items())
    faces, frames = faces.assign(rotation=rotation), frames.assign(width=128)
    found = cue_table(faces, frames, videos, Path("pictures"), Path("data/faces"), ComputeSettings(workers=1))
    assert list(found.index) == list(faces["face_id"])
    assert (found[["face_x", "face_y"]] == place).all(axis=None)


def test_the_summary_without_any_cue() -> None:
    row = {"measure": "auc", "value": 0.5, "low": 0.4, "high": 0.6}
    rows = [{"control": name, **row} for name in ("time", WITHOUT_FACE)]
    assert summary(tables.to_dataframe(rows, SHORTCUTS)).endswith("AUC 0.500 [0.400, 0.600] (constant: time).")


# --- losses in training ----------------------------------------------------------------------------


def trainings(*histories: tuple[list[float], list[float], int]) -> pd.DataFrame:
    """tables.TRAININGS of trainings with these losses, validation losses and kept epochs."""
    rows = []
    for number, (losses, validation, kept) in enumerate(histories):
        epochs = np.arange(1, len(losses) + 1)
        data = {"training": str(number), "epoch": epochs, "loss": losses, "validation_loss": validation}
        rows.append(pd.DataFrame(data).assign(validation_auc=0.75, selected=(epochs == kept).astype(int)))
    return pd.concat(rows)


def test_gaps_are_means_over_trainings() -> None:
    found = gaps(trainings(([0.5, 0.25, 0.125], [0.5, 0.5, 0.75], 2), ([1, 0.5], [0.5, 1], 1)))
    assert (found["trainings"], found["kept_epoch"], found["last_epoch"]) == (2, 1.5, 2.5)
    assert (found["kept_loss"], found["kept_validation_loss"], found["kept_gap"]) == (0.625, 0.5, -0.125)
    assert (found["last_gap"], found["last_validation_auc"]) == (0.5625, 0.75)


def test_a_loss_that_is_not_finite_is_left_out() -> None:
    found = gaps(trainings(([0.5, math.nan], [0.5, 0.5], 1), ([0.5, 0.25], [0.5, 0.5], 1)))
    assert "last_loss" not in found and "last_gap" not in found
    assert (found["last_validation_loss"], found["kept_gap"]) == (0.5, 0)
