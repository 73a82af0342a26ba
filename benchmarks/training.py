"""What the fused kernels and the training loop gain over Keras's own.

    python -m benchmarks.training [--quick] [--faces N]

One process, one thread, the models of params.yaml at their batch and picture size, without flips. Four ways to train
for one epoch on the same arrays take turns: the loop of facestudy.training with fused kernels, as in use; the same loop
with Keras's own batch normalisation and Adam; and Keras's `fit` with each of the two. `fit` gets a model whose input
size is known, so that it resizes nothing. The first epoch, in which the graph is traced, is reported apart.
"""

from __future__ import annotations

import functools

import numpy as np

from benchmarks import measure
from facestudy.core.settings import check
from facestudy.models.fused import BatchNormalization
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings
from facestudy.runtime.backend import keras, make_deterministic
from facestudy.training.data import Faces
from facestudy.training.loop import batches, compiled
from stages.stage import read_params

IN_USE = "loop, fused"


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


def main() -> None:
    given = measure.arguments(__doc__, ("faces", 480, "faces"))
    models = read_params()["models"]
    rows = []
    for name, values in list(models.items())[: 1 if given.quick else None]:
        settings = check(ModelSettings, values | {"flip": False}, f"models.{name}")
        count = 2 * settings.batch_size if given.quick else given.faces
        make_deterministic(1)
        size = settings.input_size
        pictures = np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)
        faces = Faces(pictures, np.arange(count), (np.arange(count) % 2).astype(np.float32))
        network = build(settings)
        theirs = composed(network)
        ways = {
            IN_USE: (loop, compiled(logits_of(network, None))),
            "loop, Keras's kernels": (loop, compiled(logits_of(theirs, None), keras.optimizers.Adam())),
            "fit, fused": (fit, compiled(logits_of(build(settings), size))),
            "fit, Keras's kernels": (fit, compiled(logits_of(composed(network), size), keras.optimizers.Adam())),
        }
        work = {way: functools.partial(run, model, faces, settings) for way, (run, model) in ways.items()}
        first = measure.alternate(work, 1)
        costs = measure.alternate(work, given.rounds)
        for way in ways:
            begun, once = measure.median(first[way]), measure.median(costs[way])
            share = measure.ratio(costs[IN_USE], costs[way])
            rows.append([name, way, f"{begun:.1f}", f"{once:.2f}", f"{share:.2f}"])
    header = ["model", "way", "first epoch, s", "epoch, s", "the one in use over it"]
    measure.report("training", measure.table(header, rows), given.quick)


if __name__ == "__main__":
    main()
