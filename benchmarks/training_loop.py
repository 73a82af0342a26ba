"""An epoch of the training loop against an epoch of Keras's `fit` on the same arrays.

    python -m benchmarks.training_loop [--faces N]

One process, one thread, the models of params.yaml at their batch and picture size, without flips. `fit` gets a
model whose input size is known, so that it resizes nothing. The first call of each, which traces the graph, is
reported apart; after it the two take turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from facestudy.core.settings import check
from facestudy.models.networks import build
from facestudy.models.settings import ModelSettings
from facestudy.runtime.backend import keras, make_deterministic
from facestudy.training.data import Faces
from facestudy.training.loop import batches, compiled, with_optimizer
from stages.stage import read_params

ROUNDS = 5


def known_size(model: keras.Model, size: int) -> keras.Model:
    """The same network, ready to be trained, with an input of known height and width."""
    pictures = keras.Input((size, size, 3), dtype="uint8")
    return compiled(keras.Model(pictures, keras.Model(model.input, model.get_layer("logit").output)(pictures)))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=480)
    count = parser.parse_args().faces
    print("| model | first epoch, s | with fit | epoch, s | with fit | loop / fit |")
    print("|---|---|---|---|---|---|")
    for name, values in read_params()["models"].items():
        settings = check(ModelSettings, values | {"flip": False}, f"models.{name}")
        make_deterministic(1)
        size = settings.input_size
        pictures = np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)
        labels = (np.arange(count) % 2).astype(np.float32)
        faces = Faces(pictures, np.arange(count), labels)
        ours, theirs = with_optimizer(build(settings)), known_size(build(settings), size)

        def loop(model: keras.Model = ours, faces: Faces = faces, settings: ModelSettings = settings) -> None:
            for batch in batches(faces, settings.batch_size, settings.flip, seed=1, epoch=0):
                model.train_on_batch(*batch)

        def fit(model: keras.Model = theirs, faces: Faces = faces, settings: ModelSettings = settings) -> None:
            model.fit(faces.pictures, faces.labels[:, None], batch_size=settings.batch_size, verbose=0)

        first = [seconds(loop), seconds(fit)]
        rounds = np.array([[seconds(loop), seconds(fit)] for _ in range(ROUNDS)])
        once = np.median(rounds, axis=0)
        ratio = np.median(rounds[:, 0] / rounds[:, 1])
        print(f"| {name} | {first[0]:.1f} | {first[1]:.1f} | {once[0]:.2f} | {once[1]:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
