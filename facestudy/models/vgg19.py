"""VGG-19 (Simonyan and Zisserman 2015, table 1, column E) with one sigmoid on global pooling.

At width 1 without batch normalisation it is `keras.applications.VGG19(include_top=False,
pooling="avg")` and a dense layer. With batch normalisation it learns from scratch on few pictures.
"""

from __future__ import annotations

from facestudy.models.fused import BatchNormalization
from facestudy.models.imagenet import VGG19, load_weights
from facestudy.models.layers import p_fake_out, pictures_in
from facestudy.runtime.backend import keras

layers = keras.layers

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Filters and number of convolutions; each block ends in a pooling by 2."""


def vgg19(
    input_size: int,
    *,
    width: float = 1.0,
    batch_norm: bool = False,
    batch_norm_momentum: float = 0.99,
    weights: str | None = None,
    fill: bool = True,
) -> keras.Model:
    """Build VGG-19: uint8 RGB (batch, h, w, 3) to p_fake (batch, 1), 0 to 1.

    Parameters
    ----------
    input_size
        Width and height to which pictures are resized, pixels.
    width
        A factor on the number of filters; each layer keeps at least one.
    batch_norm
        Whether each convolution is followed by batch normalisation.
    batch_norm_momentum
        Of the moving averages in batch normalisation.
    weights
        None (He initialisation, pictures scaled to -1 to 1), "imagenet", or the path of a file in the same layout
        (pictures as BGR minus the ImageNet mean, which such weights expect).
    fill
        Whether the weights are loaded; otherwise they only decide how pictures are scaled.

    Returns
    -------
    keras.Model

    Raises
    ------
    StudyError
        When the weights cannot be read or belong to another network.

    References
    ----------
    Simonyan and Zisserman 2015, Very deep convolutional networks for large-scale image recognition, table 1, column E.
    """
    pictures, x = pictures_in(input_size, "symmetric" if weights is None else "caffe")
    for block, (filters, convolutions) in enumerate(BLOCKS, start=1):
        for convolution in range(1, convolutions + 1):
            name = f"block{block}_conv{convolution}"
            x = layers.Conv2D(
                max(1, round(filters * width)),
                3,
                padding="same",
                use_bias=not batch_norm,  # batch normalisation has its own
                kernel_initializer="he_normal",
                name=name,
            )(x)
            if batch_norm:
                x = BatchNormalization(momentum=batch_norm_momentum, name=f"{name}_bn")(x)
            x = layers.Activation("relu", name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    if weights is not None and fill:
        load_weights(keras.Model(pictures, x, name="vgg19"), weights, VGG19)
    return keras.Model(pictures, p_fake_out(x), name="vgg19")
