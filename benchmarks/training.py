"""What the fused kernels and the training loop gain over Keras's own.

    python -m benchmarks.training [--faces N]

One process, one thread, the models of params.yaml at their batch and picture size, without flips. Four ways to train
for one epoch on the same arrays take turns: the loop of facestudy.training with fused kernels, as in use; the same loop
with Keras's own batch normalisation and Adam; and Keras's `fit` with each of the two. `fit` gets a model whose input
size is known, so that it resizes nothing. The first epoch, in which the graph is traced, is reported apart.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import numpy as np

from facestudy.core.settings import check
from facestudy.models.fused import BatchNormalization
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings
from facestudy.runtime.backend import keras, make_deterministic
from facestudy.training.data import Faces
from facestudy.training.loop import batches, compiled
from stages.stage import read_params

ROUNDS = 5


def composed(model: keras.Model) -> keras.Model:
    """The same network and weights with Keras's batch normalisation."""

    def clone(layer: keras.Layer) -> keras.Layer:
        kind = keras.layers.BatchNormalization if isinstance(layer, BatchNormalization) else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def logits_of(model: keras.Model, size: int | None) -> keras.Model:
    """The network up to its logit; size: of its input in pixels, where that is to be known."""
    logits = keras.Model(model.input, model.get_layer("logit").output)
    if size is None:
        return logits
    pictures = keras.Input((size, size, 3), dtype="uint8")
    return keras.Model(pictures, logits(pictures))


def loop(model: keras.Model, faces: Faces, settings: ModelSettings) -> None:
    for batch in batches(faces, settings.batch_size, settings.flip, seed=1, epoch=0):
        model.train_on_batch(*batch)


def fit(model: keras.Model, faces: Faces, settings: ModelSettings) -> None:
    model.fit(faces.pictures, faces.labels[:, None], batch_size=settings.batch_size, verbose=0)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=480)
    count = parser.parse_args().faces
    print("| model | way | first epoch, s | epoch, s | times the one in use |")
    print("|---|---|---|---|---|")
    for name, values in read_params()["models"].items():
        settings = check(ModelSettings, values | {"flip": False}, f"models.{name}")
        make_deterministic(1)
        size = settings.input_size
        pictures = np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)
        faces = Faces(pictures, np.arange(count), (np.arange(count) % 2).astype(np.float32))
        network = build(settings)
        theirs = composed(network)
        ways = {
            "loop, fused": (loop, compiled(logits_of(network, None))),
            "loop, Keras's kernels": (loop, compiled(logits_of(theirs, None), keras.optimizers.Adam())),
            "fit, fused": (fit, compiled(logits_of(build(settings), size))),
            "fit, Keras's kernels": (fit, compiled(logits_of(composed(network), size), keras.optimizers.Adam())),
        }
        work = [functools.partial(way, model, faces, settings) for way, model in ways.values()]
        first = [seconds(one) for one in work]
        rounds = np.array([[seconds(one) for one in work] for _ in range(ROUNDS)])
        ratios = np.median(rounds / rounds[:, :1], axis=0)
        for way, begun, once, ratio in zip(ways, first, np.median(rounds, axis=0), ratios, strict=True):
            print(f"| {name} | {way} | {begun:.1f} | {once:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
