"""MesoNet: Meso4 and MesoInception4 (Afchar, Nozick, Yamagishi and Echizen 2018, figures 3 and 5).

Re-typed from the authors' code (github.com/DariusAf/MesoNet); input RGB / 255, initialisation
Glorot as published. At 256 px they have 28,073 and 28,725 parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facestudy.models.fused import BatchNormalization
from facestudy.models.layers import load_by_layer_order, p_fake_out, pictures_in
from facestudy.models.mesonet_weights import PUBLISHED, cache_folder
from facestudy.models.pinned import at_its_place
from facestudy.runtime.backend import keras

layers = keras.layers


def meso4(
    input_size: int, *, batch_norm_momentum: float = 0.99, weights: str | None = None, fill: bool = True
) -> keras.Model:
    """Build Meso4: uint8 RGB (batch, h, w, 3) to p_fake (batch, 1), 0 to 1.

    Parameters
    ----------
    input_size
        Width and height to which pictures are resized, pixels; 256 in the paper.
    batch_norm_momentum
        Of the moving averages in batch normalisation.
    weights
        None (Glorot initialisation), "published", or the path of another weights file of the authors. They need an
        `input_size` of 256.
    fill
        Whether the weights are loaded.

    Returns
    -------
    keras.Model

    Raises
    ------
    StudyError
        When the weights cannot be read, cannot be fetched or belong to another network.

    References
    ----------
    Afchar, Nozick, Yamagishi and Echizen 2018, MesoNet: a compact facial video forgery detection network, figure 3.
    """
    pictures, x = pictures_in(input_size, "unit")
    for filters, kernel, pool in ((8, 3, 2), (8, 5, 2)):
        x = _convolution(x, filters, kernel, pool, batch_norm_momentum)
    return _filled(keras.Model(pictures, _last_blocks(x, batch_norm_momentum), name="meso4"), weights, fill)


def mesoinception4(
    input_size: int, *, batch_norm_momentum: float = 0.99, weights: str | None = None, fill: bool = True
) -> keras.Model:
    """Build MesoInception4: uint8 RGB (batch, h, w, 3) to p_fake (batch, 1), 0 to 1.

    Parameters
    ----------
    input_size
        Width and height to which pictures are resized, pixels; 256 in the paper.
    batch_norm_momentum
        Of the moving averages in batch normalisation.
    weights
        None (Glorot initialisation), "published", or the path of another weights file of the authors. They need an
        `input_size` of 256.
    fill
        Whether the weights are loaded.

    Returns
    -------
    keras.Model

    Raises
    ------
    StudyError
        When the weights cannot be read, cannot be fetched or belong to another network.

    References
    ----------
    Afchar, Nozick, Yamagishi and Echizen 2018, MesoNet: a compact facial video forgery detection network, figure 5.
    """
    pictures, x = pictures_in(input_size, "unit")
    for filters in ((1, 4, 4, 2), (2, 4, 4, 2)):
        x = layers.Concatenate()(_inception(x, *filters))
        x = BatchNormalization(momentum=batch_norm_momentum)(x)
        x = layers.MaxPooling2D(2, padding="same")(x)
    return _filled(keras.Model(pictures, _last_blocks(x, batch_norm_momentum), name="mesoinception4"), weights, fill)


def load_published_mesonet(model: keras.Model, path: Path) -> None:
    """Load published MesoNet weights into a model, so that it gives p_fake.

    Published networks give P(real), so the last layer is negated: 1 - sigmoid(z) = sigmoid(-z).

    Parameters
    ----------
    model
        Meso4 or MesoInception4, built with an `input_size` of 256.
    path
        The file.

    Raises
    ------
    StudyError
        When the file is missing or is of another network or size; the message names the file.
    """
    load_by_layer_order(model, path)
    logit = model.get_layer("logit")
    logit.set_weights([-weight for weight in logit.get_weights()])


def _filled(model: keras.Model, weights: str | None, fill: bool) -> keras.Model:
    """The model, with the weights that are asked for."""
    if weights is not None and fill:
        published = weights == "published"
        path = at_its_place(PUBLISHED[model.name], cache_folder()) if published else Path(weights)
        load_published_mesonet(model, path)
    return model


def _convolution(x: Any, filters: int, kernel: int, pool: int, momentum: float) -> Any:
    x = layers.Conv2D(filters, kernel, padding="same", activation="relu")(x)
    x = BatchNormalization(momentum=momentum)(x)
    return layers.MaxPooling2D(pool, padding="same")(x)


def _inception(x: Any, a: int, b: int, c: int, d: int) -> list[Any]:
    """Four branches; the dilated ones see more of the picture for the same number of weights."""

    def convolution(x: Any, filters: int, kernel: int, dilation: int = 1) -> Any:
        return layers.Conv2D(filters, kernel, padding="same", dilation_rate=dilation, activation="relu")(x)

    return [
        convolution(x, a, 1),
        convolution(convolution(x, b, 1), b, 3),
        convolution(convolution(x, c, 1), c, 3, dilation=2),
        convolution(convolution(x, d, 1), d, 3, dilation=3),
    ]


def _last_blocks(x: Any, momentum: float) -> Any:
    """What both networks end with."""
    for pool in (2, 4):
        x = _convolution(x, 16, 5, pool, momentum)
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    x = layers.LeakyReLU(negative_slope=0.1)(layers.Dense(16)(x))
    return p_fake_out(layers.Dropout(0.5)(x))
