"""The networks against their published forms, and the settings and weights they refuse."""

from __future__ import annotations

import io
import pickle
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import pytest

from facestudy.core.errors import StudyError
from facestudy.core.settings import check
from facestudy.models.catalogue import builders
from facestudy.models.imagenet import RESNET50, VGG19
from facestudy.models.layers import Resize, load_by_layer_order
from facestudy.models.mesonet import load_published_mesonet, meso4, mesoinception4
from facestudy.models.networks import build, load
from facestudy.models.resnet50 import resnet50
from facestudy.models.settings import ModelSettings
from facestudy.models.vgg19 import vgg19
from facestudy.runtime.backend import keras
from facestudy.runtime.work_cache import file_sha256
from facestudy.training.loop import Faces, fit, predict
from tests.pipeline_files import ROOT
from tests.weights_files import write_notop

TEST_FACES = ("df00204", "df01254", "real00240", "real00772")
TINY: dict[str, dict[str, Any]] = {
    "meso4": {"input_size": 64},
    "mesoinception4": {"input_size": 64},
    "vgg19": {"input_size": 32, "width": 1 / 16},
    "resnet50": {"input_size": 32, "width": 1 / 16},
}


def settings(**values: Any) -> ModelSettings:
    return check(ModelSettings, {"epochs": 1, "learning_rate": 0.001, **values}, "models.m")


@pytest.fixture
def published(outside_data: Path) -> Path:
    """The authors' weights and test faces."""
    return outside_data / "mesonet"


def nearest_256(path: Path) -> npt.NDArray[np.uint8]:
    """A picture as the authors' data generator gives it: RGB, nearest neighbour of pixel centres."""
    rgb = cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1]  # type: ignore[index]
    rows, columns = (np.floor((np.arange(256) + 0.5) * side / 256).astype(int) for side in rgb.shape[:2])
    return rgb[rows][:, columns]


@pytest.mark.parametrize(("builder", "parameters"), [(meso4, 28_073), (mesoinception4, 28_725)])
def test_mesonet_has_its_published_size(builder: Any, parameters: int) -> None:
    assert builder(256).count_params() == parameters


@pytest.mark.parametrize(
    ("builder", "file", "p_real"),
    [
        (meso4, "Meso4_DF.h5", (0.041412, 0.048694, 0.989748, 0.997702)),
        (mesoinception4, "MesoInception_DF.h5", (0.026218, 0.000952, 1.0, 1.0)),
    ],
)
def test_published_weights_give_their_published_answers(
    published: Path, builder: Any, file: str, p_real: tuple[float, ...]
) -> None:
    model = builder(256)
    load_published_mesonet(model, published / file)
    pictures = np.stack([nearest_256(published / f"{face}.jpg") for face in TEST_FACES])
    p_fake = np.asarray(model.predict_on_batch(pictures))[:, 0]
    assert p_fake == pytest.approx(1 - np.array(p_real), abs=1e-4)


def test_published_weights_of_the_other_network_are_refused(published: Path) -> None:
    with pytest.raises(StudyError, match=r"Meso4_DF\.h5.*of another network"):
        load_published_mesonet(mesoinception4(256), published / "Meso4_DF.h5")
    with pytest.raises(StudyError, match=r"layer dense_3 has the shapes"):
        load_published_mesonet(meso4(128), published / "Meso4_DF.h5")


