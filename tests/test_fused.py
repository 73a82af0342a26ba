"""The fused kernels against Keras's own batch normalisation and Adam."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facestudy.models import fused
from facestudy.runtime.backend import keras

VALUES = 4 * 6 * 5
"""Of a channel in a batch."""


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(1).normal(3, 2, (4, 6, 5, 8)).astype(np.float32)


def layers(inputs: np.ndarray) -> tuple[keras.Layer, keras.Layer]:
    """Ours and Keras's, with the same weights."""
    generator = np.random.default_rng(2)
    weights = [generator.uniform(0.5, 2, inputs.shape[-1]) for _ in range(4)]
    made = [kind(momentum=0.8, epsilon=1e-3) for kind in (fused.BatchNormalization, keras.layers.BatchNormalization)]
    for layer in made:
        layer.build(inputs.shape)
        layer.set_weights(weights)
    return made[0], made[1]


def gradients(layer: keras.Layer, inputs: np.ndarray) -> list[np.ndarray]:
    """Of a sum of the outputs with unequal weights, for the inputs, gamma and beta."""
    import tensorflow

    weights = np.random.default_rng(3).normal(size=inputs.shape).astype(np.float32)
    sources = [tensorflow.Variable(inputs), layer.gamma.value, layer.beta.value]
    with tensorflow.GradientTape() as tape:
        loss = tensorflow.reduce_sum(layer(sources[0], training=True) * weights)
    return [np.asarray(gradient) for gradient in tape.gradient(loss, sources)]


@pytest.mark.parametrize("graph", [False, True])
def test_training_normalises_as_keras_does(inputs: np.ndarray, graph: bool) -> None:
    import tensorflow

    ours, theirs = layers(inputs)
    before = ours.moving_variance.numpy()
    calls = [tensorflow.function(layer) if graph else layer for layer in (ours, theirs)]
    mine, expected = (np.asarray(call(tensorflow.constant(inputs), training=True)) for call in calls)
    assert mine == pytest.approx(expected, abs=1e-5)
    assert ours.moving_mean.numpy() == pytest.approx(theirs.moving_mean.numpy(), rel=1e-6)
    change, expected = (layer.moving_variance.numpy() - 0.8 * before for layer in (ours, theirs))
    assert change == pytest.approx(expected * VALUES / (VALUES - 1), rel=1e-4)


def test_gradients_are_those_of_keras(inputs: np.ndarray) -> None:
    ours, theirs = (gradients(layer, inputs) for layer in layers(inputs))
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_prediction_and_frozen_layers_use_the_moving_statistics(inputs: np.ndarray, frozen: bool) -> None:
    ours, theirs = layers(inputs)
    ours.trainable = theirs.trainable = not frozen
    before = ours.get_weights()
    outputs = [np.asarray(layer(inputs, training=frozen)) for layer in (ours, theirs)]
    assert outputs[0] == pytest.approx(outputs[1], abs=1e-5)
    assert all(np.array_equal(old, new) for old, new in zip(before, ours.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("shape", "options"), [((10, 3), {}), ((4, 3, 5, 6), {"axis": 1}), ((4, 5, 6, 3), {"scale": False})]
)
def test_other_forms_are_left_to_keras(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    values = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    ours, theirs = fused.BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    mine, expected = (np.asarray(layer(values, training=True)) for layer in (ours, theirs))
    assert np.array_equal(mine, expected)
    pairs = zip(ours.get_weights(), theirs.get_weights(), strict=True)
    assert all(np.array_equal(weight, other) for weight, other in pairs)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_takes_the_steps_of_keras(amsgrad: bool) -> None:
    generator = np.random.default_rng(5)
    start = generator.normal(size=(3, 4)).astype(np.float32)
    steps = [generator.normal(size=(3, 4)).astype(np.float32) for _ in range(6)]
    ends = []
    for kind in (fused.Adam, keras.optimizers.Adam):
        variable, optimizer = keras.Variable(start), kind(0.01, amsgrad=amsgrad)
        for number, gradient in enumerate(steps):
            optimizer.learning_rate = 0.01 / (1 + number)
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        ends.append(variable.numpy())
    assert ends[0] == pytest.approx(ends[1], abs=1e-6)
    assert np.abs(ends[0] - start).min() > 1e-3
