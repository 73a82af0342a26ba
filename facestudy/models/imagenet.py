"""The ImageNet weights of keras.applications: where they are, and how they are fetched."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from facestudy.core.errors import StudyError
from facestudy.models.layers import load_by_layer_order
from facestudy.runtime.backend import keras

PLACE = "https://storage.googleapis.com/tensorflow/keras-applications"
TIMEOUT_S = 30
MAX_BYTES = 200_000_000
"""Twice the larger of the two files."""


@dataclass(frozen=True)
class WeightsFile:
    """A weights file of keras.applications.

    Attributes
    ----------
    name : str
        Its name in Keras's folder.
    address : str
        Where it is fetched from.
    md5 : str
        Of its bytes, in hexadecimal.
    """

    name: str
    address: str
    md5: str


VGG19 = WeightsFile(
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    f"{PLACE}/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "253f8cb515780f3b799900260a226db6",
)
RESNET50 = WeightsFile(
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    f"{PLACE}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "4d473c1dd8becc155b73f8504c6f6626",
)


def load_weights(body: keras.Model, weights: str, imagenet: WeightsFile) -> None:
    """Fill the convolutions of a network with ImageNet weights.

    Parameters
    ----------
    body
        The network without its head.
    weights
        "imagenet", or the path of a `notop` file of keras.applications.
    imagenet
        The file that "imagenet" means. It is fetched when it is not in Keras's folder.

    Raises
    ------
    StudyError
        When the file is missing, is not HDF5, belongs to another network or cannot be fetched; the message names it.
    """
    load_by_layer_order(body, _at_its_place(imagenet) if weights == "imagenet" else Path(weights))


def _at_its_place(file: WeightsFile) -> Path:
    """The file in Keras's own folder, fetched when it is not there yet."""
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    path = home / "models" / file.name
    remedy = f"get {file.address} (md5 {file.md5}) and put it at {path}"
    if path.is_file():
        if not _is_right(path.read_bytes(), file):
            raise StudyError(f"{path} is not the file of keras.applications (its md5 differs); remove it and {remedy}.")
        return path
    try:
        # Not keras.utils.get_file: it waits without end and wraps every failure in a bare Exception.
        with urllib.request.urlopen(file.address, timeout=TIMEOUT_S) as answer:
            content = answer.read(MAX_BYTES)
        if not _is_right(content, file):
            raise StudyError(f"{file.address} sent another file than keras.applications' (its md5 differs); {remedy}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        private = path.with_name(f".{file.name}.{os.getpid()}")
        private.write_bytes(content)
        private.replace(path)
    except (OSError, HTTPException) as error:
        raise StudyError(f"weights: imagenet needs {file.name}, not to be had here ({error}); {remedy}.") from None
    return path


def _is_right(content: bytes, file: WeightsFile) -> bool:
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == file.md5
