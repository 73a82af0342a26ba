"""What a training step takes with JAX: with Keras's `train_on_batch`, and with facestudy.training.jax_steps.

    KERAS_BACKEND=jax python -m benchmarks.jax_steps [--quick] [--steps N]

The models of params.yaml at their batch and picture size. Three ways take turns on the same pictures: that in use;
`train_on_batch`, in float32; and that in use, in float32, which differs on a GPU. The first round, in which XLA
compiles, is reported apart.
"""

from __future__ import annotations

import sys
import time
from unittest.mock import patch

import jax
import numpy as np

from benchmarks import measure
from facestudy.core.settings import check
from facestudy.models.settings import ModelSettings
from facestudy.runtime import backend
from facestudy.runtime.backend import keras
from facestudy.training import jax_steps
from facestudy.training.data import Faces
from facestudy.training.loop import batches, cross_entropy, fresh_model, with_optimizer
from stages.stage import read_params

KERAS = "train_on_batch"
WAYS = [jax_steps.PRECISION, KERAS, "float32"]


def seconds(way: str, logits: keras.Model, faces: Faces, settings: ModelSettings) -> float:
    """One epoch; its seconds."""
    data, start = list(batches(faces, settings.batch_size, settings.flip, 1, 0)), time.perf_counter()
    if way == KERAS:
        for batch in data:
            float(logits.train_on_batch(*batch))
    else:
        with patch.object(jax_steps, "PRECISION", way):
            jax_steps.take_steps(logits, cross_entropy, [1e-4] * len(data), data)
    return time.perf_counter() - start


def main() -> None:
    given = measure.arguments(__doc__, ("steps", 64, "steps of a round"))
    if backend.name() != "jax":
        sys.exit("set KERAS_BACKEND=jax")
    params = read_params()
    width, height = params["crops"]["size"]
    rows = []
    for name, values in list(params["models"].items())[: 1 if given.quick else None]:
        settings = check(ModelSettings, values, f"models.{name}")
        count = given.steps * settings.batch_size
        pictures = np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8)
        faces = Faces(pictures, np.arange(count), (np.arange(count) % 2).astype(np.float32))
        logits = with_optimizer(fresh_model(settings, 1))
        logits.jit_compile = True  # of train_on_batch
        first = [seconds(way, logits, faces, settings) for way in WAYS]
        rounds = np.array([[seconds(way, logits, faces, settings) for way in WAYS] for _ in range(given.rounds)])
        each, ratios = np.median(rounds, axis=0) / given.steps, np.median(rounds / rounds[:, :1], axis=0)
        for way, begun, once, ratio in zip(WAYS, first, each, ratios, strict=True):
            rows.append([name, way, f"{begun:.1f}", f"{1000 * once:.2f}", f"{ratio:.2f}"])
    header = ["model", "way", "first round, s", "step, ms", "times that in use"]
    lines = [f"{given.steps} steps a round, {given.rounds} rounds, pictures of {width}x{height}.", ""]
    measure.report("jax_steps", [*lines, *measure.table(header, rows)], given.quick, jax.devices()[0].device_kind)


if __name__ == "__main__":
    main()
