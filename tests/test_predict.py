"""A score for one clip: published weights, models of a study, what a score comes with, input that gives none."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from commands import predict as command
from facestudy.core import tables
from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.errors import StudyError
from facestudy.core.regions import CANONICAL_LANDMARKS, apply
from facestudy.core.settings import check
from facestudy.crops.cutting import CropSettings, Variant, resolve
from facestudy.faces.detection import FaceSettings, cut_out
from facestudy.faces.face import Face
from facestudy.media.frames import FrameSettings
from facestudy.media.video import MediaError, Probe
from facestudy.models import pinned
from facestudy.models.mesonet_weights import PLACE
from facestudy.models.networks import build
from facestudy.models.pinned import Pinned
from facestudy.models.settings import ModelSettings
from facestudy.prediction import published, text
from facestudy.prediction.answer import Answer, about, in_words, not_scored, scored
from facestudy.prediction.clip import MIN_SIZE, Examined, Found, examine, minimum
from facestudy.prediction.detectors import Detector, Known, ScoreBin
from facestudy.prediction.pictures import write_report
from facestudy.prediction.published import DETECTORS, Published, authors_crop, weights_file
from facestudy.prediction.trained import folder_md5, trained
from facestudy.runtime.backend import keras
from facestudy.sources.youtube import YoutubeSettings
from tests.committed import committed, committed_files
from tests.media import LIMITS, write_clip, write_picture
from tests.media_server import MediaServer, serving
from tests.pipeline_files import ROOT
from tests.project import SMALL, call, params

CONTENT = b"weights" * 1000
WEIGHTS = Pinned("mine.h5", f"{PLACE}/mine.h5", hashlib.sha256(CONTENT).hexdigest(), 1_000_000)
MINE = Published("Mine", "meso4", WEIGHTS, "")
PROBE = Probe("h264", 1280, 720, 25.0, 4.0, 100)
PLAN = resolve(
    "full", {"full": Variant(regions=["face"], layout="stack")}, {"face": (0, 0, 1, 1)}, CropSettings(size=(8, 8))
)


# --- the published weights -----------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MediaServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / WEIGHTS.name).write_bytes(CONTENT)
    with serving(folder, stall_s=5) as running:
        yield running


def test_weights_are_fetched_once_and_whole(server: MediaServer, tmp_path: Path) -> None:
    for _ in range(2):
        path = weights_file(MINE, tmp_path / "cache", place=f"{server.address}/ok")
        assert path.read_bytes() == CONTENT
    assert server.requests == {f"/ok/{WEIGHTS.name}": 1}
    assert list((tmp_path / "cache").iterdir()) == [path]


@pytest.mark.parametrize("behaviour", ["missing", "forbidden", "down", "page", "broken", "cut", "stall", "endless"])
def test_a_server_that_misbehaves_leaves_nothing_behind(
    server: MediaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.setattr(pinned, "TIMEOUT_S", 1)
    place = f"{server.address}/{behaviour}"
    with pytest.raises(StudyError) as caught:
        weights_file(MINE, tmp_path / "cache", place=place)
    wanted = f"get {place}/{WEIGHTS.name} (sha256 {WEIGHTS.digest}) and put it at {tmp_path / 'cache' / WEIGHTS.name}."
    assert str(caught.value).endswith(wanted) and "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != server.folder]


def test_without_a_network_one_sentence_says_what_to_put_where(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(StudyError, match=r"mine\.h5 cannot be fetched here \(.*refused\); get .* and put it at .*mine"):
        weights_file(MINE, tmp_path, place=place)


def test_only_the_published_file_is_used(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"mine\.h5 is missing; get https://raw\.githubusercontent\.com/.*/mine\.h5 "):
        weights_file(MINE, tmp_path, fetch=False)
    (tmp_path / WEIGHTS.name).write_bytes(CONTENT[:-1])
    with pytest.raises(StudyError, match=r"mine\.h5 is not the published file \(its sha256 differs\)"):
        weights_file(MINE, tmp_path)
    (tmp_path / WEIGHTS.name).write_bytes(CONTENT)
    assert weights_file(MINE, tmp_path, fetch=False) == tmp_path / WEIGHTS.name


def test_weights_go_to_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert published.cache_folder() == tmp_path / ".cache/facestudy"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert published.cache_folder() == Path("/elsewhere/facestudy")


def test_the_crop_is_that_of_the_authors() -> None:
    """K = 2.2 times l_factor = 1.3 times the longer of eye to eye and eyes to mouth, about the nose; upright."""
    left_eye, right_eye, nose, mouth_left, mouth_right = CANONICAL_LANDMARKS
    eyes, mouth = (left_eye + right_eye) / 2, (mouth_left + mouth_right) / 2
    side = 2.2 * 1.3 * max(math.dist(left_eye, right_eye), math.dist(eyes, mouth))
    (part,) = authors_crop().parts
    assert part.rect == (0, 0, 256, 256)
    assert part.box[2] - part.box[0] == pytest.approx(side, rel=0.04)
    assert (part.box[1] + part.box[3]) / 2 == pytest.approx((nose[1] + eyes[1]) / 2 + 0.05, abs=0.02)


@pytest.fixture(scope="module")
def weights(outside_data: Path) -> Path:
    return outside_data / "mesonet"


FACES = check(FaceSettings, params()["faces"], "faces")
FRAMES = check(FrameSettings, params()["frames"], "frames")


@pytest.fixture
def published_detectors(weights: Path) -> list[Detector]:
    return published.detectors(weights, fetch=False)


def seen(path: Path, folder: Path) -> Examined:
    folder.mkdir()
    return examine(path, FRAMES, minimum(FACES), LIMITS, folder)


def test_authors_faces_are_told_apart(published_detectors: list[Detector], weights: Path, tmp_path: Path) -> None:
    """Through detection and our crop, the authors' test faces keep their side: they get a score as in their example."""
    for name, fake in (("df00204", True), ("df01254", True), ("real00240", False), ("real00772", False)):
        clip = scored(name, seen(weights / f"{name}.jpg", tmp_path / name), published_detectors)
        (person,) = clip.persons  # a necktie that MTCNN takes for a face is too small
        assert [score.label for score in person.scores] == [("real", "fake")[fake]] * 2
        assert all(abs(score.p_fake - fake) < 0.15 for score in person.scores), clip