def test_published_weights_come_from_the_users_cache(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chosen = settings(network="mesoinception4", input_size=256, weights="published", epochs=0)
    (tmp_path / "facestudy").mkdir()
    shutil.copy(published / "MesoInception_DF.h5", tmp_path / "facestudy")
    wanted = mesoinception4(256)
    load_published_mesonet(wanted, published / "MesoInception_DF.h5")
    for one, other in zip(build(chosen).get_weights(), wanted.get_weights(), strict=True):
        assert np.array_equal(one, other)
    (tmp_path / "facestudy/MesoInception_DF.h5").write_bytes(b"changed")
    with pytest.raises(StudyError, match=r"MesoInception_DF\.h5 is not the published file"):
        build(chosen)


@pytest.mark.parametrize(
    ("builder", "application", "preprocess"),
    [
        (vgg19, keras.applications.VGG19, keras.applications.vgg19.preprocess_input),
        (resnet50, keras.applications.ResNet50, keras.applications.resnet50.preprocess_input),
    ],
)
def test_full_width_is_keras_applications(tmp_path: Path, builder: Any, application: Any, preprocess: Any) -> None:
    theirs = application(include_top=False, pooling="avg", weights=None, input_shape=(64, 64, 3))
    generator = np.random.default_rng(1)
    theirs.set_weights([value + generator.normal(0, 0.01, value.shape) for value in theirs.get_weights()])
    write_notop(tmp_path / "weights.h5", theirs)
    ours = builder(64, weights=str(tmp_path / "weights.h5"))
    logit = ours.get_layer("logit").count_params()
    assert logit == theirs.output.shape[-1] + 1
    assert ours.count_params() - logit == theirs.count_params()
    names = [layer.name for layer in ours.layers if layer.weights]
    assert names == [*(layer.name for layer in theirs.layers if layer.weights), "logit"]
    pictures = generator.integers(0, 256, (2, 64, 64, 3), np.uint8)
    pooled = keras.Model(ours.input, ours.get_layer("pooled").output)
    wanted = np.asarray(theirs(preprocess(pictures.astype(np.float32)), training=False))
    assert np.asarray(pooled(pictures, training=False)) == pytest.approx(
        wanted, rel=1e-4, abs=1e-5 * float(wanted.max())
    )


def test_other_weights_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"gone\.h5 does not exist"):
        build(settings(network="vgg19", input_size=32, batch_norm=False, weights=str(tmp_path / "gone.h5")))
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(StudyError, match=r"text\.h5 is not a readable HDF5"):
        vgg19(32, width=1 / 16, weights=str(tmp_path / "text.h5"))
    small = meso4(64)
    write_notop(tmp_path / "meso.h5", small)
    with pytest.raises(StudyError, match=r"meso\.h5 holds 10 layers, vgg19 has 16"):
        vgg19(32, width=1 / 16, weights=str(tmp_path / "meso.h5"))
    small.save_weights(tmp_path / "own.weights.h5")
    with pytest.raises(StudyError, match=r"own\.weights\.h5 is not in the layout"):
        vgg19(32, width=1 / 16, weights=str(tmp_path / "own.weights.h5"))


def test_a_weights_file_is_pinned_by_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "notop.h5"
    write_notop(path, meso4(64))
    digest = file_sha256(path)
    chosen = {"network": "resnet50", "input_size": 32, "weights": str(path)}
    with pytest.raises(StudyError, match=rf"notop\.h5: add weights_sha256: {digest}"):
        build(settings(**chosen))
    with pytest.raises(StudyError, match=rf"notop\.h5 has the sha256 {digest}, not 0000"):
        build(settings(**chosen, weights_sha256="0" * 64))
    with pytest.raises(StudyError, match=r"notop\.h5 holds 10 layers"):  # then it is looked at
        build(settings(**chosen, weights_sha256=digest))


def hostile_weights(kind: str, path: Path) -> None:
    """A file of one layer, made to lead elsewhere or to exhaust who reads it."""
    secret = path.with_name("secret.h5")
    with h5py.File(secret, "w") as file:
        file["w"] = np.ones((3, 3, 3, 8), np.float32)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = [b"w"]
        if kind == "external link":
            group["w"] = h5py.ExternalLink(secret.name, "/w")
        elif kind == "soft link":
            group["w"] = h5py.SoftLink("/elsewhere")
        elif kind == "external storage":
            group.create_dataset("w", (3, 3, 3, 8), "f4", external=[("/etc/passwd", 0, 864)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3, 3, 3, 8), "f4")
            layout[...] = h5py.VirtualSource(secret.name, "w", (3, 3, 3, 8))
            group.create_virtual_dataset("w", layout)
        elif kind == "huge":
            group.create_dataset("w", (10**6, 10**6), "f4", chunks=(1000, 1000))  # nothing on disk, 4 TB in memory
        elif kind == "text":
            group.create_dataset("w", data=[b"pickle"])
        elif kind == "nan":
            group["w"] = np.full((3, 3, 3, 8), np.nan, np.float32)
        elif kind == "attribute":
            file.attrs["layer_names"] = 7
        elif kind == "missing":
            group.attrs["weight_names"] = [b"gone"]
        elif kind == "overflow":
            group["w"] = np.full((3, 3, 3, 8), 1e300)
        elif kind == "large":
            file["spare"] = np.ones(10**6, np.float32)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("external link", "w is a link elsewhere"),
        ("soft link", "w is a link elsewhere"),
        ("external storage", "conv lies in another file"),
        ("virtual", "conv lies in another file"),
        ("huge", r"conv has the shapes \[\(1000000, 1000000\)\]"),
        ("text", "conv holds something else than arrays of floats"),
        ("nan", "conv holds nan or infinity"),
        ("overflow", "conv holds nan or infinity"),
        ("missing", "it has no gone"),
        ("attribute", "is not a readable HDF5 weights file"),
        ("large", "has 4 MB, more than this network can need"),
    ],
)
def test_a_hostile_weights_file_is_refused_by_name(tmp_path: Path, kind: str, sentence: str) -> None:
    pictures = keras.Input((8, 8, 3))
    model = keras.Model(pictures, keras.layers.Conv2D(8, 3, use_bias=False, name="conv")(pictures))
    hostile_weights(kind, tmp_path / "evil.h5")
    with pytest.raises(StudyError, match=rf"evil\.h5.*{sentence}"):
        load_by_layer_order(model, tmp_path / "evil.h5")
    with pytest.raises(StudyError, match=r"evil\.keras should be an HDF5 file"):
        load_by_layer_order(model, (tmp_path / "evil.h5").rename(tmp_path / "evil.keras"))


