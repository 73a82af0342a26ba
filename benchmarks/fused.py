"""A training step with TensorFlow's fused kernels against the same step with Keras's own layers and optimizer.

    python -m benchmarks.fused [--steps N]

One process, one thread, the models of params.yaml at their batch and picture size; the two take turns.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from facestudy.core.settings import check
from facestudy.models.fused import BatchNormalization
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings
from facestudy.runtime.backend import keras, make_deterministic
from facestudy.training.loop import with_optimizer
from stages.stage import read_params

ROUNDS = 9


def composed(model: keras.Model) -> keras.Model:
    """The same network and weights with Keras's batch normalisation."""

    def clone(layer: keras.Layer) -> keras.Layer:
        kind = keras.layers.BatchNormalization if isinstance(layer, BatchNormalization) else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def seconds(model: keras.Model, batch: tuple[np.ndarray, np.ndarray], steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(*batch)
    return (time.perf_counter() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10, help="steps per round")
    arguments = parser.parse_args()
    print("| model | first step, s | with Keras's own | step, ms | with Keras's own | ratio |")
    print("|---|---|---|---|---|---|")
    generator = np.random.default_rng(1)
    for name, values in read_params()["models"].items():
        settings = check(ModelSettings, values, f"models.{name}")
        make_deterministic(1)
        shape = (settings.batch_size, settings.input_size, settings.input_size, 3)
        batch = generator.integers(0, 256, shape, np.uint8), np.arange(settings.batch_size)[:, None] % 2
        network = build(settings)
        fused = with_optimizer(network)
        theirs = composed(network)
        theirs = keras.Model(theirs.input, theirs.get_layer("logit").output)
        theirs.compile(keras.optimizers.Adam(), keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
        theirs.optimizer.build(theirs.trainable_variables)
        first = [seconds(model, batch, 1) for model in (fused, theirs)]
        rounds = np.array(
            [[seconds(model, batch, arguments.steps) for model in (fused, theirs)] for _ in range(ROUNDS)]
        )
        once = np.median(rounds, axis=0)
        ratio = np.median(rounds[:, 1] / rounds[:, 0])
        print(
            f"| {name} | {first[0]:.1f} | {first[1]:.1f} | {1000 * once[0]:.1f} | {1000 * once[1]:.1f} | {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