# --- what is in a clip ---------------------------------------------------------------------------------------------


def pasted(*pictures: Picture, side: int = 300) -> Picture:
    """Square pictures side by side."""
    resized = [cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in pictures]
    return np.asarray(np.hstack(resized), np.uint8)


def face_picture(weights: Path, name: str) -> Picture:
    return np.asarray(cv2.imread(str(weights / f"{name}.jpg"))[:, :, ::-1], np.uint8)  # type: ignore[index]


def test_each_person_has_a_line(published_detectors: list[Detector], weights: Path, tmp_path: Path) -> None:
    both = pasted(face_picture(weights, "df01254"), face_picture(weights, "real00772"))
    path = write_picture(tmp_path / "both.png", both)
    found = seen(path, tmp_path / "work")
    clip = scored("both.png", found, published_detectors)
    labels = {("fake" if person.faces[0].x < 300 else "real"): person.scores[0].label for person in clip.persons}
    assert labels == {"fake": "fake", "real": "real"}
    lines = text.of_clip(clip)
    assert sum(line.startswith("  person ") for line in lines) == 2
    names = sorted(path.name for path in write_report(tmp_path, clip, found, published_detectors[0]))
    assert [name.split("_", 2)[2] for name in names] == ["faces.csv", "faces.png"]
    table = (tmp_path / names[0]).read_text().splitlines()
    assert len(table) == 3 and table[0].endswith("p_fake.Meso4_DF,p_fake.MesoInception4_DF")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda picture: pasted(picture, side=80), r"a face too small, under 60 pixels \(1\)"),
        (lambda picture: cv2.GaussianBlur(picture, (0, 0), 6), r"a face too blurred, sharpness under 10 \(1\)"),
        (lambda picture: picture * 0 + 90, r"no face found \(1\)"),
    ],
)
def test_unusable_faces_give_a_reason(weights: Path, tmp_path: Path, change: Any, reason: str) -> None:
    path = write_picture(tmp_path / "face.png", change(face_picture(weights, "real00772")))
    clip = scored("face.png", seen(path, tmp_path / "work"), [])
    assert clip.status == "not_scored" and not clip.persons
    assert re.fullmatch(rf"no usable face in 1 frame: {reason}", clip.reason), clip.reason


