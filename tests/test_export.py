"""Models as ONNX: under ONNX Runtime they give the p_fake of Keras, and the command says what is wrong."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from commands import export as command
from facestudy.core.arrays import Picture
from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.crops.cutting import CropSettings, Plan, Variant, resolve
from facestudy.media.video import read_video
from facestudy.models.catalogue import builders
from facestudy.models.fused import BatchNormalization
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings
from facestudy.models.vgg19 import vgg19
from facestudy.prediction import onnx_file, published
from facestudy.prediction.arrays import crop, find_faces
from facestudy.prediction.detectors import Detector, score_with
from facestudy.runtime.backend import keras
from tests.media import LIMITS
from tests.project import call
from tests.test_predict import face_picture, write_lock, write_study


def plan_of(width: int, height: int) -> Plan:
    variants = {"full": Variant(regions=["face"], layout="stack")}
    return resolve("full", variants, {"face": (0, 0, 1, 1)}, CropSettings(size=(width, height)))


@pytest.fixture(scope="module")
def weights(outside_data: Path) -> Path:
    return outside_data / "mesonet"


@pytest.fixture(scope="module")
def faces(outside_data: Path, weights: Path) -> list[Any]:
    """Faces of the authors' test pictures and of clips."""
    pictures = [face_picture(weights, path.stem) for path in sorted(weights.glob("*.jpg"))]
    for label in ("real", "fake"):
        for clip in sorted((outside_data / "videos" / label).glob("*.mp4"))[:5]:
            pictures += [frame.picture for frame in read_video(clip, [0], LIMITS)]
    found = [find_faces(np.ascontiguousarray(picture))[:1] for picture in pictures]
    assert sum(map(len, found)) >= 10
    return [face for one in found for face in one]


@pytest.mark.parametrize("number", range(len(published.DETECTORS)))
def test_published_detectors_give_the_same_p_fake(faces: list[Any], weights: Path, tmp_path: Path, number: int) -> None:
    detector = published.detectors(weights, fetch=False)[number]
    crops = np.stack([crop(face, detector) for face in faces])
    onnx_file.write(detector, "published", tmp_path / "a.onnx")
    ours, theirs = score_with(detector.trainings["published"](), crops), onnx_file.run(tmp_path / "a.onnx", crops)
    assert np.abs(ours - theirs).max() < 1e-4 and np.ptp(ours) > 0.5
    low, high = onnx_file.compare(tmp_path / "a.onnx", detector.trainings["published"](), crops).p_fake
    assert (low, high) == pytest.approx((ours.min(), ours.max()))


def as_trained(network: Any, crops: Picture) -> None:
    """Give a network numbers as after a training: batch statistics of these crops, and p_fake all over 0 to 1."""
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, BatchNormalization):
            gamma, beta, *statistics = layer.get_weights()
            layer.set_weights([rng.uniform(0.5, 1, gamma.shape), rng.normal(0, 0.1, beta.shape), *statistics])
    network(crops, training=True)  # with a momentum of 0, the batch's statistics are kept
    logit = network.get_layer("logit")
    found = np.asarray(keras.Model(network.inputs, logit.output).predict_on_batch(crops))
    kernel, bias = logit.get_weights()
    logit.set_weights([kernel / found.std(), (bias - found.mean()) / found.std()])


def network_of(name: str) -> Any:
    keras.utils.set_random_seed(1)
    if name == "vgg19_caffe":  # scaled as for ImageNet weights
        return vgg19(64, width=0.0625, batch_norm=False, weights="imagenet", fill=False)
    width = 0.0625 if "width" in builders()[name].keywords else 1.0
    values = {"network": name, "input_size": 64, "width": width, "batch_norm_momentum": 0.0}
    return build(check(ModelSettings, values | {"epochs": 1, "learning_rate": 0.001}, "models.a"))


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, (96, 80)) for name in (*builders(), "vgg19_caffe")]
    + [("meso4", (64, 64)), ("meso4", (48, 50)), ("resnet50", (64, 64))],
    ids=str,
)
def test_every_network_gives_the_same_p_fake(
    faces: list[Any], tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    """With crops of the size of its input, larger and smaller ones."""
    network = network_of(name)
    detector = Detector(name, {"1": lambda: network}, plan_of(*size))
    crops = np.stack([crop(face, detector) for face in faces])
    as_trained(network, crops)
    onnx_file.write(detector, "1", tmp_path / "a.onnx")
    ours, theirs = score_with(network, crops), onnx_file.run(tmp_path / "a.onnx", crops)
    assert np.abs(ours - theirs).max() < 1e-4 and np.ptp(ours) > 0.5


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with two trainings of the model `tiny` on `full`, made with drawn people."""
    folder = write_study(tmp_path_factory.mktemp("study"))
    write_lock(folder, "sample")
    return folder


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit status, output and errors of the command, in this process."""
    with contextlib.chdir(folder), pytest.raises(SystemExit) as ended, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["export", *words])
        command.main()
        raise SystemExit(0)
    said = capsys.readouterr()
    code = ended.value.code
    if isinstance(code, str):  # Python prints it and ends with 1
        return 1, said.out, code
    return int(code or 0), said.out, said.err


