"""How long a study will train and how much disk it will take, said before it begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass

from facestudy.disk import crop_bytes, cut_out_bytes, frame_bytes
from facestudy.model_settings import ModelSettings
from facestudy.split import SplitSettings

STEP_MS = {"meso4": (256, 22.0), "mesoinception4": (256, 60.0), "vgg19": (150, 1080.0), "resnet50": (150, 270.0)}
"""network -> (pixels, milliseconds of one training step an image) at width 1 in one thread of a core with AVX2,
without a GPU; time grows with the square of the pixels and about with the square of the width."""
PREDICT_SHARE = 0.25
"""A prediction costs about this part of a training step."""
OVERHEAD_S = 20.0
"""Seconds a training takes to start: importing TensorFlow and tracing the graphs."""
COPIES = 2
"""DVC keeps its cache beside the work tree; with the work cache, which joins DVC's when a run ends, 3 meanwhile."""


@dataclass(frozen=True)
class Pictures:
    """What a run will store: videos it fetches, GB; frames, their height in pixels and format; crops, (width, height)
    and how many variants."""

    video_gb: float
    frames: int
    height: int
    format: str
    crop_size: tuple[int, int]
    variants: int

    def gigabytes(self) -> dict[str, float]:
        """GB of each kind, one copy."""
        each = {
            "frames": frame_bytes(self.height**2 * 16 / 9, self.format),
            "faces": cut_out_bytes(self.height),
            "crops": crop_bytes(self.crop_size) * self.variants,
        }
        return {"videos": self.video_gb} | {kind: self.frames * size / 1e9 for kind, size in each.items()}


def training_seconds(model: ModelSettings, faces: int, split: SplitSettings) -> float:
    """Seconds that one training takes in its one thread, for `faces` faces before the split."""
    pixels, milliseconds = STEP_MS[model.network]
    step = milliseconds / 1000 * (model.input_size / pixels) ** 2 * model.width**2
    shares = split.shares()
    epoch = faces * (shares["train"] + PREDICT_SHARE * shares["validation"]) * step
    return OVERHEAD_S + model.epochs * epoch


def estimate(
    models: Mapping[str, ModelSettings],
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
    lines = [f"Estimated for {faces} faces, {at_once} trainings at a time, one core each, without a GPU:"]
    total = 0.0
    for name, model in models.items():
        one = training_seconds(model, faces, split)
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