def test_every_reason_of_the_faces_stage_has_words() -> None:
    limits = dict.fromkeys(FACES.quality.model_dump(), 1.0)
    for name in limits:
        settings = FACES.quality.model_copy(update=dict.fromkeys(limits) | {name: 1.0})
        measure = name.split("_", 1)[1]
        reason = settings.reason({measure: 0.5 if name.startswith("min") else 1.5})
        assert reason and in_words(reason) != reason.replace("_", " "), reason


def test_the_studys_own_limits_stay() -> None:
    quality = FACES.quality.model_copy(update={"min_size": 12.0})
    assert minimum(FACES.model_copy(update={"quality": quality})).quality.min_size == 12.0
    assert minimum(FACES).quality.min_size == MIN_SIZE


# --- what a score comes with ---------------------------------------------------------------------------------------


class Fixed(Detector):
    """A detector whose scores are given: one row per training, one column per face."""

    def score(self, faces: Any) -> FloatArray:
        return np.asarray(self.plan, float)[:, : len(faces)]


def fixed(p_fake: list[list[float]], **more: Any) -> Detector:
    names: Mapping[str, Any] = {str(number): None for number in range(len(p_fake))}
    return Fixed("fixed", names, p_fake, **more)  # type: ignore[arg-type]


def examined_of(*people: int, probe: Probe = PROBE) -> Examined:
    """Faces of these persons, one in each frame."""
    landmarks = apply(np.array([[50.0, 0, 5], [0, 50, 5]]), CANONICAL_LANDMARKS)
    quality = {"size": 50.0, "sharpness": 90.0, "brightness": 1.0, "landmark_error": 0.0, "blockiness": 1.0}
    face = cut_out(np.full((60, 60, 3), 99, np.uint8), Face(5, 5, 50, 50, 0.99, landmarks, quality=quality))
    found = [Found(face, person, number, number / 10) for number, person in enumerate(people)]
    return Examined(probe, "0" * 64, len(people), found, {"no_face": 2}, "")


def test_mean_and_spread_are_over_faces_and_trainings() -> None:
    """By hand: faces .2, .4, .9 (means over trainings), trainings .4 and .6."""
    clip = scored("a", examined_of(1, 1, 1), [fixed([[0.1, 0.3, 0.8], [0.3, 0.5, 1.0]])])
    (score,) = clip.persons[0].scores
    assert (score.p_fake, score.label) == (0.5, "real")  # as in the study's accuracy, fake is above .5
    assert (score.faces_low, score.faces_high) == (0.2, 0.9)
    assert score.faces_sd == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1), abs=1e-6)
    assert (score.trainings, score.trainings_low, score.trainings_high) == (2, 0.4, 0.6)
    assert score.trainings_sd == pytest.approx(0.2 / math.sqrt(2), abs=1e-6)
    assert [face.p_fake["fixed"] for face in clip.persons[0].faces] == [0.2, 0.4, 0.9]


def test_one_face_and_one_training_have_no_spread() -> None:
    (score,) = scored("a", examined_of(1), [fixed([[0.7]])]).persons[0].scores
    assert (score.label, score.faces_sd, score.trainings_sd, score.meaning) == ("fake", None, None, None)
    assert text.of_clip(scored("a", examined_of(1), [fixed([[0.7]])]))[2] == "    fixed  P(fake) 0.70  fake"


def test_persons_do_not_share_scores() -> None:
    clip = scored("a", examined_of(1, 2, 1), [fixed([[0.1, 0.9, 0.3]])])
    assert [person.scores[0].p_fake for person in clip.persons] == [0.2, 0.9]


BINS = [ScoreBin(0.0, 0.1, 50, 0.02), ScoreBin(0.9, 1.0, 80, 0.97)]


