"""The frames of a real clip that show a face, with their landmarks.

A track is small and is kept in the work cache; the frames are decoded again when they are needed, because those of many
clips take more disk than the twins made of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from facestudy.core.arrays import FloatArray, Picture
from facestudy.core.errors import AlteredFileError
from facestudy.faces import detection, orientation
from facestudy.faces.detection import FaceSettings
from facestudy.faces.face import Face
from facestudy.faces.quality import QualitySettings
from facestudy.media import archive, decode
from facestudy.media.frames import FrameSettings
from facestudy.media.video import Limits
from facestudy.pseudo_fakes.settings import PseudoFakeSettings
from facestudy.runtime.work_cache import file_sha256

SEARCH = FaceSettings(
    min_confidence=0.9,
    detect_side=640,
    batch=8,
    all=False,
    track_overlap=0.3,
    quality=QualitySettings(**dict.fromkeys(QualitySettings.model_fields)),
)
"""How faces are searched for: the largest of each frame. A change of the section `faces` must not make new videos."""

MIN_SHARE = 0.5
"""Of the frames taken from a clip, the least share that must show a face."""

PICTURE_FPS = Fraction(25)
"""Frames a second of a twin that has one frame, as those of a still picture."""

FPS_RANGE = (1.0, 120.0)
"""Frames a second that a twin can have."""


@dataclass(frozen=True)
class Source:
    """A real clip on the disk.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file.
    start_s, end_s : float or None
        The part that is used, seconds; None for the whole clip.
    """

    path: Path
    sha256: str
    start_s: float | None
    end_s: float | None


@dataclass(frozen=True)
class Track:
    """The frames of a clip that show a face.

    Attributes
    ----------
    names : list of str
        The files that `take_frames` writes for them.
    landmarks : list
        For each frame five points x, y, pixels of the frame once it is turned, in the order of facestudy.core.regions.
    rotation : int
        Degrees clockwise by which the frames have to be turned.
    fps : str
        Frames a second of the frames taken, a fraction.
    left_out : int
        How many frames were taken and show no face, or have another size than the first.
    reason : str
        Why the clip cannot be used, or "".
    """

    names: list[str]
    landmarks: list[list[list[float]]]
    rotation: int
    fps: str
    left_out: int
    reason: str

    def points(self) -> FloatArray:
        """The landmarks as an array of shape (frames, 5, 2)."""
        return np.array(self.landmarks, float).reshape(-1, 5, 2)


def middle(duration_s: float, max_seconds: float) -> tuple[float | None, float | None]:
    """Choose the part of a clip that is used: `max_seconds` from its middle.

    Parameters
    ----------
    duration_s
        Of the clip; 0 for a still picture.
    max_seconds
        Of the part.

    Returns
    -------
    tuple of float or None
        Start and end in seconds; None where the whole clip is short enough.

    Examples
    --------
    >>> middle(10.0, 4.0), middle(3.0, 4.0)
    ((3.0, 7.0), (None, None))
    """
    if duration_s <= max_seconds:
        return None, None
    start = round((duration_s - max_seconds) / 2, 3)
    return start, round(start + max_seconds, 3)


def take_frames(source: Source, settings: PseudoFakeSettings, limits: Limits, folder: Path) -> dict[str, Any]:
    """Decode evenly spaced frames of the used part of a clip, in the guarded process of facestudy.media.decode.

    Parameters
    ----------
    source
        The clip.
    settings
        `max_frames` and `max_side` decide.
    limits
        What the file may be, and what decoding it may take.
    folder
        Where the frames go, as PNG.

    Returns
    -------
    dict
        What `facestudy.media.frames.extract` writes to frames.json.

    Raises
    ------
    DecodingStopped
        When decoding exceeds the limits on time or memory, or crashes.
    MediaError
        When decoding fails in an unforeseen way.
    AlteredFileError
        When the file is not the one with this sha256.
    """
    taken = FrameSettings(
        per_video=settings.max_frames,
        every=None,
        max_per_video=settings.max_frames,
        format="png",
        jpg_quality=95,
        max_side=settings.max_side,
    )
    decode.extract(source.path, taken, limits, folder, source.start_s, source.end_s)
    if file_sha256(source.path) != source.sha256:
        raise AlteredFileError(f"{source.path} is not the file that was examined before (its sha256 differs)")
    found: dict[str, Any] = json.loads((folder / "frames.json").read_text())
    return found


def find_track(taken: Mapping[str, Any], folder: Path) -> Track:
    """Find the face in each frame of a clip.

    Frames without a face are left out. A clip with a face in less than MIN_SHARE of its frames cannot be used. A clip
    that lies on its side is turned, as in facestudy.faces.extraction.

    Parameters
    ----------
    taken
        What `take_frames` returned.
    folder
        Where the frames are.

    Returns
    -------
    Track
    """
    rows = taken["frames"]
    if not rows:
        return Track([], [], 0, "0", 0, taken["dropped"])
    size = rows[0]["width"], rows[0]["height"]
    same = [row for row in rows if (row["width"], row["height"]) == size]
    paths = [folder / row["path"] for row in same]
    rotation, faces = 0, list(_faces(paths, 0))
    if not all(faces):
        chosen = [load(paths[number], 0) for number in orientation.voters(len(paths))]
        rotation = orientation.rotation_of(chosen, SEARCH)
        if rotation:
            faces = list(_faces(paths, rotation))
    kept = [(row["path"], face.rounded()) for row, face in zip(same, faces, strict=True) if face is not None]
    reason = ""
    if len(kept) < MIN_SHARE * len(rows):
        reason = "no face was found in it" if not kept else "a face was found in less than half of its frames"
    return Track(
        names=[name for name, _ in kept],
        landmarks=[face.landmarks.tolist() for _, face in kept],
        rotation=rotation,
        fps=str(_fps([row["time_s"] for row in rows])),
        left_out=len(rows) - len(kept),
        reason=reason,
    )


def _fps(times: list[float]) -> Fraction:
    """Frames a second, from the times of the frames in seconds."""
    if len(times) < 2 or times[-1] <= times[0]:
        return PICTURE_FPS
    rate = (len(times) - 1) / (times[-1] - times[0])
    return Fraction(round(1000 * min(max(rate, FPS_RANGE[0]), FPS_RANGE[1])), 1000)


def _faces(paths: list[Path], rotation: int) -> Iterator[Face | None]:
    """The chosen face of each frame; one batch in memory, whatever the length of the clip."""
    for start in range(0, len(paths), SEARCH.batch):
        pictures = [load(path, rotation) for path in paths[start : start + SEARCH.batch]]
        for picture, candidates in zip(pictures, detection.detect(pictures, SEARCH), strict=True):
            chosen, _ = detection.select(candidates, picture.shape, SEARCH)
            yield chosen[0] if chosen else None


def load(path: Path, rotation: int) -> Picture:
    """Read a frame, turn it, and cut it to an even width and height, as H.264 with halved chroma needs it.

    Parameters
    ----------
    path
        A file that `take_frames` wrote.
    rotation
        Degrees clockwise.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB. At most the last row and the last column are missing.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    picture = archive.read_picture(path)
    if picture is None:
        raise OSError(f"{path.name} cannot be read")
    picture = orientation.turned(picture, rotation)
    height, width = (max(2, side // 2 * 2) for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def to_json(track: Track) -> str:
    """Write a track as text."""
    return json.dumps(asdict(track))


def from_json(text: str) -> Track:
    """Read a track from what `to_json` wrote."""
    return Track(**json.loads(text))
