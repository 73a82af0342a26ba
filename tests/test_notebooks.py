"""The four calls for notebooks: the scores of commands.predict, and a sentence for wrong input."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import facestudy
from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import check
from facestudy.crops import cutting
from facestudy.crops.cutting import CropSettings, Variant, resolve
from facestudy.faces.face import Face
from facestudy.prediction import arrays, published
from facestudy.prediction.arrays import crop, find_faces, load_model, score
from facestudy.prediction.trained import trained
from facestudy.runtime.backend import keras
from tests.media import write_picture
from tests.pipeline_files import ROOT
from tests.project import ENVIRONMENT, params, write_params
from tests.test_predict import examined_of, face_picture, pasted, seen, write_lock, write_study


@pytest.fixture(scope="module")
def weights(outside_data: Path) -> Path:
    return outside_data / "mesonet"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with the project's committed settings and two trainings of the model `tiny` on `full`."""
    folder = write_study(tmp_path_factory.mktemp("study"))
    write_params(folder, params())
    return folder


def face_of(seed: int = 1) -> Face:
    """A face whose cut-out is noise."""
    face = examined_of(1).found[0].face
    assert face.picture is not None
    return replace(face, picture=np.random.default_rng(seed).integers(0, 256, face.picture.shape).astype(np.uint8))


# --- the same results as commands.predict --------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["df00204", "df01254", "real00240", "real00772", "df01254 real00772"])
def test_faces_and_scores_are_those_of_predict(study: Path, weights: Path, tmp_path: Path, names: str) -> None:
    shown = [face_picture(weights, name) for name in names.split()]
    picture = pasted(*shown) if len(shown) > 1 else shown[0]  # a view with BGR turned to RGB
    wanted = [one.face for one in seen(write_picture(tmp_path / "a.png", picture), tmp_path / "work").found]
    found = find_faces(picture, study)
    assert len(found) == len(wanted) == len(shown)
    order = [[face.box for face in wanted].index(face.box) for face in found]
    for face, row in zip(found, order, strict=True):
        cut_out, same = face.picture, wanted[row].picture
        assert cut_out is not None and same is not None and np.array_equal(cut_out, same)
    for detector in published.detectors(weights, fetch=False):
        model = load_model(detector.name, weights)
        ours = score(model, [crop(face, model) for face in found])
        assert np.array_equal(ours, detector.score(wanted)[0][order]) and len(set(ours)) == len(ours)


def test_trained_models_score_as_in_predict(study: Path) -> None:
    faces = [face_of(1), face_of(2)]
    wanted = trained(study, "tiny", "full").detector.score(faces)
    assert abs(wanted[0] - wanted[1]).min() > 1e-6
    for name, expected in (("", wanted.mean(axis=0)), ("1", wanted[0]), ("2", wanted[1])):
        model = load_model(study / "models/full/tiny" / name)
        assert np.array_equal(score(model, np.stack([crop(face, model) for face in faces])), expected)


def test_a_network_of_ones_own_is_scored(study: Path) -> None:
    model = load_model(study / "models/full/tiny/1")
    crops = [crop(face_of(seed), model) for seed in range(3)]
    assert np.array_equal(score(model.trainings["1"](), crops), score(model, crops))


@pytest.mark.parametrize("variant", ["full", "eyes_lower", "nose_mask", "complement", "eyes_lower_paper"])
def test_variants_are_those_of_params(study: Path, variant: str) -> None:
    own = params()
    variants = check(dict[str, Variant], own["crop_variants"], "crop_variants")
    boxes = check(dict[str, Box], own["regions"], "regions")
    plan = resolve(variant, variants, boxes, check(CropSettings, own["crops"], "crops"), own["sample"]["feather"])
    face = face_of()
    assert face.picture is not None
    wanted = cutting.crop(face.picture, face, plan, (1, 2, 3))
    assert np.array_equal(crop(face, variant, (1, 2, 3), study), wanted)


def test_settings_are_those_of_the_given_study(study: Path, tmp_path: Path) -> None:
    write_params(tmp_path, params() | {"crops": {"size": [20, 10]}})
    assert crop(face_of(), "full", study=str(tmp_path)).shape == (10, 20, 3)
    assert crop(face_of(), "full", study=study).shape == (*reversed(params()["crops"]["size"]), 3)


@pytest.mark.parametrize(
    "change",
    [lambda picture: pasted(picture, side=80), lambda picture: cv2.GaussianBlur(picture, (0, 0), 6)],
    ids=["small", "blurred"],
)
def test_faces_without_a_score_are_left_out(study: Path, weights: Path, change: Any) -> None:
    picture = face_picture(weights, "real00772")
    assert find_faces(np.asarray(change(picture), np.uint8), study) == []


# --- wrong input ---------------------------------------------------------------------------------------------------

