"""The alterations of the test faces: section `robustness` of params.yaml, and the scores of altered faces.

They have a module of their own because tables and pages need them without OpenCV and TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from facestudy.core.settings import Section
from facestudy.core.tables import Table

ALTERATIONS_FILE = "alterations.json"
"""In the folder of the altered crops of a variant: the list of their folders, one for each alteration."""
ALTERED_SCORES = Table({"alteration": "text", "face_id": "text", "p_fake": 6}, key=("alteration", "face_id"))
"""The scores of altered test faces by one training; `alteration` is `Alteration.name`."""
ALTERED_SUFFIX = ".altered.csv"
"""Ends the name of the file with these scores, beside the predictions of the training."""

_LABELS = {
    "none": "unaltered",
    "shift": "shift {} %",
    "rotate": "rotate {}°",
    "scale": "scale {} %",
    "h264": "H.264 quantizer {}",
    "jpeg": "JPEG quality {}",
    "blur": "blur {} %",
    "noise": "noise {}",
    "downscale": "downscale to {} px",
    "brightness": "brightness × {}",
    "composite": "rest from {}",
}
_WORDS = {"other_frame": "another frame", "other_person": "another person"}
PLACEMENTS = ("shift", "rotate", "scale")
"""The kinds that move the crop on the face."""
RECODED = "h264"
"""The kind that encodes the clip again."""
COMPOSITE = "composite"
"""The kind that keeps eyes and lower face and takes the rest from another face; all others but RECODED and PLACEMENTS
alter the picture alone."""
CompositeSource = Literal["other_frame", "other_person"]
"""Where this rest comes from."""


def label(kind: str, severity: str) -> str:
    """Write an alteration in words.

    Parameters
    ----------
    kind
        A field of `RobustnessSettings`, or "none".
    severity
        As in the table; empty for "none".

    Returns
    -------
    str

    Examples
    --------
    >>> label("shift", "4"), label("composite", "other_person"), label("none", "")
    ('shift 4 %', 'rest from another person', 'unaltered')
    """
    return _LABELS[kind].format(_WORDS.get(severity, severity))


@dataclass(frozen=True)
class Alteration:
    """One way in which faces are altered.

    Attributes
    ----------
    kind : str
        A field of `RobustnessSettings`.
    severity : float or str
        As there: a number, or for COMPOSITE a word.
    """

    kind: str
    severity: float | str

    @property
    def amount(self) -> float:
        """The severity of a kind that has numbers."""
        return float(self.severity)

    @property
    def written(self) -> str:
        """The severity in tables.

        >>> Alteration("shift", 4.0).written, Alteration("composite", "other_frame").written
        ('4', 'other_frame')
        """
        return self.severity if isinstance(self.severity, str) else f"{self.severity:g}"

    @property
    def name(self) -> str:
        """Its name in paths and tables.

        >>> Alteration("shift", 4.0).name, Alteration("brightness", 0.7).name
        ('shift_4', 'brightness_0_7')
        """
        return f"{self.kind}_{self.written}".replace(".", "_")

    def __str__(self) -> str:
        return label(self.kind, self.written)


class RobustnessSettings(Section):
    """The severities of each kind of alteration.

    Attributes
    ----------
    shift : list of float
        The crop is moved by this percentage of the face's width, in a random direction.
    rotate : list of float
        The crop is turned by this angle, degrees, to a random side.
    scale : list of float
        The crop shows an area that is this percentage wider and higher, or narrower and lower, at random.
    h264 : list of int
        The clip is encoded again as H.264 with this constant quantizer, 1 to 51.
    jpeg : list of int
        The picture is encoded with this JPEG quality.
    blur : list of float
        Gaussian blur of this standard deviation, percent of the face's width.
    noise : list of float
        Gaussian noise of this standard deviation, grey levels.
    downscale : list of int
        The picture is reduced until the face is this wide, pixels, and enlarged again.
    brightness : list of float
        Grey levels are multiplied by this factor.
    composite : list of str
        Eyes and lower face are kept, and the rest comes from another frame of the clip, or from another person of the
        same class.
    """

    shift: list[Annotated[float, Field(gt=0, le=50)]] = Field(default_factory=list)
    rotate: list[Annotated[float, Field(gt=0, le=180)]] = Field(default_factory=list)
    scale: list[Annotated[float, Field(gt=0, le=50)]] = Field(default_factory=list)
    h264: list[Annotated[int, Field(ge=1, le=51)]] = Field(default_factory=list)
    jpeg: list[Annotated[int, Field(ge=1, le=100)]] = Field(default_factory=list)
    blur: list[Annotated[float, Field(gt=0, le=50)]] = Field(default_factory=list)
    noise: list[Annotated[float, Field(gt=0, le=128)]] = Field(default_factory=list)
    downscale: list[Annotated[int, Field(ge=4, le=4096)]] = Field(default_factory=list)
    brightness: list[Annotated[float, Field(gt=0, le=4)]] = Field(default_factory=list)
    composite: list[CompositeSource] = Field(default_factory=list)

    @model_validator(mode="after")
    def _distinct(self) -> RobustnessSettings:
        seen: set[str] = set()
        for alteration in self.alterations():
            if alteration.name in seen:
                raise ValueError(f"{alteration.kind} lists {alteration.written} twice")
            seen.add(alteration.name)
        return self

    def alterations(self) -> list[Alteration]:
        """Every alteration, in the order of the fields.

        >>> RobustnessSettings(jpeg=[30], shift=[2, 4]).alterations()[1:]
        [Alteration(kind='shift', severity=4.0), Alteration(kind='jpeg', severity=30)]
        """
        return [Alteration(kind, severity) for kind in type(self).model_fields for severity in getattr(self, kind)]
