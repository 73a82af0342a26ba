"""The settings of the models and their training: `models.<name>` and `train` in params.yaml.

They have a module of their own because tables and estimates need them without TensorFlow.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from facestudy.core.errors import StudyError
from facestudy.core.settings import Section, check
from facestudy.models.catalogue import builders, networks_with
from facestudy.models.mesonet_weights import INPUT_SIZE, PUBLISHED

NAMED = (None, "imagenet", "published")
"""Values of `weights` that are not the path of a file."""


def _known(network: str) -> str:
    if network not in builders():
        raise ValueError(f"{network!r} is not a network; facestudy/models/ has {', '.join(builders())}")
    return network


class ModelSettings(Section):
    """A network, its size and how it is trained. Defaults are those of a short training from scratch.

    With `epochs: 0` it is not trained, and scores faces with the weights that the settings name.
    """

    network: Annotated[str, AfterValidator(_known)]
    input_size: Annotated[int, Field(ge=32, le=1024)]
    width: Annotated[float, Field(ge=1 / 64, le=1)] = 1.0
    batch_norm: bool = True
    batch_norm_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weights: Annotated[str, Field(min_length=1)] | None = None
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    epochs: Annotated[int, Field(ge=0, le=100_000)]
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.001
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0
    flip: bool = True

    @property
    def warmup(self) -> float:
        """The epochs over which the learning rate rises: `warmup_epochs`, but at most half of all epochs."""
        return min(self.warmup_epochs, self.epochs / 2)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        takes = builders()[self.network].keywords
        if "width" not in takes and self.width != 1:
            raise ValueError(f"width {self.width:g} is for {networks_with('width')}; {self.network} has width 1.0")
        if "batch_norm" not in takes and not self.batch_norm:
            raise ValueError(
                f"batch_norm can be false with {networks_with('batch_norm')} only; it is part of {self.network}"
            )
        if self.network in ("meso4", "mesoinception4") and self.input_size < 64:
            raise ValueError(f"{self.network} halves the picture five times; input_size must be at least 64")
        if "weights" not in takes and self.weights is not None:
            raise ValueError(
                f"weights are for {networks_with('weights')}; {self.network} is trained from scratch (null)"
            )
        complete = self.network in PUBLISHED
        if self.weights == ("imagenet" if complete else "published"):
            others = "ImageNet weights are for resnet50 and vgg19" if complete else "published weights are of MesoNet"
            raise ValueError(f"{others}; {self.network} has none")
        if self.weights is not None and complete and self.input_size != INPUT_SIZE:
            raise ValueError(f"weights of {self.network} need an input_size of {INPUT_SIZE}, not {self.input_size}")
        if not self.epochs and not (complete and self.weights):
            raise ValueError(
                "epochs: 0 scores faces with the weights of a whole network, which only "
                f"{' and '.join(PUBLISHED)} have: set weights to published"
            )
        if self.weights is not None and self.width != 1:
            raise ValueError(f"weights need the full network: width must be 1.0, not {self.width:g}")
        if self.weights is not None and self.network == "vgg19" and self.batch_norm:
            raise ValueError(
                "weights of vgg19 are of the network without batch normalisation: batch_norm must be false"
            )
        if self.weights_sha256 is not None and self.weights in NAMED:
            raise ValueError("weights_sha256 goes with weights that are the path of a file")
        return self


class TrainSettings(Section):
    """What all trainings have in common: section `train` of params.yaml."""

    select_on: Literal["validation_loss", "validation_auc"] = "validation_loss"
    distribution: Literal["none", "auto"] = "none"


def named_model(models: Mapping[str, Any], model: str, file: str) -> ModelSettings:
    """Check and return one model of the section `models`.

    Parameters
    ----------
    models : mapping
        The section.
    model : str
        A key of it.
    file : str
        What holds the section, for messages.

    Raises
    ------
    StudyError
        When the section has no such model, or a setting is not valid.
    """
    if model not in models:
        raise StudyError(f"{file}: models has no {model} (it has: {', '.join(models)}).")
    return check(ModelSettings, models[model], f"models.{model}", file)


def training_seed(seed: int, variant: str, repeat: int = 1) -> int:
    """The number that seeds a training's generators.

    Two trainings on different variants share nothing, even with the same seed: the comparison of variants treats
    trainings as nested in variants (`facestudy.evaluation.obuchowski_rockette`).

    Parameters
    ----------
    seed : int
        One of `seeds`.
    variant : str
        Name of the crop variant.
    repeat : int
        Number of the split, from 1.

    Returns
    -------
    int
        From 0 to 2**32 - 1.

    Examples
    --------
    >>> training_seed(1, "full") == training_seed(1, "eyes_lower")
    False
    """
    return int(np.random.SeedSequence([seed, repeat, zlib.crc32(variant.encode())]).generate_state(1)[0])
