"""The section `attribution` of params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from facestudy.core.errors import StudyError
from facestudy.core.regions import Box
from facestudy.core.settings import Section

Fill = Literal["mean", "blur"]
ALTERED = "altered"
"""The area that stands beside the regions: what is altered in a fake, where that is known."""


class AttributionSettings(Section):
    """How many test faces are examined, on which regions, and what a hidden part is replaced with."""

    faces: Annotated[int, Field(ge=0)] = 0
    regions: list[str] = Field(default_factory=list)
    fill: Fill = "mean"


def chosen_regions(settings: AttributionSettings, boxes: Mapping[str, Box]) -> dict[str, Box]:
    """Look up the boxes of the regions to examine.

    Parameters
    ----------
    settings
        Section `attribution` of the settings.
    boxes
        Named boxes on the canonical face.

    Returns
    -------
    dict of str to Box

    Raises
    ------
    StudyError
        When a region is unknown or named twice, or there are faces to examine and no region.
    """
    for name in settings.regions:
        if name not in boxes:
            raise StudyError(
                f"params.yaml: attribution.regions names {name!r}, which `regions` does not hold (known: "
                f"{', '.join(boxes)})."
            )
    if len(set(settings.regions)) < len(settings.regions) or (settings.faces and not settings.regions):
        raise StudyError("params.yaml: attribution.regions should name one or more different `regions`.")
    return {name: boxes[name] for name in settings.regions}