WHITE: Picture = np.full((64, 64, 3), 255, np.uint8)


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (WHITE / 255, r"the picture is float64 of shape \(64, 64, 3\); give RGB as uint8"),
        (WHITE[:, :, 0], r"of shape \(64, 64\); give"),
        (WHITE[None], r"of shape \(1, 64, 64, 3\); give"),
        (WHITE[:0], r"of shape \(0, 64, 3\); give"),
        ("face.jpg", r"the picture is <U8 of shape \(\); give"),
        (None, r"the picture is object of shape \(\); give"),
        ([[1, 2], [3]], "the picture is a list that makes no array; give RGB as uint8"),
    ],
    ids=["float", "grey", "several", "empty", "path", "none", "ragged"],
)
def test_what_is_no_picture_is_refused(picture: Any, sentence: str) -> None:
    with pytest.raises(StudyError, match=sentence):
        find_faces(picture)


def test_what_is_no_face_or_variant_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"is not a face: `find_faces\(picture\)`"):
        crop(WHITE, "full")  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="the face has no cut-out"):
        crop(replace(face_of(), picture=None), "full")
    with pytest.raises(StudyError, match=r"the cut-out is float64 of shape \(64, 64, 3\); give"):
        crop(replace(face_of(), picture=WHITE / 255), "full")  # type: ignore[arg-type]
    with pytest.raises(StudyError, match=r"crop_variants does not hold 'chin' \(known: full, eyes_lower, "):
        crop(face_of(), "chin", study=study)
    with pytest.raises(StudyError, match=r"params\.yaml cannot be read \(No such file or directory\)"):
        crop(face_of(), "full", study=tmp_path)
    (tmp_path / "params.yaml").write_text("seeds: [1]\n")
    with pytest.raises(StudyError, match=r"params\.yaml: the section faces is missing"):
        find_faces(WHITE, tmp_path)


@pytest.mark.parametrize(
    ("variant", "colour", "sentence"),
    [
        (["full"], (0, 0, 0), r"\['full'\] is not a crop variant; give the name of one in params\.yaml, or a model"),
        (3, (0, 0, 0), "3 is not a crop variant"),
        ("nose_mask", (300, -1, 0), r"\(300, -1, 0\) is not a colour; give red, green and blue, 0 to 255"),
        ("nose_mask", (0, 0), "is not a colour"),
        ("nose_mask", (0.5, 0, 0), "is not a colour"),
        ("nose_mask", "red", "'red' is not a colour"),
        ("nose_mask", None, "None is not a colour"),
    ],
    ids=str,
)
def test_what_is_no_variant_or_colour_is_refused(study: Path, variant: Any, colour: Any, sentence: str) -> None:
    with pytest.raises(StudyError, match=sentence):
        crop(face_of(), variant, colour, study)
    assert crop(face_of(), "nose_mask", tuple(np.array([1, 2, 3])), study)[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        ("a\0b", r"params\.yaml' cannot be read \(embedded null .*\); give the folder of a study"),
        (3, "study = 3 is not a path; give text or a Path"),
        (None, "study = None is not a path"),
    ],
    ids=repr,
)
def test_what_is_no_study_is_refused(study: Any, sentence: str) -> None:
    for call in (lambda: find_faces(WHITE, study), lambda: crop(face_of(), "full", study=study)):
        with pytest.raises(StudyError, match=sentence):
            call()


def test_a_setting_that_is_missing_is_named(tmp_path: Path) -> None:
    write_params(tmp_path, params() | {"sample": {}})
    with pytest.raises(StudyError, match=r"params\.yaml: sample\.feather = None: input should be a valid number"):
        crop(face_of(), "full", study=tmp_path)


@pytest.mark.parametrize("model", ["Meso4_DF", None, 3, Path("models/full/mesonet/1")], ids=str)
def test_what_is_no_model_is_refused(model: Any) -> None:
    for crops in ([WHITE], []):
        with pytest.raises(StudyError, match=r" is not a model; pass what `load_model` returns, or a Keras network\."):
            score(model, crops)


def test_crops_that_a_network_does_not_take_are_refused() -> None:
    shapes = {"takes": keras.Input((32, 32, 3), dtype="uint8"), "gives": keras.Input((None, None, 3), dtype="uint8")}
    pooled = {name: keras.layers.GlobalMaxPooling2D()(end) for name, end in shapes.items()}
    other_size = keras.Model(shapes["takes"], keras.layers.Dense(1)(keras.layers.Rescaling(1.0)(pooled["takes"])))
    no_axis = keras.Model(shapes["gives"], keras.ops.max(pooled["gives"], axis=-1))
    for network in (other_size, no_axis):
        with pytest.raises(StudyError, match="the network does not take crops of 64 x 64 x 3, or does not give one"):
            score(network, [WHITE])


