"""Bad input ends in one sentence with the file and the remedy, or in a row with a reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from commands import study
from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.sample.clips import SampleSettings, list_clips, render
from tests.media import write_clip, write_picture
from tests.pipeline_files import ROOT
from tests.project import call, deep_update, params, params_text, stage, write_params


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence with which a command refused; fails if it went through or showed a traceback."""
    assert done.returncode not in (0, None), done.stdout
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("."), last
    return last


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with params.yaml for source `folder` and one usable clip of each class."""
    write_params(
        tmp_path,
        deep_update(
            params(),
            {
                "source": "folder",
                "folder": {"path": "input"},
                "frames": {"per_video": 4},
                "compute": {"workers": 1},
            },
        ),
    )
    write_clip(tmp_path / "input/real/good.mp4")
    write_clip(tmp_path / "input/fake/good.mp4", 13)
    return tmp_path


def empty(root: Path) -> None:
    for path in (root / "input").rglob("*.mp4"):
        path.unlink()


FOLDERS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("missing folder", lambda root: shutil.rmtree(root / "input"), "folder.path: input is not a folder; set it to"),
    (
        "empty folder",
        empty,
        "input holds no video or picture in real/ and fake/; put real videos into input/real and fake videos into",
    ),
    (
        "one class only",
        lambda root: shutil.rmtree(root / "input/fake"),
        "input/fake holds no video or picture; put the fake videos there",
    ),
    (
        "no usable fake",
        lambda root: (root / "input/fake/good.mp4").write_bytes(b""),
        "none of the 1 fake videos can be used",
    ),
]


@pytest.mark.parametrize(("damage", "sentence"), [case[1:] for case in FOLDERS], ids=[case[0] for case in FOLDERS])
def test_a_folder_that_cannot_be_used(project: Path, damage: Callable[[Path], Any], sentence: str) -> None:
    damage(project)
    assert sentence in refused(stage(project, "videos"))
    assert not (project / "data/videos").exists()
    assert not list((project / "data").glob(".*"))  # nothing half-written either


def test_bad_files_get_a_row_and_the_rest_goes_on(project: Path) -> None:
    real = project / "input/real"
    (real / "zero.mp4").touch()
    (real / "notes.txt").write_text("not a clip")
    (real / "text.mp4").write_text("this is no video\n" * 100)
    (real / "loop.mp4").symlink_to("loop.mp4")
    whole = write_clip(project / "whole.mp4", 60)
    (real / "truncated.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    write_picture(real / "one-by-one.png", np.zeros((1, 1, 3), np.uint8))
    Image.new("1", (20_000, 10_000)).save(real / "200-megapixels.png")
    for name in ["with space.mp4", 'quote".mp4', "..%2f..%2fup.mp4", "new\nline.mp4", "😀.mp4"]:
        shutil.copyfile(write_clip(project / "odd.mp4", 12 + len(name)), real / name)
    done = stage(project, "videos")
    assert done.returncode == 0, done.stderr
    index = pd.read_csv(project / "data/videos/index.csv", keep_default_na=False).set_index("path")
    assert len(index) == 14
    reasons = index.loc[index["status"] != "ok", "reason"]
    damaged = ("notes.txt", "zero.mp4", "text.mp4", "loop.mp4", "truncated.mp4", "200-megapixels.png")
    assert set(reasons.index) == {f"real/{name}" for name in damaged}
    assert "symbolic links" in reasons["real/loop.mp4"]
    assert reasons["real/zero.mp4"] == "the file is empty"
    assert "not decodable" in reasons["real/text.mp4"] and "not decodable" in reasons["real/truncated.mp4"]
    assert "megapixels" in reasons["real/200-megapixels.png"]
    assert index["video_id"].str.fullmatch("[a-z0-9_-]+").all()
    assert "14 videos in, 7 real + 1 fake usable" in done.stdout and "rejected: the file is empty" in done.stdout

    done = stage(project, "frames")
    assert done.returncode == 0, done.stderr
    frames = pd.read_csv(project / "data/frames/index.csv")
    assert set(frames["video_id"]) == set(index.loc[index["status"] == "ok", "video_id"])
    assert not list(project.rglob("up.mp4"))


@pytest.mark.parametrize(
    "entry", [{"\u00e9" * 200: {"label": "REAL"}}, {"good.mp4": {"label": "FAKE", "original": "\ud800.mp4"}}]
)
def test_a_name_that_no_disk_takes_is_refused(project: Path, entry: dict[str, Any]) -> None:
    (project / "input/fake/metadata.json").write_text(json.dumps(entry))
    write_params(project, deep_update(params(), {"source": "folder", "folder": {"path": "input", "layout": "dfdc"}}))
    for command in (stage(project, "videos"), call(project, "python", "-m", "commands.study", "check")):
        assert "which is not the name of a file beside it; fetch the file again." in refused(command)


def test_a_fault_of_the_disk_is_a_sentence_of_study_too(project: Path) -> None:
    write_params(project, params())
    (project / "dvc.lock").mkdir()
    assert refused(call(project, "python", "-m", "commands.study", "check")) == (
        "study: dvc.lock: Is a directory; fix this and run again."
    )


def test_no_face_anywhere_is_said_with_the_remedy(project: Path) -> None:
    write_picture(project / "input/real/one-by-one.png", np.zeros((1, 1, 3), np.uint8))
    assert stage(project, "videos").returncode == 0
    assert stage(project, "frames").returncode == 0
    sentence = refused(stage(project, "faces"))
    assert "no face is left of 9 frames (8 no_face, 1 frame_too_small); lower faces.min_confidence (0.9)" in sentence
    assert not (project / "data/faces").exists()


def test_a_clip_without_any_face_costs_itself_alone(project: Path) -> None:
    """Clips of two drawn persons beside two that show bars: frames listed with their reason, the rest goes on."""
    values = params()
    drawn = check(SampleSettings, {**values["sample"], "people": 2, "seconds": 0.4}, "sample")
    for clip in list_clips(drawn):
        render(clip, drawn, values["regions"], project / "input" / clip.label)
    for name in ("videos", "frames", "faces"):
        done = stage(project, name)
        assert done.returncode == 0, done.stderr
    faces = pd.read_csv(project / "data/faces/index.csv")
    dropped = pd.read_csv(project / "data/faces/dropped.csv")
    bars = dropped["video_id"].str.contains("good")
    assert bars.sum() == 8 and set(dropped.loc[bars, "reason"]) == {"no_face"}
    assert not faces["video_id"].str.contains("good").any()
    assert len(faces) + len(dropped) == len(pd.read_csv(project / "data/frames/index.csv")) == 24
    assert len(faces) >= 12
    assert "without: " in done.stdout and "no_face" in done.stdout


def test_a_stage_without_its_input_says_what_makes_it(project: Path) -> None:
    for name in ("frames", "faces", "split"):
        assert "is missing; `dvc repro` makes it" in refused(stage(project, name))


PARAMS: list[tuple[str, dict[str, Any], str]] = [
    ("unknown section", {"sauce": 1}, "sauce is not a known s"),
    ("unknown key", {"frames": {"per_vidoe": 4}}, "frames.per_vidoe is not a known setting (known here: per_video"),
    ("wrong type", {"frames": {"per_video": "four"}}, "frames.per_video = 'four': input should be a valid integer"),
    ("out of range", {"split": {"test": 1.5}}, "split.test = 1.5: input should be less than 1"),
    ("unknown choice", {"source": "tape"}, "source = 'tape': input should be"),
    ("unknown region", {"crop_variants": {"ears": {"regions": ["ears"], "layout": "stack"}}}, "names 'ears', which"),
    (
        "undeclared variant",
        {"variants": ["full", "nose_only"]},
        "variants names 'nose_only', which crop_variants does not hold",
    ),
    ("undeclared focus", {"focus": "nose_only"}, "focus = 'nose_only' is not one of the variants"),
    (
        "a name that is no path",
        {"crop_variants": {"../x": {"regions": ["eyes"], "layout": "stack"}}},
        "crop_variants.../x",
    ),
    ("a box outside the face", {"regions": {"eyes": [0.1, 0.2, 1.7, 0.4]}}, "regions.eyes = "),
    ("no seeds", {"seeds": []}, "seeds = []: give one or more"),
    ("a seed twice", {"seeds": [1, 1]}, "seeds = [1, 1]: give one or more different"),
]


@pytest.mark.parametrize(("changes", "sentence"), [case[1:] for case in PARAMS], ids=[case[0] for case in PARAMS])
def test_bad_settings_are_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StudyError) as error:
        study.check_params(deep_update(params(), changes))
    assert sentence in str(error.value)
    assert str(error.value).startswith("params.yaml: ")


def test_a_stage_refuses_bad_settings_too(project: Path) -> None:
    write_params(project, deep_update(params(), {"source": "folder", "frames": {"per_vidoe": 4}}))
    assert "is not a known setting" in refused(stage(project, "frames"))


PRESETS = [
    ("unknown section", "sauce: 1\n", "presets/bad.yaml: sauce is not a known setting"),
    ("unknown key", "frames: {per_vidoe: 4}\n", "presets/bad.yaml: frames.per_vidoe is not a known setting"),
    ("wrong type", "frames: {per_video: four}\n", "presets/bad.yaml: frames.per_video = 'four'"),
    ("no YAML", "frames: [\n", "presets/bad.yaml is not valid YAML"),
    ("no mapping", "- 1\n", "presets/bad.yaml should hold sections"),
]


@pytest.mark.parametrize(("text", "sentence"), [case[1:] for case in PRESETS], ids=[case[0] for case in PRESETS])
def test_a_bad_preset_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/bad.yaml").write_text(text)
    (tmp_path / "params.yaml").write_text(params_text())
    monkeypatch.chdir(tmp_path)
    for settings in ([], ["seeds=[3]"]):  # which the message does not blame
        with pytest.raises(StudyError) as error:
            study.preset_settings("bad", settings)
        assert str(error.value).startswith(sentence)
    assert (tmp_path / "params.yaml").read_text() == params_text()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["frames.per_vidoe=4"], "SET: frames.per_vidoe is not a known setting (known here: per_video"),
        (["seeds=[1]", "frames.per_video=four"], "SET: frames.per_video = 'four': input should be a valid integer"),
        (["frames.every=5"], "SET: frames = "),
        (["focus=nose"], "SET: focus = 'nose' is not one of the variants"),
        (["seeds=["], "SET: seeds is not valid YAML"),
        (["seeds"], "SET: 'seeds' is not of the form KEY=VALUE"),
        (["source=folder", "folder.path=nowhere"], "folder.path: nowhere is not a folder"),
    ],
)
def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, settings: list[str], sentence: str) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(StudyError) as error:
        study.preset_settings("controls", settings)
    assert str(error.value).startswith(sentence)


def test_settings_that_are_sound_together_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    together = ["variants=[nose]", "focus=nose", "frames.per_video=null", "frames.every=5"]
    _, settings = study.preset_settings("controls", together)
    assert settings.focus == "nose" and settings.frames.every == 5


def test_an_unknown_preset_names_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(StudyError, match=r"give a preset, as in `make study PRESET=videos`; presets/ has .*paper"):
        study.preset_settings("", [])
    with pytest.raises(StudyError, match=r"PRESET = 'papers': presets/ has no such file; it has .*paper"):
        study.preset_settings("papers", [])


@pytest.mark.parametrize("command", [["study", "PRSET=videos"], ["run", "PRSET=videos", "FRAMES=3"]])
def test_make_refuses_a_variable_that_it_does_not_know(command: list[str]) -> None:
    done = call(ROOT, "make", "--dry-run", *command)
    assert done.returncode == 2 and "PRSET" in done.stderr
    assert "the variables are FILE MODEL N NAME PRESET PYTHON QUICK SEED SET URL WHAT." in done.stderr