def test_the_command_writes_a_file_that_describes_itself(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, study, "models/full/tiny/2", "--out", str(tmp_path / "new"))
    assert (code, err, len(out.splitlines())) == (0, "", 1)
    assert "tiny.full.2.onnx" in out and "uint8 RGB 64x64, the crop full, to p_fake; at most " in out
    low, high = map(float, re.findall(r"from Keras on 48 drawn pictures with p_fake from (\S+) to (\S+)\.$", out)[0])
    assert low < high
    (path,) = (tmp_path / "new").iterdir()
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}["facestudy"])
    assert (facts["name"], facts["training"], facts["crop"]) == ("tiny.full", "2", "full")
    assert "source: sample" in facts["seen"]
    runtime = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ends = [(end.name, end.shape, end.type) for end in (*runtime.get_inputs(), *runtime.get_outputs())]
    assert ends == [
        ("pictures", ["batch", 64, 64, 3], "tensor(uint8)"), ("p_fake", ["batch", 1], "tensor(float)"),
    ]  # fmt: skip
    pictures = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    assert np.abs(onnx_file.run(path, pictures[:1]) - onnx_file.run(path, pictures)[:1]).max() < 1e-6


def test_the_file_is_named_after_the_model(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", "another")  # of something else
    assert run(capsys, tmp_path, str(study / "models/full/tiny/1"))[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.full.1.onnx"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give a model: models/<variant>/<model>/<training>, or Meso4_DF, MesoInception4_DF; see `facestudy"),
        (["--size", "3"], "unrecognized arguments: --size; see `facestudy"),
        (["Xception"], "there is no model"),
        (["models/full/tiny"], "models/full/tiny has the trainings 1, 2; a file holds one, as in models/full/tiny/1."),
        (["models/full/tiny/7"], "has no training '7'; it has 1, 2."),
        (["models/full/other/1"], "has no training of 'other' on 'full'; it has 'tiny' on 'full'."),
        (["Meso4_DF", "--weights", "/nowhere"], "/nowhere/Meso4_DF.h5 is missing; get https://"),
        (["models/full/tiny/1", "--out", "dvc.lock/a.onnx"], "dvc.lock: "),
    ],
)
def test_wrong_use_is_one_sentence(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    shutil.copytree(study, tmp_path / "copy")
    code, out, err = run(capsys, tmp_path / "copy", *words)
    assert (code, out) == (1, "") and err.startswith("export: ") and sentence in err and len(err.splitlines()) == 1
    assert not list(tmp_path.rglob("*.onnx"))


def with_other_weights(model: Any, factor: float) -> Any:
    """The onnx.ModelProto with a changed kernel in its last layer."""
    (kernel,) = (one for one in model.graph.initializer if len(one.dims) == 2 and one.dims[1] == 1)
    kernel.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(kernel) * np.float32(factor), kernel.name))
    return model


def sure_of_all() -> Any:
    """A network whose p_fake is 1 for every picture."""
    network = network_of("meso4")
    as_trained(network, onnx_file.drawn_pictures((64, 64)))
    kernel, bias = network.get_layer("logit").get_weights()
    network.get_layer("logit").set_weights([3 * kernel, bias + 60])
    return network