@pytest.mark.parametrize(
    ("p_fake", "scores"), [(0.0, 50), (0.0999, 50), (0.1, None), (0.5, None), (0.9, 80), (1.0, 80)]
)
def test_a_score_means_what_test_faces_were(p_fake: float, scores: int | None) -> None:
    (score,) = scored("a", examined_of(1), [fixed([[p_fake]], bins=BINS)]).persons[0].scores
    assert (score.meaning and score.meaning.scores) == scores
    words = " ".join(
        [*text.of_clip(clip := scored("a", examined_of(1), [fixed([[p_fake]], bins=BINS)])), *text.footer([clip])]
    )
    assert ("were of fakes" in words) == (scores is not None) and ("is not known" in words) == (scores is None)
    assert text.NO_PROOF in words


def test_what_lies_outside_of_the_known_is_said() -> None:
    known = Known(frozenset({"h264"}), (854, 480), {"size": (80, 200), "blockiness": (0.9, 1.1)}, frozenset({"0" * 64}))
    odd = examined_of(1, probe=Probe("vp9", 480, 640, 25.0, 4.0, 100))
    (score,) = scored("a", odd, [fixed([[0.7]], known=known)]).persons[0].scores
    assert [warning.split()[0] for warning in score.warnings] == ["this", "format", "frames", "size"]
    same = Known(frozenset({"h264"}), (854, 480), {"size": (40, 200)}, frozenset({"1" * 64}))
    assert scored("a", examined_of(1), [fixed([[0.7]], known=same)]).persons[0].scores[0].warnings == []


def test_detectors_that_disagree_are_said_to() -> None:
    first, second = fixed([[0.7]]), Fixed("other", {"0": None}, [[0.2]])  # type: ignore[arg-type, dict-item]
    assert "    the detectors disagree" in text.of_clip(scored("a", examined_of(1), [first, second]))
    assert "    the detectors disagree" not in text.of_clip(scored("a", examined_of(1), [first]))


@pytest.mark.parametrize(
    ("statuses", "code"), [([], 1), (["scored"], 0), (["not_scored"], 1), (["scored", "not_scored"], 2)]
)
def test_exit_status_tells_all_none_and_some(statuses: list[str], code: int) -> None:
    clips = [not_scored("a", "why").model_copy(update={"status": status}) for status in statuses]
    assert command.status(clips) == code


def test_json_is_as_documented() -> None:
    """Every field of the schema is in docs/one-clip.md, and what is written can be read back under it."""
    page = (ROOT / "docs/one-clip.md").read_text()
    schema = Answer.model_json_schema()
    for definition in (schema, *schema["$defs"].values()):
        assert definition["additionalProperties"] is False
        for name in definition["properties"]:
            assert f"`{name}`" in page, name
    detector = fixed([[0.1, 0.3]], bins=BINS)
    clips = [scored("a", examined_of(1, 2), [detector]), not_scored("b", "why")]
    answer = Answer(detectors=[about(Detector("fixed", {"1": lambda: None}, PLAN))], clips=clips)
    assert Answer.model_validate_json(answer.model_dump_json(), strict=True) == answer


# --- models of a study ---------------------------------------------------------------------------------------------

MODEL = {"network": "meso4", "learning_rate": 0.001, **SMALL}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


def write_study(folder: Path) -> Path:
    """What `make study` leaves of a study on a folder: two trainings of one model, dvc.lock, figures."""
    for seed in (1, 2):
        place = folder / "models/full/tiny" / str(seed)
        place.mkdir(parents=True)
        keras.utils.set_random_seed(5 + seed)  # `facestudy export` refuses a network whose scores hardly vary
        build(check(ModelSettings, MODEL, "models.tiny")).save_weights(place / "model.weights.h5")
        (place / "history.csv").write_text("epoch\n1\n")
    (folder / "metrics").mkdir()
    rows = [f"tiny,full,{k / 10},{(k + 1) / 10},{10 + k},{k / 10 + 0.05},{k / 10}" for k in range(10)]
    header = "model,variant,low,high,scores,mean_p_fake,fake_share"
    (folder / "metrics/reliability.csv").write_text("\n".join([header, *rows, "other,full,0.0,1.0,999,0.5,1"]) + "\n")
    write_lock(folder)
    return folder


