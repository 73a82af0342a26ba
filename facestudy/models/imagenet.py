"""The ImageNet weights of keras.applications: where they are, and how they get into a network."""

from __future__ import annotations

import os
from pathlib import Path

from facestudy.models.layers import load_by_layer_order
from facestudy.models.pinned import Pinned, at_its_place
from facestudy.runtime.backend import keras

PLACE = "https://storage.googleapis.com/tensorflow/keras-applications"
MAX_BYTES = 200_000_000
"""Twice the larger of the two files."""

VGG19 = Pinned(
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    f"{PLACE}/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "253f8cb515780f3b799900260a226db6",
    MAX_BYTES,
    "md5",
)
RESNET50 = Pinned(
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    f"{PLACE}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "4d473c1dd8becc155b73f8504c6f6626",
    MAX_BYTES,
    "md5",
)


def load_weights(body: keras.Model, weights: str, imagenet: Pinned) -> None:
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
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    load_by_layer_order(body, at_its_place(imagenet, home / "models") if weights == "imagenet" else Path(weights))
