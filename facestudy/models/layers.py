"""What every network begins and ends with, and how weights of others get in."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from facestudy.backend import keras
from facestudy.errors import StudyError

Scaling = Literal["unit", "symmetric", "caffe"]
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable("facestudy")
class Resize(keras.layers.Layer):
    """uint8 (batch, h, w, 3) to float32 (batch, size, size, 3), bilinear with antialiasing.

    The same filter for every model and variant. Pictures that have the size already pass as they are.
    """

    def __init__(self, size: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.size = size

    def call(self, pictures: Any) -> Any:
        pictures = keras.ops.cast(pictures, "float32")
        if tuple(pictures.shape[1:3]) == (self.size, self.size):
            return pictures
        return keras.ops.image.resize(
            pictures, (self.size, self.size), interpolation="bilinear", antialias=True, data_format="channels_last"
        )

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], self.size, self.size, shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("facestudy")
class Scale(keras.layers.Layer):
    """RGB 0..255 to what the network was made for.

    unit: RGB / 255 (MesoNet). symmetric: RGB / 127.5 - 1. caffe: BGR minus the mean of ImageNet,
    the scaling the ImageNet weights of VGG-19 and ResNet-50 were trained with
    (`keras.applications.vgg19.preprocess_input`).
    """

    def __init__(self, scaling: Scaling, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.scaling = scaling

    def call(self, pictures: Any) -> Any:
        if self.scaling == "unit":
            return pictures / 255.0
        if self.scaling == "symmetric":
            return pictures / 127.5 - 1.0
        return keras.ops.flip(pictures, axis=-1) - np.array(CAFFE_MEAN_BGR, "float32")

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scaling": self.scaling}


def pictures_in(input_size: int, scaling: Scaling) -> tuple[Any, Any]:
    """The input, uint8 RGB (batch, any, any, 3), and the scaled pictures (batch, size, size, 3)."""
    pictures = keras.Input((None, None, 3), dtype="uint8", name="pictures")
    return pictures, Scale(scaling, name="scale")(Resize(input_size, name="resize")(pictures))


def p_fake_out(features: Any) -> Any:
    """The head of every network: features (batch, n) to p_fake (batch, 1), one sigmoid."""
    logit = keras.layers.Dense(1, name="logit")(features)
    return keras.layers.Activation("sigmoid", name="p_fake")(logit)


def load_by_layer_order(model: keras.Model, path: Path) -> None:
    """Fill a model from a Keras 1/2 weights file, the n-th layer with weights from the n-th of the file.

    That is the layout of the published MesoNet weights and of the ImageNet weights of
    keras.applications (the files called `notop`).

    Raises StudyError naming the file when it is missing, is no such file, or belongs to another
    architecture (then with the first layer that differs).
    """
    layers = [layer for layer in model.layers if layer.weights]
    try:
        _check_file(path, 10 * 4 * model.count_params() + 2**20)
        with h5py.File(path, "r") as file:
            arrays = _fitting(_stored_layers(file, path), layers, model.name, path)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:  # h5py, on damaged files
        raise StudyError(f"weights file {path} is no readable HDF5 weights file ({error}).") from None
    for layer, values in zip(layers, arrays, strict=True):
        layer.set_weights(values)


def check_digest(path: Path, sha256: str | None) -> None:
    """Refuse a file whose bytes are not those that the settings name: nothing else notices its changes.

    Raises StudyError naming the file, also when it is missing.
    """
    _check_file(path, None)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is None:
        raise StudyError(f"weights file {path}: add weights_sha256: {digest}, or its changes are not noticed.")
    if digest != sha256:
        raise StudyError(
            f"weights file {path} has the sha256 {digest}, not {sha256}: it was altered; "
            "look at where it came from, then set the new one."
        )


def _check_file(path: Path, most: int | None) -> None:
    """Refuse by name what cannot be a weights file of at most so many bytes, before a library looks at it."""
    if not path.is_file():
        raise StudyError(f"weights file {path} does not exist; correct the path, or set weights to null.")
    if path.suffix != ".h5":
        raise StudyError(f"weights file {path} should be an HDF5 file of weights alone, with a name that ends in .h5.")
    if most is not None and path.stat().st_size > most:
        raise StudyError(
            f"weights file {path} has {path.stat().st_size / 1e6:.0f} MB, more than this network can need; "
            "give one made for this network, without its top."
        )


Stored = list[tuple[str, list[h5py.Dataset]]]


def _fitting(stored: Stored, layers: list[Any], name: str, path: Path) -> list[list[npt.NDArray[np.float32]]]:
    """The arrays for each layer; shapes are compared before anything is read.

    Raises StudyError naming the file and the first layer that differs.
    """
    if len(stored) != len(layers):
        raise StudyError(
            f"weights file {path} holds {len(stored)} layers, {name} has {len(layers)}: "
            f"it is of another network; give one made for this network, without its top."
        )
    for layer, (stored_name, datasets) in zip(layers, stored, strict=True):
        wanted = [tuple(weight.shape) for weight in layer.weights]
        found = [dataset.shape for dataset in datasets]
        if wanted != found:
            raise StudyError(
                f"weights file {path}: layer {stored_name} has the shapes {found}, {layer.name} of {name} "
                f"needs {wanted}: it is of another network; give one made for this network, without its top."
            )
    arrays = [[np.asarray(dataset) for dataset in datasets] for _, datasets in stored]
    for (stored_name, _), values in zip(stored, arrays, strict=True):
        if not all(np.isfinite(value).all() for value in values):
            raise StudyError(f"weights file {path}: layer {stored_name} holds nan or infinity; it is damaged.")
    return arrays


def _stored_layers(file: h5py.File, path: Path) -> Stored:
    """The layers with weights in a file's own order; nothing that lies in another file."""
    if "layer_names" not in file.attrs:
        raise StudyError(
            f"weights file {path} is not in the layout of the keras.applications `notop` files "
            f"(no layer_names); give such a file, or set weights to null."
        )
    layers: Stored = []
    for name in map(_text, file.attrs["layer_names"]):
        group = _own(file, name, path)
        weights = [_own(group, _text(weight), path) for weight in group.attrs["weight_names"]]
        for weight in weights:
            if not isinstance(weight, h5py.Dataset) or weight.dtype.kind != "f":
                raise StudyError(f"weights file {path}: layer {name} holds something else than arrays of floats.")
            if weight.is_virtual or weight.external:
                raise StudyError(f"weights file {path}: layer {name} lies in another file; only its own is read.")
        if weights:
            layers.append((name, weights))
    return layers


def _own(group: h5py.Group, name: str, path: Path) -> Any:
    """What a name in a group stands for, unless a link on the way leads elsewhere."""
    found: Any = group
    for part in name.split("/"):
        if not isinstance(found.get(part, getlink=True), h5py.HardLink):
            raise StudyError(f"weights file {path}: {name} is a link elsewhere; only the file's own data is read.")
        found = found[part]
    return found


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