def write_lock(folder: Path, source: str = "folder") -> None:
    own = params()
    cut = {name: own[name] for name in ("crops", "regions")}
    sections = {
        "videos": {"source": source},
        "frames": {"frames": own["frames"]},
        "faces": {"faces": own["faces"]},
        "crops@full": {**cut, "crop_variants.full": own["crop_variants"]["full"], "sample.feather": 0.03},
        "train@tiny-full": {"models.tiny": MODEL},
        "compare": {"evaluate": own["evaluate"]},
    }
    stages: dict[str, Any] = {name: {"params": {"params.yaml": values}} for name, values in sections.items()}
    files = [path for path in (folder / "models/full/tiny").rglob("*") if path.is_file()]
    md5 = folder_md5(folder / "models/full/tiny", files)
    stages["train@tiny-full"]["outs"] = [{"path": "models/full/tiny", "md5": md5}]
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_all_trainings_of_a_study_are_used(study: Path) -> None:
    detector = trained(study, "tiny", "full").detector
    both = detector.score([one.face for one in examined_of(1, 1).found])
    assert list(detector.trainings) == ["1", "2"] and both.shape == (2, 2)
    assert abs(both[0] - both[1]).min() > 1e-6  # other initial weights
    second = trained(study, "tiny", "full", "2").detector
    assert second.score([one.face for one in examined_of(1, 1).found]) == pytest.approx(both[1:])
    found = detector.bin_of(0.55)
    assert found is not None and (found.scores, found.fake_share) == (15, 0.5)


def test_drawn_people_need_consent(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "drawn")
    write_lock(tmp_path / "drawn", "sample")
    with pytest.raises(StudyError, match=r"have seen drawn people only \(source: sample\).*--allow-sample"):
        trained(tmp_path / "drawn", "tiny", "full")
    assert "source: sample" in trained(tmp_path / "drawn", "tiny", "full", sample=True).detector.seen


def test_settings_are_those_of_the_training(study: Path) -> None:
    """A later edit of params.yaml changes neither the crop nor the network."""
    (study / "params.yaml").write_text("crops: {size: [8, 8]}\n")
    assert trained(study, "tiny", "full").detector.plan.size == tuple(params()["crops"]["size"])


@pytest.mark.parametrize(
    ("break_it", "model", "training", "sentence"),
    [
        (
            lambda folder: None,
            "other",
            "",
            r"dvc\.lock has no training of 'other' on 'full'; it has 'tiny' on 'full'\.$",
        ),
        (lambda folder: None, "tiny", "7", r"has no training '7'; it has 1, 2\."),
        (lambda folder: (folder / "dvc.lock").unlink(), "tiny", "", r"dvc\.lock is missing, so .* is not a study"),
        (lambda folder: (folder / "dvc.lock").write_text("- 1\n"), "tiny", "", r"dvc\.lock is not a lock file of DVC"),
        (lambda folder: shutil.rmtree(folder / "models"), "tiny", "", r"has no models; `make run` or `make pull"),
        (
            lambda folder: (folder / "models/full/tiny/1/history.csv").write_text("x"),
            "tiny",
            "",
            r"are not those of dvc\.lock; `dvc checkout models/full/tiny` restores them",
        ),
    ],
    ids=["model", "training", "no lock", "odd lock", "no models", "altered"],
)
def test_what_is_wrong_with_a_study_is_said(
    study: Path, tmp_path: Path, break_it: Any, model: str, training: str, sentence: str
) -> None:
    shutil.copytree(study, tmp_path / "copy")
    break_it(tmp_path / "copy")
    with pytest.raises(StudyError, match=sentence):
        trained(tmp_path / "copy", model, "full", training)


def test_known_data_are_those_of_the_studys_tables(study: Path, tmp_path: Path) -> None:
    """Faces of 101 to 200 pixels that are used, one of 999 that is not; the first clip is in training."""
    shutil.copytree(study, tmp_path / "copy")
    data = tmp_path / "copy/data"
    clips = [{"video_id": name, "codec": codec, "sha256": name * 64} for name, codec in (("a", "h264"), ("b", "vp9"))]
    faces = [
        {"face_id": f"f{size}", "size": size, "sharpness": 50, "blockiness": 1} for size in (*range(101, 201), 999)
    ]
    subsets = {"f101": "train", "f999": "unused"}
    split = [
        {"repeat": 1, "face_id": row["face_id"], "video_id": "a" if row["face_id"] == "f101" else "b"}
        | {"subset": subsets.get(str(row["face_id"]), "test")}
        for row in faces
    ]
    written = (
        ("videos/index", clips, tables.VIDEOS),
        ("faces/index", faces, tables.FACES),
        ("split", split, tables.SPLIT),
    )
    for name, rows, table in written:
        tables.write(data / f"{name}.csv", tables.to_dataframe(rows, table), table)
    known = trained(tmp_path / "copy", "tiny", "full").detector.known
    assert known.codecs == {"h264", "vp9"} and known.trained_on == {"a" * 64}
    assert known.faces["size"] == pytest.approx((101.99, 199.01)) and known.faces["sharpness"] == (50, 50)
    assert trained(study, "tiny", "full").detector.known == Known()


