"""The least CPU time that parts of a run can take: the same pictures through the bare libraries, nothing stored.

Each function returns CPU seconds of this process, all threads together.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from facestudy.core import tables
from facestudy.media.archive import read_bytes
from facestudy.models.settings import ModelSettings

STEPS = 8


def decoding(videos: Path, root: Path) -> float:
    """Decode every frame of the usable videos with PyAV; still pictures count too.

    Parameters
    ----------
    videos
        The table of the videos.
    root
        What its paths are relative to.
    """
    import av

    table = tables.read(videos, tables.VIDEOS)
    started = time.process_time()
    for path in table.loc[table["status"] == "ok", "path"]:
        with av.open(str(root / path)) as container:
            for _ in container.decode(video=0):
                pass
    return time.process_time() - started


def pictures(sources: Path, made: Iterable[Path]) -> float:
    """Decode the pictures of a table once for each table in `made`, and encode those of `made` as PNG.

    Parameters
    ----------
    sources
        A table of the faces with their cut-outs.
    made
        Tables of crops.
    """
    cut_outs, seconds = _read(sources, tables.FACES), 0.0
    for path in made:
        crops = [cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) for content in _read(path)]
        started = time.process_time()
        for content in cut_outs:
            cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        for crop in crops:
            cv2.imencode(".png", crop, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        seconds += time.process_time() - started
    return seconds


def _read(path: Path, table: tables.Table = tables.CROPS) -> list[bytes]:
    return [read_bytes(path.parent / name) for name in tables.read(path, table)["path"]]


def training(model: ModelSettings, crop_size: tuple[int, int]) -> float:
    """Compute the loss and its gradient for one picture: the mean over batches in memory, weights not updated.

    Parameters
    ----------
    model
        The network.
    crop_size
        Width and height of the pictures in pixels.
    """
    from facestudy.models.networks import build
    from facestudy.runtime.backend import keras  # before TensorFlow

    import tensorflow as tf  # isort: skip

    network = build(model)
    logits = keras.Model(network.input, network.get_layer("logit").output)

    @tf.function
    def gradients(batch: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits(batch, training=True))
        return list(tape.gradient(loss, logits.trainable_variables))

    width, height = crop_size
    random = np.random.default_rng(0)
    batch = tf.constant(random.integers(0, 256, (model.batch_size, height, width, 3), np.uint8))
    labels = tf.constant(random.integers(0, 2, (model.batch_size, 1)).astype(np.float32))
    gradients(batch, labels)
    started = time.process_time()
    for _ in range(STEPS):
        gradients(batch, labels)
    return (time.process_time() - started) / (STEPS * model.batch_size)


def hashing(folder: Path) -> float:
    """Compute the MD5 of each file below a folder, as DVC does."""
    started = time.process_time()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return time.process_time() - started