@pytest.mark.parametrize(
    ("crops", "sentence"),
    [
        (None, r"the crops are object of shape \(\); give RGB as uint8"),
        ((one for one in [WHITE]), r"the crops are object of shape \(\); give"),
        (np.uint8(3), r"the crops are uint8 of shape \(\); give"),
        ([WHITE, None], "the crops are a list that makes no array; give RGB"),
        ([[1, 2], [3]], "the crops are a list that makes no array; give RGB"),
        ([WHITE, WHITE[:32]], r"different shapes, \(32, 64, 3\), \(64, 64, 3\)"),
        ([WHITE / 255], r"the crops are float64 of shape \(1, 64, 64, 3\)"),
        (WHITE, r"the crops are uint8 of shape \(64, 64, 3\)"),
        ([WHITE[:, :32]], r"the crops have 32x64 pixels, tiny\.full takes 64x64; `crop\(face, model\)`"),
    ],
    ids=["none", "generator", "number", "partly", "ragged", "mixed", "float", "single", "size"],
)
def test_what_are_no_crops_is_refused(study: Path, crops: Any, sentence: str) -> None:
    model = load_model(study / "models/full/tiny")
    with pytest.raises(StudyError, match=sentence):
        score(model, crops)
    assert score(model, []).shape == (0,)


def test_relative_paths_begin_in_the_projects_folder(
    study: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    (project / "studies").mkdir(parents=True)
    (project / "studies/mine").symlink_to(study)
    (project / "weights").symlink_to(weights)
    monkeypatch.setattr(arrays, "ROOT", project)
    monkeypatch.chdir(tmp_path)
    assert find_faces(WHITE, "studies/mine") == []
    for place in ("studies/mine", Path("studies/mine")):
        assert np.array_equal(crop(face_of(), "full", study=place), crop(face_of(), "full", study=study))
    assert list(load_model("studies/mine/models/full/tiny/1").trainings) == ["1"]
    assert load_model("Meso4_DF", "weights").name == "Meso4_DF"


def test_missing_models_are_named(study: Path, tmp_path: Path) -> None:
    for name in ("Xception", "models/full", "", tmp_path):
        with pytest.raises(StudyError, match=r"there is no model '.*'; give Meso4_DF, MesoInception4_DF, or the"):
            load_model(name)
    for value in (None, 3, b"Meso4_DF"):
        with pytest.raises(StudyError, match=r"name = .* is not a path; give text or a Path\."):
            load_model(value)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match=r"weights = 3 is not a path"):
        load_model("Meso4_DF", 3)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match=r"Meso4_DF\.h5 is missing; get https://"):
        load_model("Meso4_DF", tmp_path)
    for name in ("a\0b", "models/full/tiny\0/1", study / "models/full/tiny/\0"):
        with pytest.raises(StudyError):
            load_model(name)
    with pytest.raises(StudyError, match=r"has no training '7'; it has 1, 2\."):
        load_model(study / "models/full/tiny/7")
    with pytest.raises(StudyError, match=r"has no training of 'other' on 'full'; it has 'tiny' on 'full'\.$"):
        load_model(study / "models/full/other")
    with pytest.raises(StudyError, match=r"dvc\.lock is missing, so .* is not a study"):
        load_model(tmp_path / "models/full/tiny/1")


def test_models_of_drawn_people_need_consent(tmp_path: Path) -> None:
    write_lock(write_study(tmp_path), "sample")
    path = tmp_path / "models/full/tiny/1"
    with pytest.raises(StudyError, match=r"drawn people only \(source: sample\).*allow_sample=True"):
        load_model(path)
    assert "source: sample" in load_model(path, allow_sample=True).seen


# --- import facestudy ----------------------------------------------------------------------------------------------


def test_the_package_has_the_four_calls() -> None:
    assert facestudy.__all__ == ["crop", "find_faces", "load_model", "score"]
    assert {name: getattr(facestudy, name) for name in facestudy.__all__} == {
        "crop": crop, "find_faces": find_faces, "load_model": load_model, "score": score,
    }  # fmt: skip
    assert set(facestudy.__all__) <= set(dir(facestudy))
    with pytest.raises(AttributeError, match="module 'facestudy' has no attribute 'predict'"):
        _ = facestudy.predict


def test_nothing_is_imported_before_it_is_used(tmp_path: Path) -> None:
    """From a folder of the caller's own, as another program does it."""
    program = (
        "import sys, facestudy\n"
        "assert not {'numpy', 'cv2', 'tensorflow'} & set(sys.modules)\n"
        "assert facestudy.find_faces and 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
        "import numpy\n"
        "print(facestudy.find_faces(numpy.zeros((99, 99, 3), numpy.uint8)))\n"
    )
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