def test_checksums_of_folders_are_those_of_dvc(tmp_path: Path) -> None:
    lock = yaml.safe_load(committed("dvc.lock"))["stages"]
    (out,) = (out for out in lock["train@mesonet-full"]["outs"] if out["path"].startswith("predictions/"))
    for name in committed_files():
        if name.startswith(f"{out['path']}/"):
            (tmp_path / Path(name).name).write_text(committed(name))
    assert folder_md5(tmp_path, list(tmp_path.iterdir())) == out["md5"]


# --- sources, and input that gives no score ------------------------------------------------------------------------


def test_sources_are_files_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("a.mp4", "b/c.JPG", "b/d.txt", "b/._e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    a, c, d = (str(tmp_path / name) for name in ("a.mp4", "b/c.JPG", "b/d.txt"))
    assert dict(command.files_of(a)) == {a: ""}
    assert dict(command.files_of(str(tmp_path))) == {a: "", c: "", d: "not a video or picture"}
    assert dict(command.files_of(f"{tmp_path}/b/*")) == {c: "", d: "not a video or picture, by its suffix"}
    for source, reason in {
        f"{tmp_path}/none": "the folder holds no video or picture",
        f"{tmp_path}/*.mkv": "the pattern matches no file",
        f"{tmp_path}/x.mp4": "there is no such file",
    }.items():
        assert dict(command.files_of(source)) == {source: reason}
    ((_, reason),) = command.files_of("a\0.mp4")
    assert reason.startswith("cannot be read") or reason == "there is no such file"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit status, output and errors of the command, in this process."""
    with pytest.raises(SystemExit) as ended, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["predict", *words])
        command.main()
    said = capsys.readouterr()
    code = ended.value.code
    if isinstance(code, str):  # Python prints it and ends with 1
        return 1, said.out, code
    return int(code or 0), said.out, said.err


@pytest.fixture
def no_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that give no face do not need any."""
    monkeypatch.setattr(published, "detectors", lambda *_, **__: [])


@pytest.mark.usefixtures("no_detectors")
def test_input_without_a_score_gets_a_sentence_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "odd\x1b[2J\n.mp4").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "pipe.mp4").symlink_to("/dev/zero")
    write_clip(tmp_path / "nobody.mp4", count=3)
    names = (
        "text.mp4",
        "empty.jpg",
        "odd\x1b[2J\n.mp4",
        "notes.txt",
        "folder",
        "pipe.mp4",
        "nobody.mp4",
        "missing.mp4",
    )
    code, out, err = run(capsys, *(str(tmp_path / name) for name in names))
    lines = out.splitlines()
    assert code == 1 and err == "" and len(lines) == len(names)
    assert all(": no score: " in line and line.endswith(".") and line.isprintable() for line in lines), lines
    reasons = [line.split(": no score: ")[1] for line in lines]
    assert re.match(r"not decodable as a video", reasons[0])
    assert reasons[1] == "the file is empty."
    assert reasons[3:6] == [
        "not a video or picture, by its suffix.", "the folder holds no video or picture.", "not a regular file.",
    ]  # fmt: skip
    assert re.fullmatch(r"no usable face in 3 frames: no face.*\(3\)\.", reasons[6])
    assert reasons[7] == "there is no such file."


