"""The detectors, by name. Each takes uint8 RGB of any size and gives p_fake.

>>> model = build(ModelSettings(network="meso4", input_size=64, epochs=1, learning_rate=1e-3))
>>> model.output_names, model.count_params()
(['p_fake'], 12713)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from facestudy.models.layers import OWN_ENDING, check_digest, load_by_name
from facestudy.models.mesonet import meso4, mesoinception4
from facestudy.models.resnet50 import resnet50
from facestudy.models.settings import ModelSettings
from facestudy.models.vgg19 import vgg19
from facestudy.runtime.backend import keras

__all__ = ["BUILDERS", "ModelSettings", "build", "load"]

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "meso4": meso4,
    "mesoinception4": mesoinception4,
    "vgg19": vgg19,
    "resnet50": resnet50,
}
"""Each is `(input_size, **settings) -> keras.Model`, ending in the layers `logit` and `p_fake`."""


def build(settings: ModelSettings) -> keras.Model:
    """Build the network that settings describe, with initial weights drawn from Keras's own generator.

    Raises
    ------
    StudyError
        When weights are asked for and cannot be read or do not fit.
    """
    if settings.weights not in (None, "imagenet"):
        check_digest(Path(settings.weights), settings.weights_sha256)
    return _network(settings, fill=True)


def load(settings: ModelSettings, path: Path, sha256: str) -> keras.Model:
    """Build the network that settings describe, with the weights that the stage `train` wrote.

    Weights that the training began with are not needed.

    Parameters
    ----------
    settings
        The settings that the network was trained with.
    path
        The file model.weights.h5.
    sha256
        The digest of the file, from the person who trained it. Shapes and numbers are checked too, but that does not
        show whether a number was altered.

    Returns
    -------
    keras.Model
        uint8 RGB (batch, h, w, 3) to p_fake (batch, 1).

    Raises
    ------
    StudyError
        When the name of the file does not end in .weights.h5, its digest differs or it does not fit the network; the
        message names the file.
    """
    check_digest(path, sha256, OWN_ENDING)
    model = _network(settings, fill=False)
    load_by_name(model, path)
    return model


def _network(settings: ModelSettings, fill: bool) -> keras.Model:
    """The network; `fill` says whether the weights that settings name are loaded."""
    keywords: dict[str, Any] = {"batch_norm_momentum": settings.batch_norm_momentum}
    if settings.network in ("vgg19", "resnet50"):
        keywords |= {"width": settings.width, "weights": settings.weights, "fill": fill}
    if settings.network == "vgg19":
        keywords["batch_norm"] = settings.batch_norm
    return BUILDERS[settings.network](settings.input_size, **keywords)
