"""A face, from the detector to the crop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.tables import FACES, LANDMARK_COLUMNS, QUALITY_COLUMNS

VALID_COLUMNS = ("valid_x0", "valid_y0", "valid_x1", "valid_y1")


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a frame, with its cut-out and its ids once they are known.

    Attributes
    ----------
    x, y, w, h : float
        The box, in pixels of the frame (turned, where its clip is).
    confidence : float
        Of the detector, 0 to 1.
    landmarks : ndarray of float, shape (5, 2)
        In pixels of the frame, in the order of facestudy.core.regions.
    cut_x, cut_y, cut_scale : float
        Where the cut-out lies: frame coordinates = (cut-out coordinates) / cut_scale + (cut_x, cut_y).
    valid : tuple of int
        Left, top, right, bottom of the part of the cut-out that lies inside the frame, in its pixels.
    quality : mapping of str to float
        What facestudy.faces.quality measures.
    picture : ndarray of uint8, shape (side, side, 3), optional
        The cut-out, RGB, where it is in memory.
    path, sha256 : str
        The cut-out, where it is stored.
    face_id, video_id, label : str
        Of a face that is in the study.
    """

    x: float
    y: float
    w: float
    h: float
    confidence: float
    landmarks: FloatArray
    cut_x: float = 0
    cut_y: float = 0
    cut_scale: float = 1.0
    valid: tuple[int, int, int, int] = (0, 0, 0, 0)
    quality: Mapping[str, float] = field(default_factory=dict)
    picture: Picture | None = None
    path: str = ""
    sha256: str = ""
    face_id: str = ""
    video_id: str = ""
    label: str = ""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, w, h."""
        return self.x, self.y, self.w, self.h

    def rounded(self) -> Face:
        """Round to the decimals of tables.FACES, so that a crop is the same as from a face read from the table.

        >>> Face(1.234, 0, 9, 9, 0.9, np.full((5, 2), 7.891)).rounded().box
        (1.23, 0, 9, 9)
        """
        digits = {name: FACES.columns[name] for name in ("x", "y", "w", "h", "confidence")}
        points = [[round(value, 2) for value in point] for point in self.landmarks.tolist()]
        values = {name: round(getattr(self, name), int(count)) for name, count in digits.items()}
        return replace(self, landmarks=np.array(points), **values)

    def row(self) -> dict[str, Any]:
        """The columns of tables.FACES about the box, the landmarks, the quality and the cut-out."""
        return {
            **{name: getattr(self, name) for name in ("x", "y", "w", "h", "confidence")},
            **dict(zip(LANDMARK_COLUMNS, self.landmarks.ravel().tolist(), strict=True)),
            **{name: getattr(self, name) for name in ("cut_x", "cut_y", "cut_scale")},
            **dict(zip(VALID_COLUMNS, self.valid, strict=True)),
            **self.quality,
            **{name: getattr(self, name) for name in ("path", "sha256")},
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Face:
        """The face that a row of tables.FACES describes."""
        numbers = ("x", "y", "w", "h", "confidence", "cut_x", "cut_y", "cut_scale")
        texts = ("path", "sha256", "face_id", "video_id", "label")
        left, top, right, bottom = (row[name] for name in VALID_COLUMNS)
        cells: dict[str, Any] = {**{name: float(row[name]) for name in numbers}, **{name: row[name] for name in texts}}
        return cls(
            **cells,
            landmarks=np.array([row[name] for name in LANDMARK_COLUMNS], float).reshape(5, 2),
            valid=(left, top, right, bottom),
            quality={name: row[name] for name in QUALITY_COLUMNS},
        )
