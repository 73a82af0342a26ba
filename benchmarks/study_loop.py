"""An epoch of MesoNet at 256 pixels: the stage's training, and Keras's ImageDataGenerator as the earlier study used it.

    python -m benchmarks.study_loop [--quick] [--faces N]

N faces (480) as JPEG files of 196x235 pixels, batches of 16. The earlier study's way is `fit` on
`ImageDataGenerator(rescale=1/255).flow_from_directory`, with the same network made of Keras's own layers, Keras's
Adam and TensorFlow's own number of threads. The stage reads the pictures once, and trains two seeds side by side, each
in one thread; an epoch counts as half of the seconds that both take. The first epoch, in which graphs are traced and
the stage reads the pictures, is reported apart.

Keras 3 keeps ImageDataGenerator for old code only, as keras._tf_keras.keras.preprocessing.image.
"""

from __future__ import annotations

import contextlib
import functools
import io
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import measure
from benchmarks.study import ROOT
from facestudy.core.settings import check
from facestudy.models.settings import ModelSettings
from stages.stage import read_params

SIZE, BATCH, STORED = 256, 16, (196, 235)
SPAWN = multiprocessing.get_context("spawn")
TOGETHER = 2
LABELS = ("fake", "real")


def mesonet() -> ModelSettings:
    """Return the settings of the preset paper's MesoNet: the published sizes."""
    values = read_params(ROOT / "params.yaml")["models"]["mesonet"]
    return check(ModelSettings, values | {"input_size": SIZE, "batch_size": BATCH, "flip": False}, "models.mesonet")


@functools.cache
def of_stage(folder: Path) -> tuple[Any, Any]:
    """Read the pictures and make the model of the stage, once in a process."""
    from facestudy.training.data import Faces
    from facestudy.training.loop import fresh_model, with_optimizer

    paths = sorted(folder.glob("*/*.jpg"))
    pictures = np.stack([cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths])
    labels = np.array([path.parent.name == "fake" for path in paths], np.float32)
    return with_optimizer(fresh_model(mesonet(), 1)), Faces(pictures, np.arange(len(paths)), labels)


def epoch_of_stage(folder: Path) -> None:
    from facestudy.training.loop import batches

    model, faces = of_stage(folder)
    for pictures, labels in batches(faces, BATCH, flip=False, seed=1, epoch=0):
        model.train_on_batch(pictures, labels)


@functools.cache
def of_study(folder: Path) -> tuple[Any, Any]:
    """Make the generator and the model of the earlier study, once in a process, with TensorFlow's own settings."""
    import keras
    from keras._tf_keras.keras.preprocessing.image import ImageDataGenerator

    with contextlib.redirect_stdout(io.StringIO()):
        generator = ImageDataGenerator(rescale=1 / 255).flow_from_directory(
            str(folder), target_size=(SIZE, SIZE), batch_size=BATCH, class_mode="binary"
        )
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3))])
    for filters, kernel, pool in ((8, 3, 2), (8, 5, 2), (16, 5, 2), (16, 5, 4)):
        model.add(keras.layers.Conv2D(filters, kernel, padding="same", activation="relu"))
        model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.MaxPooling2D(pool, padding="same"))
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dropout(0.5))
    model.add(keras.layers.Dense(16))
    model.add(keras.layers.LeakyReLU(negative_slope=0.1))
    model.add(keras.layers.Dropout(0.5))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile(keras.optimizers.Adam(0.002), "binary_crossentropy", metrics=["accuracy"])
    return model, generator


def epoch_of_study(folder: Path) -> None:
    model, generator = of_study(folder)
    model.fit(generator, verbose=0)


def main() -> None:
    given = measure.arguments(__doc__, ("faces", 480, "faces"))
    count, noise = 2 * BATCH if given.quick else given.faces, np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(count):
            path = folder / LABELS[number % 2] / f"{number:05d}.jpg"
            path.parent.mkdir(exist_ok=True)
            small = noise.integers(0, 256, (STORED[1] // 8, STORED[0] // 8, 3), np.uint8)
            path.write_bytes(
                cv2.imencode(".jpg", cv2.resize(small, STORED, interpolation=cv2.INTER_CUBIC))[1].tobytes()
            )
        with ProcessPoolExecutor(1, SPAWN) as alone:
            # One pool for each process: the same two serve all rounds.
            pools = [ProcessPoolExecutor(1, SPAWN) for _ in range(TOGETHER)]

            def ours() -> None:
                for done in [pool.submit(epoch_of_stage, folder) for pool in pools]:
                    done.result()

            def theirs() -> None:
                alone.submit(epoch_of_study, folder).result()

            first = [measure.cost(work).wall for work in (ours, theirs)]
            found = []
            for _ in range(given.rounds):
                start = time.perf_counter()
                ours()
                between = time.perf_counter()
                theirs()
                found.append([(between - start) / TOGETHER, time.perf_counter() - between])
            for pool in pools:
                pool.shutdown()
    stage, study = np.median(found, axis=0)
    share = np.median([loop / own for own, loop in found])
    row = [str(count), *(f"{one:.1f}" for one in first), f"{stage:.2f}", f"{study:.2f}", f"{share:.2f}"]
    header = [
        "faces", "stage, first epoch of both, s", "study, first epoch, s", "stage, epoch, s", "study, epoch, s",
        "times as fast",
    ]  # fmt: skip
    measure.report("study_loop", measure.table(header, [row]), given.quick)


if __name__ == "__main__":
    main()
