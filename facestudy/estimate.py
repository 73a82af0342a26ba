"""How long a study will train and how much disk it will take, said before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

from facestudy.model_settings import ModelSettings
from facestudy.split import SplitSettings

STEP_MS = {"meso4": (256, 10.7), "mesoinception4": (256, 16.0), "vgg19": (150, 127.0), "resnet50": (150, 107.0)}
"""network -> (pixels, milliseconds of one training step an image) at width 1 on 2 cores without a
GPU; time grows with the square of the pixels and about with the square of the width."""
PREDICT_SHARE = 0.35
"""A prediction costs about this part of a training step."""
OVERHEAD_S = 20.0
"""Seconds a training takes to start: importing TensorFlow and tracing the graphs."""
FACE_BYTES = 700_000
"""Stored for a face: its frame (720p PNG), its cut-out and the crops, in the cache and checked out."""


def cell_seconds(model: ModelSettings, faces: int, split: SplitSettings) -> float:
    """Seconds that one training takes on 2 cores, for `faces` faces before the split."""
    pixels, milliseconds = STEP_MS[model.network]
    step = milliseconds / 1000 * (model.input_size / pixels) ** 2 * model.width**2
    shares = split.shares()
    epoch = faces * (shares["train"] + PREDICT_SHARE * shares["validation"]) * step
    return OVERHEAD_S + model.epochs * epoch


def estimate(
    models: Mapping[str, ModelSettings], variants: Sized, seeds: Sequence[int], split: SplitSettings, faces: int
) -> str:
    """The time for training and the disk for the data of `faces` faces, in words."""
    lines = [f"Estimated for {faces} faces, on 2 cores without a GPU:"]
    total = 0.0
    for name, model in models.items():
        one = cell_seconds(model, faces, split)
        cells = len(variants) * len(seeds)
        total += one * cells
        lines.append(f"  {name}: {duration(one)} a training, {cells} trainings (variants x seeds)")
    lines.append(f"  training in all: {duration(total)}; disk: about {faces * FACE_BYTES / 1e9:.1f} GB")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would choose.

    >>> duration(90), duration(7200)
    ('1.5 min', '2.0 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
