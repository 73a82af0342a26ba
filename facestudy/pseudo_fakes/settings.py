"""Section `pseudo_fakes` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from facestudy.core.settings import Section

Method = Literal["self_blend", "donor_swap"]


def _different(methods: list[Method]) -> list[Method]:
    if not methods or len(set(methods)) < len(methods):
        raise ValueError("name self_blend, donor_swap or both, each once")
    return methods


class PseudoFakeSettings(Section):
    """How pseudo-fakes are made from real clips."""

    seed: Annotated[int, Field(ge=0)]
    methods: Annotated[list[Method], AfterValidator(_different)]
    per_clip: Annotated[int, Field(ge=1, le=20)]
    max_seconds: Annotated[float, Field(gt=0)]
    max_frames: Annotated[int, Field(ge=1, le=10_000)]
    max_side: Annotated[int, Field(ge=96)] | None
    quantizer: Annotated[int, Field(ge=0, le=51)]