@pytest.mark.parametrize("fault", ["differs", "cannot run", "interrupted"])
def test_a_file_stays_until_a_checked_one_replaces_it(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path, converted = tmp_path / "a.onnx", onnx_file._converted
    path.write_bytes(b"an earlier file")

    def failing(*_: Any, **__: Any) -> None:
        raise (
            KeyboardInterrupt if fault == "interrupted" else onnxruntime.capi.onnxruntime_pybind11_state.Fail("no\nway")
        )

    if fault == "differs":
        monkeypatch.setattr(onnx_file, "_converted", lambda *given: with_other_weights(converted(*given), 1.01))
    else:
        monkeypatch.setattr(onnxruntime, "InferenceSession", failing)
    code, out, err = run(capsys, study, "models/full/tiny/1", "--out", str(path))
    wanted = {
        "differs": (1, "another p_fake than the Keras model (by up to "),
        "cannot run": (1, "export: ONNX Runtime cannot run the model (no way)."),
        "interrupted": (130, "export: interrupted."),
    }[fault]
    assert (code, out) == (wanted[0], "") and wanted[1] in err and len(err.splitlines()) == 1
    assert path.read_bytes() == b"an earlier file" and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    assert run(capsys, study, "models/full/tiny/1", "--out", str(path))[0] == 0
    assert path.read_bytes() != b"an earlier file" and list(tmp_path.iterdir()) == [path]


def test_a_difference_shows_where_p_fake_is_always_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, converted = sure_of_all(), onnx_file._converted
    detector = Detector("sure", {"1": lambda: network}, plan_of(64, 64))
    crops = onnx_file.drawn_pictures((64, 64))
    assert (np.float32(score_with(network, crops)) == 1).all()
    assert onnx_file.write(detector, "1", tmp_path / "a.onnx").difference <= 1e-4
    monkeypatch.setattr(onnx_file, "_converted", lambda *given: with_other_weights(converted(*given), 1.01))
    with pytest.raises(StudyError, match="would give another p_fake"):
        onnx_file.write(detector, "1", tmp_path / "b.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_network_that_gives_one_p_fake_is_not_compared(tmp_path: Path) -> None:
    network = network_of("meso4")
    kernel, bias = network.get_layer("logit").get_weights()
    network.get_layer("logit").set_weights([0 * kernel, bias + 1])
    detector = Detector("constant", {"1": lambda: network}, plan_of(64, 64))
    with pytest.raises(StudyError, match=r"nearly the same p_fake for 48 different pictures \(logits from 1 to 1\)"):
        onnx_file.write(detector, "1", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_drawn_pictures_do_not_saturate_published_detectors(weights: Path) -> None:
    for detector in published.detectors(weights, fetch=False):
        (p_fake,) = detector.score_crops(onnx_file.drawn_pictures(detector.plan.size))
        assert np.ptp(p_fake) > 0.5 and ((p_fake > 0.01) & (p_fake < 0.99)).sum() > 10


def test_two_exports_at_once_do_not_share_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second starts and ends while the first compares."""
    first, second = (
        Detector(name, {"1": partial(network_of, name)}, plan_of(64, 64)) for name in ("meso4", "mesoinception4")
    )
    compare = onnx_file.compare

    def interleaved(path: Path, *given: Any) -> Any:
        monkeypatch.setattr(onnx_file, "compare", compare)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(onnx_file.os, "getpid", lambda: 0)
            onnx_file.write(second, "1", tmp_path / "a.onnx")
        assert onnx.load(tmp_path / "a.onnx").graph.name == "mesoinception4"
        return compare(path, *given)

    monkeypatch.setattr(onnx_file, "compare", interleaved)
    onnx_file.write(first, "1", tmp_path / "a.onnx")
    assert onnx.load(tmp_path / "a.onnx").graph.name == "meso4"
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_the_suffix_says_file_or_folder(study: Path, tmp_path: Path) -> None:
    detector, training = command.detector_of(str(study / "models/full/tiny/1"), None)
    (tmp_path / "folder.onnx").mkdir()
    for out, path in {
        "a.onnx": "a.onnx",
        "b.ONNX": "b.ONNX",
        "c": "c/tiny.full.1.onnx",
        "folder.onnx": "folder.onnx/tiny.full.1.onnx",
    }.items():
        assert command.place_of(tmp_path / out, detector, training) == tmp_path / path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "folder.onnx"]


def test_what_onnx_lacks_is_refused(tmp_path: Path) -> None:
    """A network with a second antialiased resize, for which ONNX has no operator."""
    pictures = keras.Input((None, None, 3), dtype="uint8")
    resized = keras.layers.Resizing(8, 8, antialias=True)(pictures)
    p_fake = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(resized))
    network = keras.Model(pictures, p_fake)
    detector = Detector("odd", {"1": lambda: network}, plan_of(32, 32))
    with pytest.raises(StudyError, match="odd cannot be written as ONNX, which lacks one of its operations"):
        onnx_file.write(detector, "1", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_only_tensorflow_writes_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file.backend, "name", lambda: "jax")
    with pytest.raises(StudyError, match="KERAS_BACKEND is jax; models are written as ONNX with tensorflow only"):
        onnx_file.write(Detector("a", {}, plan_of(8, 8)), "1", tmp_path / "a.onnx")


def test_help_names_the_models(tmp_path: Path) -> None:
    done = call(tmp_path, "facestudy", "export", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "models/<variant>/<model>/<training>" in done.stdout and "Meso4_DF, MesoInception4_DF" in done.stdout