TRAINED = {"network": "meso4", "input_size": 64}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a meso4 as the stage `train` writes them."""
    path = tmp_path_factory.mktemp("trained") / "model.weights.h5"
    build(settings(**TRAINED)).save_weights(path)
    return path


def refusal_of(path: Path, **other: Any) -> str:
    """What load says of a file whose checksum is right."""
    with pytest.raises(StudyError) as refusal:
        load(settings(**(TRAINED | other)), path, file_sha256(path))
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)
    return str(refusal.value)


def hurt_weights(kind: str, path: Path) -> None:
    """Put something else, or something elsewhere, in the place of an array that a training wrote."""
    shutil.copyfile(path, path.with_name("other.h5"))
    with h5py.File(path, "r+") as file:
        layer = file["layers/conv2d/vars"]
        shape = layer["0"].shape
        if kind == "nan":
            layer["0"][0, 0, 0, 0] = np.nan
            return
        if kind == "shape":
            shape = (5, 5, *shape[2:])
        del layer["0"]
        if kind == "external link":
            layer["0"] = h5py.ExternalLink("other.h5", "/layers/conv2d/vars/0")
        elif kind == "soft link":
            layer["0"] = h5py.SoftLink("/layers/conv2d_1/vars/0")
        elif kind == "external storage":
            layer.create_dataset("0", shape, "f4", external=[("other.h5", 0, 864)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, "f4")
            layout[...] = h5py.VirtualSource("other.h5", "layers/conv2d/vars/0", shape)
            layer.create_virtual_dataset("0", layout)
        elif kind == "text":
            layer.create_dataset("0", data=[b"pickle"])
        elif kind == "shape":
            layer["0"] = np.ones(shape, np.float32)
        elif kind == "name":
            layer["kernel"] = np.ones(shape, np.float32)
        elif kind == "layer":
            layer["0"] = np.ones(shape, np.float32)
            file.move("layers/conv2d", "layers/dense_2")
        elif kind == "linked group":
            del file["layers/conv2d"]
            file["layers/conv2d"] = h5py.ExternalLink("other.h5", "/layers/conv2d")
        elif kind == "no layers":
            del file["layers"]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nan", "conv2d holds nan or infinity"),
        ("shape", "conv2d has the shapes [(5, 5, 3, 8), (8,)]"),
        ("external link", "0 is a link elsewhere"),
        ("soft link", "0 is a link elsewhere"),
        ("linked group", "layers/conv2d/vars is a link elsewhere"),
        ("external storage", "conv2d lies in another file"),
        ("virtual", "conv2d lies in another file"),
        ("text", "conv2d holds something else than arrays of floats"),
        ("name", "it has no 0"),
        ("layer", "conv2d is in one of them only: it is of another network"),
        ("no layers", "is not in the layout of Keras's save_weights"),
    ],
)
def test_altered_trained_weights_are_refused_by_name(trained: Path, tmp_path: Path, kind: str, says: str) -> None:
    path = Path(shutil.copyfile(trained, tmp_path / "model.weights.h5"))
    hurt_weights(kind, path)
    assert says in refusal_of(path)


def test_only_trained_weights_of_the_same_network_are_loaded(trained: Path, tmp_path: Path) -> None:
    for other in ({"network": "mesoinception4"}, {"input_size": 128}, {"network": "vgg19", "width": 1 / 16}):
        assert "it is of another network; give the settings that it was trained with" in refusal_of(trained, **other)
    for name, says in (("model.h5", "ends in .weights.h5"), ("model.pkl", "ends in .weights.h5")):
        assert says in refusal_of(Path(shutil.copyfile(trained, tmp_path / name)))
    for data in (pickle.dumps([1.0]), b"", trained.read_bytes()[:5000]):
        path = tmp_path / "model.weights.h5"
        path.write_bytes(data)
        assert "is not a readable HDF5 weights file" in refusal_of(path)
    with pytest.raises(StudyError, match=r"gone\.weights\.h5 does not exist"):
        load(settings(**TRAINED), tmp_path / "gone.weights.h5", "0" * 64)
    with pytest.raises(StudyError, match="does not exist"):
        load(settings(**TRAINED), tmp_path, "0" * 64)


def test_a_flipped_bit_of_trained_weights_is_noticed(trained: Path, tmp_path: Path) -> None:
    """Shapes and names are as they were, and so is that every number is one: only the checksum differs."""
    with h5py.File(trained) as file:
        place = file["layers/conv2d/vars/0"].id.get_offset()
    data = bytearray(trained.read_bytes())
    data[place] ^= 1
    path = tmp_path / "model.weights.h5"
    path.write_bytes(data)
    digest = file_sha256(trained)
    with pytest.raises(StudyError, match=rf"model\.weights\.h5 has the sha256 {file_sha256(path)}, not {digest}"):
        load(settings(**TRAINED), path, digest)
    load(settings(**TRAINED), path, file_sha256(path))


def test_trained_weights_do_not_need_initial_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    began = resnet50(32)
    write_notop(tmp_path / "notop.h5", keras.Model(began.input, began.get_layer("pooled").output))
    digest = file_sha256(tmp_path / "notop.h5")
    values = {"network": "resnet50", "input_size": 32, "weights": str(tmp_path / "notop.h5"), "weights_sha256": digest}
    model = build(settings(**values))
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    (tmp_path / "notop.h5").unlink()
    pictures = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    wanted = np.asarray(model(pictures, training=False))
    for weights in ({}, {"weights": "imagenet", "weights_sha256": None}):
        again = load(settings(**(values | weights)), path, file_sha256(path))
        assert np.array_equal(np.asarray(again(pictures, training=False)), wanted)


def test_no_code_loads_what_can_run_code() -> None:
    """A pickle, a whole saved model and a Lambda layer run what their writer put into them."""
    ways = ("pickle", "load_model(", "Lambda", "unsafe_deserialization", "joblib.load", "torch.load", "yaml.load(")
    keras_ways = ("models.load_model", "saving.load_model", "keras import", "import keras")
    # Our own load_model reads weights only.
    # Calls and results that go between the study and its own Dask workers, see docs/security.md.
    cluster = {ROOT / f"facestudy/runtime/{name}.py" for name in ("cluster", "parallel")}
    ours = {ROOT / name for name in ("facestudy/__init__.py", "facestudy/prediction/arrays.py", "commands/export.py")}
    for file in [*ROOT.glob("commands/*.py"), *ROOT.glob("facestudy/**/*.py"), *ROOT.glob("stages/*.py")]:
        text = file.read_text()
        forbidden = {*ways, *keras_ways} - {"load_model("} if file in ours else set(ways)
        forbidden -= {"pickle"} if file in cluster else set()
        assert not [way for way in forbidden if way in text], file


def test_failed_imagenet_download_names_file_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    place = tmp_path / "models" / VGG19.name
    with pytest.raises(StudyError) as refusal:
        vgg19(32, width=1 / 16, weights="imagenet")
    assert all(part in str(refusal.value) for part in ("no route to host", VGG19.address, str(place)))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"a page of a provider"))
    with pytest.raises(StudyError, match="sent another file"):
        vgg19(32, width=1 / 16, weights="imagenet")
    assert not list(tmp_path.rglob("*.h5"))
    place.parent.mkdir()
    place.write_bytes(b"something else")
    with pytest.raises(StudyError, match="its md5 differs"):
        vgg19(32, width=1 / 16, weights="imagenet")


def test_weights_files_are_those_of_keras_applications() -> None:
    """Address and hash are Keras's own; a new Keras with others must not go unnoticed."""
    folder = Path(keras.__file__).parent / "src" / "applications"
    source = (folder / "vgg19.py").read_text() + (folder / "resnet.py").read_text()
    for file in (VGG19, RESNET50):
        assert file.algorithm == "md5" and file.digest in source
    assert VGG19.name in source


