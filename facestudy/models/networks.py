"""The detectors, by name. Each takes uint8 RGB of any size and gives p_fake.

>>> model = build(ModelSettings(network="meso4", input_size=64, epochs=1, learning_rate=1e-3))
>>> model.output_names, model.count_params()
(['p_fake'], 12713)
"""

from __future__ import annotations

import importlib
from pathlib import Path

from facestudy.models.catalogue import builders
from facestudy.models.layers import OWN_ENDING, check_digest, load_by_name
from facestudy.models.settings import NAMED, ModelSettings
from facestudy.runtime.backend import keras

__all__ = ["ModelSettings", "build", "load"]


def build(settings: ModelSettings) -> keras.Model:
    """Build the network that settings describe, with initial weights drawn from Keras's own generator.

    Raises
    ------
    StudyError
        When weights are asked for and cannot be read or do not fit.
    """
    if settings.weights not in NAMED:
        check_digest(Path(str(settings.weights)), settings.weights_sha256)
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
    builder = builders()[settings.network]
    values = {**settings.model_dump(), "fill": fill}
    build_network = getattr(importlib.import_module(builder.module), settings.network)
    return build_network(settings.input_size, **{name: values[name] for name in builder.keywords})
