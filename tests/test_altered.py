"""The stage `altered`: which faces are cut, with which alterations, and what it does without a clip."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from facestudy.alterations.altering import altered
from facestudy.alterations.composites import composite, kept_boxes
from facestudy.alterations.recoding import Footage, Origin
from facestudy.alterations.settings import RobustnessSettings
from facestudy.core import tables
from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.crops import cutting
from facestudy.crops.cutting import CropSettings
from facestudy.faces.face import Face
from facestudy.media.archive import read_picture
from facestudy.media.encoding import encode
from facestudy.media.frames import FrameSettings
from facestudy.media.settings import DecodingSettings
from stages import altered as stage
from stages import crops
from tests.pipeline_files import ROOT
from tests.project import call, params, write_params
from tests.project import stage as run_stage
from tests.test_crops import BOXES, make_faces, plan_of

TESTED = ("fake-0", "fake-1", "real-0", "real-1")
OTHER = ("fake-2", "real-2")


def write_split(*tested: Sequence[str]) -> None:
    """data/split.csv: the test faces of each split; all others are for validation."""
    rows = [
        {"repeat": repeat, "face_id": face, "video_id": face, "track_id": face, "group": f"g{face[-1]}", "method": ""}
        | {"label": face.split("-")[0], "subset": "test" if face in of_split else "validation"}
        for repeat, of_split in enumerate(tested, start=1)
        for face in (*TESTED, *OTHER)
    ]
    tables.write(Path("data/split.csv"), tables.to_dataframe(rows, tables.SPLIT), tables.SPLIT)


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch, robustness: Mapping[str, Any], **changes: Any) -> list[Face]:
    """A folder with six faces and a split; the stages run there. Returns the faces."""
    faces = make_faces(folder)
    monkeypatch.chdir(folder)
    write_params(folder, params() | {"compute": {"workers": 1}, "robustness": {**robustness}} | changes)
    write_split(TESTED)
    return faces


def run(variant: str) -> str:
    """Cut a variant and its altered test faces; returns what the stage says."""
    crops.main(variant)
    return stage.main(variant)


def index_of(variant: str, name: str) -> pd.DataFrame:
    return tables.read(Path("data/altered") / variant / name / "index.csv", tables.CROPS)


def write_clips(ending: str) -> None:
    """The tables of frames and videos, and for videos a clip for each test face: its fourth frame shows the face."""
    path = Path("data/faces/index.csv")
    tables.write(path, tables.read(path, tables.FACES).assign(rotation=0), tables.FACES)
    faces = [*TESTED, *OTHER]
    for name, table, rows in (
        ("frames", tables.FRAMES, [{"frame_id": face, "video_id": face, "frame_number": 3} for face in faces]),
        ("videos", tables.VIDEOS, [{"video_id": face, "path": f"{face}.{ending}"} for face in faces]),
    ):
        tables.write(Path("data") / name / "index.csv", tables.to_dataframe(rows, table), table)
    for number, face in enumerate(TESTED if ending == "mp4" else ()):
        noise = np.random.default_rng(number).integers(0, 256, (45, 55, 3)).astype(np.uint8)
        frame = np.repeat(np.repeat(noise, 4, axis=0), 4, axis=1)
        encode((np.roll(frame, n, axis=1) for n in range(5)), Fraction(10), 10, Path(f"data/videos/{face}.mp4"))


def test_tables_of_another_run_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch, {"h264": [23]})
    write_clips("mp4")
    path = Path("data/frames/index.csv")
    table = tables.read(path, tables.FRAMES)
    tables.write(path, table[table["frame_id"] != TESTED[0]], tables.FRAMES)
    with pytest.raises(StudyError, match=rf"data/frames/index\.csv has no frame {TESTED[0]}, .* run `dvc repro`"):
        run("full")


@pytest.mark.parametrize("variant", ["full", "eyes_lower", "complement"])
def test_each_alteration_is_a_folder_of_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    """Ordinary crops of the test faces alone, each as the alteration and the cutting give it."""
    chosen: dict[str, list[Any]] = {"shift": [4], "jpeg": [10, 30], "h264": [23, 45], "brightness": [0.5]}
    faces = prepare(tmp_path, monkeypatch, chosen)
    write_clips("mp4")
    assert run(variant) == f"{variant}: 4 test faces, cut with 6 alterations."
    folder = tmp_path / "data/altered" / variant
    names = ["shift_4", "h264_23", "h264_45", "jpeg_10", "jpeg_30", "brightness_0_5"]
    assert json.loads((folder / "alterations.json").read_text()) == names
    assert {path.name for path in folder.iterdir()} == {*names, "alterations.json"}

    plan = plan_of(variant, check(CropSettings, params()["crops"], "crops"))
    colour = cutting.read_colour(tmp_path / "data/crops" / variant / "variant.json")
    origins = {face: Origin(tmp_path / f"data/videos/{face}.mp4", 3, 0) for face in TESTED}
    limits = check(DecodingSettings, params()["decoding"], "decoding").limits
    footage = Footage(origins, check(FrameSettings, params()["frames"], "frames"), limits)
    tested = [face for face in faces if face.face_id in TESTED]
    for alteration in RobustnessSettings(**chosen).alterations():
        index = index_of(variant, alteration.name)
        assert index["face_id"].tolist() == list(TESTED)
        for face, path in zip(tested, index["path"], strict=True):
            cut_out = cutting.read_cut_out(tmp_path / "data/faces", face)
            picture, moved = altered(cut_out, face, alteration, BOXES["face"], footage)
            expected = cutting.crop(picture, face, plan, colour, moved)
            assert np.array_equal(np.asarray(read_picture(folder / alteration.name / path)), expected)
    plain = tables.read(Path("data/crops") / variant / "index.csv", tables.CROPS)
    found = pd.concat([plain, *(index_of(variant, name) for name in names)])
    assert found["sha256"].is_unique, "every alteration changes every crop"


def test_faces_tested_in_any_split_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch, {"rotate": [5]})
    write_split(TESTED[:2], OTHER)
    assert run("full").startswith("full: 4 test faces, ")
    assert index_of("full", "rotate_5")["face_id"].tolist() == ["fake-0", "fake-1", "fake-2", "real-2"]


def test_without_alterations_nothing_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch, {})
    assert run("full") == "full: 4 test faces, cut with 0 alterations."
    (path,) = Path("data/altered/full").iterdir()
    assert path.name == "alterations.json" and json.loads(path.read_text()) == []


def test_pictures_have_no_clip_to_encode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch, {"shift": [4], "h264": [30, 40]})
    write_clips("png")
    note = "h264 is skipped, as 4 test faces are from pictures, which have no clip to encode"
    assert run("full") == f"full: 4 test faces, cut with 1 alteration; {note}."
    assert json.loads(Path("data/altered/full/alterations.json").read_text()) == ["shift_4"]


@pytest.mark.parametrize("variant", ["full", "eyes_lower", "full_paper"])
def test_the_rest_comes_from_a_test_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    """Of the other group of the same class: the third face of each class is not tested."""
    faces = {
        face.face_id: face for face in prepare(tmp_path, monkeypatch, {"composite": ["other_frame", "other_person"]})
    }
    lacking = "rest from another frame is skipped, as 4 of 4 test faces have no second test frame of their clip"
    assert run(variant) == f"{variant}: 4 test faces, cut with 1 alteration; {lacking}."
    folder = tmp_path / "data/altered" / variant
    assert json.loads((folder / "alterations.json").read_text()) == ["composite_other_person"]
    plan = plan_of(variant, check(CropSettings, params()["crops"], "crops"))
    colour = cutting.read_colour(tmp_path / "data/crops" / variant / "variant.json")
    index = index_of(variant, "composite_other_person")
    assert index["face_id"].tolist() == list(TESTED)
    feather, kept = params()["sample"]["feather"], kept_boxes(BOXES)
    for name, sha256 in zip(index["face_id"], index["sha256"], strict=True):
        face, donor = faces[name], faces[f"{name[:-1]}{1 - int(name[-1])}"]
        pictures = [cutting.read_cut_out(tmp_path / "data/faces", one) for one in (face, donor)]
        made = composite(pictures[0], face, pictures[1], donor, kept, feather)
        expected = cutting.crop(made, face, plan, colour)
        path = folder / "composite_other_person" / f"{name}.png"
        assert np.array_equal(np.asarray(read_picture(path, sha256)), expected)
    plain = tables.read(Path("data/crops") / variant / "index.csv", tables.CROPS).set_index("face_id")["sha256"]
    same = plain[list(TESTED)].tolist() == index["sha256"].tolist()
    assert same == (variant == "eyes_lower"), "the study's crop shows what is kept and nothing else"


def test_frames_of_a_clip_give_each_other_their_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch, {"composite": ["other_frame"]})
    split = tables.read(Path("data/split.csv"), tables.SPLIT)
    split["video_id"] = split["track_id"] = split["label"]  # real-0 and real-1 are frames of one clip
    tables.write(Path("data/split.csv"), split, tables.SPLIT)
    assert run("full") == "full: 4 test faces, cut with 1 alteration."
    assert index_of("full", "composite_other_frame")["face_id"].tolist() == list(TESTED)


def test_a_donor_or_a_region_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (face, *_) = prepare(tmp_path, monkeypatch, {"composite": ["other_person"]})
    crops.main("full")
    regions = {name: box for name, box in params()["regions"].items() if name not in ("eyes", "lower_face")}
    lean = {"regions": regions, "crop_variants": {"full": params()["crop_variants"]["full"]}}
    whole = params() | {"compute": {"workers": 1}, "robustness": {"composite": ["other_person"]}}
    write_params(tmp_path, whole | lean)
    with pytest.raises(
        StudyError, match=r"robustness\.composite keeps the region 'eyes', which `regions` does not hold"
    ):
        stage.main("full")
    write_params(tmp_path, whole)
    (tmp_path / "data/faces" / face.path).write_bytes(b"")
    with pytest.raises(StudyError, match=f"cut-out of face {face.face_id}|{face.path} is not the picture"):
        stage.main("full")
    assert not Path("data/altered/full").exists()


def test_workers_and_archives_change_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways: dict[str, dict[str, Any]] = {
        "one": {},
        "two": {"compute": {"workers": 2}},
        "archives": {"storage": {"archive_above": 0}},
    }
    found = {}
    for way, changes in ways.items():
        (tmp_path / way).mkdir()
        prepare(tmp_path / way, monkeypatch, {"scale": [5], "composite": ["other_person"]}, **changes)
        # Two videos of two test faces each: where every video is one picture, there are no archives.
        path = Path("data/faces/index.csv")
        faces = tables.read(path, tables.FACES)
        tables.write(path, faces.assign(video_id=faces["face_id"].str[:4]), tables.FACES)
        crops.main("full")
        done = run_stage(tmp_path / way, "altered", "--variant", "full")
        assert done.returncode == 0, done.stderr
        found[way] = pd.concat([index_of("full", name) for name in ("scale_5", "composite_other_person")])
    assert found["one"].equals(found["two"])
    assert found["one"]["sha256"].tolist() == found["archives"]["sha256"].tolist()
    assert found["archives"]["path"].str.fullmatch(r"(real|fake)\.zip/\S+\.png").all()


def test_a_test_face_or_crop_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch, {"shift": [4]})
    with pytest.raises(StudyError, match=r"data/crops/full/variant\.json cannot be read"):
        stage.main("full")
    crops.main("full")
    path = Path("data/faces/index.csv")
    tables.write(path, tables.read(path, tables.FACES).query("face_id != 'real-1'"), tables.FACES)
    with pytest.raises(StudyError, match=r"data/split\.csv has the face real-1, data/faces/index\.csv has not"):
        stage.main("full")
    assert not Path("data/altered/full").exists()


def test_the_stage_does_not_import_tensorflow() -> None:
    code = "import sys, stages.altered; print({'keras', 'tensorflow', 'mtcnn'} & set(sys.modules))"
    assert call(ROOT, sys.executable, "-c", code).stdout == "set()\n"
