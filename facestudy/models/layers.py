"""What every network begins and ends with, and how weights of others get in."""

from __future__ import annotations

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
    stored = _stored_layers(path)
    layers = [layer for layer in model.layers if layer.weights]
    if len(stored) != len(layers):
        raise StudyError(
            f"weights file {path} holds {len(stored)} layers, {model.name} has {len(layers)}: "
            f"it is of another network; give one made for this network, without its top."
        )
    for layer, (name, arrays) in zip(layers, stored, strict=True):
        wanted = [tuple(weight.shape) for weight in layer.weights]
        found = [array.shape for array in arrays]
        if wanted != found:
            raise StudyError(
                f"weights file {path}: layer {name} has the shapes {found}, {layer.name} of {model.name} "
                f"needs {wanted}: it is of another network; give one made for this network, without its top."
            )
    for layer, (_, arrays) in zip(layers, stored, strict=True):
        layer.set_weights(arrays)


def _stored_layers(path: Path) -> list[tuple[str, list[npt.NDArray[np.float32]]]]:
    if not path.is_file():
        raise StudyError(f"weights file {path} does not exist; correct the path, or set weights to null.")
    try:
        with h5py.File(path, "r") as file:
            if "layer_names" not in file.attrs:
                raise StudyError(
                    f"weights file {path} is not in the layout of the keras.applications `notop` files "
                    f"(no layer_names); give such a file, or set weights to null."
                )
            names = [_text(name) for name in file.attrs["layer_names"]]
            layers = [
                (name, [np.asarray(file[name][_text(weight)]) for weight in file[name].attrs["weight_names"]])
                for name in names
            ]
    except (OSError, KeyError) as error:
        raise StudyError(f"weights file {path} is no readable HDF5 weights file ({error}).") from None
    return [(name, arrays) for name, arrays in layers if arrays]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
