"""The first and last layers of every network, and reading weights: our own and published ones."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from facestudy.core.errors import StudyError
from facestudy.runtime.backend import keras

Scaling = Literal["unit", "symmetric", "caffe"]
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
OWN_ENDING = ".weights.h5"
"""The ending of files that Keras's save_weights wrote."""


@keras.saving.register_keras_serializable("facestudy")
class Resize(keras.layers.Layer):
    """Resize pictures, bilinear with antialiasing: the same filter for every model and variant.

    Pictures that have the size already are not changed.

    Parameters
    ----------
    size
        Width and height of the result, pixels.
    **keywords
        Of keras.layers.Layer.

    Examples
    --------
    >>> Resize(64)(np.zeros((2, 100, 80, 3), np.uint8)).shape == (2, 64, 64, 3)
    True
    """

    def __init__(self, size: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.size = size

    def call(self, pictures: Any) -> Any:
        """Turn uint8 (batch, h, w, 3) into float32 (batch, size, size, 3)."""
        pictures = keras.ops.cast(pictures, "float32")
        if tuple(pictures.shape[1:3]) == (self.size, self.size):
            return pictures
        return keras.ops.image.resize(
            pictures, (self.size, self.size), interpolation="bilinear", antialias=True, data_format="channels_last"
        )

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the result, as Keras asks for it."""
        return (shape[0], self.size, self.size, shape[3])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same layer again."""
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("facestudy")
class Scale(keras.layers.Layer):
    """Scale RGB pictures of 0 to 255 to what the network was made for.

    Parameters
    ----------
    scaling : {"unit", "symmetric", "caffe"}
        "unit": RGB / 255 (MesoNet). "symmetric": RGB / 127.5 - 1. "caffe": BGR minus the mean of ImageNet, the
        scaling with which the ImageNet weights of VGG-19 and ResNet-50 were trained
        (`keras.applications.vgg19.preprocess_input`).
    **keywords
        Of keras.layers.Layer.

    Examples
    --------
    >>> np.asarray(Scale("symmetric")(np.array([[[[0.0, 127.5, 255.0]]]], np.float32))).ravel().tolist()
    [-1.0, 0.0, 1.0]
    """

    def __init__(self, scaling: Scaling, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.scaling = scaling

    def call(self, pictures: Any) -> Any:
        """Scale float32 (batch, h, w, 3)."""
        if self.scaling == "unit":
            return pictures / 255.0
        if self.scaling == "symmetric":
            return pictures / 127.5 - 1.0
        return keras.ops.flip(pictures, axis=-1) - np.array(CAFFE_MEAN_BGR, "float32")

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the result, as Keras asks for it."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same layer again."""
        return {**super().get_config(), "scaling": self.scaling}


def pictures_in(input_size: int, scaling: Scaling) -> tuple[Any, Any]:
    """Begin a network: its input, resized and scaled.

    Parameters
    ----------
    input_size
        Width and height to resize to, pixels.
    scaling
        As in `Scale`.

    Returns
    -------
    pictures : symbolic tensor of shape (batch, any, any, 3), uint8
        The input, RGB.
    scaled : symbolic tensor of shape (batch, input_size, input_size, 3), float32
        What the first layer of the network gets.
    """
    pictures = keras.Input((None, None, 3), dtype="uint8", name="pictures")
    return pictures, Scale(scaling, name="scale")(Resize(input_size, name="resize")(pictures))


def p_fake_out(features: Any) -> Any:
    """End a network: features (batch, n) to p_fake (batch, 1), by a dense layer and a sigmoid."""
    logit = keras.layers.Dense(1, name="logit")(features)
    return keras.layers.Activation("sigmoid", name="p_fake")(logit)


def load_by_layer_order(model: keras.Model, path: Path) -> None:
    """Fill a model from a Keras 1 or 2 weights file, the n-th layer with weights from the n-th of the file.

    That is the layout of the published MesoNet weights and of the ImageNet weights of keras.applications
    (the files called `notop`).

    Parameters
    ----------
    model
        The model, which is changed as a whole or not at all.
    path
        The file, which ends in .h5.

    Raises
    ------
    StudyError
        When the file is missing, is not such a file, or belongs to another architecture; the message names the file
        and the first layer that differs.
    """
    _check_file(path)
    _fill(model, path, _stored_layers, "give one made for this network, without its top")


def load_by_name(model: keras.Model, path: Path) -> None:
    """Fill a model from a file that its save_weights wrote.

    Keras is not used for that: nothing but arrays of floats is read.

    Parameters
    ----------
    model
        The model, which is changed as a whole or not at all.
    path
        The file, which ends in .weights.h5.

    Raises
    ------
    StudyError
        When the file is missing, is not such a file, or belongs to another architecture; the message names the file
        and a layer that differs.
    """
    _check_file(path, OWN_ENDING)
    names = _saved_names(model)
    remedy = "give the settings that it was trained with"
    _fill(model, path, partial(_saved_layers, names=names, model_name=model.name, remedy=remedy), remedy)


Stored = list[tuple[str, list[h5py.Dataset]]]
"""The name and the arrays of each layer that has weights, in the order of the model."""


def _fill(model: keras.Model, path: Path, stored: Callable[[h5py.File, Path], Stored], remedy: str) -> None:
    """Set the weights of a model, all or none of them, from what `stored` finds in the file."""
    layers = [layer for layer in model.layers if layer.weights]
    try:
        size = path.stat().st_size
        if size > 10 * 4 * model.count_params() + 2**20:
            raise StudyError(f"weights file {path} has {size / 1e6:.0f} MB, more than this network can need; {remedy}.")
        with h5py.File(path, "r") as file:
            arrays = _fitting(stored(file, path), layers, model.name, path, remedy)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:  # h5py, on damaged files
        raise StudyError(f"weights file {path} is not a readable HDF5 weights file ({error}).") from None
    for layer, values in zip(layers, arrays, strict=True):
        layer.set_weights(values)


def check_digest(path: Path, sha256: str | None, ending: str = ".h5") -> None:
    """Refuse a weights file whose bytes are not those that the settings name.

    Nothing else would notice that weights were changed.

    Parameters
    ----------
    path
        The file.
    sha256
        The digest that the settings name; None is refused.
    ending
        How the name of the file has to end.

    Raises
    ------
    StudyError
        When the file is missing or its digest differs; the message names the file.
    """
    _check_file(path, ending)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is None:
        raise StudyError(f"weights file {path}: add weights_sha256: {digest}, so that a change of it is noticed.")
    if digest != sha256:
        raise StudyError(
            f"weights file {path} has the sha256 {digest}, not {sha256}: the file has changed; "
            "check where it came from, then set the new weights_sha256."
        )


def _check_file(path: Path, ending: str = ".h5") -> None:
    """Refuse by name what cannot be a weights file, before a library looks at it."""
    if not path.is_file():
        raise StudyError(f"weights file {path} does not exist; correct the path.")
    if not path.name.endswith(ending):
        raise StudyError(
            f"weights file {path} should be an HDF5 file of weights alone, with a name that ends in {ending}."
        )


def _fitting(
    stored: Stored, layers: list[Any], name: str, path: Path, remedy: str
) -> list[list[npt.NDArray[np.float32]]]:
    """The arrays for each layer; shapes are compared before anything is read.

    Raises StudyError naming the file and the first layer that differs.
    """
    if len(stored) != len(layers):
        raise StudyError(
            f"weights file {path} holds {len(stored)} layers, {name} has {len(layers)}: "
            f"it is of another network; {remedy}."
        )
    for layer, (stored_name, datasets) in zip(layers, stored, strict=True):
        wanted = [tuple(weight.shape) for weight in layer.weights]
        found = [dataset.shape for dataset in datasets]
        if wanted != found:
            raise StudyError(
                f"weights file {path}: layer {stored_name} has the shapes {found}, {layer.name} of {name} "
                f"needs {wanted}: it is of another network; {remedy}."
            )
    arrays = [[dataset.astype(np.float32)[()] for dataset in datasets] for _, datasets in stored]
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
        weights = _arrays(group, [_text(weight) for weight in group.attrs["weight_names"]], name, path)
        if weights:
            layers.append((name, weights))
    return layers


def _saved_names(model: keras.Model) -> list[str]:
    """What save_weights calls the layers with weights: by class and number, as names differ between processes."""
    seen: Counter[str] = Counter()
    names = []
    for layer in model.layers:
        kind = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        if layer.weights:
            names.append(f"{kind}_{seen[kind]}" if seen[kind] else kind)
        seen[kind] += 1
    return names


def _saved_layers(file: h5py.File, path: Path, names: list[str], model_name: str, remedy: str) -> Stored:
    """The layers of these names in a file of save_weights, which holds no others with weights."""
    if "layers" not in file:
        raise StudyError(f"weights file {path} is not in the layout of Keras's save_weights (no layers).")
    found = {}
    for name in _own(file, "layers", path):
        group = _own(file, f"layers/{name}/vars", path)
        if len(group):
            found[name] = _arrays(group, [str(index) for index in range(len(group))], name, path)
    if odd := sorted(set(found) ^ set(names)):
        raise StudyError(
            f"weights file {path} holds {len(found)} layers, {model_name} has {len(names)}, and {odd[0]} is in one "
            f"of them only: it is of another network; {remedy}."
        )
    return [(name, found[name]) for name in names]


def _arrays(group: h5py.Group, names: list[str], layer: str, path: Path) -> list[h5py.Dataset]:
    """The arrays of a layer; nothing that lies in another file or is something else."""
    weights = [_own(group, name, path) for name in names]
    for weight in weights:
        if not isinstance(weight, h5py.Dataset) or weight.dtype.kind != "f":
            raise StudyError(f"weights file {path}: layer {layer} holds something else than arrays of floats.")
        if weight.is_virtual or weight.external:
            raise StudyError(f"weights file {path}: layer {layer} lies in another file; only its own is read.")
    return weights


def _own(group: h5py.Group, name: str, path: Path) -> Any:
    """What a name in a group stands for, unless a link on the way leads elsewhere."""
    found: Any = group
    for part in name.split("/"):
        link = found.get(part, getlink=True)
        if link is None:
            raise KeyError(f"it has no {name}")
        if not isinstance(link, h5py.HardLink):
            raise StudyError(f"weights file {path}: {name} is a link elsewhere; only the file's own data is read.")
        found = found[part]
    return found


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
