"""How long a study will train and how much disk it will take, said before it begins."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass

import numpy as np

from facestudy.dataset.split import SplitSettings
from facestudy.models.settings import ModelSettings
from facestudy.runtime.disk import crop_bytes, cut_out_bytes, frame_bytes
from facestudy.training.data import Faces

COPIES = 2
"""DVC keeps its cache beside the work tree; with the work cache, which joins DVC's when a run ends, 3 meanwhile."""


@dataclass(frozen=True)
class Pictures:
    """What a run will store: videos it fetches, GB; frames, their height in pixels and format; crops, (width, height),
    how many variants, and how many altered ones for each crop."""

    video_gb: float
    frames: int
    height: int
    format: str
    crop_size: tuple[int, int]
    variants: int
    altered: float = 0.0

    def gigabytes(self) -> dict[str, float]:
        """GB of each kind, one copy."""
        each = {
            "frames": frame_bytes(self.height**2 * 16 / 9, self.format),
            "faces": cut_out_bytes(self.height),
            "crops": crop_bytes(self.crop_size) * self.variants * (1 + self.altered),
        }
        return {"videos": self.video_gb} | {kind: self.frames * size / 1e9 for kind, size in each.items()}


@dataclass(frozen=True)
class Timing:
    """Seconds of one model on this machine: to build and trace it, to train on one face, to score one face."""

    start: float
    train: float
    predict: float


def time_model(model: ModelSettings, crop_size: tuple[int, int]) -> Timing:
    """Train the model on two batches of noise in one thread, and take the time. crop_size: (width, height)."""
    from facestudy.training import loop  # TensorFlow: seconds

    timed = model.model_copy(
        update={"weights": None, "weights_sha256": None, "epochs": 1, "warmup_epochs": 0, "learning_rate": 1e-4}
    )
    count = 2 * model.batch_size
    width, height = crop_size
    noise = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    faces = Faces(noise, np.arange(count), (np.arange(count) % 2).astype(np.float32))
    network = loop.fresh_model(timed, seed=0)

    def fit() -> None:
        loop.fit(network, faces, faces, timed, "validation_loss", seed=0, quiet=True)

    first, again = _seconds(fit), _seconds(fit)
    predict = _seconds(lambda: loop.predict(network, faces))
    return Timing(max(0.0, first - again), max(0.0, again - predict) / count, predict / count)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def training_seconds(epochs: int, timing: Timing, faces: int, split: SplitSettings) -> float:
    """Seconds that one training takes in its one thread, for `faces` faces before the split."""
    shares = split.shares()
    epoch = faces * (shares["train"] * timing.train + shares["validation"] * timing.predict)
    return timing.start + epochs * epoch


def estimate(
    models: Mapping[str, ModelSettings],
    timings: Mapping[str, Timing],
    variants: Sized,
    seeds: Sequence[int],
    split: SplitSettings,
    faces: int,
    pictures: Pictures,
    workers: int,
) -> str:
    """The time for training on `faces` faces and the disk for the data, in words; workers: trainings at a time."""
    trainings = len(seeds) * split.repeats
    at_once = min(workers, trainings)
    rounds = math.ceil(trainings / at_once)
    lines = [f"Estimated for {faces} faces from two timed batches of each model, {at_once} trainings at a time:"]
    total = 0.0
    for name, model in models.items():
        if not model.epochs:
            lines.append(f"  {name}: not trained")
            continue
        one = training_seconds(model.epochs, timings[name], faces, split)
        total += one * len(variants) * rounds
        lines.append(
            f"  {name}: {duration(one)} a training, {len(variants) * trainings} trainings (variants x seeds x splits)"
        )
    lines.append(f"  training in all: {duration(total)}")
    parts = pictures.gigabytes()
    listed = ", ".join(f"{kind} {size:.1f}" for kind, size in parts.items() if size)
    lines.append(f"  disk: {listed}: {sum(parts.values()):.1f} GB, {COPIES} copies where the disk cannot share them")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would choose.

    >>> duration(90), duration(7200)
    ('1.5 min', '2.0 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