@pytest.mark.parametrize("network", builders())
def test_sigmoid_separates_two_pictures_and_is_saved(network: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    values = settings(
        network=network,
        batch_size=2,
        epochs=20,
        learning_rate=0.005,
        schedule="constant",
        flip=False,
        **TINY.get(network, {}),
    )
    model = build(values)
    assert model.layers[-1].name == "p_fake" and model.layers[-1].activation is keras.activations.sigmoid
    assert model.layers[-2].name == "logit" and model.output_shape == (None, 1)
    pictures = np.stack([np.full((48, 40, 3), 60, np.uint8), np.full((48, 40, 3), 200, np.uint8)])
    pictures[:, ::4] //= 2
    faces = Faces(pictures, np.arange(2), np.array([0, 1], np.float32))
    fit(model, faces, faces, values, "validation_loss", seed=1)
    p_fake = predict(model, faces)
    assert p_fake[0] < 0.5 < p_fake[1]

    model.save_weights(tmp_path / "model.weights.h5")
    again = build(values)
    again.load_weights(tmp_path / "model.weights.h5")
    loaded = load(values, tmp_path / "model.weights.h5", file_sha256(tmp_path / "model.weights.h5"))
    assert all(np.array_equal(*pair) for pair in zip(again.get_weights(), model.get_weights(), strict=True))
    assert np.array_equal(predict(loaded, faces), p_fake)


def test_resize_keeps_right_sizes_and_averages_larger() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    assert np.array_equal(np.asarray(Resize(32)(picture)), picture)
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    grey = np.asarray(Resize(16)(np.repeat(board[None, :, :, None], 3, axis=3).astype(np.uint8)))
    assert grey[:, 1:-1, 1:-1] == pytest.approx(127.5, abs=1)


def test_any_crop_size_goes_in() -> None:
    model = meso4(64)
    for height, width in ((64, 64), (100, 50), (30, 200)):
        assert model.predict_on_batch(np.zeros((2, height, width, 3), np.uint8)).shape == (2, 1)


def test_a_warmup_leaves_half_of_the_epochs() -> None:
    for epochs, warmup in ((1, 0.5), (2, 1.0), (50, 1.0)):
        assert settings(network="meso4", input_size=64, epochs=epochs, warmup_epochs=1).warmup == warmup


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"network": "meso5"}, "models.m.network = 'meso5'"),
        ({"network": "meso4", "input_size": 32}, "input_size must be at least 64"),
        ({"network": "meso4", "width": 0.5}, "width 0.5 is for resnet50 and vgg19"),
        ({"network": "mesoinception4", "weights": "imagenet"}, "weights are for resnet50 and vgg19"),
        ({"network": "vgg19", "weights": "published", "batch_norm": False}, "published weights are of MesoNet"),
        ({"network": "meso4", "weights": "published"}, "need an input_size of 256, not 64"),
        ({"network": "meso4", "epochs": 0}, "epochs: 0 scores faces with the weights of a whole network"),
        (
            {"network": "vgg19", "weights": "imagenet", "batch_norm": False, "epochs": 0},
            "meso4 and mesoinception4 have",
        ),
        ({"network": "resnet50", "batch_norm": False}, "batch_norm can be false with vgg19 only"),
        ({"network": "resnet50", "width": 0.25, "weights": "imagenet"}, "width must be 1.0, not 0.25"),
        ({"network": "vgg19", "weights": "imagenet"}, "batch_norm must be false"),
        ({"network": "vgg19", "width": 0.0}, "models.m.width = 0.0"),
        ({"epochs": 10**20}, "less than or equal to 100000"),
        ({"batch_size": 100_000}, "less than or equal to 4096"),
        ({"network": "vgg19", "width": 1e-5}, "greater than or equal to 0.015625"),
        ({"network": "vgg19", "learning_rate": "fast"}, "models.m.learning_rate = 'fast'"),
        ({"network": "vgg19", "learningrate": 1e-3}, "models.m.learningrate is not a known setting"),
        ({"network": "vgg19", "batch_norm_momentum": 1.0}, "models.m.batch_norm_momentum = 1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as refusal:
        settings(**{"input_size": 64, **values})
    assert said in str(refusal.value)
