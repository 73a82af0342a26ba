"""ResNet-50 (He, Zhang, Ren and Sun 2016, table 1) with one sigmoid on global pooling.

At width 1 it is `keras.applications.ResNet50(include_top=False, pooling="avg")` and a dense layer;
as there, a block's stride is in its first 1x1 convolution.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from facestudy.models.fused import BatchNormalization
from facestudy.models.imagenet import RESNET50, load_weights
from facestudy.models.layers import p_fake_out, pictures_in
from facestudy.runtime.backend import keras

layers = keras.layers

STACKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Filters of the 3x3 convolutions, number of blocks, stride of the first block."""


def resnet50(
    input_size: int,
    *,
    width: float = 1.0,
    batch_norm_momentum: float = 0.99,
    weights: str | None = None,
    fill: bool = True,
) -> keras.Model:
    """Build ResNet-50: uint8 RGB (batch, h, w, 3) to p_fake (batch, 1), 0 to 1.

    Parameters
    ----------
    input_size
        Width and height to which pictures are resized, pixels.
    width
        A factor on the number of filters; each layer keeps at least one.
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
    He, Zhang, Ren and Sun 2016, Deep residual learning for image recognition, table 1.
    """
    normalise = partial(BatchNormalization, epsilon=1.001e-5, momentum=batch_norm_momentum)
    pictures, x = pictures_in(input_size, "symmetric" if weights is None else "caffe")
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = _convolution(x, max(1, round(64 * width)), 7, stride=2, padding="valid", name="conv1_conv")
    x = layers.Activation("relu", name="conv1_relu")(normalise(name="conv1_bn")(x))
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(layers.ZeroPadding2D(1, name="pool1_pad")(x))
    for stack, (filters, blocks, stride) in enumerate(STACKS, start=2):
        for block in range(1, blocks + 1):
            x = _block(
                x,
                max(1, round(filters * width)),
                stride=stride if block == 1 else 1,
                project=block == 1,
                normalise=normalise,
                name=f"conv{stack}_block{block}",
            )
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    if weights is not None and fill:
        load_weights(keras.Model(pictures, x, name="resnet50"), weights, RESNET50)
    return keras.Model(pictures, p_fake_out(x), name="resnet50")


def _convolution(x: Any, filters: int, kernel: int, *, stride: int = 1, padding: str = "same", name: str) -> Any:
    return layers.Conv2D(filters, kernel, strides=stride, padding=padding, kernel_initializer="he_normal", name=name)(x)


def _block(x: Any, filters: int, *, stride: int, project: bool, normalise: Any, name: str) -> Any:
    """A bottleneck block, figure 5 right; `project` gives the shortcut a convolution of its own."""
    shortcut = x
    if project:
        shortcut = _convolution(x, 4 * filters, 1, stride=stride, name=f"{name}_0_conv")
        shortcut = normalise(name=f"{name}_0_bn")(shortcut)
    for part, kernel in ((1, 1), (2, 3)):
        x = _convolution(x, filters, kernel, stride=stride if part == 1 else 1, name=f"{name}_{part}_conv")
        x = layers.Activation("relu", name=f"{name}_{part}_relu")(normalise(name=f"{name}_{part}_bn")(x))
    x = _convolution(x, 4 * filters, 1, name=f"{name}_3_conv")
    # A block begins as the identity, which makes short trainings from scratch work (Goyal et al. 2017,
    # "Accurate, large minibatch SGD", section 5.1).
    x = normalise(name=f"{name}_3_bn", gamma_initializer="zeros")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)