@pytest.mark.usefixtures("no_detectors")
def test_json_of_input_without_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, str(tmp_path / "missing\udce9.mp4"), "--json")
    (clip,) = Answer.model_validate_json(out, strict=True).clips
    assert (code, clip.status, clip.reason) == (1, "not_scored", "there is no such file")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give a video, a picture, a folder, a pattern or a link"),
        (["a.mp4", "--frames", "0"], "--frames 0: give 1 to 1000"),
        (["a.mp4", "--frames", "x"], "invalid int value"),
        (["a.mp4", "--model", "mesonet"], "--model and --variant go together"),
        (["a.mp4", "--seed", "1"], "--study, --seed and --allow-sample need --model and --variant"),
        (["a.mp4", "--model", "m", "--variant", "v", "--weights", "w"], "--weights is for the published detectors"),
        (["a.mp4", "--video"], "--video needs --out, the folder to write to"),
        (["a.mp4", "--weights", "/nowhere"], "/nowhere/Meso4_DF.h5 is missing; get https://"),
        (["a.mp4", "--model", "mesonet", "--variant", "full", "--study", "/nowhere"], "/nowhere is not a study"),
    ],
)
def test_wrong_use_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.setenv("FILE", "/etc/passwd")  # of something else
    code, out, err = run(capsys, *words)
    assert code == 1 and out == "" and sentence in err and len(err.splitlines()) == 1


def test_links_are_fetched_as_in_a_study(tmp_path: Path) -> None:
    settings = check(YoutubeSettings, params()["youtube"] | {"retries": 0, "sleep_s": 0, "stall_s": 2}, "youtube")
    clip = write_clip(tmp_path / "served/a.mp4", count=3)
    with serving(clip.parent) as server:
        with pytest.raises(MediaError, match=r"the link gives no video \(unsupported: leads to 127\.0\.0\.1"):
            command.fetched(f"{server.address}/ok/a.mp4", settings, LIMITS, tmp_path / "private")
        here = settings.model_copy(update={"allow_private": True})
        path = command.fetched(f"{server.address}/ok/a.mp4", here, LIMITS, tmp_path / "cache")
        assert path.read_bytes() == clip.read_bytes()
        with pytest.raises(MediaError, match=r"the link gives no video \(removed: "):
            command.fetched(f"{server.address}/missing/a.mp4", here, LIMITS, tmp_path / "cache")


# --- the command as a whole ----------------------------------------------------------------------------------------


def test_a_real_clip_from_start_to_end(weights: Path, outside_data: Path, tmp_path: Path) -> None:
    clip = next((outside_data / "videos/real").glob("liveportrait_d18.mp4"))
    (tmp_path / "text.mp4").write_text("x")
    options = ["--weights", str(weights), "--frames", "3", "--json", "--out", str(tmp_path / "out"), "--video"]
    done = call(tmp_path, "facestudy", "predict", str(clip), "text.mp4", *options)
    assert done.returncode == 2, done.stderr
    answer = Answer.model_validate_json(done.stdout, strict=True)
    first, second = answer.clips
    assert (first.status, first.frames, first.codec, second.status) == ("scored", 3, "h264", "not_scored")
    assert [score.detector for score in first.persons[0].scores] == [one.name for one in DETECTORS]
    written = {path.name.split("_", 2)[-1] for path in (tmp_path / "out").iterdir()}
    assert json.loads((tmp_path / "out/predict.json").read_text()) == json.loads(done.stdout)
    assert len(written) == 5 and "scores.mp4" in written, written


@pytest.mark.parametrize(("command", "variable"), [("predict", "FILE"), ("export", "MODEL"), ("app", "SET")])
def test_make_passes_file_as_it_is(tmp_path: Path, command: str, variable: str) -> None:
    """Neither make nor a shell expands it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "Makefile").write_text(re.sub(r"(?m)^BIN := .*", "BIN := bin", (ROOT / "Makefile").read_text()))
    for name in ("requirements.txt", "pyproject.toml", "bin/.installed"):
        (tmp_path / name).touch()
    program = tmp_path / "bin/python"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@" "$FACESTUDY_APP"\n')
    program.chmod(0o755)
    given = "my $(shell touch pwned) `x` 'clip'.mp4"
    done = call(tmp_path, "make", "--silent", "--old-file", "bin/.installed", command, f"{variable}={given}")
    end = f"{given}|" if variable == "SET" else f"--|{given}||"
    assert done.stdout == f"-m|commands|{command}|{end}", done.stderr
    assert not (tmp_path / "pwned").exists()
